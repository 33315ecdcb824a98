package wisepops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// benchmarkPage is a full page of contacts of about 250 bytes each.
func benchmarkPage() []byte {
	at := time.Date(2024, 5, 1, 8, 0, 0, 0, time.UTC)
	var buf bytes.Buffer
	buf.WriteByte('[')
	for i := range MaxPageSize {
		if i > 0 {
			buf.WriteByte(',')
		}
		at = at.Add(61_237 * time.Millisecond)
		fmt.Fprintf(&buf, `{"collected_at":%q,"wisepop_id":%d,"form_session":"5f3c9a1e%08x","ip":"203.0.113.%d","country_code":"FR",`+
			`"fields":{"email":"visitor.%06d@example.com","First name":"Zo\u00eb","City":"Aix-en-Provence","newsletter":"yes"}}`,
			FormatTime(at), 12345+i%7, i*2654435761, i%250, i)
	}
	buf.WriteByte(']')
	return buf.Bytes()
}

// BenchmarkContactID works out the id of one contact at a time, as a processor does.
func BenchmarkContactID(b *testing.B) {
	var contacts []json.RawMessage
	if err := json.Unmarshal(benchmarkPage(), &contacts); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(contacts[0])))
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + 1) % len(contacts) {
		if _, err := ContactID(contacts[i]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseContacts(b *testing.B) {
	page := benchmarkPage()
	b.Run("wisepops", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			contacts, err := ParseContacts(page)
			if err != nil || len(contacts) != MaxPageSize {
				b.Fatal(len(contacts), err)
			}
		}
	})
	// What a program would do that only cuts the page, and computes no id.
	b.Run("json.RawMessage", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			var contacts []json.RawMessage
			if err := json.Unmarshal(page, &contacts); err != nil || len(contacts) != MaxPageSize {
				b.Fatal(len(contacts), err)
			}
		}
	})
}

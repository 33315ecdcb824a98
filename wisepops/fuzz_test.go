package wisepops

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var jsonSeeds = []string{
	``, ` `, `[]`, ` [ ] `, `[`, `]`, `[,]`, `[1,]`, `[1 2]`, `[1]]`, `[] x`, `{}`, `null`, `[null]`, `"x"`, `0`,
	"\ufeff[]", "[]\x00", "<html>", `[{"a":1},{"a":2}]`, `[{"a":1,}]`, `[{,}]`, `[{"a"}]`, `[{"a":}]`, `[{"a";1}]`, `[{"a" 1}]`, `[{a":1}]`, `[{x"a":1}]`, `[{1:2}]`, `[{"a":1 "b":2}]`,
	`[0,-0,1.5,-1.5e+10,1E-2,12345678901234567890]`, `[01]`, `[-]`, `[1.]`, `[.5]`, `[1e]`, `[1e+]`, `[+1]`, `[0x1]`, `[NaN]`, `[1.5.5]`,
	`[true,false,null]`, `[tru]`, `[trux]`, `[nulL]`, `[falsy]`, `[nul]`, `[truex]`, `[True]`,
	`["\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00"]`, `["\x"]`, `["\u12"]`, `["\u12g4"]`, `["\`, `["\u`, `["\u123`, `["a`, "[\"\n\"]", "[\"\x7f\xff\"]", `["\ud800"]`,
	`[{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"ip":"127.0.0.1","country_code":"US","fields":{"email":"example@example.com","Gender":"male","City":"New York"}}]`,
	`{"collected_at":"x","wisepop_id":"\n","fields":{"b":[{"a":1,"a":{"z":[],"y":{}}}],"\ud800":"\udc00","":"` + "\xc3" + `"}}`,
	`{"collected_at":1714550400,"wisepop_id":1,"form_session":" ","ip":"203.0.113.7"}`, `{"collected_at":"2024-05-01t08:00:60z","form_session":"\u0061","ip":[1],"fields":{}}`,
	strings.Repeat("[", 12) + strings.Repeat("]", 12), strings.Repeat(`[{"a":`, 9), "[\v]", "[\f1]", "[1\u00a0]",
}

// elements is what encoding/json sees in an array, behind a byte order mark; ok is false for all else.
func elements(body []byte) (items []json.RawMessage, ok bool) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	err := json.Unmarshal(body, &items)
	return items, err == nil && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte{'['})
}

func FuzzParseContacts(f *testing.F) {
	for _, seed := range jsonSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		contacts, err := ParseContacts(slices.Clip(body))
		require.Equal(t, before, body)
		items, ok := elements(body)
		require.Equal(t, ok, err == nil, "%q: %v", body, err)
		require.Len(t, contacts, len(items))
		for i, c := range contacts {
			require.Equal(t, string(items[i]), string(c.Raw))
			require.Equal(t, len(c.Raw), cap(c.Raw))
			if c.Raw[0] != '{' {
				require.NotZero(t, c.ID)
				continue
			}
			id, err := ContactID(c.Raw)
			require.NoError(t, err)
			require.Equal(t, id, c.ID.String())
		}
	})
}

// FuzzParseDelivery holds what a hook receives against encoding/json.
func FuzzParseDelivery(f *testing.F) {
	for _, seed := range jsonSeeds {
		f.Add([]byte(seed))
		f.Add([]byte("\ufeff" + strings.TrimSuffix(strings.TrimPrefix(seed, "["), "]")))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		contacts, err := ParseDelivery(slices.Clip(body))
		items, ok := elements(body)
		if object := bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), " \t\r\n"); bytes.HasPrefix(object, []byte{'{'}) && json.Valid(object) {
			items, ok = []json.RawMessage{bytes.TrimRight(object, " \t\r\n")}, true
		}
		for _, item := range items {
			ok = ok && item[0] == '{'
		}
		require.Equal(t, ok, err == nil, "%q: %v", body, err)
		if !ok {
			return
		}
		require.Len(t, contacts, len(items))
		ids := map[ID]bool{}
		for i, c := range contacts {
			require.Equal(t, string(items[i]), string(c.Raw))
			ids[c.ID] = true
		}
		require.Len(t, ids, len(items))
	})
}

// FuzzContactID holds the id against one worked out with encoding/json.
func FuzzContactID(f *testing.F) {
	for _, seed := range jsonSeeds {
		f.Add([]byte(seed))
		f.Add([]byte(strings.TrimSuffix(strings.TrimPrefix(seed, "["), "]")))
		f.Add([]byte(`{"fields":` + seed + `}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		id, err := ContactID(slices.Clip(raw))
		want, ok := slowContactID(raw)
		require.Equal(t, ok, err == nil, "%q: %v", raw, err)
		require.Equal(t, want, id)
	})
}

func slowContactID(raw []byte) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var c map[string]any
	if err := d.Decode(&c); err != nil || c == nil || !json.Valid(raw) {
		return "", false
	}
	if c["wisepop_id"] == nil && c["collected_at"] == nil && c["fields"] == nil {
		sum := sha256.Sum256([]byte(slowCanonical(c)))
		return hex.EncodeToString(sum[:16]), true
	}
	var lines [4]string
	switch id := c["wisepop_id"].(type) {
	case nil:
	case string:
		lines[0] = id
	default:
		lines[0] = slowCanonical(id)
	}
	if at := c["collected_at"]; at != nil {
		text, _ := at.(string)
		if number, ok := at.(json.Number); ok {
			text = number.String()
		}
		if at, err := ParseTime(text); err == nil {
			lines[1] = strconv.FormatInt(at.UnixMilli(), 10)
		} else {
			lines[1] = slowCanonical(c["collected_at"])
		}
	}
	session, _ := c["form_session"].(string)
	ip, isText := c["ip"].(string)
	switch {
	case strings.TrimSpace(session) != "":
		lines[2] = slowCanonical(session)
	case c["ip"] != nil && (!isText || strings.TrimSpace(ip) != ""):
		lines[2] = slowCanonical(c["ip"])
	}
	lines[3] = slowCanonical(c["fields"])
	if lines[3] == "null" || lines[3] == "[]" {
		lines[3] = "{}"
	}
	sum := sha256.Sum256([]byte(strings.Join(lines[:], "\n")))
	return hex.EncodeToString(sum[:16]), true
}

func slowCanonical(v any) string {
	switch v := v.(type) {
	case string:
		var quoted strings.Builder
		e := json.NewEncoder(&quoted)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			panic(err)
		}
		// encoding/json escapes these two for the sake of JavaScript.
		text := strings.TrimSuffix(quoted.String(), "\n")
		return strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(text)
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = slowCanonical(v[i])
		}
		return "[" + strings.Join(items, ",") + "]"
	case map[string]any:
		members := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			members = append(members, slowCanonical(key)+":"+slowCanonical(v[key]))
		}
		return "{" + strings.Join(members, ",") + "}"
	default:
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(text)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, row := range times {
		f.Add(row.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseTime(s)
		if err != nil {
			require.EqualError(t, err, "not an RFC 3339 time")
			require.Zero(t, at)
			return
		}
		require.Equal(t, time.UTC, at.Location())
		again, err := ParseTime(FormatTime(at))
		if err != nil {
			require.True(t, at.Year() < 0 || at.Year() > 9999, "%q", s) // moved there by its zone
			return
		}
		require.Equal(t, at.UnixMilli(), again.UnixMilli())
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{
		"", "0", "120", "-1", "1.5", "99999999999999999999", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:00:00 GMT", "soon",
		"60, 3600", "1445412090", "1445412090000", "2015-10-21T07:28:00Z", "Wed, 21 Oct 2015 07:28:00 GMT, Wed, 21 Oct 2015 07:28:00 GMT", ".5", "1764210000",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		wait := retryAfter(s, time.Unix(1_445_412_000, 0))
		require.GreaterOrEqual(t, wait, time.Duration(0))
		require.LessOrEqual(t, wait, MaxRetryAfter)
		if secs, err := strconv.ParseUint(s, 10, 32); err == nil && secs < 1e9 {
			require.Equal(t, min(time.Duration(secs)*time.Second, MaxRetryAfter), wait)
		}
	})
}

package processor

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// spellings are ways to write one number, as people do and as they copy them.
func spellings(region string, number *phonenumbers.PhoneNumber) []string {
	international := phonenumbers.Format(number, phonenumbers.INTERNATIONAL)
	national := phonenumbers.Format(number, phonenumbers.NATIONAL)
	e164 := phonenumbers.Format(number, phonenumbers.E164)
	code, rest, _ := strings.Cut(international, " ")
	trunk := phonenumbers.GetNddPrefixForRegion(region, true)
	replaced := func(text, separator string) string {
		return strings.NewReplacer(" ", separator, "-", separator).Replace(text)
	}
	return []string{
		e164, international, national,
		replaced(international, "\u202f"), replaced(international, "\u00a0"), replaced(international, "\u2009"),
		replaced(international, "."), replaced(international, "\u2011"), replaced(international, "-"), replaced(international, "\t"),
		replaced(national, "\u202f"), replaced(national, "."), replaced(national, ""),
		"00" + e164[1:], "00 " + international[1:],
		e164[1:], international[1:],
		code + " (" + trunk + ")" + rest, code + " " + trunk + rest, code + " 0" + rest, "(" + code + ") " + rest,
		phonenumbers.Format(number, phonenumbers.RFC3966), "tel:" + e164, "Tel: " + international,
		"\u202a" + e164 + "\u202c", "\ufeff" + international, "\u2066" + national + "\u2069",
		strings.Join(strings.Split(e164, ""), "\u200b"),
		e164 + ";", international + ",", `"` + international + `"`, "'" + e164,
		strings.Map(func(r rune) rune {
			if r == '+' || r >= '0' && r <= '9' {
				return r - '!' + '！' // full width
			}
			return r
		}, international),
	}
}

// The sandbox holds a person of each region under E.164. A deletion finds that person,
// or says that it cannot read the number; it never asks for a number of nobody.
func TestDeletionFindsThePersonHoweverTheNumberIsSpelled(t *testing.T) {
	asked, unread := 0, 0
	for _, region := range slices.Sorted(maps.Keys(phonenumbers.GetSupportedRegions())) {
		for _, kind := range []phonenumbers.PhoneNumberType{phonenumbers.MOBILE, phonenumbers.FIXED_LINE} {
			number := phonenumbers.GetExampleNumberForType(region, kind)
			if number == nil {
				continue
			}
			s := sandbox.New(sandbox.Options{})
			s.Add(sandbox.Contact{Raw: []byte(`{}`), Phone: phonenumbers.Format(number, phonenumbers.E164)})
			var messages []string
			texts := spellings(region, number)
			for _, text := range texts {
				message, err := json.Marshal(map[string]string{"phone": text})
				require.NoError(t, err)
				messages = append(messages, string(message))
			}
			for i, msg := range erase(t, s, "default_country: "+region, messages...) {
				asked++
				if msg.GetError() != nil {
					unread++
					continue
				}
				assert.Equal(t, "deleted", content(t, msg)["status"], "%s: %q", region, texts[i])
			}
		}
	}
	t.Logf("%d deletions, %d not read", asked, unread)
	assert.Less(t, unread, asked/50)
}

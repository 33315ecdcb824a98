package identity

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func TestRead(t *testing.T) {
	for _, row := range []struct {
		email, phone, country string
		want                  wisepops.Identity
	}{
		{email: " test@test.com\n", want: wisepops.Identity{Email: "test@test.com"}},
		{email: "\u200b", phone: "+33 6 12 34 56 78 ", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "06 12 34 56 78", country: "FR", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "+123456789", want: wisepops.Identity{Phone: "+123456789"}}, // of the documentation
		{email: "a@example.com", phone: "+33612345678", want: wisepops.Identity{Email: "a@example.com", Phone: "+33612345678"}},
	} {
		got, err := Read(row.email, row.phone, row.country)
		if assert.NoError(t, err, "%q %q", row.email, row.phone) {
			assert.Equal(t, row.want, got)
		}
	}
}

func TestReadErrorsNeverQuoteWhatIsWrong(t *testing.T) {
	for _, row := range []struct{ email, phone, country, want string }{
		{"", " ", "FR", "names nobody"},
		{"\ufeff", "\u200e", "FR", "names nobody"},
		{"secret", "", "", "email is not one email address"},
		{"a@secret.com", "secret", "", "phone holds what no phone number holds"},
		{"secret", "+33612345678", "", "email is not one email address"},
		{"", "0612345678", "", "default_country"},
		{"", "99612345678", "FR", "not a number of FR"},
		{"", "612345678", "ZZ", "not a number of ZZ"},
		{"", "33612345678", "DE", "without its +"},
		{"", "+33612345678 +33612345679", "", "not one phone number"},
		{"", "+44 0 612345678999", "", "not dialled from abroad"},
		{"", "+33 33 6 12345678", "", "country code twice"},
	} {
		got, err := Read(row.email, row.phone, row.country)
		if assert.ErrorContains(t, err, row.want, "%q %q", row.email, row.phone) {
			assert.NotContains(t, strings.ToLower(err.Error()), "secret")
			assert.NotContains(t, err.Error(), "612345678")
		}
		assert.Zero(t, got)
	}
}

func TestCleanShowsWhatAPersonSees(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		" a b\r\n":                          "a b",
		"a\r\nb":                            "a\r\nb",
		"\u200e+33\u202c":                   "+33",
		"\ufeffa\u200b\u00ad\u2060b\u200d":  "ab",
		"a\ufe0fb\U000e0100c\u034fd\u3164":  "abcd",
		"a\x00b":                            "ab",
		"a\tb\u00a0c\u202fd\u3000e\u2009f ": "a b c d e f",
		"ａ＠ｂ．ｃ":                             "a@b.c",
		"＋３３（０）６":                           "+33(0)6",
		"Zoe\u0308":                         "Zoë",
	} {
		assert.Equal(t, want, Clean(text), "%q", text)
	}
}

func TestCountriesAreThoseOfISO3166(t *testing.T) {
	for text, want := range map[string]string{"fr ": "FR", "UK": "GB", "uk": "GB", "EL": "GR", "GB": "GB", "": "", "france": "FRANCE"} {
		assert.Equal(t, want, Country(text))
	}
	for _, country := range []string{"", "FR", "UK", "EL", "XK"} {
		require.NoError(t, CheckCountry(country))
	}
	for _, country := range []string{"fr", "France", "XX", "001", "uk"} {
		require.Error(t, CheckCountry(country), country)
	}
}

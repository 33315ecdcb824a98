package processor

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSnakeCaseNamesColumns(t *testing.T) {
	for key, want := range map[string]string{
		"email":            "email",
		"Prénom":           "prenom",
		"Pre\u0301nom":     "prenom",
		"First name":       "first_name",
		"  First   name  ": "first_name",
		"firstName":        "first_name",
		"FirstName":        "first_name",
		"FIRST_NAME":       "first_name",
		"first__name_":     "first_name",
		"_id":              "id",
		"E-mail address":   "e_mail_address",
		"Größe":            "grosse",
		"GRÖẞE":            "grosse",
		"Œuvre & Æon":      "oeuvre_aeon",
		"Łódź":             "lodz",
		"İstanbul":         "istanbul",
		"Newsletter?":      "newsletter",
		"¿Qué tal?":        "que_tal",
		"userID":           "user_id",
		"IPAddress":        "ip_address",
		"2nd choice":       "2nd_choice",
		"address2":         "address2",
		"line2Address":     "line2_address",
		"utm_source":       "utm_source",
		"ｅｍａｉｌ":            "email",
		"Nº":               "no",
		"1️⃣ choice":       "1_choice",
		"👍 Consent":        "consent",
		"a\x00b":           "a_b",
		"Имя":              "имя",
		"Мой район":        "мой_район",
		"名前":               "名前",
		"नाम":              "नाम",
		"":                 "field",
		"???":              "field",
		"\u0301":           "field",
		"👍":                "field",
	} {
		assert.Equal(t, want, snakeCase(key), "key %q", key)
	}
}

func TestSnakeCaseIsIdempotentAndFitForAColumn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9_ .éÉßİ-]{0,20}`)).Draw(t, "key")
		name := snakeCase(key)

		require.NotEmpty(t, name)
		require.Equal(t, name, snakeCase(name), "of key %q", key)
		require.Equal(t, strings.Trim(name, "_"), name)
		require.NotContains(t, name, "__")
		for _, r := range name {
			require.True(t, r == '_' || isWordRune(r), "rune %U", r)
			require.Equal(t, unicode.ToLower(r), r, "rune %U", r)
		}
	})
}

func TestNamesThatClashAreNumbered(t *testing.T) {
	for _, tc := range []struct {
		name    string
		keys    []string
		flatten bool
		want    map[string]string
	}{
		{
			name: "the first in byte order has the name",
			keys: []string{"FIRST NAME", "First name", "first-name"},
			want: map[string]string{"FIRST NAME": "first_name", "First name": "first_name_2", "first-name": "first_name_3"},
		},
		{
			name: "a key that is the name keeps it",
			keys: []string{"FIRST NAME", "First name", "first_name"},
			want: map[string]string{"FIRST NAME": "first_name_2", "First name": "first_name_3", "first_name": "first_name"},
		},
		{
			name: "in other scripts too",
			keys: []string{"Имя", "имя"},
			want: map[string]string{"Имя": "имя_2", "имя": "имя"},
		},
		{
			name: "a number that is a key's own name is passed over",
			keys: []string{"A", "a", "a_2"},
			want: map[string]string{"A": "a_3", "a": "a", "a_2": "a_2"},
		},
		{
			name: "own names clash too",
			keys: []string{"A 2", "a", "a_2"},
			want: map[string]string{"A 2": "a_2_2", "a": "a", "a_2": "a_2"},
		},
		{
			name: "nameless keys",
			keys: []string{"", "!", "?"},
			want: map[string]string{"": "field", "!": "field_2", "?": "field_3"},
		},
		{
			name: "columns are free inside fields",
			keys: []string{"Email", "IP"},
			want: map[string]string{"Email": "email", "IP": "ip"},
		},
		{
			name:    "columns are taken at the top",
			keys:    []string{"City", "Email", "Fields", "IP", "field_email"},
			flatten: true,
			want: map[string]string{
				"City": "city", "Email": "field_email_2", "Fields": "field_fields",
				"IP": "field_ip", "field_email": "field_email",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := make([]contactField, 0, len(tc.keys))
			for _, key := range tc.keys {
				fields = append(fields, (&contactOptions{}).newField(key, nil))
			}
			nameFields(fields, (&contactOptions{flatten: tc.flatten}).topNames())

			got := map[string]string{}
			for _, f := range fields {
				got[f.key] = f.name
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

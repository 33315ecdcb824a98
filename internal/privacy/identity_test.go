package privacy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func TestReadIdentity(t *testing.T) {
	for _, row := range []struct {
		email, phone, country string
		want                  wisepops.Identity
	}{
		{email: " test@test.com\n", want: wisepops.Identity{Email: "test@test.com"}},
		{email: "ZOE@Example.COM", want: wisepops.Identity{Email: "ZOE@Example.COM"}},
		{email: "mailto:a@example.com", want: wisepops.Identity{Email: "a@example.com"}},
		{email: "MAILTO: a+b@example.com", want: wisepops.Identity{Email: "a+b@example.com"}},
		{email: "zoë@example.com", want: wisepops.Identity{Email: "zoë@example.com"}},
		{phone: "+33612345678", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: " +33 6 12 34 56 78 ", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "+33 (0)6 12 34 56 78", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "0033.6.12.34.56.78", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "+33-6-12-34-56-78", country: "US", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "06 12 34 56 78", country: "FR", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "06/12.34-56\u00a078", country: "FR", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "+49 30/123456", want: wisepops.Identity{Phone: "+4930123456"}},
		{phone: "6 12 34 56 78", country: "FR", want: wisepops.Identity{Phone: "+33612345678"}},
		{phone: "2015550123", country: "US", want: wisepops.Identity{Phone: "+12015550123"}},
		{phone: "(201) 555-0123", country: "US", want: wisepops.Identity{Phone: "+12015550123"}},
		{phone: "00 44 7400 123456", country: "US", want: wisepops.Identity{Phone: "+447400123456"}},
		{phone: "+123456789", want: wisepops.Identity{Phone: "+123456789"}}, // of the documentation
		{phone: "+1 234 567 89", want: wisepops.Identity{Phone: "+123456789"}},
		{email: "a@example.com", phone: "+33612345678", want: wisepops.Identity{Email: "a@example.com", Phone: "+33612345678"}},
	} {
		got, err := ReadIdentity(row.email, row.phone, row.country)
		if assert.NoError(t, err, "%q %q", row.email, row.phone) {
			assert.Equal(t, row.want, got)
		}
	}
}

func TestReadIdentityErrors(t *testing.T) {
	const email, phone = "email is not one email address", "phone"
	for _, row := range []struct{ email, phone, country, want string }{
		{"", " ", "FR", "names nobody"},
		{"null", "", "", email},
		{"secret", "", "", email},
		{"secret@", "", "", email},
		{"a@secret.com, b@secret.com", "", "", email},
		{"Secret <a@secret.com>", "", "", email},
		{"<a@secret.com>", "", "", email},
		{"a@secret.com (Secret)", "", "", email},
		{"mailto:a@secret.com?subject=x", "", "", email},
		{"mailto:a%40secret.com", "", "", email},
		{"mailto:", "", "", email},
		{"a@secret.com\r\nb", "", "", email},
		{"a@secret.com\u200b", "", "", email},
		{"a\u00ad@secret.com", "", "", email},
		{"'a@secret.com'", "", "", email},
		{"mailto://a@secret.com", "", "", email},
		{"", "+376 712 345 / 712 346", "", "not one phone number"},
		{"", "+49 30 123456 / 123457", "DE", "not one phone number"},
		{"", "030/123456/123457", "DE", "not one phone number"},
		{"", "030 123456 / 57", "DE", "not one phone number"},
		{"", "33612345678", "DE", "without its +"},
		{"", "0612345678", "", "default_country"},
		{"", "33612345678", "", "default_country"},
		{"", "99", "FR", "not a number of FR"},
		{"", "3.3612345678e+10", "FR", "what no phone number holds"},
		{"", "+33 6 SECRET", "FR", "what no phone number holds"},
		{"", "+3361", "", "not a phone number"},
		{"", "+12345678901234567", "", "not a phone number"},
		{"", "+33612345678 +33612345679", "", phone},
		{"", "00", "FR", phone},
		{"", "+", "FR", phone},
		{"a@secret.com", "secret", "", phone},
		{"secret", "+33612345678", "", email},
	} {
		got, err := ReadIdentity(row.email, row.phone, row.country)
		if assert.ErrorContains(t, err, row.want, "%q %q", row.email, row.phone) {
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "SECRET")
			assert.NotContains(t, err.Error(), "612345678")
		}
		assert.Zero(t, got)
	}
}

func FuzzReadIdentity(f *testing.F) {
	f.Add("a@example.com", "+33 6 12 34 56 78", "FR")
	f.Add("mailto:a@example.com", "0033612345678", "")
	f.Fuzz(func(t *testing.T, email, phone, country string) {
		who, err := ReadIdentity(email, phone, country)
		if err != nil {
			require.Zero(t, who)
			return
		}
		// What was read is read the same again.
		again, err := ReadIdentity(who.Email, who.Phone, "")
		require.NoError(t, err)
		require.Equal(t, who, again)
		if who.Phone != "" {
			require.Regexp(t, `^\+[1-9][0-9]{2,16}$`, who.Phone)
		}
	})
}

func TestCheckCountry(t *testing.T) {
	require.NoError(t, CheckCountry(""))
	require.NoError(t, CheckCountry("FR"))
	require.Error(t, CheckCountry("fr"))
	require.Error(t, CheckCountry("France"))
	require.Error(t, CheckCountry("XX"))
}

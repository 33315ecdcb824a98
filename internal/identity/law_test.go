package identity

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// someCountries have plans that differ in what they put in front of a number.
var someCountries = []string{"", "FR", "DE", "US", "GB", "IT", "RU", "BR", "MX", "AR", "ID", "XK", "LU", "KR", "JP", "HU", "SM", "ZZ", "UK"}

// requireFinal checks the first half of the law: what was read, and may stand in a
// column, is read as itself, so that a deletion asks for exactly that.
func requireFinal(t require.TestingT, email, phone string) {
	for _, country := range someCountries {
		if email != "" || phone != "" {
			who, err := Read(email, phone, country)
			require.NoError(t, err, "%q %q with %s", email, phone, country)
			require.Equal(t, email, who.Email)
			require.Equal(t, phone, who.Phone, "with %s", country)
		}
	}
}

// requireSaid checks the second half: a number that was read is one that the text says.
// Its digits are the last ones of the text; in front of these the text may have what is
// dialled in front of a number, and lack the code of the country alone.
func requireSaid(t require.TestingT, text, country, e164 string) {
	typed, _ := spell(strings.Trim(strings.TrimPrefix(strings.ToLower(Clean(text)), "tel:"), ends+" "))
	hasPlus, typed := strings.Contains(typed, "+"), onlyDigits(typed)
	n, err := phonenumbers.Parse(e164, "")
	if err != nil || !phonenumbers.IsValidNumber(n) {
		require.Equal(t, e164[1:], strings.TrimPrefix(typed, "00"), "a number that no plan lists is what was typed")
		require.True(t, hasPlus || strings.HasPrefix(typed, "00"))
		return
	}
	code, national := strconv.Itoa(int(n.GetCountryCode())), phonenumbers.GetNationalSignificantNumber(n)
	region := phonenumbers.GetRegionCodeForCountryCode(int(n.GetCountryCode()))
	if isMoved(e164, region, typed, country) || !hasPlus && dialledAbroad(typed, country) == e164 {
		return
	}
	front, ends := strings.CutSuffix(typed, national)
	require.True(t, ends, "%q of %s is read as %s", text, country, e164)
	trunks := []string{"", "0", phonenumbers.GetNddPrefixForRegion(region, true)}
	if region == "MX" {
		trunks = append(trunks, "1", "01", "044", "045")
	}
	var allowed []string
	for _, trunk := range trunks {
		allowed = append(allowed, code+trunk, "00"+code+trunk)
		if hasPlus {
			continue
		}
		if own := phonenumbers.GetCountryCodeForRegion(Country(country)); strconv.Itoa(own) == code {
			allowed = append(allowed, trunk)
		}
	}
	require.True(t, slices.Contains(allowed, front), "%q of %s is read as %s", text, country, e164)
}

// isMoved reports whether the plans themselves make a number of a text, where they do
// more than to leave out the prefix that phonenumbers tells of: Argentina's 15 and 9, San
// Marino's 0549, Madagascar's 20, carrier codes of Brazil, Bolivia, Colombia and
// Luxembourg, old prefixes of Lithuania and Belarus, area codes of islands.
func isMoved(e164, region, typed, country string) bool {
	if !slices.Contains([]string{"AR", "AU", "BO", "BR", "BY", "CO", "GB", "IT", "KR", "LT", "LU", "MG", "NF", "SM", "US"}, region) {
		return false
	}
	for _, text := range []string{"+" + strings.TrimPrefix(typed, "00"), typed} {
		if n, err := phonenumbers.Parse(text, Country(country)); err == nil && phonenumbers.Format(n, phonenumbers.E164) == e164 {
			return true
		}
	}
	return false
}

// dialledAbroad returns the number that is reached from a country by the international
// prefix of that country, which may be another one than 00; "" where there is none.
func dialledAbroad(typed, country string) string {
	n, err := phonenumbers.ParseAndKeepRawInput(typed, Country(country))
	if err != nil || n.GetCountryCodeSource() != phonenumbers.PhoneNumber_FROM_NUMBER_WITH_IDD {
		return ""
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

// validNumber draws a number that a plan lists, other than the examples.
func validNumber() *rapid.Generator[example] {
	all := examples()
	return rapid.Custom(func(t *rapid.T) example {
		e := rapid.SampledFrom(all).Draw(t, "example")
		keep := rapid.IntRange(len(e.e164)-7, len(e.e164)).Draw(t, "digits kept")
		keep = max(keep, 4)
		last := rapid.StringOfN(rapid.RuneFrom([]rune("0123456789")), max(len(e.e164)-keep, 0), max(len(e.e164)-keep, 0), -1).Draw(t, "last digits")
		n, err := phonenumbers.Parse(e.e164[:min(keep, len(e.e164))]+last, "")
		if err != nil || !phonenumbers.IsValidNumber(n) {
			return e
		}
		return example{
			region: phonenumbers.GetRegionCodeForNumber(n), kind: e.kind,
			e164:          phonenumbers.Format(n, phonenumbers.E164),
			international: phonenumbers.Format(n, phonenumbers.INTERNATIONAL),
			national:      phonenumbers.Format(n, phonenumbers.NATIONAL),
		}
	})
}

// Whatever is typed for a number, it is read as that number or not at all.
func TestNumbersAreReadAsThemselvesOrNotAtAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := validNumber().Draw(t, "number")
		bare := strings.TrimPrefix(e.international, "+")
		code, national, _ := strings.Cut(bare, " ")
		trunk := phonenumbers.GetNddPrefixForRegion(e.region, true)
		text := rapid.SampledFrom([]string{
			e.e164, e.international, bare, "00" + bare, "+" + code + " (" + trunk + ")" + national, "+" + code + " " + trunk + national,
			"(+" + code + ") " + national, code + trunk + national,
		}).Draw(t, "text")
		text = separated(text, rapid.SampledFrom(typedSeparators).Draw(t, "separator"))
		text = rapid.SampledFrom([]string{"", " ", "tel:", "\u200e", "'"}).Draw(t, "before") + sprinkle(t, text) +
			rapid.SampledFrom([]string{"", " ", ";", "!", "…", "\u202c"}).Draw(t, "behind")

		got, err := ReadPhone(text, e.region)
		if err != nil {
			require.Empty(t, got)
			return
		}
		require.Equal(t, e.e164, got, "%q with %s", text, e.region)
		requireFinal(t, "", got)
		requireSaid(t, text, e.region, got)
	})
}

// Whatever digits are typed, with whatever country: no number is made up.
func TestNoNumberIsReadThatTheTextDoesNotSay(t *testing.T) {
	regions := append(slices.Clone(someCountries), "CN", "IN", "SE", "AT", "FI", "ES", "NO", "AU", "GA", "UY", "CI", "LT", "BY", "TR", "CO")
	rapid.Check(t, func(t *rapid.T) {
		country := rapid.SampledFrom(regions).Draw(t, "country")
		code := strconv.Itoa(phonenumbers.GetCountryCodeForRegion(rapid.SampledFrom(regions[1:]).Draw(t, "code of")))
		text := rapid.SampledFrom([]string{"", "+", "00", "011", "+" + code, "00" + code, code, "+" + code + code, "0"}).Draw(t, "front") +
			rapid.SampledFrom([]string{"", "0", "(0)", "8", "06", "1", "15", "9"}).Draw(t, "trunk") +
			rapid.StringMatching(`[0-9]{4,12}`).Draw(t, "digits")
		got, err := ReadPhone(text, country)
		if err != nil {
			return
		}
		requireFinal(t, "", got)
		requireSaid(t, text, country, got)
	})
}

func FuzzRead(f *testing.F) {
	// As people typed them, in reports of other projects.
	for _, seed := range []struct{ email, phone, country string }{
		{"a@example.com", "+33 6 12 34 56 78", "FR"},
		{"mailto:a@example.com", "0033612345678", ""},
		{"Zoé <ZOE@münchen.de>", "+33\u202f6\u202f12\u202f34\u202f56\u202f78", ""},
		{"İpek@example.com.", "+44 07400 123456", "GB"},
		{"user..x@docomo.ne.jp", "49 171 2345678", "DE"},
		{"user.@docomo.ne.jp", "62213456789", "ID"},
		{"zoe＠example。com", "\u202a+33612345678\u202c", "FR"},
		{"\ufeffa@xn--mnchen-3ya.de", "+52 1 55 1234 5678", "MX"},
		{"J\u030c@example.com", "011 15-2345-6789", "AR"},
		{"a\u200d@example.com", "＋３３（０）６１２３４５６７８", "FR"},
		{"", "+٣٣٦١٢٣٤٥٦٧٨", "SA"},
		{"", "0549 886377", "SM"},
		{"", "+241 06 03 12 34", "GA"},
		{"", "8 10 33 6 12 34 56 78", "RU"},
		{"", "030 123456 / 57", "DE"},
		{"", "+39 (0)2 3661 8300", "IT"},
		{"", "001 33 6 12345678", "KR"},
		{"", "tel:+1-212-555-2368;ext=5", "US"},
		{"", "0 15 11 91234 5678", "BR"},
		{"", "460 1234", "AG"},
	} {
		f.Add(seed.email, seed.phone, seed.country)
	}
	f.Fuzz(func(t *testing.T, email, phone, country string) {
		if address, err := ReadEmail(email); err == nil {
			requireFinal(t, address, "")
			require.Equal(t, Clean(address), address)
		} else {
			require.Empty(t, address)
		}
		number, err := ReadPhone(phone, country)
		if err != nil {
			require.Empty(t, number)
			return
		}
		require.Regexp(t, `^\+[1-9][0-9]{2,18}$`, number)
		requireFinal(t, "", number)
		requireSaid(t, phone, country, number)
	})
}

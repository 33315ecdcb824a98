package identity

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

const (
	// leastDigits and mostDigits bound a number that no plan lists; mostDigits is
	// E.164's own bound.
	leastDigits = 7
	mostDigits  = 15

	longestCode     = 3  // of a country
	longestNational = 17 // that phonenumbers knows
)

// retired are prefixes that were dialled in front of a national number until a plan
// dropped them, and that phonenumbers does not know any more. Mexico had 1 behind its
// code for mobiles until 2019, and 01, 044 and 045 inside the country until 2020.
var retired = map[string][]string{"MX": {"1", "01", "044", "045"}}

// number is a phone number as it was typed, before the numbering plans are asked.
type number struct {
	digits    string // without plus, 00 or separators
	country   string // to read it with; "" where none is known
	bracketed bool   // some digits stand in brackets, mostly not dialled from abroad
}

// international reads digits that begin with the code of a country. A number that no
// plan lists is taken as it is where unlisted may be.
func (n number) international(unlisted bool) (string, error) {
	e164, err := n.abroad(unlisted)
	if err != nil || e164 == "+"+n.digits {
		return e164, err
	}
	return final(e164)
}

// final returns a listed number that was changed while it was read, if it is read as
// itself.
func final(e164 string) (string, error) {
	code, national := cutCode(e164[1:])
	if parsed, err := phonenumbers.Parse(e164, ""); err != nil || phonenumbers.Format(parsed, phonenumbers.E164) != e164 {
		return "", errAmbiguous
	}
	for _, trunk := range trunksBehind(code, national) {
		if listed(code, national[len(trunk):]) != "" {
			return "", errAmbiguous
		}
	}
	return e164, nil
}

func (n number) abroad(unlisted bool) (string, error) {
	code, national := cutCode(n.digits)
	found := readings{parse("+"+n.digits, "")}
	if found[0] != "+"+n.digits {
		found.add(listed(code, national))
	}
	trunks := trunksBehind(code, national)
	for _, trunk := range trunks {
		found.add(listed(code, national[len(trunk):]))
	}
	switch only := found.only(); {
	case only != "":
		return only, nil
	case found.some():
		return "", errAmbiguous
	case len(trunks) > 0:
		return "", errTrunk
	}
	if rest, repeats := strings.CutPrefix(national, strconv.Itoa(code)); repeats && listed(code, rest) != "" {
		return "", errRepeatedCode
	}
	if !unlisted || n.bracketed || len(n.digits) < leastDigits || len(n.digits) > mostDigits {
		return "", errPhone
	}
	return "+" + n.digits, nil
}

// withInternationalPrefix reads digits that begin with 00, which is not the
// international prefix of every country: 001 is Korea's, 0011 Australia's.
func (n number) withInternationalPrefix() (string, error) {
	abroad := number{digits: n.digits[2:], bracketed: n.bracketed}
	plain, plainErr := abroad.international(false)
	found := readings{plain}
	if n.country != "" {
		found.add(parse(n.digits, n.country))
	}
	switch only := found.only(); {
	case only != "":
		return final(only)
	case found.some():
		return "", errAmbiguous
	case n.country != "" && !dials00(n.country):
		return "", plainErr
	}
	return abroad.international(true)
}

// national reads digits as they are dialled in the country, or with its code but
// without a plus.
func (n number) national() (string, error) {
	code := phonenumbers.GetCountryCodeForRegion(n.country)
	if code == 0 {
		return "", errNotOf(n.country)
	}
	found := readings{n.dialled(code)}
	if found[0] != "+"+strconv.Itoa(code)+n.digits {
		found.add(listed(code, n.digits))
	}
	for _, prefix := range prefixesOf(n.digits, retired[n.country]) {
		found.add(listed(code, n.digits[len(prefix):]))
	}

	if rest, ok := strings.CutPrefix(n.digits, strconv.Itoa(code)); ok && rest != "" {
		withPlus, err := (number{digits: n.digits}).international(false)
		switch {
		case errors.Is(err, errAmbiguous):
			return "", err
		case err == nil:
			// A national number that repeats the code, and is not written like that inside
			// the country (its trunk prefix is missing), is an international one.
			if repeated := "+" + strconv.Itoa(code) + n.digits; dialledInside(repeated) != n.digits {
				found.remove(repeated)
			}
			found.add(withPlus)
		}
	}
	only := found.only()
	switch {
	case only != "":
	case found.some():
		return "", errAmbiguous
	default:
		return "", errNotOf(n.country)
	}
	if n.lacksPlus(only, code) {
		return "", errLacksPlus(n.country)
	}
	return final(only)
}

// dialled returns the number that is reached by dialling the digits in the country, if
// they do not begin with its own code: these are read as they are with a plus, since
// phonenumbers leaves out a prefix before the code and another one behind it.
func (n number) dialled(code int) string {
	e164 := parse(n.digits, n.country)
	own := strconv.Itoa(code)
	if behind, ok := strings.CutPrefix(n.digits, own); ok {
		if national, ok := strings.CutPrefix(e164, "+"+own); ok && strings.HasSuffix(behind, national) {
			return ""
		}
	}
	return e164
}

// lacksPlus reports whether digits that were read as a number of the country, and do
// not begin with its code, are a whole number abroad too: unless they are as long as its
// numbers of that kind mostly are.
func (n number) lacksPlus(read string, code int) bool {
	if "+"+n.digits == read || !strings.HasPrefix(read, "+"+strconv.Itoa(code)) {
		return false
	}
	abroad := parse("+"+n.digits, "")
	return abroad != "" && abroad != read && !isUsualLength(read)
}

// dialledInside returns the digits of a number as they are dialled in its country.
func dialledInside(e164 string) string {
	parsed, err := phonenumbers.Parse(e164, "")
	if err != nil {
		return ""
	}
	return onlyDigits(phonenumbers.Format(parsed, phonenumbers.NATIONAL))
}

func isUsualLength(e164 string) bool {
	parsed, err := phonenumbers.Parse(e164, "")
	if err != nil {
		return false
	}
	example := phonenumbers.GetExampleNumberForType(phonenumbers.GetRegionCodeForNumber(parsed), phonenumbers.GetNumberType(parsed))
	return example != nil &&
		len(phonenumbers.GetNationalSignificantNumber(example)) == len(phonenumbers.GetNationalSignificantNumber(parsed))
}

// dials00 reports whether 00 is the international prefix of a country.
func dials00(country string) bool {
	const abroad = "33612345678"
	if country == "FR" {
		return true
	}
	return parse("00"+abroad, country) == "+"+abroad
}

// trunksBehind returns the prefixes that stand behind the code of a country though they
// are dialled inside it alone. A 0 is taken for one wherever no other is in use: no plan
// that lacks it has spared people the habit.
func trunksBehind(code int, national string) []string {
	region := phonenumbers.GetRegionCodeForCountryCode(code)
	return prefixesOf(national, append([]string{phonenumbers.GetNddPrefixForRegion(region, true), "0"}, retired[region]...))
}

// prefixesOf returns those of prefixes that digits begin with, each once.
func prefixesOf(digits string, prefixes []string) []string {
	var found []string
	for _, prefix := range prefixes {
		if prefix != "" && strings.HasPrefix(digits, prefix) && !slices.Contains(found, prefix) {
			found = append(found, prefix)
		}
	}
	return found
}

// cutCode cuts the code of a country; 0 where the digits begin with none.
func cutCode(digits string) (code int, national string) {
	const unknown = "ZZ"
	for i := 1; i <= longestCode && i < len(digits) && digits[0] != '0'; i++ {
		code, err := strconv.Atoi(digits[:i])
		if err == nil && phonenumbers.GetRegionCodeForCountryCode(code) != unknown {
			return code, digits[i:]
		}
	}
	return 0, digits
}

// parse returns the number that the plans make of digits, in E.164; "" where they
// list none.
func parse(digits, country string) string {
	parsed, err := phonenumbers.Parse(digits, country)
	if err != nil || !phonenumbers.IsValidNumber(parsed) {
		return ""
	}
	return phonenumbers.Format(parsed, phonenumbers.E164)
}

// listed returns the number that a code and national digits are, with nothing left
// out, in E.164; "" where no plan lists it.
func listed(code int, national string) string {
	if code == 0 || national == "" || len(national) > longestNational {
		return ""
	}
	value, err := strconv.ParseUint(national, 10, 64)
	if err != nil {
		return ""
	}
	countryCode := int32(code) //nolint:gosec // three digits at most
	parsed := &phonenumbers.PhoneNumber{CountryCode: &countryCode, NationalNumber: &value}
	if zeros := len(national) - len(strings.TrimLeft(national[:len(national)-1], "0")) - 1; zeros > 0 {
		leading, count := true, int32(zeros) //nolint:gosec // as many as there are digits
		parsed.ItalianLeadingZero, parsed.NumberOfLeadingZeros = &leading, &count
	}
	if !phonenumbers.IsValidNumber(parsed) {
		return ""
	}
	return phonenumbers.Format(parsed, phonenumbers.E164)
}

// readings are the different numbers that a text can mean; the empty one is none.
type readings []string

func (r *readings) add(e164 string) {
	if !slices.Contains(*r, e164) {
		*r = append(*r, e164)
	}
}

func (r *readings) remove(e164 string) {
	*r = slices.DeleteFunc(*r, func(s string) bool { return s == e164 })
}

func (r readings) some() bool { return slices.ContainsFunc(r, func(s string) bool { return s != "" }) }

// only returns the one reading there is; "" where there are none or several.
func (r readings) only() string {
	only := ""
	for _, s := range r {
		switch {
		case s == "":
		case only != "":
			return ""
		default:
			only = s
		}
	}
	return only
}

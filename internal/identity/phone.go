package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

var (
	errPhoneText    = errors.New("phone holds what no phone number holds")
	errTwoPhones    = errors.New("phone is not one phone number")
	errPhone        = errors.New("phone is not a phone number")
	errAmbiguous    = errors.New("phone can be read as more than one number")
	errTrunk        = errors.New("phone has a prefix behind its country code that is not dialled from abroad, and is no number without it")
	errRepeatedCode = errors.New("phone has its country code twice")
	errNoCountry    = errors.New("phone is not international (with + or 00 in front), and there is no default_country to read it with")
)

const (
	// quotes come along with a number from around it; ends follow it in a sentence or
	// a list.
	quotes = "\"'`´“”„‘’‚«»"
	ends   = quotes + ";,!?…:."
	// separators stand between the digits of a number, besides dashes.
	separators = " .·•−ー˗"
)

// ReadPhone reads text as one phone number in E.164: a plus and digits. International
// numbers begin with + or 00; others are read with the country (ISO 3166-1 alpha-2,
// or an alias that [Country] knows), if there is one.
//
// A number is taken where the numbering plans list exactly one that the text can mean:
// with the trunk prefix of its country or without it, with the country's own code but
// no plus in front of it, or as an old plan had it. A number with a plus that no plan
// lists, of 7 to 15 digits, is taken as it is.
func ReadPhone(text, country string) (string, error) {
	text = Clean(text)
	text, _ = cutScheme(text, "tel:")
	text = strings.TrimLeft(strings.TrimRight(text, ends+" "), quotes+" ")
	text, ok := spell(text)
	if !ok {
		return "", errPhoneText
	}
	if holdsTwo(text) {
		return "", errTwoPhones
	}
	text, hasPlus := strings.CutPrefix(strings.TrimLeft(text, " ("), "+")
	if strings.Contains(text, "+") {
		return "", errTwoPhones
	}
	n := number{
		digits:    onlyDigits(text),
		country:   Country(country),
		bracketed: strings.ContainsAny(text, "()"),
	}
	switch isAbroad := strings.HasPrefix(n.digits, "00"); {
	case n.digits == "":
		return "", errPhone
	case hasPlus:
		n.digits = strings.TrimPrefix(n.digits, "00")
		return n.international(true)
	case isAbroad:
		return n.withInternationalPrefix()
	case n.country == "":
		return "", errNoCountry
	}
	return n.national()
}

// extensions matches what is dialled once a call is connected, at the end of a text.
var extensions = regexp.MustCompile(`(?i)[ ,;]*(?:\b(?:ext(?:ension|n)?|poste|durchwahl|dw|int(?:erno)?|anexo|ramal|toestel|wew)\b|x|#)[ .:=]*[0-9]{1,6}$`)

// CutExtension cuts the extension at the end of a phone number ("ext. 5", "poste 12",
// "x3"), and reports whether there was one.
func CutExtension(text string) (rest string, found bool) {
	text = Clean(text)
	at := extensions.FindStringIndex(text)
	if at == nil {
		return text, false
	}
	return text[:at[0]], true
}

// spell writes a phone number with ASCII digits, and with spaces for what stands
// between them, except for plus, brackets and slashes. It is not one where it holds
// anything else.
func spell(text string) (_ string, ok bool) {
	ok = true
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', strings.ContainsRune("+()/", r):
			return r
		case unicode.IsDigit(r):
			return '0' + digitValue(r)
		case strings.ContainsRune(separators, r), unicode.Is(unicode.Pd, r):
			return ' '
		}
		ok = false
		return -1
	}, text)
	return text, ok
}

// digitValue is the value of a decimal digit of whatever script: Unicode has them in
// runs of ten, from zero to nine.
func digitValue(r rune) rune {
	for _, run := range unicode.Nd.R16 {
		if uint32(run.Lo) <= uint32(r) && uint32(r) <= uint32(run.Hi) { //nolint:gosec // a rune that is a digit is not negative
			return (r - rune(run.Lo)) % 10
		}
	}
	for _, run := range unicode.Nd.R32 {
		if run.Lo <= uint32(r) && uint32(r) <= run.Hi { //nolint:gosec // as above
			return (r - rune(run.Lo)) % 10 //nolint:gosec // Unicode ends at 0x10FFFF
		}
	}
	return 0
}

// holdsTwo reports whether there are two numbers in one text, such as 030 123456 / 57.
// A slash that belongs to a number follows its area code.
func holdsTwo(text string) bool {
	const longestAreaCode = 8 // with the code of its country
	area, rest, slash := strings.Cut(text, "/")
	return slash && (strings.Contains(rest, "/") || len(onlyDigits(area)) > longestAreaCode)
}

func onlyDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
}

func errNotOf(country string) error {
	return fmt.Errorf("phone is not a number of %s, nor international (with + or 00 in front)", country)
}

func errLacksPlus(country string) error {
	return fmt.Errorf("phone may be a number of %s, or an international one without its +", country)
}

// countryAliases are codes in common use for which ISO 3166 has others.
var countryAliases = map[string]string{
	"UK": "GB", // reserved at the request of the United Kingdom
	"EL": "GR", // the European Union's
}

// Country returns the code of ISO 3166-1 (alpha-2) for one as it was sent: in upper
// case, GB for UK and GR for EL. What is no code is returned as it is, in upper case.
func Country(text string) string {
	code := strings.ToUpper(Clean(text))
	if alias, ok := countryAliases[code]; ok {
		return alias
	}
	return code
}

// CheckCountry reports whether national numbers can be read with a country, as a
// configuration has it.
func CheckCountry(country string) error {
	if country != "" && (country != strings.ToUpper(country) || phonenumbers.GetCountryCodeForRegion(Country(country)) == 0) {
		return fmt.Errorf("%q is not a country: it must be two capital letters of ISO 3166, such as FR", country)
	}
	return nil
}

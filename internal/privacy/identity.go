// Package privacy deletes people's data on request: what the output and the
// processor wisepops_privacy_delete have in common.
package privacy

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// Errors of an identity never quote it.
var (
	errNobody = errors.New("the message names nobody: email and phone are both empty")
	errEmail  = errors.New("email is not one email address")
)

const (
	leastDigits = 7
	mostDigits  = 15 // of E.164
)

// ReadIdentity reads whom a message is about. Emails are trimmed, and may begin
// with mailto:. Phones become E.164: international numbers begin with + or 00, and
// national ones are read with the country (ISO 3166 alpha-2), if there is one. One
// that cannot be read is an error, also beside another that can: half a deletion
// would pass for a whole one.
func ReadIdentity(email, phone, country string) (who wisepops.Identity, err error) {
	email, phone = strings.TrimSpace(email), strings.TrimSpace(phone)
	if email == "" && phone == "" {
		return who, errNobody
	}
	if email != "" {
		if who.Email, err = readEmail(email); err != nil {
			return wisepops.Identity{}, err
		}
	}
	if phone != "" {
		if who.Phone, err = readPhone(phone, country); err != nil {
			return wisepops.Identity{}, err
		}
	}
	return who, nil
}

func readEmail(text string) (string, error) {
	const scheme = "mailto:"
	if len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		text = strings.TrimSpace(text[len(scheme):])
		if strings.ContainsAny(text, "?%") || strings.HasPrefix(text, "//") {
			return "", errEmail // parts of a URL that are no address, or hide one
		}
	}
	// What is copied brings along quotes, and marks that nobody sees: the address would
	// be another one, of nobody.
	if strings.ContainsFunc(text, isInvisible) || strings.ContainsAny(text[:1], "'`") {
		return "", errEmail
	}
	// A name, a comment or angle brackets around the address are not one.
	address, err := mail.ParseAddress(text)
	if err != nil || address.Address != text {
		return "", errEmail
	}
	return text, nil
}

func readPhone(text, country string) (string, error) {
	if strings.ContainsFunc(text, isNotPhone) {
		return "", errors.New("phone holds what no phone number holds")
	}
	if holdsTwo(text) {
		return "", errors.New("phone is not one phone number")
	}
	international := strings.HasPrefix(text, "+")
	if rest, ok := strings.CutPrefix(text, "00"); ok {
		text, international = "+"+rest, true
	}
	if !international && country == "" {
		return "", errors.New("phone is not international (with + or 00 in front), and there is no default_country to read it with")
	}
	if !international && lacksPlus(text, country) {
		return "", fmt.Errorf("phone may be a number of %s, or an international one without its +", country)
	}
	if number, err := phonenumbers.Parse(text, country); err == nil && phonenumbers.IsValidNumber(number) {
		return phonenumbers.Format(number, phonenumbers.E164), nil
	}
	if !international {
		return "", fmt.Errorf("phone is not a number of %s, nor international (with + or 00 in front)", country)
	}
	// A number that no plan lists may have been typed all the same. Parentheses
	// mostly hold a digit that is not to be dialled from abroad.
	digits := onlyDigits(text)
	if len(digits) < leastDigits || len(digits) > mostDigits || digits[0] == '0' || strings.ContainsAny(text, "()") || strings.LastIndexByte(text, '+') > 0 {
		return "", errors.New("phone is not a phone number")
	}
	return "+" + digits, nil
}

// isNotPhone tells what neither digits nor the punctuation of phone numbers are.
func isInvisible(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z) }

// holdsTwo tells two numbers in one text, such as 030 123456 / 57. A slash that belongs
// to a number follows its area code.
func holdsTwo(text string) bool {
	const longestAreaCode = 8 // with the code of its country
	area, rest, slash := strings.Cut(text, "/")
	return slash && (strings.Contains(rest, "/") || len(onlyDigits(area)) > longestAreaCode)
}

// lacksPlus tells a number that could be read as one of the country, although it does
// not begin as those do, and is a whole one abroad.
func lacksPlus(text, country string) bool {
	const trunk = "0"
	digits := onlyDigits(text)
	if phonenumbers.GetNddPrefixForRegion(country, true) != trunk || strings.HasPrefix(digits, trunk) {
		return false
	}
	abroad, err := phonenumbers.Parse("+"+digits, "")
	return err == nil && phonenumbers.IsValidNumber(abroad)
}

func onlyDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
}

func isNotPhone(r rune) bool {
	return (r < '0' || r > '9') && !strings.ContainsRune("+ .-/()\t\u00a0\u2009\u202f\u2010\u2011\u2013", r)
}

// CheckCountry tells whether national numbers can be read with a country.
func CheckCountry(country string) error {
	if country != "" && phonenumbers.GetCountryCodeForRegion(country) == 0 {
		return fmt.Errorf("%q is not a country: it must be two capital letters of ISO 3166, such as FR", country)
	}
	return nil
}

// Package privacy deletes people's data on request: what the output and the
// processor wisepops_privacy_delete have in common.
package privacy

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"

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
		if strings.ContainsAny(text, "?%") {
			return "", errEmail // parts of a URL that are no address, or hide one
		}
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
	international := strings.HasPrefix(text, "+")
	if rest, ok := strings.CutPrefix(text, "00"); ok {
		text, international = "+"+rest, true
	}
	if !international && country == "" {
		return "", errors.New("phone is not international (with + or 00 in front), and there is no default_country to read it with")
	}
	if number, err := phonenumbers.Parse(text, country); err == nil && phonenumbers.IsValidNumber(number) {
		return phonenumbers.Format(number, phonenumbers.E164), nil
	}
	if !international {
		return "", fmt.Errorf("phone is not a number of %s, nor international (with + or 00 in front)", country)
	}
	// A number that no plan lists may have been typed all the same. Parentheses
	// mostly hold a digit that is not to be dialled from abroad.
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
	if len(digits) < leastDigits || len(digits) > mostDigits || digits[0] == '0' || strings.ContainsAny(text, "()") || strings.LastIndexByte(text, '+') > 0 {
		return "", errors.New("phone is not a phone number")
	}
	return "+" + digits, nil
}

// isNotPhone tells what neither digits nor the punctuation of phone numbers are.
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

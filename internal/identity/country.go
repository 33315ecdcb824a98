package identity

import (
	"fmt"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

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

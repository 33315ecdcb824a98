package identity

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// example is a number that phonenumbers gives as one of a region and type.
type example struct {
	region                        string
	kind                          phonenumbers.PhoneNumberType
	e164, international, national string
}

var examples = sync.OnceValue(func() []example {
	var all []example
	for _, region := range slices.Sorted(maps.Keys(phonenumbers.GetSupportedRegions())) {
		for kind := phonenumbers.FIXED_LINE; kind <= phonenumbers.VOICEMAIL; kind++ {
			n := phonenumbers.GetExampleNumberForType(region, kind)
			if n == nil {
				continue
			}
			all = append(all, example{
				region: region, kind: kind,
				e164:          phonenumbers.Format(n, phonenumbers.E164),
				international: phonenumbers.Format(n, phonenumbers.INTERNATIONAL),
				national:      phonenumbers.Format(n, phonenumbers.NATIONAL),
			})
		}
	}
	return all
})

var typedSeparators = []string{"", " ", "-", ".", "\u00a0", "\u202f", "\u2009", "\u2011", "\u2013", "\t", "\u3000", "\uff0d"}

// separated writes a number with another separator between its groups.
func separated(text, separator string) string {
	return strings.NewReplacer(" ", separator, "-", separator).Replace(text)
}

// TestExampleNumbers reads phonenumbers' example number of each region and type as
// people type it, with each separator. None may be read as another one; the shares
// that are not read stand in docs/people.md.
func TestExampleNumbers(t *testing.T) {
	page, err := os.ReadFile("../../docs/people.md")
	require.NoError(t, err)
	all := examples()
	require.Greater(t, len(all), 1300)
	separators, times := typedSeparators, 1
	if raceEnabled {
		separators, times = []string{"", "\u202f"}, len(typedSeparators)/2 // each reads the same
	}
	for _, spelling := range []struct {
		name string
		text func(e example, separator string) string
	}{
		{"with a plus", func(e example, s string) string { return separated(e.international, s) }},
		{"with 00", func(e example, s string) string {
			return separated("00"+strings.TrimPrefix(e.international, "+"), s)
		}},
		{"plus removed", func(e example, s string) string {
			return separated(strings.TrimPrefix(e.international, "+"), s)
		}},
		{"trunk behind the code", func(e example, s string) string {
			code, national, _ := strings.Cut(e.international, " ")
			trunk := cmp.Or(phonenumbers.GetNddPrefixForRegion(e.region, true), "0")
			return separated(code+" "+trunk+national, s)
		}},
		{"national", func(e example, s string) string { return separated(e.national, s) }},
	} {
		t.Run(spelling.name, func(t *testing.T) {
			t.Parallel()
			read, null, other := 0, 0, 0
			for _, e := range all {
				for _, s := range separators {
					text := spelling.text(e, s)
					switch got, err := ReadPhone(text, e.region); {
					case err != nil:
						null++
						assert.Empty(t, got)
					case got == e.e164:
						read++
					default:
						other++
						t.Errorf("%s number of %s is read as another one: %q as %s, want %s", spelling.name, e.region, text, got, e.e164)
					}
				}
			}
			read, null, other = times*read, times*null, times*other
			row := message.NewPrinter(language.English).Sprintf("| %s | %d | %d (%.1f %%) | %d |", spelling.name, read, null, 100*float64(null)/float64(read+null+other), other)
			t.Log(row)
			assert.Contains(t, string(page), row+"\n", "docs/people.md tells other figures")
		})
	}
}

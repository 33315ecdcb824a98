package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestPastFollowsFromTheSeed(t *testing.T) {
	past := func(seed uint64) string {
		s := sandbox.New(sandbox.Options{Seed: seed, Contacts: 500})
		return call(s, http.MethodGet, "/contacts?page_size=1000").Body.String()
	}
	assert.Equal(t, past(7), past(7))
	assert.NotEqual(t, past(7), past(8))
}

func TestSwitchesDoNotChangeThePast(t *testing.T) {
	plain := sandbox.New(sandbox.Options{Contacts: 100})
	switched := sandbox.New(sandbox.Options{Contacts: 100, Switches: sandbox.Switches{
		ExclusiveBound: true, SecondBound: true, Order: sandbox.Unsorted, PageCap: 7,
		PageCapSkips: true, FailedCallsFree: true, Late: time.Hour, Strict: true, PageIgnored: true,
		PastEnd: sandbox.PastEndNotFound, BlankEvery: 3, ClockOffset: time.Hour, DateOffset: time.Hour,
	}})
	assert.Equal(t, plain.Contacts(), switched.Contacts())
}

func TestPastBeginsAtStartAndKeepsItsSpacing(t *testing.T) {
	start := time.Date(2023, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	s := sandbox.New(sandbox.Options{Contacts: 2000, Start: start, Spacing: time.Minute, Burst: 1})
	contacts := s.Contacts()
	require.Len(t, contacts, 2000)
	assert.Equal(t, 2000, s.Len())
	assert.Equal(t, start, contacts[0].CollectedAt)
	gaps := map[time.Duration]bool{}
	for i := range contacts[1:] {
		gap := contacts[i+1].CollectedAt.Sub(contacts[i].CollectedAt)
		gaps[gap] = true
		require.GreaterOrEqual(t, gap, 30*time.Second)
		require.Less(t, gap, 90*time.Second)
	}
	assert.Greater(t, len(gaps), 1800)
	mean := contacts[1999].CollectedAt.Sub(start) / 1999
	assert.InDelta(t, 60, mean.Seconds(), 2)
}

func TestDefaultPastEndsWithinAYear(t *testing.T) {
	for _, n := range []int{1, 5000, 300_000} {
		contacts := sandbox.New(sandbox.Options{Contacts: n, Burst: 1}).Contacts()
		assert.Equal(t, "2024-01-01T00:00:00Z", contacts[0].CollectedAt.Format(time.RFC3339Nano))
		assert.Less(t, contacts[n-1].CollectedAt.Year(), 2025)
	}
}

// ties returns how many contacts share each instant, in order of time.
func ties(contacts []sandbox.Contact) []int {
	sizes := []int{}
	for i, c := range contacts {
		if i > 0 && contacts[i-1].CollectedAt.Equal(c.CollectedAt) {
			sizes[len(sizes)-1]++
			continue
		}
		sizes = append(sizes, 1)
	}
	return sizes
}

func TestBurstSharesOneMillisecondInTheMiddle(t *testing.T) {
	contacts := sandbox.New(sandbox.Options{Contacts: 4000, Burst: 3000}).Contacts()
	require.Len(t, contacts, 4000)
	burst := contacts[500].CollectedAt
	for i, c := range contacts {
		assert.Equal(t, i >= 500 && i < 3500, c.CollectedAt.Equal(burst), i)
	}
	for _, size := range ties(contacts) {
		assert.True(t, size <= 3 || size == 3000, size)
	}
}

func TestBurstBeginsWhereItShouldWhateverTheSeed(t *testing.T) {
	for seed := range uint64(30) {
		contacts := sandbox.New(sandbox.Options{Seed: seed, Contacts: 100, Burst: 40}).Contacts()
		for i, c := range contacts {
			require.Equal(t, i >= 30 && i < 70, c.CollectedAt.Equal(contacts[30].CollectedAt), "seed %d, contact %d", seed, i)
		}
	}
}

func TestBurstsRepeat(t *testing.T) {
	for _, test := range []struct {
		opts sandbox.Options
		want []int
	}{
		{sandbox.Options{Contacts: 17, Burst: 7, BurstEvery: 1}, []int{7, 7, 3}},
		{sandbox.Options{Contacts: 5, Burst: 1}, []int{1, 1, 1, 1, 1}},
		{sandbox.Options{Contacts: 3, Burst: 10}, []int{3}},
		{sandbox.Options{Contacts: 5, Burst: 1, Spacing: time.Nanosecond}, []int{1, 1, 1, 1, 1}},
		{sandbox.Options{Contacts: 0, Burst: 10, BurstEvery: 1}, []int{}},
		{sandbox.Options{Contacts: -1}, []int{}},
	} {
		assert.Equal(t, test.want, ties(sandbox.New(test.opts).Contacts()), test.opts)
	}

	sizes := ties(sandbox.New(sandbox.Options{Contacts: 1000, Burst: 50, BurstEvery: 10}).Contacts())
	bursts := 0
	for _, size := range sizes {
		if size == 50 {
			bursts++
		}
	}
	assert.GreaterOrEqual(t, bursts, 12)
}

// shopContact is what a reader of the documentation expects.
type shopContact struct {
	CollectedAt time.Time      `json:"collected_at"`
	WisepopID   int64          `json:"wisepop_id"`
	FormSession *string        `json:"form_session"`
	IP          netip.Addr     `json:"ip"`
	CountryCode *string        `json:"country_code"`
	Fields      map[string]any `json:"fields"`
}

func TestContactsLookLikeAShops(t *testing.T) {
	documentation := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
	}
	seen := map[string]bool{}
	sessions := map[string]int{}
	kinds := map[string]bool{}
	for _, c := range sandbox.New(sandbox.Options{Contacts: 3000, Switches: sandbox.Switches{Anonymous: -1, NullCountries: true}}).Contacts() {
		raw := string(c.Raw)
		var contact shopContact
		decoder := json.NewDecoder(bytes.NewReader(c.Raw))
		decoder.DisallowUnknownFields()
		decoder.UseNumber()
		require.NoError(t, decoder.Decode(&contact), raw)
		require.True(t, c.CollectedAt.Equal(contact.CollectedAt), raw)
		require.Equal(t, c.WisepopID, contact.WisepopID)

		require.NotEmpty(t, c.Email)
		require.Equal(t, c.Email, emailOf(contact.Fields))
		require.Regexp(t, `^[a-z]+\.\d+@([a-z]+\.)?example\.(com|org|net)$`, c.Email)
		require.False(t, seen[c.Email], c.Email)
		seen[c.Email] = true

		within := false
		for _, prefix := range documentation {
			within = within || prefix.Contains(contact.IP)
		}
		require.True(t, within, raw)

		if contact.FormSession != nil {
			sessions[*contact.FormSession]++
		}
		kinds[fmt.Sprint("session ", contact.FormSession != nil)] = true
		kinds[fmt.Sprint("ip v6 ", contact.IP.Is6())] = true
		kinds[fmt.Sprint("country named ", strings.Contains(raw, `"country_code"`), ", known ", contact.CountryCode != nil)] = true
		kinds[fmt.Sprint("escaped ", strings.Contains(raw, `\u00`))] = true
		for _, r := range raw {
			if r > 0x7f {
				kinds["raw UTF-8"] = true
			}
		}
		zone := regexp.MustCompile(`T\d\d:\d\d:\d\d\.\d{3}([^"]+)"`).FindStringSubmatch(raw)
		require.NotNil(t, zone, raw)
		kinds["zone "+zone[1]] = true
		for _, value := range contact.Fields {
			kinds[fmt.Sprintf("%T", value)] = true
		}
	}
	for _, want := range []string{
		"session true", "session false", "ip v6 true", "ip v6 false",
		"country named true, known true", "country named true, known false", "country named false, known false",
		"escaped true", "escaped false", "raw UTF-8", "zone Z", "zone +00:00", "zone +02:00",
		"string", "<nil>", "bool", "json.Number", "map[string]interface {}",
	} {
		assert.True(t, kinds[want], want)
	}
	several := 0
	for _, n := range sessions {
		require.LessOrEqual(t, n, 3)
		if n > 1 {
			several++
		}
	}
	assert.Greater(t, several, 300)
}

func TestPhoneNumbersAreValidInTheirCountry(t *testing.T) {
	valid := map[string]int{}
	forms := map[string]bool{}
	for _, c := range sandbox.New(sandbox.Options{Contacts: 8000}).Contacts() {
		var contact shopContact
		require.NoError(t, json.Unmarshal(c.Raw, &contact))
		for _, key := range []string{"phone", "Téléphone", "Mobile / WhatsApp", "電話番号"} {
			typed, ok := contact.Fields[key].(string)
			if !ok || typed == "" || contact.CountryCode == nil {
				continue
			}
			number, err := phonenumbers.Parse(typed, *contact.CountryCode)
			require.NoError(t, err, typed)
			require.True(t, phonenumbers.IsValidNumber(number), "%s in %s", typed, *contact.CountryCode)
			valid[*contact.CountryCode]++
			forms[fmt.Sprint("international ", typed[0] == '+', ", spaced ", strings.ContainsAny(typed, " -"))] = true
		}
	}
	assert.Len(t, valid, 12)
	assert.True(t, forms["international true, spaced true"])
	assert.True(t, forms["international true, spaced false"])
	assert.True(t, forms["international false, spaced true"])
}

func TestTextsAreSpelledInBothWays(t *testing.T) {
	spellings := map[string]bool{}
	text := regexp.MustCompile(`"What would you like to see\?":("(?:[^"\\]|\\.)*")`)
	for _, c := range sandbox.New(sandbox.Options{Contacts: 3000}).Contacts() {
		if found := text.FindSubmatch(c.Raw); found != nil {
			spellings[string(found[1])] = true
		}
	}
	for _, want := range []string{
		`"C:\\temp & <b>bold</b>"`, `"C:\\temp & <b>bold<\/b>"`,
		`"Grüße aus Köln 👋🏽"`, `"Gr\u00fc\u00dfe aus K\u00f6ln \ud83d\udc4b\ud83c\udffd"`,
		`"Rue de la Paix 5\nBât. C"`, `"Rue de la Paix 5\nB\u00e2t. C"`,
		`"He said \"no\" twice"`, `"  "`, `""`,
	} {
		assert.True(t, spellings[want], want)
	}
}

func TestPlainFieldsAreStrings(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 2000, Switches: sandbox.Switches{PlainFields: true}})
	for _, c := range s.Contacts() {
		var contact shopContact
		require.NoError(t, json.Unmarshal(c.Raw, &contact), string(c.Raw))
		for key, value := range contact.Fields {
			require.IsType(t, "", value, key)
		}
	}
}

func TestUnknownCountriesAreLeftOut(t *testing.T) {
	left := 0
	for _, c := range sandbox.New(sandbox.Options{Contacts: 1000}).Contacts() {
		require.NotContains(t, string(c.Raw), `"country_code":null`)
		if !strings.Contains(string(c.Raw), `"country_code"`) {
			left++
		}
	}
	assert.InDelta(t, 120, left, 40)
}

func TestAnonymousAnswersHoldNothingButAChoice(t *testing.T) {
	for share, want := range map[int]float64{0: sandbox.DefaultAnonymous, 30: 30, 100: 100, -1: 0} {
		contacts := sandbox.New(sandbox.Options{Contacts: 4000, Burst: 1, Switches: sandbox.Switches{Anonymous: share}}).Contacts()
		anonymous, sessions := 0, 0
		for _, c := range contacts {
			if c.Email != "" {
				require.Less(t, c.WisepopID, int64(52000))
				continue
			}
			anonymous++
			var contact shopContact
			require.NoError(t, json.Unmarshal(c.Raw, &contact))
			require.Empty(t, c.Phone)
			require.Len(t, contact.Fields, 1, string(c.Raw))
			require.NotContains(t, string(c.Raw), "@")
			if contact.FormSession != nil {
				sessions++
			}
		}
		assert.InDelta(t, want*40, anonymous, 60, share)
		assert.InDelta(t, anonymous/2, sessions, 100)
	}
}

package sandbox_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestContactsRefusesWhatTheAPIDoesNotKnow(t *testing.T) {
	lenient := sandbox.New(sandbox.Options{Contacts: 3})
	strict := sandbox.New(sandbox.Options{Contacts: 3, Switches: sandbox.Switches{Strict: true}})
	// What is refused by both, and what by the strict one alone.
	const onlyStrict = 40
	for query, status := range map[string]int{
		"":                                     200,
		"page_size=1":                          200,
		"page_size=1000":                       200,
		"page_size=0":                          400,
		"page_size=1001":                       400,
		"page_size=-1":                         400,
		"page_size=":                           400,
		"page_size=ten":                        400,
		"page_size=%2B5":                       400,
		"page_size=1&page_size=2":              400,
		"page=1":                               200,
		"page=2147483647&page_size=1000":       200,
		"page=0":                               400,
		"page=-1":                              400,
		"page=1.5":                             400,
		"page=99999999999999999999":            400,
		"wisepop_id=12345":                     200,
		"wisepop_id=0":                         400,
		"wisepop_id=x":                         400,
		"collected_after=2024-01-01T00:00:00Z": 200,
		"collected_after=0001-01-01T00:00:00Z": 200,
		"collected_after=9999-12-31T23:59:59.999999999Z": 200,
		"collected_after=2024-01-01T00:00:00.389Z":       200,
		"collected_after=2024-01-01T00:00:00%2B00:00":    200,
		"collected_after=2024-01-01T00:00:00%2B02:00":    onlyStrict,
		"collected_after=2024-01-01T00:00:00+02:00":      onlyStrict,
		"collected_after=2024-01-01T00:00:00":            onlyStrict,
		"collected_after=2024-01-01 00:00:00Z":           onlyStrict,
		"collected_after=2024-01-01T00:00:00,5Z":         400,
		"collected_after=2024-01-01 00:00:00":            onlyStrict,
		"collected_after=2024-01-01":                     onlyStrict,
		"collected_after=2024-01-32":                     400,
		"collected_after=2024-01-01 02:00":               400,
		"collected_after=1704067200":                     400,
		"collected_after=":                               400,
		"collected_before=2024-01-01T00:00:00Z":          onlyStrict,
		"Page=1":                                         onlyStrict,
		"page=%zz":                                       400,
		"page=1;a=":                                      400,
	} {
		t.Run(query, func(t *testing.T) {
			for _, s := range []*sandbox.Service{lenient, strict} {
				want := status
				if status == onlyStrict {
					want = 200
					if s == strict {
						want = 400
					}
				}
				w := call(s, http.MethodGet, "/contacts?"+strings.ReplaceAll(query, " ", "%20"))
				assert.Equal(t, want, w.Code)
				assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
				if want == 400 {
					assert.Regexp(t, `^\{"error":".+"\}$`, w.Body)
				}
			}
		})
	}
}

func TestBoundFollowsItsSwitches(t *testing.T) {
	add := []sandbox.Contact{
		at(t, "10:00:00.000", "a", 1),
		at(t, "10:00:00.400", "b", 1),
		at(t, "10:00:00.400", "c", 1),
		at(t, "10:00:00.900", "d", 1),
		at(t, "10:00:01.000", "e", 1),
	}
	for _, test := range []struct {
		name     string
		switches sandbox.Switches
		bound    string
		want     []string
	}{
		{"includes its instant", sandbox.Switches{}, "10:00:00.400", mailboxes("b", "c", "d", "e")},
		{"lies between milliseconds", sandbox.Switches{}, "10:00:00.4001", mailboxes("d", "e")},
		{"lies before all", sandbox.Switches{}, "09:59:59", mailboxes("a", "b", "c", "d", "e")},
		{"lies behind all", sandbox.Switches{}, "10:00:01.001", mailboxes()},
		{"excludes its instant", sandbox.Switches{ExclusiveBound: true}, "10:00:00.400", mailboxes("d", "e")},
		{"excludes only its instant", sandbox.Switches{ExclusiveBound: true}, "10:00:00.399", mailboxes("b", "c", "d", "e")},
		{"excludes what is before it", sandbox.Switches{ExclusiveBound: true}, "10:00:00.9001", mailboxes("e")},
		{"is cut to seconds", sandbox.Switches{SecondBound: true}, "10:00:00.900", mailboxes("a", "b", "c", "d", "e")},
		{"is cut and excluded", sandbox.Switches{SecondBound: true, ExclusiveBound: true}, "10:00:00.900", mailboxes("b", "c", "d", "e")},
		{"meets second times", sandbox.Switches{SecondTimes: true}, "10:00:00.001", mailboxes("e")},
		{"meets second times at their second", sandbox.Switches{SecondTimes: true}, "10:00:00", mailboxes("a", "b", "c", "d", "e")},
		{"excludes a whole second", sandbox.Switches{SecondTimes: true, ExclusiveBound: true}, "10:00:00", mailboxes("e")},
		{"is rounded up", sandbox.Switches{SecondBoundUp: true}, "10:00:00.001", mailboxes("e")},
		{"is a second already", sandbox.Switches{SecondBoundUp: true}, "10:00:00", mailboxes("a", "b", "c", "d", "e")},
		{"is ignored", sandbox.Switches{BoundIgnored: true}, "10:00:00.900", mailboxes("a", "b", "c", "d", "e")},
		{"is read early", sandbox.Switches{BoundOffset: -2 * time.Hour}, "12:00:00.900", mailboxes("d", "e")},
		{"holds by arrival", sandbox.Switches{Order: sandbox.ByArrival}, "10:00:00.400", mailboxes("b", "c", "d", "e")},
		{"holds newest first", sandbox.Switches{Order: sandbox.NewestFirst}, "10:00:00.400", mailboxes("e", "d", "c", "b")},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sandbox.New(sandbox.Options{Switches: test.switches})
			s.Add(add...)
			assert.Equal(t, test.want, emails(t, s, "collected_after=2024-05-06T"+test.bound+"Z"))
		})
	}
}

func TestSecondTimesAreServedWithoutMilliseconds(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 300, Switches: sandbox.Switches{SecondTimes: true}})
	s.Add(at(t, "10:00:00.900", "a", 1))
	for _, c := range s.Contacts() {
		require.Regexp(t, `^\{"collected_at":"[0-9-]{10}T[0-9:]{8}(Z|[+]0[02]:00)",`, string(c.Raw))
		require.Zero(t, c.CollectedAt.Nanosecond())
	}
}

func TestPagesAreCut(t *testing.T) {
	add := []sandbox.Contact{}
	for i, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		add = append(add, at(t, fmt.Sprintf("10:00:0%d", i), name, int64(1+i%2)))
	}
	capped := sandbox.Switches{PageCap: 2}
	skips := sandbox.Switches{PageCap: 2, PageCapSkips: true}
	newest := sandbox.Switches{Order: sandbox.NewestFirst}
	for _, test := range []struct {
		switches sandbox.Switches
		query    string
		want     []string
	}{
		{sandbox.Switches{}, "page_size=3", mailboxes("a", "b", "c")},
		{sandbox.Switches{}, "page_size=3&page=3", mailboxes("g")},
		{sandbox.Switches{}, "page_size=3&page=4", mailboxes()},
		{sandbox.Switches{}, "page_size=7&page=2", mailboxes()},
		{sandbox.Switches{}, "page_size=3&page=2&collected_after=2024-05-06T10:00:02Z", mailboxes("f", "g")},
		{sandbox.Switches{}, "wisepop_id=2", mailboxes("b", "d", "f")},
		{sandbox.Switches{}, "wisepop_id=2&page_size=2&page=2", mailboxes("f")},
		{sandbox.Switches{}, "wisepop_id=1&page_size=2&page=2&collected_after=2024-05-06T10:00:01Z", mailboxes("g")},
		{sandbox.Switches{}, "wisepop_id=3", mailboxes()},
		{capped, "page_size=3&page=1", mailboxes("a", "b")},
		{capped, "page_size=3&page=2", mailboxes("c", "d")},
		{capped, "page_size=3&page=4", mailboxes("g")},
		{capped, "page_size=1&page=4", mailboxes("d")},
		{skips, "page_size=3&page=1", mailboxes("a", "b")},
		{skips, "page_size=3&page=2", mailboxes("d", "e")},
		{skips, "page_size=3&page=3", mailboxes("g")},
		{newest, "page_size=3&page=1", mailboxes("g", "f", "e")},
		{newest, "page_size=3&page=3", mailboxes("a")},
		{newest, "page_size=3&page=4", mailboxes()},
		{newest, "page_size=2&page=2&wisepop_id=2", mailboxes("b")},
	} {
		t.Run(fmt.Sprintf("%v cap %d skips %v %s", test.switches.Order, test.switches.PageCap, test.switches.PageCapSkips, test.query), func(t *testing.T) {
			s := sandbox.New(sandbox.Options{Switches: test.switches})
			s.Add(add...)
			assert.Equal(t, test.want, emails(t, s, test.query))
		})
	}
}

func TestPageSizeIsAHundredByDefault(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 150})
	assert.Len(t, emails(t, s, ""), 100)
	assert.Len(t, emails(t, s, "page=2"), 50)
}

func TestExhaustedPageIsAnEmptyArray(t *testing.T) {
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.NewestFirst, sandbox.Unsorted, sandbox.ByArrival} {
		s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{Order: order}})
		assert.Equal(t, "[]", call(s, http.MethodGet, "/contacts").Body.String())
	}
}

func TestPagingServesEachContactOnce(t *testing.T) {
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.NewestFirst, sandbox.Unsorted, sandbox.ByArrival} {
		for _, pageCap := range []int{0, 70} {
			t.Run(fmt.Sprintf("%v cap %d", order, pageCap), func(t *testing.T) {
				s := sandbox.New(sandbox.Options{
					Seed: 1, Contacts: 1000, Burst: 7, BurstEvery: 3,
					Switches: sandbox.Switches{Order: order, PageCap: pageCap, Anonymous: -1},
				})
				bound := s.Contacts()[250].CollectedAt
				want := []string{}
				for _, c := range s.Contacts() {
					if !c.CollectedAt.Before(bound) {
						want = append(want, c.Email)
					}
				}

				got := []string{}
				for page := 1; ; page++ {
					part := emails(t, s, fmt.Sprintf("page_size=90&page=%d&collected_after=%s", page, url.QueryEscape(bound.Format("2006-01-02T15:04:05.000Z07:00"))))
					if len(part) == 0 {
						break
					}
					got = append(got, part...)
				}
				switch order {
				case sandbox.NewestFirst:
					slices.Reverse(want)
				case sandbox.Unsorted:
					assert.NotEqual(t, want, got)
					slices.Sort(want)
					slices.Sort(got)
				}
				assert.Equal(t, want, got)
			})
		}
	}
}

func TestUnsortedOrderStaysUnderABoundAndAdditions(t *testing.T) {
	s := sandbox.New(sandbox.Options{Seed: 5, Contacts: 200, Switches: sandbox.Switches{Order: sandbox.Unsorted, Anonymous: -1}})
	all := emails(t, s, "page_size=1000")
	middle := s.Contacts()[100].CollectedAt

	after := map[string]bool{}
	for _, c := range s.Contacts() {
		after[c.Email] = !c.CollectedAt.Before(middle)
	}
	bounded := slices.DeleteFunc(slices.Clone(all), func(email string) bool { return !after[email] })
	assert.Equal(t, bounded, emails(t, s, "page_size=1000&collected_after="+middle.Format("2006-01-02T15:04:05.000Z")))

	s.Add(sandbox.Contact{CollectedAt: middle, Email: "late@example.com"})
	grown := emails(t, s, "page_size=1000")
	assert.Len(t, grown, 201)
	assert.Equal(t, all, slices.DeleteFunc(grown, func(email string) bool { return email == "late@example.com" }))

	other := sandbox.New(sandbox.Options{Seed: 5, Contacts: 200, Switches: sandbox.Switches{Order: sandbox.Unsorted, Anonymous: -1}})
	assert.Equal(t, all, emails(t, other, "page_size=1000"))
}

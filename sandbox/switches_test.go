package sandbox_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// hours are contacts an hour apart, of pop-up 1 and 2 in turn.
func hours(t *testing.T, names ...string) []sandbox.Contact {
	t.Helper()
	contacts := []sandbox.Contact{}
	for i, name := range names {
		contacts = append(contacts, at(t, fmt.Sprintf("%02d:00:00", i), name, int64(1+i%2)))
	}
	return contacts
}

func TestPageNumberIsIgnored(t *testing.T) {
	s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{PageIgnored: true, PastEnd: sandbox.PastEndNotFound}})
	s.Add(hours(t, "a", "b", "c")...)
	for _, page := range []int{1, 2, 3, 9} {
		assert.Equal(t, mailboxes("a", "b"), emails(t, s, fmt.Sprintf("page_size=2&page=%d", page)))
	}
}

func TestPastTheEnd(t *testing.T) {
	for _, test := range []struct {
		pastEnd sandbox.PastEnd
		query   string
		want    []string // nil: 404
	}{
		{sandbox.PastEndEmpty, "page_size=2&page=3", mailboxes("e")},
		{sandbox.PastEndEmpty, "page_size=2&page=4", mailboxes()},
		{sandbox.PastEndNotFound, "page_size=2&page=3", mailboxes("e")},
		{sandbox.PastEndNotFound, "page_size=2&page=4", nil},
		{sandbox.PastEndNotFound, "page_size=5&page=2", nil},
		{sandbox.PastEndNotFound, "page_size=2&page=1&collected_after=2024-05-07T00:00:00Z", mailboxes()},
		{sandbox.PastEndNotFound, "page_size=2&page=2&collected_after=2024-05-07T00:00:00Z", nil},
		{sandbox.PastEndNotFound, "page_size=2&page=2&wisepop_id=1", mailboxes("e")},
		{sandbox.PastEndNotFound, "page_size=2&page=3&wisepop_id=1", nil},
		{sandbox.PastEndLastPage, "page_size=2&page=3", mailboxes("e")},
		{sandbox.PastEndLastPage, "page_size=2&page=4", mailboxes("e")},
		{sandbox.PastEndLastPage, "page_size=2&page=99", mailboxes("e")},
		{sandbox.PastEndLastPage, "page_size=5&page=2", mailboxes("a", "b", "c", "d", "e")},
		{sandbox.PastEndLastPage, "page_size=2&page=9&wisepop_id=2", mailboxes("b", "d")},
		{sandbox.PastEndLastPage, "page_size=2&page=9&collected_after=2024-05-06T02:00:00Z", mailboxes("e")},
		{sandbox.PastEndLastPage, "page_size=2&page=2&collected_after=2024-05-07T00:00:00Z", mailboxes()},
	} {
		t.Run(test.pastEnd.String()+" "+test.query, func(t *testing.T) {
			s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{PastEnd: test.pastEnd}})
			s.Add(hours(t, "a", "b", "c", "d", "e")...)
			if test.want == nil {
				assert.Equal(t, 404, call(s, http.MethodGet, "/contacts?"+test.query).Code)
				return
			}
			assert.Equal(t, test.want, emails(t, s, test.query))
		})
	}
}

func TestPagesAreFilteredOnceTheyAreCut(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	pages := func(s *sandbox.Service, query string) (all []string, lengths []int) {
		for page := 1; ; page++ {
			w := call(s, http.MethodGet, fmt.Sprintf("/contacts?%s&page=%d", query, page))
			if w.Code == 404 {
				return all, lengths
			}
			part := emails(t, s, fmt.Sprintf("%s&page=%d", query, page))
			all, lengths = append(all, part...), append(lengths, len(part))
		}
	}
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.NewestFirst, sandbox.ByArrival} {
		s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{BlankEvery: 3, PastEnd: sandbox.PastEndNotFound, Order: order}})
		s.Add(hours(t, names...)...)
		all, lengths := pages(s, "page_size=5")
		want := mailboxes(names...)
		if order == sandbox.NewestFirst {
			slices.Reverse(want)
		}
		assert.Equal(t, want, all)
		assert.Equal(t, []int{4, 3}, lengths)
		all, lengths = pages(s, "page_size=1")
		assert.Equal(t, want, all)
		assert.Equal(t, []int{1, 1, 0, 1, 1, 0, 1, 1, 0, 1}, lengths)
		all, lengths = pages(s, "page_size=2&wisepop_id=1")
		assert.Len(t, all, 4)
		assert.Equal(t, []int{2, 1, 1}, lengths)
	}

	s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{FilterAfterPaging: true, PastEnd: sandbox.PastEndNotFound}})
	s.Add(hours(t, names...)...)
	all, lengths := pages(s, "page_size=3&wisepop_id=2")
	assert.Equal(t, mailboxes("b", "d", "f"), all)
	assert.Equal(t, []int{1, 2, 0}, lengths)

	s = sandbox.New(sandbox.Options{Switches: sandbox.Switches{BlankEvery: 3, PastEnd: sandbox.PastEndLastPage}})
	s.Add(hours(t, names...)...)
	assert.Equal(t, mailboxes("e", "f", "g"), emails(t, s, "page_size=5&page=7"))
	assert.Equal(t, mailboxes("g"), emails(t, s, "page_size=1&page=20"))
}

func TestContactsComeInTheOrderOfTheirArrival(t *testing.T) {
	s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{Order: sandbox.ByArrival}})
	s.Add(at(t, "10:00:02", "first", 1), at(t, "10:00:01", "second", 1))
	s.Add(at(t, "10:00:00", "third", 1), at(t, "10:00:03", "fourth", 1))
	assert.Equal(t, mailboxes("first", "second", "third", "fourth"), emails(t, s, ""))
	assert.Equal(t, mailboxes("first", "second", "fourth"), emails(t, s, "collected_after=2024-05-06T10:00:01Z"))
	s.Delete("second@example.com")
	assert.Equal(t, mailboxes("fourth"), emails(t, s, "page_size=2&page=2"))
}

func TestPastContactsArriveLate(t *testing.T) {
	const late = 10 * time.Minute
	opts := sandbox.Options{Contacts: 1000, Burst: 1, Spacing: time.Minute, Switches: sandbox.Switches{Order: sandbox.ByArrival, Late: late, Anonymous: -1}}
	s := sandbox.New(opts)
	when := map[string]time.Time{}
	for _, c := range s.Contacts() {
		when[c.Email] = c.CollectedAt
	}
	var newest time.Time
	steps, furthest := 0, time.Duration(0)
	served := emails(t, s, "page_size=1000")
	for _, email := range served {
		if back := newest.Sub(when[email]); back > 0 {
			steps++
			furthest = max(furthest, back)
		} else {
			newest = when[email]
		}
	}
	assert.Len(t, served, 1000)
	assert.Greater(t, steps, 300)
	assert.LessOrEqual(t, furthest, late)
	assert.Greater(t, furthest, late/2)
	assert.Equal(t, served, emails(t, sandbox.New(opts), "page_size=1000"), "it follows from the seed")

	opts.Late = 0
	inTime := []string{}
	for _, c := range s.Contacts() {
		inTime = append(inTime, c.Email)
	}
	assert.Equal(t, inTime, emails(t, sandbox.New(opts), "page_size=1000"))
}

func TestContactsAreDeletedBetweenPages(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 20, Switches: sandbox.Switches{DeletePerPage: 2, Anonymous: -1}})
	all := []string{}
	for _, c := range s.Contacts() {
		all = append(all, c.Email)
	}
	assert.Equal(t, all[:5], emails(t, s, "page_size=5"))
	assert.Equal(t, 18, s.Len())
	assert.Equal(t, all[7:12], emails(t, s, "page_size=5&page=2"), "two moved up and are on no page")
	assert.Len(t, emails(t, s, "page_size=1000"), 16)
	assert.Equal(t, 16, s.Len(), "a page that is not full is the end")
	for range 10 {
		emails(t, s, "page_size=5")
	}
	assert.Equal(t, 4, s.Len())
}

func TestContactsAreAddedBetweenPages(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 20, Switches: sandbox.Switches{InsertPerPage: 3, Order: sandbox.NewestFirst, Anonymous: 100}})
	past := s.Contacts()
	emails(t, s, "page_size=5")
	require.Equal(t, 23, s.Len())
	second := call(s, http.MethodGet, "/contacts?page_size=5&page=2").Body.String()
	assert.Contains(t, second, string(past[15].Raw), "the last of the first page is on the second, too")
	call(s, http.MethodGet, "/contacts?page_size=1000")
	assert.Equal(t, 26, s.Len())
}

func TestClocksJump(t *testing.T) {
	now := instant(t, "10:00:00")
	s := sandbox.New(sandbox.Options{
		Budget: 5, BudgetWindow: time.Hour,
		Clock:    func() time.Time { return now },
		Switches: sandbox.Switches{ClockOffset: -time.Minute, ClockJump: 24 * time.Hour, ClockJumpAfter: time.Hour, DateOffset: time.Second, SilentBudget: true},
	})
	look := func() (date string, submitted time.Time) {
		w := call(s, http.MethodGet, "/contacts")
		require.Equal(t, 200, w.Code)
		return w.Header().Get("Date"), s.Submit()[0].CollectedAt
	}
	date, submitted := look()
	assert.Equal(t, "Mon, 06 May 2024 09:59:01 GMT", date)
	assert.Equal(t, instant(t, "09:59:00"), submitted)

	now = now.Add(time.Hour - 1)
	date, _ = look()
	assert.Equal(t, "Mon, 06 May 2024 10:59:00 GMT", date)
	now = now.Add(1)
	date, submitted = look()
	assert.Equal(t, "Tue, 07 May 2024 10:59:01 GMT", date)
	assert.Equal(t, instant(t, "10:59:00").AddDate(0, 0, 1), submitted)

	s.SetClockOffset(-48 * time.Hour)
	date, submitted = look()
	assert.Equal(t, "Sun, 05 May 2024 11:00:01 GMT", date)
	s.Add(sandbox.Contact{Email: "now@example.com"})
	assert.Equal(t, submitted, s.Contacts()[0].CollectedAt)

	// The budget is of the time that passes: the first call has left it.
	look()
	look()
	assert.Equal(t, 429, call(s, http.MethodGet, "/contacts").Code)
}

func TestRetryAfterIsSentInItsForm(t *testing.T) {
	for name, want := range map[string]string{
		"seconds": "3600", "decimals": "3600.000", "doubled": "3600, 3600",
		"http-date": "Mon, 06 May 2024 11:30:00 GMT", "iso-date": "2024-05-06T11:30:00Z", "epoch": "1714995000",
	} {
		form, err := sandbox.ParseRetryAfter(name)
		require.NoError(t, err)
		assert.Equal(t, name, form.String())
		now := instant(t, "10:00:00")
		s := sandbox.New(sandbox.Options{
			Budget: 1, BudgetWindow: time.Hour, Clock: func() time.Time { return now },
			Switches: sandbox.Switches{RetryAfter: form, DateOffset: 30 * time.Minute},
		})
		call(s, http.MethodGet, "/contacts")
		now = now.Add(500 * time.Millisecond)
		w := call(s, http.MethodGet, "/contacts")
		assert.Equal(t, 429, w.Code)
		assert.Equal(t, "Mon, 06 May 2024 10:30:00 GMT", w.Header().Get("Date"))
		assert.Equal(t, want, w.Header().Get("Retry-After"))
	}
	_, err := sandbox.ParseRetryAfter("soon")
	require.ErrorContains(t, err, "http-date")
	assert.Equal(t, "RetryAfter(9)", sandbox.RetryAfter(9).String())
}

func TestPastEndNamesAreReadBack(t *testing.T) {
	for name, want := range map[string]sandbox.PastEnd{
		"empty": sandbox.PastEndEmpty, "not-found": sandbox.PastEndNotFound, "last-page": sandbox.PastEndLastPage,
	} {
		got, err := sandbox.ParsePastEnd(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Equal(t, name, got.String())
	}
	_, err := sandbox.ParsePastEnd("404")
	require.ErrorContains(t, err, "not-found")
}

func TestDeletionsAreTakenWithAnyQuery(t *testing.T) {
	for strict, want := range map[bool]int{false: 200, true: 400} {
		s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{Strict: strict}})
		assert.Equal(t, want, eraseAt(s, "/api2/data-privacy?source=x", `{"email":"a@example.com"}`).Code)
	}
}

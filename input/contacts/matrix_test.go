package contacts

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// matrix is a combination of everything that the API's documentation leaves open.
type matrix struct {
	api      *fakeAPI
	pageSize int
	overlap  time.Duration
	late     int64  // how late contacts arrive
	moves    string // what contacts do while they are read: "", "erased", "inserted"
	before   time.Time
}

func drawMatrix(t *rapid.T) matrix {
	api := newAPI()
	seed := rapid.Uint64().Draw(t, "seed")
	api.rand = rand.New(rand.NewPCG(seed, 7))
	api.order = rapid.SampledFrom([]string{"oldest", "arrival", "newest", "unsorted"}).Draw(t, "order")
	switch kind := rapid.SampledFrom([]string{"honoured", "ignored", "refused", "capped", "filtered", "404", "last"}).Draw(t, "paging"); kind {
	case "ignored", "refused", "filtered":
		api.paging = kind
	case "capped":
		api.pageCap = rapid.SampledFrom([]int{25, 100, 512}).Draw(t, "cap")
	case "404", "last":
		api.pastEnd = kind
	}
	api.bound = rapid.SampledFrom([]string{"inclusive", "exclusive", "down", "up", "ignored", "early"}).Draw(t, "bound")
	api.seconds = rapid.Bool().Draw(t, "seconds")
	m := matrix{
		api:      api,
		pageSize: rapid.SampledFrom([]int{1, 7, 100, 1000}).Draw(t, "pageSize"),
		overlap:  rapid.SampledFrom([]time.Duration{autoOverlap, autoOverlap, time.Minute}).Draw(t, "overlap"),
		moves:    rapid.SampledFrom([]string{"", "erased", "inserted"}).Draw(t, "moves"),
	}
	if api.paging == "filtered" {
		m.pageSize = max(m.pageSize, 100) // a page of one that is left out is no page
		api.hideOne = rapid.SampledFrom([]int{2, 5, 50}).Draw(t, "hidden")
	}
	if rapid.Bool().Draw(t, "anonymous") {
		api.pageCap = 0
		m.moves = "" // which twin came and which went cannot be told
		api.choices = rapid.SampledFrom([]int{2, 4}).Draw(t, "choices")
	}
	if api.order == "arrival" {
		m.late = 10_000
	}
	for range rapid.IntRange(0, 4).Draw(t, "groups") {
		n := rapid.SampledFrom([]int{1, 2, 7, 30, 130, 3*min(m.pageSize, 400) + 1}).Draw(t, "size")
		gap := rapid.SampledFrom([]int64{0, 0, 1, 10, 400, 1500, 60_000}).Draw(t, "gap")
		for range n {
			m.arrive()
			api.now += gap
		}
		api.now += rapid.SampledFrom([]int64{0, 1, 999, 5000, day}).Draw(t, "pause")
	}
	if n := len(api.entries); n > 0 && rapid.IntRange(0, 3).Draw(t, "bounded") == 0 {
		m.before = time.UnixMilli(api.entries[rapid.IntRange(0, n-1).Draw(t, "before")].at)
	}
	api.now += 1000
	return m
}

func (m *matrix) reader(t *rapid.T) *reader {
	r := newReader(t, m.api, m.pageSize, m.overlap)
	r.before = m.before
	r.restart()
	return r
}

// arrive makes a contact, some seconds late where contacts are.
func (m *matrix) arrive() {
	at := m.api.now
	if m.late > 0 && m.api.rand.IntN(3) == 0 {
		at -= m.api.rand.Int64N(m.late)
	}
	m.api.add(at)
}

// live lets time pass, and contacts come or go. If as many come as go between two
// calls, and where pages were read, no count tells: that is not held here.
func (m *matrix) live(t *rapid.T) {
	m.api.now += rapid.SampledFrom([]int64{1, 50, 700, 3000}).Draw(t, "passes")
	switch m.moves {
	case "inserted":
		for range rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "new") {
			m.arrive()
		}
	case "erased":
		if m.api.hideOne == 0 && len(m.api.entries) > 2 && rapid.IntRange(0, 1).Draw(t, "erase") == 0 {
			m.api.erase(m.api.rand.IntN(len(m.api.entries)))
		}
	}
}

// readable reports whether everything can be read: if not, that must be told.
func (m *matrix) readable() bool {
	api := m.api
	switch api.paging {
	case "filtered":
		return false
	case "ignored", "refused":
		return false
	}
	return true
}

func TestEveryLeadWhateverTheAPIAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMatrix(t)
		api := m.api
		r := m.reader(t)
		var unreadable *unreadableError
		polls := rapid.IntRange(1, 3).Draw(t, "polls")
		for range polls {
			for steps := 0; ; steps++ {
				require.Less(t, steps, 3000, "a run does not end")
				a, err := r.try()
				r.ack(rapid.IntRange(0, 2).Draw(t, "acks"))
				if err != nil && !errors.Is(err, errEmpty) {
					require.ErrorAs(t, err, &unreadable)
					break
				}
				if a.caughtUp {
					break
				}
				if steps < 100 {
					m.live(t)
				}
			}
			m.live(t)
		}
		// Whoever comes too late for a run comes in time for the next.
		m.moves = ""
		api.now += 2000
		for range 5 { // more than vanished: it shows in the count
			m.arrive()
		}
		api.now += day + 2000 // a page as long as the longest is checked once a day
		ended, stuck := 0, false
		for range 3000 {
			a, err := r.try()
			if stuck = err != nil && !errors.Is(err, errEmpty); stuck {
				require.ErrorAs(t, err, &unreadable)
				break
			}
			if a.caughtUp {
				if ended++; ended == 4 {
					break
				}
			}
		}

		requireDelivered(t, r)
		told := len(r.warnings) > 0 || unreadable != nil
		lost := r.lostContacts()
		if m.readable() || !told {
			require.Zero(t, lost, "lost without a word, of %d", len(api.entries))
		}
		if stuck {
			require.Contains(t, []string{"ignored", "refused"}, api.paging)
			calls := api.calls
			for range 10 {
				_, err := r.try()
				require.Error(t, err)
			}
			require.Equal(t, 10, api.calls-calls)
			return
		}
		if !m.before.IsZero() {
			return // the input has ended
		}
		for range 3 {
			api.now += 30 * minute
			calls := api.calls
			for range 100 {
				if r.step().caughtUp {
					break
				}
			}
			most := 1
			if api.paging == "filtered" {
				most += len(api.entries)/80 + 4 // only an empty page ends what does not fit into one
			}
			if (api.paging == "ignored" || api.paging == "refused") && len(api.entries) > 700 {
				most++ // a bound that is rounded may reach back further than a page
			}
			if api.pageCap > 0 && (api.bound == "ignored" || api.bound == "early") {
				most += 12 // cut pages of contacts from before the bound may have to be read through
			}
			require.LessOrEqual(t, api.calls-calls, most, "calls of a quiet poll")
		}
		requireDelivered(t, r)
	})
}

// requireDelivered holds that whatever an answer contained was delivered, once.
func requireDelivered(t *rapid.T, r *reader) {
	for id, times := range r.ids {
		require.Equal(t, 1, times, "deliveries of the contact %s", id)
	}
	if r.api.choices > 0 {
		// Which of several twins is which is nobody's business.
		answered := map[int]bool{}
		for _, e := range r.api.entries {
			if _, ok := r.api.answered[e.key]; ok && r.wants(e.at) {
				answered[e.key] = true
			}
		}
		if r.api.paging == "filtered" {
			return // where contacts are missing in pages, nothing tells twins for sure
		}
		require.Equal(t, len(answered), r.contacts(), "contacts delivered of those answered")
		return
	}
	for key, at := range r.api.answered {
		want := 0
		if r.wants(at) {
			want = 1
		}
		require.Equal(t, want, r.delivered[string(contactAt(key, 0).Raw)], "deliveries of the contact %d", key)
	}
}

// lostContacts counts the contacts that exist and were not delivered.
func (r *reader) lostContacts() int {
	if r.api.choices == 0 {
		return r.lost()
	}
	visible := 0
	for _, e := range r.api.entries {
		if !e.hidden && r.wants(e.at) {
			visible++
		}
	}
	return visible - len(r.ids)
}

func TestCrashRepeatsOnlyWhatWasInFlight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMatrix(t)
		if !m.readable() || m.api.choices > 0 {
			t.Skip("what cannot be read, and twins that cannot be told apart")
		}
		r := m.reader(t)
		for range rapid.IntRange(1, 8).Draw(t, "lives") {
			for range rapid.IntRange(0, 6).Draw(t, "steps") {
				if _, err := r.try(); err != nil {
					require.ErrorIs(t, err, errEmpty)
				}
				r.ack(rapid.IntRange(0, 2).Draw(t, "acks"))
				m.live(t)
			}
			r.restart()
		}
		m.moves = ""
		for range 5 { // more than vanished: it shows in the count
			m.arrive()
		}
		m.api.now += day + 2000
		for range 3 {
			r.pollThroughErrors(20_000)
		}
		for _, e := range m.api.entries {
			if !r.wants(e.at) {
				continue
			}
			require.NotZero(t, r.delivered[string(e.contact.Raw)], "lost %d of %s, answered: %t", e.key, e.contact.CollectedAt, m.api.answered[e.key] != 0)
		}
	})
}

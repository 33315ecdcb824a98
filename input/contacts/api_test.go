package contacts

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	someInstant = 1_700_000_000_123
	minute      = int64(60_000)
	day         = 24 * 60 * minute
)

// entry is a contact of the fake API.
type entry struct {
	contact wisepops.Contact
	at      int64
	arrived int64
	rank    int // place in a random order
	hidden  bool
	key     int // what tells it apart, though its id may not
}

// fakeAPI answers questions from memory, with every open question of the API as a
// switch. Instants are milliseconds.
type fakeAPI struct {
	entries []*entry
	made    int

	now      int64
	order    string // "oldest", "arrival", "newest", "unsorted"
	paging   string // "", "ignored", "refused", "filtered"
	pastEnd  string // "", "404", "last"
	bound    string // "inclusive", "exclusive", "down", "up", "ignored", "early"
	seconds  bool   // collected_at is in whole seconds
	pageCap  int
	hideOne  int // of how many contacts one is left out of pages (filtered)
	choices  int // anonymous: how many different answers there are; 0 for no anonymity
	server   func(now int64) time.Time
	own      func(now int64) time.Time
	calls    int
	answered map[int]int64 // when contacts that an answer held were collected, by key
	rand     *rand.Rand
	stale    bool
	down     func() bool // whether something in front of it answers nothing
}

func newAPI() *fakeAPI {
	return &fakeAPI{
		now: someInstant, order: "oldest", bound: "inclusive", answered: map[int]int64{},
		rand: rand.New(rand.NewPCG(1, 2)),
	}
}

func idOf(text string) wisepops.ID {
	sum := sha256.Sum256([]byte(text))
	return wisepops.ID(sum[:16])
}

func contactAt(n int, at int64) wisepops.Contact {
	c := wisepops.Contact{Raw: fmt.Appendf(nil, `%d`, n), ID: idOf(fmt.Sprint("contact ", n))}
	if at != beginning {
		c.CollectedAt = time.UnixMilli(at).UTC()
	}
	return c
}

// add makes a contact that arrives now.
func (f *fakeAPI) add(at int64) *entry {
	if f.seconds && at != beginning {
		at -= at % 1000
	}
	c := contactAt(f.made, at)
	if f.choices > 0 {
		c.ID = idOf(fmt.Sprint("anonymous ", at, f.rand.IntN(f.choices)))
	}
	e := &entry{contact: c, at: at, arrived: f.now, rank: f.rand.Int(), key: f.made}
	e.hidden = f.paging == "filtered" && f.hideOne > 0 && f.rand.IntN(f.hideOne) == 0
	f.made++
	f.entries = append(f.entries, e)
	f.stale = true
	return e
}

func (f *fakeAPI) addMany(n int, from, gap int64) {
	for i := range n {
		f.add(from + int64(i)*gap)
	}
}

// erase removes the contact at an index of the API's order.
func (f *fakeAPI) erase(i int) {
	f.sort()
	f.entries = slices.Delete(f.entries, i, i+1)
}

func (f *fakeAPI) sort() {
	if !f.stale {
		return
	}
	f.stale = false
	slices.SortStableFunc(f.entries, func(a, b *entry) int {
		switch f.order {
		case "newest":
			return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.rank, a.rank))
		case "unsorted":
			return cmp.Compare(a.rank, b.rank)
		case "arrival":
			return cmp.Or(cmp.Compare(a.arrived, b.arrived), cmp.Compare(a.key, b.key))
		}
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.rank, b.rank))
	})
}

func (f *fakeAPI) after(q question) func(at int64) bool {
	b := q.after
	exclusive := f.bound == "exclusive"
	switch f.bound {
	case "ignored":
		return func(int64) bool { return true }
	case "early":
		b -= 5 * 60 * minute
	case "down":
		b -= ((b % 1000) + 1000) % 1000
	case "up":
		if m := ((b % 1000) + 1000) % 1000; m != 0 {
			b += 1000 - m
		}
		exclusive = true
	}
	return func(at int64) bool {
		return q.after == beginning || at == beginning || at > b || at == b && !exclusive
	}
}

// ask answers a question; missing says that there is no such page.
func (f *fakeAPI) ask(q question) (page []wisepops.Contact, missing bool) {
	f.calls++
	if f.down != nil && f.down() {
		return nil, q.page > 1
	}
	f.sort()
	after := f.after(q)
	found := make([]*entry, 0, len(f.entries))
	for _, e := range f.entries {
		if after(e.at) {
			found = append(found, e)
		}
	}
	size := q.size
	if f.pageCap > 0 {
		size = min(size, f.pageCap)
	}
	number := q.page
	switch {
	case f.paging == "refused" && number > 1:
		return nil, true
	case f.paging == "ignored":
		number = 1
	}
	from := (number - 1) * size
	if from >= len(found) && number > 1 {
		switch f.pastEnd {
		case "404":
			return nil, true
		case "last":
			from = max(0, (len(found)-1)/size*size)
		}
	}
	from = min(from, len(found))
	for _, e := range found[from:min(from+size, len(found))] {
		if !e.hidden {
			page = append(page, e.contact)
			f.answered[e.key] = e.at
		}
	}
	return page, false
}

func (f *fakeAPI) clocks() (server, own time.Time) {
	server, own = time.UnixMilli(f.now-f.now%1000), time.UnixMilli(f.now)
	if f.server != nil {
		server = f.server(f.now)
	}
	if f.own != nil {
		own = f.own(f.now)
	}
	return server, own
}

// reader is the engine without Benthos: it keeps the acknowledged progress beside the
// watermark, and stores it.
type reader struct {
	t         require.TestingT
	api       *fakeAPI
	mark      *watermark
	acked     progress
	pending   []delta
	delivered map[string]int      // by Raw
	ids       map[wisepops.ID]int // by id
	warnings  []warning
	asked     []question
	after     time.Time
	before    time.Time
	overlap   time.Duration
	pageSize  int
}

const autoOverlap = time.Duration(-1)

func newReader(t require.TestingT, api *fakeAPI, pageSize int, overlap time.Duration) *reader {
	r := &reader{
		t: t, api: api, acked: newProgress(), delivered: map[string]int{}, ids: map[wisepops.ID]int{},
		overlap: overlap, pageSize: pageSize,
	}
	r.restart()
	return r
}

// restart is a crash: all that remains is what was stored.
func (r *reader) restart() {
	data, err := r.acked.encode(7)
	require.NoError(r.t, err)
	stored, err := decodeProgress(data, 7)
	require.NoError(r.t, err)
	r.acked = stored
	r.pending = nil
	r.mark = newWatermark(stored.clone(), r.pageSize, r.overlap, r.after, r.before)
}

// try makes one call.
func (r *reader) try() (a answer, err error) {
	q := r.mark.next
	r.asked = append(r.asked, q)
	require.LessOrEqual(r.t, q.size, wisepops.MaxPageSize)
	require.Positive(r.t, q.size)
	require.Positive(r.t, q.page)
	contacts, missing := r.api.ask(q)
	server, own := r.api.clocks()
	if missing {
		a, err = r.mark.pastEnd(server, own)
	} else {
		a, err = r.mark.take(contacts, server, own)
	}
	r.warnings = append(r.warnings, a.warnings...)
	if err != nil {
		require.Empty(r.t, a.fresh, "an error with contacts")
		return a, err // the engine discards its delta
	}
	for _, c := range a.fresh {
		r.delivered[string(c.Raw)]++
		r.ids[c.ID]++
	}
	r.pending = append(r.pending, a.delta)
	return a, nil
}

func (r *reader) step() answer {
	a, err := r.try()
	require.NoError(r.t, err)
	return a
}

func (r *reader) ack(pages int) {
	for range min(pages, len(r.pending)) {
		r.acked.apply(&r.pending[0])
		r.pending = r.pending[1:]
	}
}

// poll reads until caught up and acknowledges everything.
func (r *reader) poll() (last answer) {
	for range 20_000 {
		last = r.step()
		r.ack(len(r.pending))
		if last.caughtUp {
			return last
		}
	}
	require.Fail(r.t, "a run does not end")
	return last
}

// calls polls, and returns how many calls that cost.
func (r *reader) calls() int {
	before := r.api.calls
	r.poll()
	return r.api.calls - before
}

func (r *reader) warned(kind warningKind) bool {
	return slices.ContainsFunc(r.warnings, func(w warning) bool { return w.kind == kind })
}

// wants reports whether a contact collected at an instant is to be delivered.
func (r *reader) wants(at int64) bool {
	return r.before.IsZero() || at < r.before.UnixMilli()
}

// lost and repeated count what went wrong with the contacts that exist.
func (r *reader) lost() (n int) {
	for _, e := range r.api.entries {
		if !e.hidden && r.wants(e.at) && r.delivered[string(e.contact.Raw)] == 0 {
			n++
		}
	}
	return n
}

func (r *reader) repeated() (n int) {
	for _, times := range r.delivered {
		n += max(0, times-1)
	}
	return n
}

func (r *reader) requireAllOnce() {
	require.Zero(r.t, r.lost(), "lost of %d", len(r.api.entries))
	require.Zero(r.t, r.repeated(), "repeated of %d", len(r.api.entries))
}

// contacts counts the ids that were delivered: twins have one each.
func (r *reader) contacts() int { return len(r.ids) }

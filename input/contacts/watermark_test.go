package contacts

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// fakeAPI answers questions from memory, with every open question of the API as a
// switch. Instants are milliseconds.
type fakeAPI struct {
	contacts     []wisepops.Contact
	sorted       []wisepops.Contact
	now          int64
	order        string // "oldest", "newest", "unsorted"
	exclusive    bool
	secondBound  bool
	secondTimes  bool
	pageCap      int
	calls        int
	lastQuestion question
}

func contactAt(n int, at int64) wisepops.Contact {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	c := wisepops.Contact{Raw: fmt.Appendf(nil, `{"n":%d}`, n), ID: wisepops.ID(sum[:16])}
	if at != beginning {
		c.CollectedAt = time.UnixMilli(at).UTC()
	}
	return c
}

func (f *fakeAPI) add(at int64) {
	if f.secondTimes {
		at -= at % 1000
	}
	c := contactAt(len(f.contacts), at)
	f.contacts = append(f.contacts, c)
	i, _ := slices.BinarySearchFunc(f.sorted, c, f.compare)
	f.sorted = slices.Insert(f.sorted, i, c)
}

func (f *fakeAPI) compare(a, b wisepops.Contact) int {
	byID := bytes.Compare(a.ID[:], b.ID[:])
	switch f.order {
	case "newest":
		return cmp.Or(b.CollectedAt.Compare(a.CollectedAt), byID)
	case "unsorted":
		return byID
	}
	return cmp.Or(a.CollectedAt.Compare(b.CollectedAt), byID)
}

func (f *fakeAPI) ask(t require.TestingT, q question) ([]wisepops.Contact, time.Time) {
	require.False(t, f.calls > 0 && q == f.lastQuestion && q.page > 1, "the same question twice in a row: %+v", q)
	f.calls++
	f.lastQuestion = q
	bound := q.after
	if f.secondBound && bound != beginning {
		bound -= bound % 1000
	}
	var found []wisepops.Contact
	for _, c := range f.sorted {
		at := c.CollectedAt.UnixMilli()
		if bound == beginning || at > bound || at == bound && !f.exclusive {
			found = append(found, c)
		}
	}
	size := q.size
	if f.pageCap > 0 {
		size = min(size, f.pageCap)
	}
	from := min((q.page-1)*size, len(found))
	return slices.Clone(found[from:min(from+size, len(found))]), time.UnixMilli(f.now - f.now%1000)
}

// reader is a poller without Benthos: it keeps the acknowledged progress beside
// the watermark, as the checkpointer does.
type reader struct {
	t         require.TestingT
	api       *fakeAPI
	mark      *watermark
	acked     progress
	pending   []delta
	delivered map[wisepops.ID]int
	after     time.Time
	before    time.Time
	overlap   time.Duration
	pageSize  int
}

func newReader(t require.TestingT, api *fakeAPI, pageSize int, overlap time.Duration) *reader {
	r := &reader{t: t, api: api, acked: newProgress(), delivered: map[wisepops.ID]int{}, overlap: overlap, pageSize: pageSize}
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

func (r *reader) step() answer {
	contacts, clock := r.api.ask(r.t, r.mark.next)
	a, err := r.mark.take(contacts, clock)
	require.NoError(r.t, err)
	for _, c := range a.fresh {
		r.delivered[c.ID]++
	}
	r.pending = append(r.pending, a.delta)
	return a
}

func (r *reader) ack(pages int) {
	for range min(pages, len(r.pending)) {
		r.acked.apply(&r.pending[0], r.mark.overlap)
		r.pending = r.pending[1:]
	}
}

// poll reads until caught up and acknowledges everything.
func (r *reader) poll() (last answer) {
	for range 100_000 {
		last = r.step()
		r.ack(1)
		if last.caughtUp {
			return last
		}
	}
	require.Fail(r.t, "a run does not end")
	return last
}

func (r *reader) requireAllOnce() {
	for _, c := range r.api.contacts {
		require.Equal(r.t, 1, r.delivered[c.ID], "deliveries of the contact of %s", c.CollectedAt)
	}
}

const someInstant = 1_700_000_000_123

func drawAPI(t *rapid.T) (api *fakeAPI, pageSize int, overlap time.Duration) {
	api = &fakeAPI{
		order:       rapid.SampledFrom([]string{"oldest", "newest", "unsorted"}).Draw(t, "order"),
		exclusive:   rapid.Bool().Draw(t, "exclusive"),
		secondBound: rapid.Bool().Draw(t, "secondBound"),
		secondTimes: rapid.Bool().Draw(t, "secondTimes"),
		pageCap:     rapid.SampledFrom([]int{0, 0, 100, 150, 500}).Draw(t, "pageCap"),
	}
	pageSize = rapid.SampledFrom([]int{1, 2, 7, 100, 1000}).Draw(t, "pageSize")
	overlap = rapid.SampledFrom([]time.Duration{0, time.Second, 5 * time.Second, time.Hour}).Draw(t, "overlap")
	at := int64(someInstant)
	for range rapid.IntRange(0, 4).Draw(t, "groups") {
		n := rapid.SampledFrom([]int{1, 2, 7, 30, 3*min(pageSize, 300) + 1, 3*pageSize + 1}).Draw(t, "size")
		gap := rapid.SampledFrom([]int64{0, 0, 1, 10, 400, 1500, 60_000}).Draw(t, "gap")
		if pageSize <= 7 {
			n = min(n, 40)
		}
		for range n {
			api.add(at)
			at += gap
		}
		at += rapid.SampledFrom([]int64{0, 1, 999, 5000, 86_400_000}).Draw(t, "pause")
	}
	api.now = at + 1000
	return api, pageSize, overlap
}

// live lets time pass and contacts appear, some of them late by up to the overlap.
func live(t *rapid.T, api *fakeAPI, overlap time.Duration) {
	api.now += rapid.SampledFrom([]int64{1, 50, 700, 3000}).Draw(t, "passes")
	lateness := max(overlap, minOverlap).Milliseconds()
	if api.secondTimes {
		lateness -= 1000
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "new") {
		api.add(api.now - rapid.Int64Range(0, lateness).Draw(t, "late"))
	}
}

func TestEveryContactArrivesOnceWhateverTheAPIDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		api, pageSize, overlap := drawAPI(t)
		r := newReader(t, api, pageSize, overlap)
		for range rapid.IntRange(1, 4).Draw(t, "polls") {
			// Pages of one contact could not keep up with contacts that go on coming.
			for steps := 0; !r.step().caughtUp; steps++ {
				if steps < 300 {
					live(t, api, overlap)
				}
				r.ack(rapid.IntRange(0, 2).Draw(t, "acks"))
			}
			live(t, api, overlap)
		}
		r.poll()
		r.requireAllOnce()
	})
}

func TestCrashRepeatsOnlyWhatWasInFlight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		api, pageSize, overlap := drawAPI(t)
		r := newReader(t, api, pageSize, overlap)
		for range rapid.IntRange(1, 10).Draw(t, "lives") {
			for range rapid.IntRange(0, 5).Draw(t, "steps") {
				r.step()
				r.ack(rapid.IntRange(0, 2).Draw(t, "acks"))
				live(t, api, overlap)
			}
			for _, d := range r.pending { // in flight: may come again
				for _, s := range d.seen {
					r.delivered[s.id]--
				}
			}
			r.restart()
		}
		r.poll()
		r.poll()
		r.requireAllOnce()
	})
}

func TestQuietPollIsOneCall(t *testing.T) {
	for _, n := range []int{0, 1, 99, 1000, 1001, 2500} {
		api := &fakeAPI{now: someInstant + 1e9}
		for i := range n {
			api.add(someInstant + int64(i)*5000)
		}
		r := newReader(t, api, 1000, time.Second)
		r.poll()
		for range 5 {
			api.calls = 0
			api.now += 1_800_000
			assert.True(t, r.poll().caughtUp)
			assert.Equal(t, 1, api.calls, "%d contacts", n)
		}
		r.requireAllOnce()
	}
}

func TestBackfillCostsOneCallAPage(t *testing.T) {
	for name, gap := range map[string]int64{"sparse": 60_000, "second": 1000, "dense": 100, "denser": 7, "one instant": 0} {
		for _, order := range []string{"oldest", "newest", "unsorted"} {
			t.Run(name+"/"+order, func(t *testing.T) {
				api := &fakeAPI{now: someInstant + 1e12, order: order}
				const n = 8_000
				for i := range n {
					api.add(someInstant + int64(i)*gap)
				}
				r := newReader(t, api, 1000, time.Second)
				r.poll()
				r.requireAllOnce()
				assert.LessOrEqual(t, api.calls, n/1000+2)
			})
		}
	}
}

func TestSilentPageCapIsFound(t *testing.T) {
	api := &fakeAPI{now: someInstant + 1e9, pageCap: 100}
	for i := range 350 {
		api.add(someInstant + int64(i)*5000)
	}
	r := newReader(t, api, 1000, time.Second)
	r.poll()
	r.requireAllOnce()
	assert.LessOrEqual(t, api.calls, 5)
}

func TestShortPageThatIsNoCapEndsTheRun(t *testing.T) {
	for n, calls := range map[int]int{99: 1, 100: 2, 101: 1, 150: 2, 151: 1} {
		api := &fakeAPI{now: someInstant + 1e9}
		for i := range n {
			api.add(someInstant + int64(i)*5000)
		}
		newReader(t, api, 1000, time.Second).poll()
		assert.Equal(t, calls, api.calls, "%d contacts", n)
	}
}

func TestNewestFirstPageOfOneInstantIsNotTakenForOldestFirst(t *testing.T) {
	api := &fakeAPI{now: someInstant + 1e9, order: "newest"}
	for range 30 {
		api.add(someInstant + 5_000_000)
	}
	for i := range 30 {
		api.add(someInstant + int64(i)*1000)
	}
	r := newReader(t, api, 7, time.Second)
	r.poll()
	r.requireAllOnce()
}

func TestFutureContactDoesNotMoveTheWatermark(t *testing.T) {
	api := &fakeAPI{now: someInstant + 10_000}
	api.add(someInstant)
	api.add(someInstant + 86_400_000)
	r := newReader(t, api, 1000, time.Second)
	r.poll()
	require.EqualValues(t, someInstant, r.acked.position)
	for range 3 {
		api.now += 1_800_000
		api.add(api.now - 500)
		r.restart()
		r.poll()
	}
	api.now += 86_400_000
	r.poll()
	require.EqualValues(t, someInstant+86_400_000, r.acked.position)
	r.requireAllOnce()
}

func TestUndatedContactIsDeliveredOnce(t *testing.T) {
	api := &fakeAPI{now: someInstant + 10_000}
	api.add(someInstant)
	r := newReader(t, api, 1000, time.Second)
	undated := contactAt(99, beginning)
	a, err := r.mark.take([]wisepops.Contact{undated}, time.UnixMilli(api.now))
	require.NoError(t, err)
	require.Equal(t, 1, a.undated)
	require.Len(t, a.fresh, 1)
	r.pending = append(r.pending, a.delta)
	r.ack(1)
	r.restart()
	a, err = r.mark.take([]wisepops.Contact{undated}, time.UnixMilli(api.now))
	require.NoError(t, err)
	require.Empty(t, a.fresh)
	require.Equal(t, 1, a.duplicates)
}

func TestBoundsOfABackfillAreHalfOpen(t *testing.T) {
	for _, order := range []string{"oldest", "newest", "unsorted"} {
		api := &fakeAPI{now: someInstant + 1e9, order: order}
		for i := range 100 {
			api.add(someInstant + int64(i)*1000)
		}
		r := newReader(t, api, 10, time.Second)
		r.after, r.before = time.UnixMilli(someInstant+20_000), time.UnixMilli(someInstant+50_000)
		r.restart()
		require.True(t, r.poll().finished)
		require.Len(t, r.delivered, 30, order)
		require.Contains(t, r.delivered, api.contacts[20].ID)
		require.NotContains(t, r.delivered, api.contacts[50].ID)
	}
}

func TestStoredWatermarkWinsOverCollectedAfter(t *testing.T) {
	api := &fakeAPI{now: someInstant + 1e9}
	api.add(someInstant)
	r := newReader(t, api, 10, time.Second)
	r.poll()
	api.add(someInstant + 5000)
	r.after = time.UnixMilli(someInstant + 60_000)
	r.restart()
	r.poll()
	r.requireAllOnce()
}

func TestOrderThatBreaksInTheMiddleLosesNothing(t *testing.T) {
	api := &fakeAPI{now: someInstant + 1e9}
	for i := range 400 {
		api.add(someInstant + int64(i)*5000)
	}
	r := newReader(t, api, 100, time.Second)
	require.False(t, r.step().caughtUp)
	require.True(t, r.mark.ordered)
	api.order = "unsorted"
	slices.SortFunc(api.sorted, api.compare)
	r.poll()
	for _, c := range api.contacts {
		require.NotZero(t, r.delivered[c.ID])
	}
	require.False(t, r.acked.ordered)
}

func TestWatermarkFarAheadOfTheClockIsSetBack(t *testing.T) {
	api := &fakeAPI{now: someInstant}
	p := newProgress()
	p.position = someInstant + 365*86_400_000
	r := newReader(t, api, 100, time.Second)
	r.acked = p
	r.restart()
	require.True(t, r.step().clockBack)
	r.ack(1)
	api.now += 10_000
	api.add(api.now)
	r.poll()
	r.requireAllOnce()
}

func TestSamePageAgainAndAgainIsAnError(t *testing.T) {
	api := &fakeAPI{now: someInstant + 1e9}
	for range 100 {
		api.add(someInstant)
	}
	r := newReader(t, api, 10, time.Second)
	page, clock := api.ask(t, r.mark.next)
	var err error
	for range 10 {
		if _, err = r.mark.take(slices.Clone(page), clock); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, errSamePage)
}

func TestDecodeProgressSaysWhatIsWrong(t *testing.T) {
	for data, want := range map[string]string{
		"":                             "empty",
		"{":                            "not the JSON of a watermark",
		"[]":                           "not the JSON of a watermark",
		"{}":                           "not the JSON of a watermark",
		`{"version":2}`:                "newer version",
		`{"version":1,"wisepop_id":7}`: "it holds no position",
		`{"version":1,"wisepop_id":8}`: "belongs to wisepop_id 8",
		`{"version":1,"wisepop_id":7,"position":"soon"}`:                                    "not a time",
		`{"version":1,"wisepop_id":7,"position":"","seen":{"x":[]}}`:                        "not a time",
		`{"version":1,"wisepop_id":7,"position":"","seen":{"2026-01-01T00:00:00Z":["zz"]}}`: "contact id",
	} {
		_, err := decodeProgress([]byte(data), 7)
		require.ErrorContains(t, err, want, data)
	}
}

func FuzzDecodeProgress(f *testing.F) {
	f.Add([]byte(`{"version":1,"wisepop_id":7,"position":"2026-01-01T00:00:00.000Z","ordered":true,"seen":{"2026-01-01T00:00:00.000Z":["3e387188b05a61a130ee504a762623e0"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodeProgress(data, 7)
		if err != nil {
			return
		}
		again, err := p.encode(7)
		require.NoError(t, err)
		q, err := decodeProgress(again, 7)
		require.NoError(t, err)
		require.Equal(t, p, q)
	})
}

// Whatever the order, the ties and the repetitions within a page, a contact is told by
// its id, as long as a request may return it.
func TestContactsAreToldApartWithinAndBetweenPages(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(rt *rapid.T) {
		p := newProgress()
		p.ordered = rapid.Bool().Draw(rt, "ordered")
		w := newWatermark(p, 1000, time.Second, time.Time{}, time.Time{})
		delivered := map[wisepops.ID]bool{}
		spread := rapid.SampledFrom([]int{1, 3, 400, 20_000}).Draw(rt, "spread")
		for range rapid.IntRange(1, 4).Draw(rt, "pages") {
			horizon := reachBack(w.position, w.overlap)
			var page []wisepops.Contact
			at := start
			for range rapid.IntRange(0, 80).Draw(rt, "contacts") {
				step := rapid.IntRange(0, spread).Draw(rt, "step")
				if rapid.IntRange(0, 9).Draw(rt, "disorder") == 0 {
					step = -step
				}
				at = at.Add(time.Duration(step) * time.Millisecond)
				c := wisepops.Contact{CollectedAt: at}
				binary.BigEndian.PutUint64(c.ID[:], uint64(at.UnixMilli()))
				c.ID[15] = byte(rapid.IntRange(0, 30).Draw(rt, "tie"))
				page = append(page, c)
			}
			a, err := w.take(slices.Clone(page), start.Add(24*time.Hour))
			require.NoError(rt, err)
			fresh := map[wisepops.ID]bool{}
			for _, c := range a.fresh {
				require.False(rt, fresh[c.ID], "delivered twice in one page")
				fresh[c.ID] = true
				if c.CollectedAt.UnixMilli() >= horizon {
					require.False(rt, delivered[c.ID], "delivered again although a request may return it")
				}
			}
			for _, c := range page {
				require.True(rt, fresh[c.ID] || delivered[c.ID], "left out")
				delivered[c.ID] = true
			}
			require.Equal(rt, len(page), len(a.fresh)+a.duplicates)
		}
	})
}

// With auto a quiet poll is one call, however many contacts are known within the overlap,
// and what comes late is found as far back as that is free.
func TestAutoOverlapCostsNoCall(t *testing.T) {
	api := &fakeAPI{now: someInstant + 1e9}
	for i := range 3000 {
		api.add(someInstant + int64(i)*50)
	}
	r := newReader(t, api, 1000, 5*time.Minute)
	r.poll()
	r.mark.auto = true
	r.mark.startRun()
	before := api.calls
	api.add(someInstant + 2999*50 - 10_000) // 200 contacts ago
	r.poll()
	require.Equal(t, 1, api.calls-before)
	r.requireAllOnce()
	before = api.calls
	r.poll()
	require.Equal(t, 1, api.calls-before)
}

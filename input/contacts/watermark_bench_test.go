package contacts

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// BenchmarkTake reads pages of 1,000 contacts as a backfill does, oldest and newest
// first.
func BenchmarkTake(b *testing.B) {
	for _, order := range []string{"oldest", "newest"} {
		b.Run(order, func(b *testing.B) {
			const size = 1000
			now := time.UnixMilli(someInstant)
			page := make([]wisepops.Contact, size)
			p := newProgress()
			w := newWatermark(p.clone(), size, autoOverlap, time.Time{}, time.Time{})
			acked := p.clone()
			made := 0
			b.ReportAllocs()
			for b.Loop() {
				if made >= 1_000_000 {
					b.StopTimer()
					w = newWatermark(p.clone(), size, autoOverlap, time.Time{}, time.Time{})
					acked = p.clone()
					made = 0
					b.StartTimer()
				}
				again := 0
				if order == "newest" && made > 0 {
					again = made - (w.next.page-1)*w.next.size
				}
				n := w.next.size
				for i := range n {
					at := int64(made-again+i) * 5000
					if order == "newest" {
						at = -at
					}
					page[i] = wisepops.Contact{CollectedAt: now.Add(time.Duration(at-int64(1e10)) * time.Millisecond)}
					page[i].ID = benchID(made - again + i)
				}
				made += n - again
				a, err := w.take(page[:n], now, now)
				if err != nil || a.caughtUp || len(a.fresh) != n-again {
					b.Fatal("a page was not read")
				}
				acked.apply(&a.delta)
			}
			b.ReportMetric(size*float64(b.N)/b.Elapsed().Seconds(), "contacts/s")
		})
	}
}

func benchID(n int) (id wisepops.ID) {
	x := uint64(n+1) * 0x9e3779b97f4a7c15
	for i := range id {
		x ^= x >> 29
		x *= 0xbf58476d1ce4e5b9
		id[i] = byte(x >> 56)
	}
	return id
}

func TestBackfillOf200000TakesFewCalls(t *testing.T) {
	for order, most := range map[string]int{"oldest": 206, "arrival": 206, "newest": 210} {
		api := newAPI()
		api.order = order
		for range 200_000 {
			api.now += 2000
			api.add(api.now - api.rand.Int64N(3)*api.rand.Int64N(2000)*int64(len(order)/7))
		}
		api.now += day
		r := newReader(t, api, 1000, autoOverlap)
		calls := r.calls()
		t.Logf("%s: %d calls", order, calls)
		assert.LessOrEqual(t, calls, most, order)
		r.requireAllOnce()
		require.Empty(t, r.warnings)
	}
}

// Newest first the position stands until all is read, and 267 MiB were remembered of
// 1,000,000 contacts.
func TestSweepRemembersIDsOnly(t *testing.T) {
	const n = 1_000_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	acked := newProgress()
	w := newWatermark(acked.clone(), 1000, autoOverlap, time.Time{}, time.Time{})
	now := time.UnixMilli(someInstant)
	page := make([]wisepops.Contact, 0, 1000)
	for read := 0; read < n; {
		from := (w.next.page - 1) * w.next.size
		page = page[:0]
		for i := range w.next.size {
			page = append(page, wisepops.Contact{
				ID: benchID(from + i), CollectedAt: now.Add(-time.Duration(from+i) * 5 * time.Second),
			})
		}
		a, err := w.take(page, now, now)
		require.NoError(t, err)
		acked.apply(&a.delta)
		read = from + w.next.size
	}
	used := heap() - before
	t.Logf("%d bytes", used)
	assert.Less(t, used, uint64(40<<20), "bytes for %d contacts", n)
	assert.Less(t, acked.size(), 3000)
	runtime.KeepAlive(w)
}

package contacts

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// 99 to 198 of 5,000 came again with page_size 100, and an overlap of 24h kept the
// input from ever going on by time.
func TestOrderOfArrivalRepeatsNothing(t *testing.T) {
	for _, size := range []int{100, 1000} {
		for _, overlap := range []time.Duration{autoOverlap, 0, time.Second, 24 * time.Hour} {
			for _, gap := range []int64{10, 500, 20_000} {
				api := newAPI()
				api.order = "arrival"
				for range 5000 {
					api.now += gap
					api.add(api.now - api.rand.Int64N(10_000)*api.rand.Int64N(2))
				}
				api.now += 20_000
				r := newReader(t, api, size, overlap)
				calls := r.calls()
				r.requireAllOnce()
				require.Empty(t, r.warnings)
				assert.LessOrEqual(t, calls, 5000/size*108/100+4, "size %d, overlap %s, gap %d", size, overlap, gap)
				for range 20 {
					api.now += gap
					api.add(api.now - api.rand.Int64N(10_000))
					r.poll()
				}
				r.requireAllOnce()
			}
		}
	}
}

// 3 of 10 contacts that appeared 4 seconds late were lost with an overlap of 1s.
func TestLateContactsCostNothing(t *testing.T) {
	for _, late := range []int64{4000, 5 * minute, 20 * 60 * minute} {
		api := newAPI()
		api.addMany(5000, someInstant, 5*minute)
		api.now = someInstant + 5000*5*minute
		r := newReader(t, api, 1000, autoOverlap)
		r.poll()
		for range 10 {
			api.now += 30 * minute
			api.add(api.now - 100)
			require.Equal(t, 1, r.calls())
			api.add(api.now - late)
		}
		api.now += 30 * minute
		require.Equal(t, 1, r.calls())
		r.requireAllOnce()
	}
}

// 12 of 5,000 were lost newest first where one contact a page was erased.
func TestErasedContactsMoveNonePastTheReader(t *testing.T) {
	for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
		for _, gap := range []int64{0, 5, 5000} {
			for _, erased := range []int{1, 2, 7, 60} {
				api := newAPI()
				api.order = order
				api.addMany(3000, someInstant, gap)
				api.now += 100 * day
				r := newReader(t, api, 100, autoOverlap)
				for range 2000 {
					a, err := r.try()
					if err != nil {
						require.ErrorIs(t, err, errEmpty) // a whole page may be gone
					}
					if a.caughtUp {
						break
					}
					for i := range erased {
						if len(api.entries) > 200 && api.calls < 40 {
							api.erase(i * 3)
						}
					}
				}
				r.pollThroughErrors(200)
				if !r.warned(warnVanishing) {
					require.Zero(t, r.lost(), "%s, gap %d, %d erased a page", order, gap, erased)
				}
				require.False(t, r.warned(warnVanishing) && erased < 60, "%s, gap %d, %d erased a page", order, gap, erased)
				require.Zero(t, r.repeated(), "%s, gap %d, %d erased a page", order, gap, erased)
			}
		}
	}
}

func TestInsertedContactsMoveNonePastTheReader(t *testing.T) {
	for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
		for _, gap := range []int64{0, 5, 5000} {
			api := newAPI()
			api.order = order
			api.addMany(3000, someInstant, gap)
			api.now += 100 * day
			r := newReader(t, api, 100, autoOverlap)
			for i := 0; i < 60 && !r.step().caughtUp; i++ {
				for range i % 4 {
					api.add(api.now - api.rand.Int64N(3000))
				}
				api.now += 1000
			}
			r.poll()
			r.poll()
			require.Empty(t, r.warnings, "%s, gap %d", order, gap)
			require.Zero(t, r.lost(), "%s, gap %d", order, gap)
			require.Zero(t, r.repeated(), "%s, gap %d", order, gap)
		}
	}
}

func TestUndatedContactsDoNotRepeat(t *testing.T) {
	api := newAPI()
	api.addMany(50, someInstant, 1000)
	for range 2500 {
		api.add(beginning)
	}
	api.now += day
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	r.requireAllOnce()
	for range 3 {
		api.now += 30 * minute
		api.add(api.now)
		r.poll()
		r.restart()
	}
	r.requireAllOnce()
	require.Len(t, r.acked.undated, 2500)

	kept := api.entries[:0]
	for _, e := range api.entries {
		if e.at != beginning {
			kept = append(kept, e)
		}
	}
	api.entries = kept
	r.poll()
	r.poll()
	require.LessOrEqual(t, len(r.acked.undated), maxUndated, "those that are gone are forgotten")
}

func TestBoundThatIsIgnoredOrReadEarlyRepeatsNothingAndWarnsOnce(t *testing.T) {
	for _, bound := range []string{"ignored", "early"} {
		for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
			api := newAPI()
			api.bound, api.order = bound, order
			api.addMany(5000, someInstant, 60_000)
			api.now = someInstant + 5000*60_000
			r := newReader(t, api, 1000, autoOverlap)
			r.poll()
			r.requireAllOnce()
			for i := range 10 {
				api.now += 30 * minute
				if i%2 == 0 {
					api.add(api.now - 2000)
					r.poll()
				}
				if order != "unsorted" {
					require.Equal(t, 1, r.calls(), "%s, %s", bound, order)
				}
				r.restart()
			}
			r.poll()
			require.Zero(t, r.lost(), "%s, %s", bound, order)
			require.Zero(t, r.repeated(), "%s, %s", bound, order)
			early := 0
			for _, w := range r.warnings {
				if w.kind == warnBoundEarly {
					early++
				}
			}
			require.Equal(t, 1, early)
		}
	}
}

func TestTwinsOfOneAnswerAreTwoContacts(t *testing.T) {
	for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
		for _, size := range []int{1, 7, 100, 1000} {
			for _, gap := range []int64{0, 100} {
				api := newAPI()
				api.order, api.choices, api.seconds = order, 3, true
				api.addMany(1301, someInstant, gap) // 26% were lost at 10 a second
				api.now += day
				r := newReader(t, api, size, autoOverlap)
				r.poll()
				require.Equal(t, 1301, r.contacts(), "%s, pages of %d, a gap of %d", order, size, gap)
				for _, times := range r.ids {
					require.Equal(t, 1, times)
				}
				for range 3 {
					api.now += 30 * minute
					api.addMany(20, api.now-1000, 0)
					r.poll()
					r.restart()
				}
				r.poll()
				require.Equal(t, 1361, r.contacts(), "%s, pages of %d, a gap of %d", order, size, gap)
			}
		}
	}
}

func TestTwinID(t *testing.T) {
	id, err := (&decoder{}), error(nil)
	require.NoError(t, err)
	first := id.id("3e387188b05a61a130ee504a762623e0")
	require.Equal(t, first, wisepops.TwinID(first, 1))
	// printf '3e387188b05a61a130ee504a762623e0\n2' | sha256sum
	require.Equal(t, "16ea28a9120fdf187d0326fa5a167959", wisepops.TwinID(first, 2).String())
}

func TestNewestFirstPageOfOneInstantIsNotTakenForOldestFirst(t *testing.T) {
	api := newAPI()
	api.order = "newest"
	api.addMany(300, someInstant+5_000_000, 0)
	api.addMany(300, someInstant, 1000)
	api.now += day
	r := newReader(t, api, 100, autoOverlap)
	r.poll()
	r.requireAllOnce()
}

func TestBoundsOfABackfillAreHalfOpen(t *testing.T) {
	for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
		for _, bound := range []string{"inclusive", "exclusive", "up", "down", "ignored"} {
			api := newAPI()
			api.order, api.bound = order, bound
			api.addMany(100, someInstant, 1000)
			api.now += day
			r := newReader(t, api, 10, autoOverlap)
			r.after, r.before = time.UnixMilli(someInstant+20_000), time.UnixMilli(someInstant+50_000)
			r.restart()
			require.True(t, r.poll().finished)
			require.Len(t, r.delivered, 30, order)
			require.Contains(t, r.delivered, "20")
			require.NotContains(t, r.delivered, "50")
		}
	}
}

func TestStoredWatermarkWinsOverCollectedAfter(t *testing.T) {
	api := newAPI()
	api.add(someInstant)
	api.now += day
	r := newReader(t, api, 10, autoOverlap)
	r.poll()
	api.add(someInstant + 5000)
	r.after = time.UnixMilli(someInstant + 60_000)
	r.restart()
	r.poll()
	r.requireAllOnce()
}

func TestOrderThatBreaksInTheMiddleLosesNothing(t *testing.T) {
	for _, order := range []string{"unsorted", "newest"} {
		api := newAPI()
		api.addMany(900, someInstant, 5000)
		api.now += day
		r := newReader(t, api, 100, autoOverlap)
		require.False(t, r.step().caughtUp)
		require.True(t, r.mark.habits.Ascending)
		api.order, api.stale = order, true
		r.poll()
		r.requireAllOnce()
		require.False(t, r.acked.habits.Ascending)
	}
}

// A crash in a sweep newest first is no reason to read all of it again.
func TestCrashInASweepDoesNotStartItOver(t *testing.T) {
	api := newAPI()
	api.order = "newest"
	api.addMany(20_000, someInstant, 5000)
	api.now += 100 * day
	r := newReader(t, api, 1000, autoOverlap)
	for range 5 {
		for range 4 {
			require.False(t, r.step().caughtUp)
			r.ack(1)
		}
		r.restart()
		api.now += 1000
		api.add(api.now)
	}
	r.poll()
	r.poll()
	require.Zero(t, r.lost())
	require.LessOrEqual(t, r.repeated(), 20)
	require.LessOrEqual(t, api.calls, 32)

	// Where the place is not found again it starts over, once.
	api = newAPI()
	api.order = "newest"
	api.addMany(20_000, someInstant, 5000)
	api.now += 100 * day
	r = newReader(t, api, 1000, autoOverlap)
	for range 3 {
		for range 4 {
			r.step()
			r.ack(1)
		}
		r.restart()
		for range 1200 {
			api.erase(0)
		}
	}
	r.poll()
	require.True(t, r.warned(warnSweepRestarted))
	require.True(t, r.warned(warnVanishing))
	require.LessOrEqual(t, api.calls, 35)
}

// While no position can be reached yet, what is stored does not grow with what was read.
func TestWhatIsStoredInTheMiddleOfARunIsBounded(t *testing.T) {
	for _, order := range []string{"newest", "unsorted"} {
		api := newAPI()
		api.order = order
		api.addMany(20_000, someInstant-20_000*minute, minute)
		r := newReader(t, api, 100, autoOverlap)
		for range 150 {
			r.step()
			r.ack(1)
			require.LessOrEqual(t, r.acked.size(), 2000, order)
		}
		require.Equal(t, int64(beginning), r.acked.position, order)
		require.Greater(t, len(r.delivered), 10_000, order)
	}
}

// An answer without a Date says nothing of the API's clock: ours alone counts, and nobody
// is warned that they differ.
func TestMissingDateIsNoClock(t *testing.T) {
	api := newAPI()
	api.server = func(int64) time.Time { return time.Time{} }
	api.addMany(350, someInstant-400*minute, minute)
	r := newReader(t, api, 100, autoOverlap)
	r.poll()
	api.now += 30 * minute
	require.Equal(t, 1, r.calls())
	r.requireAllOnce()
	require.Empty(t, r.warnings)
	require.Equal(t, int64(beginning), clockTime(time.Time{}))
}

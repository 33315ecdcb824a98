package contacts

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// 7,009 of 10,000 contacts were missing for a week where something in front of the API
// answered two requests in the middle of a backfill with 404, or with an empty page.
func TestEmptyAnswersInTheMiddleOfABackfillLoseNothing(t *testing.T) {
	for _, order := range []string{"oldest", "newest", "unsorted"} {
		for _, gap := range []int64{100, 10_000} {
			for _, restart := range []bool{false, true} {
				for _, at := range []int{2, 3, 7, 12} {
					for _, down := range []int{0, 1, 2, 5} {
						api := newAPI()
						api.order = order
						api.addMany(2000, someInstant, gap)
						api.now += 100 * day
						r := newReader(t, api, 200, autoOverlap)
						api.down = func() bool { return api.calls >= at && api.calls < at+down }
						failed := 0
						for {
							if restart && api.calls == at-1 && failed == 0 {
								r.restart()
							}
							require.Less(t, api.calls, 60)
							a, err := r.try()
							r.ack(len(r.pending))
							if err != nil {
								require.ErrorIs(t, err, errEmpty)
								failed++
							} else if a.caughtUp {
								break
							}
						}
						assert.Zero(t, r.lost(), "%s, a gap of %d, %d empty answers from the call %d on, restarted: %t", order, gap, down, at, restart)
						most := 0
						if restart {
							most = 200 // a page
						}
						assert.LessOrEqual(t, r.repeated(), most, "%s, a gap of %d, %d empty answers from the call %d on, restarted: %t", order, gap, down, at, restart)
						assert.LessOrEqual(t, failed, down)
						calls := api.calls
						api.down = nil
						api.now += 30 * minute
						r.poll()
						assert.Equal(t, 1, api.calls-calls, "%s, a gap of %d, %d empty answers from the call %d on, restarted: %t", order, gap, down, at, restart)
					}
				}
			}
		}
	}
}

// An outage of empty answers is no run that ended: nothing is settled, and each attempt
// is an error that the engine waits after.
func TestLongOutageOfEmptyAnswersIsAnError(t *testing.T) {
	api := newAPI()
	api.order = "newest"
	api.addMany(10_000, someInstant, 1000)
	api.now += 100 * day
	r := newReader(t, api, 1000, autoOverlap)
	for range 4 {
		r.step()
	}
	api.down = func() bool { return true }
	errs := 0
	for range 2 + maxEmpty {
		a, err := r.try()
		require.False(t, a.caughtUp)
		if err != nil {
			require.ErrorIs(t, err, errEmpty)
			errs++
		}
	}
	require.GreaterOrEqual(t, errs, maxEmpty)
	require.Equal(t, int64(beginning), r.mark.checked)
	api.down = nil
	r.poll()
	r.requireAllOnce()
}

// What was erased indeed is no error for ever.
func TestErasedWindowIsNoErrorForEver(t *testing.T) {
	for _, order := range []string{"oldest", "newest", "unsorted"} {
		for _, left := range []int{0, 1, 1500, 2990} {
			for steps := 1; steps <= 4; steps++ {
				api := newAPI()
				api.order = order
				api.addMany(3000, someInstant, 1000)
				api.now += 100 * day
				r := newReader(t, api, 1000, autoOverlap)
				for range steps {
					r.step()
				}
				api.sort()
				api.entries = api.entries[:left]
				r.pollThroughErrors(20)
				assert.Zero(t, r.lost())
				assert.Zero(t, r.repeated())
				for range 3 {
					api.now += day
					api.add(api.now)
					r.pollThroughErrors(20)
				}
				assert.Zero(t, r.lost())
				calls := api.calls
				api.now += 30 * minute
				r.poll()
				assert.LessOrEqual(t, api.calls-calls, 1, "%s, %d left after %d steps", order, left, steps)
			}
		}
	}
}

// pollThroughErrors polls as the engine does after errors.
func (r *reader) pollThroughErrors(most int) {
	for range most {
		a, err := r.try()
		r.ack(len(r.pending))
		if err == nil && a.caughtUp {
			return
		}
	}
	require.Fail(r.t, "a run does not end")
}

// 1,200 contacts took 600 calls: each move of the bound brought five hours of contacts
// again, in pages of 25.
func TestBackfillWhereBoundsAreEarlyAndPagesCutMovesNoBound(t *testing.T) {
	api := newAPI()
	api.order, api.pageCap, api.bound = "arrival", 25, "early"
	m := matrix{api: api, late: 10_000}
	for range 1201 {
		m.arrive()
		api.now += minute
	}
	api.now += 1000
	r := newReader(t, api, 1000, autoOverlap)
	require.LessOrEqual(t, r.calls(), 120)
	r.requireAllOnce()
}

// A run that brings nothing new and does not end must not burn the budget.
func TestRunThatBringsNothingIsAnError(t *testing.T) {
	api := newAPI()
	api.order = "newest"
	api.addMany(5000, someInstant, 1000)
	api.now += 100 * day
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	r.restart()
	var errs, streak int
	calls := 0
	for made := 1_000_000; errs < 60; calls++ { // as many as the engine makes in a day
		require.Less(t, calls, 260)
		page := make([]wisepops.Contact, 0, r.mark.next.size)
		for range r.mark.next.size { // without end, from before the bound
			page = append(page, contactAt(made, someInstant-api.rand.Int64N(1000*day)))
			made++
		}
		server, own := api.clocks()
		a, err := r.mark.take(page, server, own)
		require.False(t, a.caughtUp)
		require.Empty(t, a.fresh)
		if err == nil {
			streak = 0
			continue
		}
		require.ErrorIs(t, err, errFruitless)
		errs++
		streak++
	}
	require.Greater(t, streak, 50, "one call an attempt")
	r.poll()
	r.requireAllOnce()
}

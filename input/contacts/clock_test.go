package contacts

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func fixed(at time.Time) func(int64) time.Time {
	return func(int64) time.Time { return at }
}

func ahead(by int64) func(int64) time.Time {
	return func(now int64) time.Time { return time.UnixMilli(now + by) }
}

func TestJudge(t *testing.T) {
	const now = someInstant
	for name, c := range map[string]struct {
		clocks   clocks
		instants []int64
		marks    marks
		want     verdict
	}{
		"both agree": {
			clocks{now, now + 3000},
			[]int64{now - day},
			marks{position: now - day, safe: now - day, agreed: now - day},
			verdict{now: now, sure: now, agree: true, latest: now + 3000},
		},
		"Date is missing": {
			clocks{beginning, now},
			nil,
			marks{position: beginning, safe: beginning, agreed: beginning},
			verdict{now: now, sure: now, latest: now},
		},
		"Date of 1970": {
			clocks{1000, now},
			[]int64{now - day},
			marks{position: now - day, safe: now - day, agreed: beginning},
			verdict{now: now, sure: now, latest: now},
		},
		"Date of 1970 and an empty page": {
			clocks{1000, now},
			nil,
			marks{position: now - day, safe: now - day, agreed: now - day},
			verdict{now: now, sure: now, latest: now},
		},
		"our clock of 1970": {
			clocks{now, 1000},
			[]int64{now - day},
			marks{position: beginning, safe: beginning, agreed: beginning},
			verdict{now: now, sure: 1000, latest: now},
		},
		"the earlier one judges": {
			clocks{now + day, now},
			[]int64{now - day, now - day, now + 1000},
			marks{position: beginning, safe: beginning, agreed: beginning},
			verdict{now: now, sure: now, latest: now + day},
		},
		"both are wrong": {
			clocks{1000, 2000},
			[]int64{now},
			marks{position: beginning, safe: beginning, agreed: beginning},
			verdict{now: 2000, sure: 1000, latest: 2000},
		},
		"both lie behind the position": {
			clocks{now, now},
			nil,
			marks{position: now + day, safe: now - day, agreed: now - day},
			verdict{now: now, sure: now, agree: true, latest: now, behind: true},
		},
	} {
		require.Equal(t, c.want, c.clocks.judge(c.instants, &c.marks), name)
	}
}

// An answer dated 1970 or 2020 set the position back, and 4,999 of 5,000 contacts
// came again.
func TestOneAnswerWithAWrongDateRepeatsNothing(t *testing.T) {
	for _, date := range []time.Time{time.Unix(0, 0), time.Unix(1, 0), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for _, which := range []string{"server", "own"} {
			api := newAPI()
			api.addMany(5000, someInstant, 60_000)
			api.now = someInstant + 5000*60_000
			r := newReader(t, api, 1000, autoOverlap)
			r.poll()
			position := r.acked.position
			for i := range 6 {
				api.server, api.own = nil, nil
				if i%2 == 0 {
					if which == "server" {
						api.server = fixed(date)
					} else {
						api.own = fixed(date)
					}
				}
				api.now += 30 * minute
				require.Equal(t, 1, r.calls())
				require.GreaterOrEqual(t, r.acked.position, position)
				api.add(api.now)
				r.restart()
			}
			api.now += 30 * minute
			r.poll()
			r.requireAllOnce()
			require.True(t, r.warned(warnClocksDiffer))
			require.False(t, r.warned(warnSetBack))
		}
	}
}

// A Date that is always 1970 made each poll read everything.
func TestClockThatIsAlwaysWrongCostsNothing(t *testing.T) {
	for _, clock := range []func(int64) time.Time{fixed(time.Unix(0, 0)), fixed(time.Time{}), ahead(-400 * day), ahead(-day), ahead(400 * day), ahead(2 * 60 * minute)} {
		for _, which := range []string{"server", "own"} {
			for _, order := range []string{"oldest", "newest"} {
				api := newAPI()
				api.order = order
				api.addMany(5000, someInstant, 20*minute)
				api.now = someInstant + 5000*20*minute
				if which == "server" {
					api.server = clock
				} else {
					api.own = clock
				}
				if clock(0).IsZero() && which == "own" {
					continue
				}
				r := newReader(t, api, 1000, autoOverlap)
				calls := r.calls()
				require.LessOrEqual(t, calls, 8)
				for range 100 {
					api.now += 30 * minute
					api.add(api.now - 1000)
					require.Equal(t, 1, r.calls(), which)
					r.restart()
				}
				r.requireAllOnce()
				require.False(t, r.warned(warnSetBack))
			}
		}
	}
}

// Of contacts that came after a server's clock was corrected by 30 minutes 10 of 10
// were lost in silence, and 5 of 5 after a day.
func TestServerThatWasAheadIsForgiven(t *testing.T) {
	for _, lead := range []int64{30 * minute, day} {
		for _, gap := range []int64{1000, minute, 60 * minute} {
			for _, past := range []int{0, 5, 3000} {
				api := newAPI()
				api.addMany(past, someInstant-int64(past)*gap, gap)
				api.now = someInstant + minute
				r := newReader(t, api, 1000, autoOverlap)
				r.poll()
				api.server = ahead(lead)
				for range 20 {
					api.now += gap
					api.add(api.now + lead) // the server dates them
					r.poll()
				}
				if gap < 60*minute {
					r.restart() // ids from before the jump are stored
				}
				api.server = nil
				for range 10 {
					api.now += gap
					api.add(api.now)
					r.poll()
				}
				r.restart()
				for range 10 {
					api.now += gap
					api.add(api.now)
					r.poll()
				}
				require.Zero(t, r.lost(), "ahead by %d, a contact each %d, %d before", lead, gap, past)
				require.Zero(t, r.repeated(), "ahead by %d, a contact each %d, %d before", lead, gap, past)
			}
		}
	}
}

func TestPositionIsSetBackToWhereTheClockJumped(t *testing.T) {
	api := newAPI()
	api.now = someInstant + day
	api.addMany(10, someInstant, minute)
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	before := r.acked.position

	// Both clocks jump ahead, as a visitor's does, by a year.
	api.now += 365 * day
	api.addMany(300, api.now-1000, 1)
	r.poll()
	require.Greater(t, r.acked.position, before)
	api.now -= 365 * day
	for range 5 {
		api.now += minute
		api.add(api.now)
		r.poll()
	}
	// Clocks that agree are believed: going back is a jump of its own, and those
	// that were read with them stay.
	require.Less(t, r.acked.position, someInstant+2*day)
	require.True(t, r.warned(warnSetBack))
	require.Zero(t, r.lost())
}

func TestFutureContactDoesNotMoveTheWatermark(t *testing.T) {
	api := newAPI()
	api.now = someInstant + 10_000
	api.add(someInstant)
	api.add(someInstant + day)
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	require.EqualValues(t, someInstant, r.acked.position)
	for range 3 {
		api.now += 30 * minute
		api.add(api.now - 500)
		r.restart()
		r.poll()
	}
	api.now += day
	r.poll()
	require.Equal(t, someInstant+day, r.acked.position)
	r.requireAllOnce()
}

func TestClocksThatDifferAreToldOnce(t *testing.T) {
	api := newAPI()
	api.add(someInstant)
	api.now += minute
	r := newReader(t, api, 1000, autoOverlap)
	api.server = ahead(59_000)
	r.poll()
	require.Empty(t, r.warnings)
	api.server = ahead(2 * minute)
	r.poll()
	r.poll()
	require.Len(t, r.warnings, 1)
	require.Contains(t, r.warnings[0].text(), "2023-11-14T22:16:20")
	require.Contains(t, r.warnings[0].text(), "2023-11-14T22:14:20")
	api.server = nil
	r.poll()
	api.server = ahead(2 * minute)
	r.poll()
	require.Len(t, r.warnings, 2)
}

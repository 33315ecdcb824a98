package contacts

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// 4,488 of 5,000 contacts were missing in silence with a cap of 512, and 4,975 with 25.
func TestCappedPagesAreFound(t *testing.T) {
	for _, paging := range []string{"", "ignored"} {
		for _, order := range []string{"oldest", "newest"} {
			for _, pageCap := range []int{10, 25, 100, 512, 999} {
				api := newAPI()
				api.pageCap, api.order, api.paging = pageCap, order, paging
				api.addMany(5000, someInstant, 5000)
				api.now += 100 * day
				r := newReader(t, api, 1000, autoOverlap)
				calls := r.calls()
				if paging == "ignored" && order == "newest" {
					require.True(t, r.warned(warnGap) || r.warned(warnPageIgnored), "a cap of %d", pageCap)
					continue
				}
				require.Zero(t, r.lost(), "%s, %s, a cap of %d", paging, order, pageCap)
				require.Zero(t, r.repeated(), "%s, %s, a cap of %d", paging, order, pageCap)
				require.True(t, r.warned(warnPageCapped), "a cap of %d", pageCap)
				if paging == "" && pageCap > 10 {
					assert.LessOrEqual(t, calls, 5000/pageCap*140/100+8, "a cap of %d", pageCap)
				}
				api.now += 30 * minute
				api.add(api.now)
				r.poll()
				r.requireAllOnce()
				if pageCap > 10 {
					assert.Equal(t, 1, r.calls(), "%s, %s, a cap of %d", paging, order, pageCap)
				}
			}
		}
	}
}

func TestCapThatBeginsLaterIsFound(t *testing.T) {
	api := newAPI()
	api.addMany(5000, someInstant, 5000)
	api.now += 100 * day
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	api.pageCap = 25
	for range 60 {
		api.now += 1000
		api.add(api.now)
	}
	r.poll()
	r.requireAllOnce()
	require.True(t, r.warned(warnPageCapped))
}

// 4,001 of 5,000 were missing where the first page lacked one contact.
func TestFilteredPagesAreFound(t *testing.T) {
	for _, order := range []string{"oldest", "newest", "unsorted"} {
		for _, hide := range []int{1000, 10, 2} {
			api := newAPI()
			api.order, api.paging = order, "filtered"
			api.addMany(5000, someInstant, 5000)
			for i, e := range api.entries {
				e.hidden = i%hide == hide/2
			}
			api.now += 100 * day
			r := newReader(t, api, 1000, autoOverlap)
			r.poll()
			require.Zero(t, r.lost(), "%s, one of %d hidden", order, hide)
			require.Zero(t, r.repeated())
			require.True(t, r.warned(warnPageFiltered), "%s, one of %d hidden", order, hide)
			api.now += 30 * minute
			require.Equal(t, 1, r.calls())
		}
	}
}

// 500 of 5,500 were missing where a block was inserted behind the reader.
func TestOldBlockInsertedBehindTheReaderIsFound(t *testing.T) {
	for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
		api := newAPI()
		api.order = order
		api.addMany(5000, someInstant, 5000)
		api.now += 100 * day
		r := newReader(t, api, 1000, autoOverlap)
		r.step()
		r.step()
		r.step()
		api.addMany(500, someInstant-1_000_000, 700)
		r.poll()
		r.requireAllOnce()
		calls := r.calls()
		require.Equal(t, 1, calls, order)
	}
}

func TestOldBlockInsertedLaterIsFoundWithinAWeek(t *testing.T) {
	for _, order := range []string{"oldest", "arrival"} {
		api := newAPI()
		api.order = order
		api.addMany(5000, someInstant, 5000)
		api.now += 100 * day
		r := newReader(t, api, 1000, autoOverlap)
		r.poll()
		api.now += day
		api.addMany(500, someInstant-1_000_000, 700)
		require.Equal(t, 1, r.calls())
		require.Equal(t, 500, r.lost())
		api.now += 7 * day
		r.poll()
		r.requireAllOnce()
		require.True(t, r.warned(warnMiscounted))
		api.now += 30 * minute
		require.Equal(t, 1, r.calls())
	}
}

func TestWeeklyCheckOfWhatAgreesIsOneCall(t *testing.T) {
	api := newAPI()
	api.addMany(5000, someInstant, 5000)
	api.now += 100 * day
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	for range 3 {
		for range 10 {
			api.erase(17)
		}
		api.now += 7 * day
		require.Equal(t, 2, r.calls())
		r.restart()
		api.now += 1000
		require.Equal(t, 1, r.calls())
	}
	r.requireAllOnce()
	require.Empty(t, r.warnings)
}

// 95 calls in 20 seconds were made where the API answers 404 past the end.
func TestPastTheEndIsAskedOnce(t *testing.T) {
	for _, pastEnd := range []string{"", "404", "last"} {
		for _, order := range []string{"oldest", "newest", "unsorted"} {
			for _, gap := range []int64{0, 5000} {
				for _, n := range []int{0, 1, 2, 100, 1000, 2000} {
					api := newAPI()
					api.pastEnd, api.order = pastEnd, order
					api.addMany(n, someInstant, gap)
					api.now += day
					r := newReader(t, api, 100, autoOverlap)
					calls := r.calls()
					assert.LessOrEqual(t, calls, n/100+4, "%q, %s, gap %d, %d contacts", pastEnd, order, gap, n)
					for range 3 {
						api.now += 30 * minute
						assert.Equal(t, 1, r.calls(), "%q, %s, gap %d, %d contacts", pastEnd, order, gap, n)
					}
					r.requireAllOnce()
					require.Empty(t, r.warnings)
				}
			}
		}
	}
}

// 850 of 950 contacts were lost in one call where pages are cut to 100, and 1,470 of
// 2,500 where they are filtered.
func TestBoundedBackfillIsChecked(t *testing.T) {
	for name, set := range map[string]func(*fakeAPI){
		"":         func(*fakeAPI) {},
		"capped":   func(api *fakeAPI) { api.pageCap = 100 },
		"filtered": func(api *fakeAPI) { api.paging, api.hideOne = "filtered", 50 },
		"404":      func(api *fakeAPI) { api.pastEnd = "404" },
		"last":     func(api *fakeAPI) { api.pastEnd = "last" },
	} {
		for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
			for _, beyond := range []int{0, 40, 3000} {
				for _, n := range []int{0, 950, 2500} {
					api := newAPI()
					set(api)
					api.order = order
					api.addMany(n, someInstant, 1000)
					until := someInstant + int64(n)*1000
					api.addMany(beyond, until, 1000)
					api.now = until + day
					r := newReader(t, api, 1000, autoOverlap)
					r.before = time.UnixMilli(until)
					r.restart()
					for ended := false; !ended; {
						if !assert.Less(t, api.calls, 200, "%q, %s, %d contacts and %d beyond", name, order, n, beyond) {
							break
						}
						a := r.step()
						r.ack(1)
						if ended = a.caughtUp; ended {
							require.True(t, a.finished)
						}
						api.now += 300
						api.add(api.now) // is none of those
					}
					assert.Zero(t, r.lost(), "%q, %s, %d contacts and %d beyond", name, order, n, beyond)
					assert.Zero(t, r.repeated())
					if name == "" || name == "404" || name == "last" {
						assert.Empty(t, r.warnings, "%q, %s, %d contacts and %d beyond", name, order, n, beyond)
						assert.LessOrEqual(t, api.calls, (n+beyond)/900+5, "%q, %s, %d contacts and %d beyond", name, order, n, beyond)
					}
				}
			}
		}
	}
}

// What lies beyond collected_before comes first, newest first, and is no run in vain.
func TestBoundedBackfillReadsPastManyContactsBeyond(t *testing.T) {
	api := newAPI()
	api.order, api.pageCap = "newest", 25
	api.addMany(10, someInstant, 1000)
	api.addMany(5000, someInstant+minute, 0)
	api.now += day
	r := newReader(t, api, 1000, autoOverlap)
	r.before = time.UnixMilli(someInstant + minute)
	r.restart()
	require.True(t, r.poll().finished)
	r.requireAllOnce()
}

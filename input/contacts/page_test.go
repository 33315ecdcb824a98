package contacts

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIgnoredPageIsReadByTime(t *testing.T) {
	for _, paging := range []string{"ignored", "refused"} {
		for _, size := range []int{1, 7, 100, 1000} {
			api := newAPI()
			api.paging = paging
			api.addMany(5000, someInstant, 1700)
			api.now += 10_000_000
			r := newReader(t, api, size, autoOverlap)
			calls := r.calls()
			r.requireAllOnce() // 1,000 of 5,000 before
			if size == 1000 || paging == "ignored" {
				assert.LessOrEqual(t, calls, 12, "%s, pages of %d", paging, size)
			}
			if paging == "ignored" {
				require.True(t, r.warned(warnPageIgnored))
				require.Len(t, r.warnings, 1)
			}

			told := len(r.warnings)
			r.restart()
			api.now += 1000
			api.add(api.now)
			r.poll()
			r.requireAllOnce()
			require.Len(t, r.warnings, told, "it is remembered")
			assert.Equal(t, 1, r.calls())
		}
	}
}

func TestIgnoredPageReachesBackByTwiceTheLateness(t *testing.T) {
	api := newAPI()
	api.paging, api.order = "ignored", "arrival"
	for i := range 5000 {
		api.now += 1000
		late := int64(0)
		if i%7 == 0 {
			late = int64(i*7919) % 10_000
		}
		api.add(api.now - late)
	}
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	r.requireAllOnce()
}

func TestInstantThatCannotBeReadIsNamedAndCostsFewCalls(t *testing.T) {
	api := newAPI()
	api.paging = "ignored"
	api.addMany(10, someInstant, 1000)
	api.addMany(1500, someInstant+20_000, 0)
	api.addMany(10, someInstant+30_000, 1000)
	api.now += day
	r := newReader(t, api, 100, autoOverlap)
	var err error
	for range 20 {
		if _, err = r.try(); err != nil {
			break
		}
	}
	var unreadable *unreadableError
	require.ErrorAs(t, err, &unreadable)
	require.ErrorContains(t, err, "2023-11-14T22:13:40.123Z")
	require.Len(t, r.delivered, 1010)
	r.ack(100)
	// The engine waits from a second to 30 minutes: some 60 attempts a day.
	calls := api.calls
	for range 60 {
		_, err = r.try()
		require.Error(t, err)
	}
	require.Equal(t, 60, api.calls-calls, "one call an attempt")

	api.paging = ""
	r.restart()
	for range 20 {
		if a, err := r.try(); err == nil && a.caughtUp {
			break
		}
	}
}

func TestLargerPageIsRequestedWhereAnInstantFitsIntoIt(t *testing.T) {
	api := newAPI()
	api.paging = "ignored"
	api.addMany(900, someInstant, 0)
	api.addMany(900, someInstant+5000, 0)
	api.now += day
	r := newReader(t, api, 100, autoOverlap)
	r.poll()
	r.requireAllOnce()
}

func TestNeitherPageNorBoundIsAnError(t *testing.T) {
	api := newAPI()
	api.paging, api.bound = "ignored", "ignored"
	api.addMany(5000, someInstant, 60_000)
	api.now += 100 * day
	r := newReader(t, api, 1000, autoOverlap)
	var err error
	for range 10 {
		if _, err = r.try(); err != nil {
			break
		}
	}
	require.ErrorContains(t, err, "whatever page and collected_after")
	require.Len(t, r.delivered, 1000)
	require.Zero(t, r.repeated())
}

// The engine discards the delta of an answer that is an error: what was read must not run
// ahead of what can be acknowledged.
func TestAnswerThatIsAnErrorChangesNoProgress(t *testing.T) {
	api := newAPI()
	api.paging, api.bound = "ignored", "ignored"
	api.addMany(1500, someInstant, 0)
	api.now += day
	r := newReader(t, api, 1000, autoOverlap)
	r.after = time.UnixMilli(someInstant + minute)
	r.restart()
	var err error
	for range 10 {
		if _, err = r.try(); err != nil {
			break
		}
		r.ack(1)
	}
	require.Error(t, err)
	for i := range 3 {
		api.add(someInstant - int64(i)) // new, and left out
		_, err = r.try()
		require.Error(t, err)
		require.Equal(t, r.acked.seen, r.mark.seen)
		require.Equal(t, r.acked.total, r.mark.total)
	}
}

func TestFreshContactsDoNotKeepTheirPage(t *testing.T) {
	api := newAPI()
	api.addMany(250, someInstant, 1000)
	api.now += day
	r := newReader(t, api, 1000, autoOverlap)
	r.poll()
	require.Nil(t, r.step().fresh)

	api.add(api.now)
	page, _ := api.ask(r.mark.next)
	server, own := api.clocks()
	last := page[len(page)-1]
	a, err := r.mark.take(page, server, own)
	require.NoError(t, err)
	require.Len(t, a.fresh, 1)
	require.Equal(t, last.Raw, a.fresh[0].Raw)
	require.NotSame(t, &last.Raw[0], &a.fresh[0].Raw[0], "few contacts are copied")
	require.Less(t, cap(a.fresh), 10)

	api = newAPI()
	api.addMany(250, someInstant, 1000)
	api.now += day
	r = newReader(t, api, 1000, autoOverlap)
	page, _ = api.ask(r.mark.next)
	first := page[0]
	a, err = r.mark.take(page, server, own)
	require.NoError(t, err)
	require.Same(t, &first.Raw[0], &a.fresh[0].Raw[0], "many are not")
}

// A contact that appears 2.5 seconds late was lost where a poll came a second after
// collected_before.
func TestBackfillWaitsForLateContacts(t *testing.T) {
	api := newAPI()
	api.order = "arrival"
	api.addMany(50, someInstant, 1000)
	api.server = time.UnixMilli
	until := int64(someInstant + 100_000)
	api.now = until + 1000
	r := newReader(t, api, 1000, autoOverlap)
	r.before = time.UnixMilli(until)
	r.restart()
	require.False(t, r.poll().finished)
	api.now += 2000
	api.add(until - 500)
	api.now = until + lateReach - 1
	require.False(t, r.poll().finished)
	api.now++
	require.True(t, r.poll().finished)
	r.requireAllOnce()

	r.overlap = time.Hour
	r.restart()
	require.False(t, r.poll().finished)
	api.now = until + 60*minute
	require.True(t, r.poll().finished)
}

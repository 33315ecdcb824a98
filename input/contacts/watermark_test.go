package contacts

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQuietPollIsOneCall(t *testing.T) {
	for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
		for _, n := range []int{0, 1, 99, 1000, 1001, 2500} {
			for _, gap := range []int64{5000, 3, 0} {
				api := newAPI()
				api.order = order
				api.addMany(n, someInstant, gap)
				api.now += 10 * day
				r := newReader(t, api, 1000, autoOverlap)
				r.poll()
				for range 5 {
					api.now += 30 * minute
					assert.Equal(t, 1, r.calls(), "%s, %d contacts, a gap of %d", order, n, gap)
				}
				r.restart()
				assert.Equal(t, 1, r.calls(), "after a restart: %s, %d contacts, a gap of %d", order, n, gap)
				r.requireAllOnce()
				require.Empty(t, r.warnings)
			}
		}
	}
}

func TestBackfillCostsOneCallAPage(t *testing.T) {
	for name, gap := range map[string]int64{"sparse": 60_000, "second": 1000, "dense": 100, "denser": 7, "one instant": 0} {
		for _, order := range []string{"oldest", "arrival", "newest", "unsorted"} {
			t.Run(name+"/"+order, func(t *testing.T) {
				api := newAPI()
				api.order = order
				const n = 20_000
				api.addMany(n, someInstant, gap)
				api.now += 100 * day
				r := newReader(t, api, 1000, autoOverlap)
				calls := r.calls()
				r.requireAllOnce()
				assert.LessOrEqual(t, calls, n/1000+3)
				require.Empty(t, r.warnings)
			})
		}
	}
}

func TestSweepsAreToldApartForEver(t *testing.T) {
	api := newAPI()
	api.addMany(10, someInstant, 1000)
	r := newReader(t, api, 1000, autoOverlap)
	r.step()
	w := r.mark
	w.startSweep(beginning)
	id := api.entries[0].contact.ID
	*w.ids.find(id) = w.sweep.number
	require.Equal(t, 2, w.nthInSweep(id))
	for range 255 {
		w.startSweep(beginning)
		require.Equal(t, 1, w.nthInSweep(id))
	}
}

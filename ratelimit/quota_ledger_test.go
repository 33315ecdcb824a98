package ratelimit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const hour = int64(time.Hour / time.Millisecond)

func TestCallCountsUntilAWindowAfterItsBucket(t *testing.T) {
	l := newLedger(720 * time.Hour)
	for range 3 {
		l.charge(1000*hour+5, 1000*hour+5)
	}
	l.charge(1001*hour, 1001*hour)
	assert.Equal(t, 4, l.spent(1001*hour))
	assert.Equal(t, 4, l.spent(1721*hour-1))
	assert.Equal(t, 1, l.spent(1721*hour))
	assert.Equal(t, 0, l.spent(1722*hour))
}

func TestFreeAt(t *testing.T) {
	l := newLedger(720 * time.Hour)
	require.Equal(t, int64(7), l.freeAt(7, 1))
	for range 3 {
		l.charge(1000*hour, 1000*hour)
	}
	l.charge(1010*hour, 1010*hour)
	for limit, want := range map[int]int64{5: 1020 * hour, 4: 1721 * hour, 3: 1721 * hour, 2: 1721 * hour, 1: 1731 * hour} {
		assert.Equal(t, want, l.freeAt(1020*hour, limit), limit)
	}
}

func TestClockThatIsSetBackLetsNoCallOff(t *testing.T) {
	l := newLedger(720 * time.Hour)
	l.charge(1000*hour, 1000*hour)
	assert.Equal(t, 1, l.spent(1))
	l.charge(1, 1)
	assert.Equal(t, 2, l.spent(1000*hour))
	// Forth and back again.
	assert.Equal(t, 0, l.spent(2000*hour))
	l.latest = 1001 * hour
	assert.Equal(t, 2, l.spent(1001*hour))
}

func TestLedgerSurvivesItsEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger(time.Duration(rapid.IntRange(1, 1000).Draw(t, "hours")) * time.Hour)
		now := rapid.Int64Range(-hour, 1<<45).Draw(t, "now")
		for range rapid.IntRange(0, 50).Draw(t, "calls") {
			now += rapid.Int64Range(-hour, 50*hour).Draw(t, "step")
			l.charge(now, now)
		}
		data, err := l.encode()
		require.NoError(t, err)
		again := newLedger(l.window)
		require.NoError(t, again.decode(data))
		require.Equal(t, l.spent(now), again.spent(now))
		require.Equal(t, l.freeAt(now, 1), again.freeAt(now, 1))
	})
}

func TestDecodeLedgerSaysWhatIsWrong(t *testing.T) {
	for data, want := range map[string]string{
		"":                         "empty",
		"{":                        "not the JSON of a ledger",
		"[]":                       "not the JSON of a ledger",
		"{}":                       "not the JSON of a ledger",
		"null":                     "not the JSON of a ledger",
		`{"version":2}`:            "newer version",
		`{"version":1}`:            "not the JSON of a ledger",
		`{"version":1,"latest":0}`: "not the JSON of a ledger",
		`{"version":1,"latest":0,"buckets":[{"end":1,"calls":-1}]}`:                  "no ledger holds",
		`{"version":1,"latest":0,"buckets":[{"end":9223372036854775807,"calls":1}]}`: "no ledger holds",
	} {
		assert.ErrorContains(t, newLedger(time.Hour).decode([]byte(data)), want, data)
	}
}

func FuzzDecodeLedger(f *testing.F) {
	f.Add([]byte(`{"version":1,"latest":1000,"buckets":[{"end":2000,"calls":3}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLedger(time.Hour)
		if l.decode(data) == nil {
			before := l.spent(hour)
			l.charge(hour, hour)
			require.Equal(t, before+1, l.spent(hour))
			require.GreaterOrEqual(t, l.freeAt(hour, 1), hour)
		}
	})
}

// However processes crash and restart, with whatever limits, and whatever the clock
// is set back to, no window sees more calls than were allowed in it.
func TestNoWindowSeesMoreCallsThanItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := 720 * time.Second
		ms := window.Milliseconds()
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		var (
			l      = newLedger(window)
			stored []byte
			truth  = int64(1e12)
			offset int64 // of the clock
			calls  []int64
		)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				truth += rapid.Int64Range(0, ms/2).Draw(t, "passes")
			case 3: // a crash, and a clock that is set back meanwhile
				offset -= rapid.Int64Range(0, ms/4).Draw(t, "set back")
				l = newLedger(window)
				if stored != nil {
					require.NoError(t, l.decode(stored))
				}
			default:
				now := truth + offset
				if l.spent(now) >= limit {
					free := l.freeAt(now, limit)
					require.Greater(t, free, now)
					require.Less(t, l.spent(free), limit)
					if stored != nil {
						l = newLedger(window)
						require.NoError(t, l.decode(stored))
					}
					continue
				}
				l.charge(now, now)
				var err error
				stored, err = l.encode()
				require.NoError(t, err)
				calls = append(calls, truth)
			}
		}
		for i, first := range calls {
			n := 0
			for _, at := range calls[i:] {
				if at-first < ms {
					n++
				}
			}
			require.LessOrEqual(t, n, limit)
		}
	})
}

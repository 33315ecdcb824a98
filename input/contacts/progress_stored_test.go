package contacts

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDecodeProgressSaysWhatIsWrong(t *testing.T) {
	for data, want := range map[string]string{
		"":                             "empty",
		"{":                            "not the JSON of a watermark",
		"[]":                           "not the JSON of a watermark",
		"{}":                           "not the JSON of a watermark",
		`{"version":0}`:                "not the JSON of a watermark",
		`{"version":3}`:                "newer version",
		`{"version":1,"wisepop_id":7}`: "it holds no position",
		`{"version":2,"wisepop_id":7}`: "it holds no position",
		`{"version":2,"wisepop_id":8}`: "belongs to wisepop_id 8",
		`{"version":1,"wisepop_id":7,"position":"soon"}`:                                    "not a time",
		`{"version":2,"wisepop_id":7,"position":"","safe":"soon"}`:                          "not a time",
		`{"version":1,"wisepop_id":7,"position":"","seen":{"x":[]}}`:                        "not a time",
		`{"version":1,"wisepop_id":7,"position":"","seen":{"2026-01-01T00:00:00Z":["zz"]}}`: "contact id",
		`{"version":2,"wisepop_id":7,"position":"","undated":["3e"]}`:                       "contact id",
		`{"version":2,"wisepop_id":7,"position":"","sweep":{"end":1,"last":["x"]}}`:         "contact id",
	} {
		_, err := decodeProgress([]byte(data), 7)
		require.ErrorContains(t, err, want, data)
	}
}

// A watermark of format 1 goes on: its overlap, a second, may be delivered again, and
// nothing else.
func TestFirstFormatGoesOn(t *testing.T) {
	const first = `{"version":1,"wisepop_id":7,"website":"abcd","position":"2023-11-14T22:13:20.123Z","ordered":true,` +
		`"seen":{"2023-11-14T22:13:20.123Z":["3e387188b05a61a130ee504a762623e0"]},"undated":["3e387188b05a61a130ee504a762623e1"]}`
	p, err := decodeProgress([]byte(first), 7)
	require.NoError(t, err)
	require.True(t, p.migrated)
	require.Equal(t, "abcd", p.website)
	require.Zero(t, p.size(), "ids of another format")
	require.EqualValues(t, someInstant, p.position)

	api := newAPI()
	api.addMany(5000, someInstant-5000*300, 300)
	api.now = someInstant + minute
	read := len(api.entries)
	for range 50 {
		api.now += 5000
		api.add(api.now)
	}
	r := newReader(t, api, 1000, autoOverlap)
	r.acked = p
	r.mark = newWatermark(p.clone(), 1000, autoOverlap, time.Time{}, time.Time{})
	r.poll()
	again := 0
	for _, e := range api.entries[:read] {
		again += r.delivered[string(e.contact.Raw)]
	}
	require.LessOrEqual(t, again, 7, "two seconds of contacts")
	for _, e := range api.entries[read:] {
		require.Equal(t, 1, r.delivered[string(e.contact.Raw)])
	}
	require.Empty(t, r.warnings)

	// From then on it is of format 2, and repeats nothing.
	r.restart()
	require.False(t, r.acked.migrated)
	delivered := len(r.delivered)
	api.now += minute
	require.Equal(t, 1, r.calls())
	require.Len(t, r.delivered, delivered)
	require.Zero(t, r.repeated())
}

func TestProgressIsStoredWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMatrix(t)
		r := newReader(t, m.api, m.pageSize, m.overlap)
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			if _, err := r.try(); err != nil {
				break
			}
			r.ack(1)
			data, err := r.acked.encode(7)
			require.NoError(t, err)
			stored, err := decodeProgress(data, 7)
			require.NoError(t, err)
			require.Equal(t, r.acked, stored)
			again, err := stored.encode(7)
			require.NoError(t, err)
			require.Equal(t, string(data), string(again))
		}
	})
}

func FuzzDecodeProgress(f *testing.F) {
	f.Add([]byte(`{"version":1,"wisepop_id":7,"position":"2026-01-01T00:00:00.000Z","ordered":true,"seen":{"2026-01-01T00:00:00.000Z":["3e387188b05a61a130ee504a762623e0"]}}`))
	f.Add([]byte(`{"version":2,"wisepop_id":7,"position":"2026-01-01T00:00:00.000Z","keep_from":"2025-12-31T00:00:00.000Z","total":12,"checked":"2026-01-01T00:00:00.000Z","api":{"page_cap":25},"tail":{"after":"2025-12-31T00:00:00.000Z","total":3},"sweep":{"after":"","end":5,"now":"","latest":"","safe":"","keep_from":"","last":["3e387188b05a61a130ee504a762623e0"]},"seen":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodeProgress(data, 7)
		if err != nil {
			return
		}
		again, err := p.encode(7)
		require.NoError(t, err)
		q, err := decodeProgress(again, 7)
		require.NoError(t, err)
		p.migrated = false
		require.Equal(t, p, q)
		newWatermark(p.clone(), 1000, autoOverlap, time.Time{}, time.Time{})
	})
}

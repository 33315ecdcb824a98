package performance

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

var snapshotTime = time.Date(2026, 1, 31, 10, 0, 0, 412_000_000, time.UTC)

func popupOf(t require.TestingT, id int64, raw string, counts ...int64) wisepops.Campaign {
	members := map[string]any{}
	if raw != "" {
		require.NoError(t, json.Unmarshal([]byte(raw), &members))
	}
	if id != 0 {
		members["id"] = id
	}
	c := wisepops.Campaign{ID: id}
	for i, to := range []**int64{&c.DisplayCount, &c.ClickCount, &c.EmailCount} {
		if i < len(counts) {
			*to = &counts[i]
			members[countNames[i]] = counts[i]
		}
	}
	var err error
	c.Raw, err = json.Marshal(members)
	require.NoError(t, err)
	return c
}

// deltas delivers a snapshot, and returns the delta of each of its messages as
// JSON, empty where there is none.
func deltas(t *testing.T, s *snapshotState, changedOnly bool, campaigns ...wisepops.Campaign) []string {
	t.Helper()
	messages, after, err := s.next(campaigns, snapshotTime, changedOnly)
	require.NoError(t, err)
	*s = after
	found := make([]string, len(messages))
	for i, m := range messages {
		var content struct {
			Delta json.RawMessage `json:"delta"`
		}
		require.NoError(t, json.Unmarshal(m.content, &content))
		found[i] = string(content.Delta)
	}
	return found
}

func TestDeltas(t *testing.T) {
	grown := func(display, click, email string) string {
		return `{"click_count":` + click + `,"display_count":` + display + `,"email_count":` + email + `}`
	}
	var s snapshotState
	require.Equal(t, []string{""}, deltas(t, &s, false, popupOf(t, 1, "", 100, 20, 10)), "no earlier snapshot")
	require.Equal(t, []string{grown("5", "0", "1")}, deltas(t, &s, false, popupOf(t, 1, "", 105, 20, 11)))
	require.Equal(t, []string{grown("1", "20", "3")}, deltas(t, &s, false, popupOf(t, 1, "", 106, 40, 3)), "a count that fell is a reset")
	require.Equal(t, []string{grown("0", "0", "0"), grown("9", "8", "7")},
		deltas(t, &s, false, popupOf(t, 1, "", 106, 40, 3), popupOf(t, 2, "", 9, 8, 7)), "a pop-up that appears grew from nothing")
	require.Equal(t, []string{grown("1", "1", "1")}, deltas(t, &s, false, popupOf(t, 2, "", 10, 9, 8)))
	require.Equal(t, []string{grown("4", "0", "0")}, deltas(t, &s, false, popupOf(t, 1, "", 110, 40, 3)), "one that vanished comes back")
	require.Equal(t, []string{grown("0", "null", "null")}, deltas(t, &s, false, popupOf(t, 1, "", 110)), "counts that are missing")
	require.Equal(t, []string{grown("0", "2", "1")}, deltas(t, &s, false, popupOf(t, 1, "", 110, 42, 4)), "are remembered")
	require.Equal(t, []string{""}, deltas(t, &s, false, popupOf(t, 0, "", 1, 1, 1)), "a pop-up without an id is not known")
	require.Empty(t, deltas(t, &s, false))
}

func TestChangedOnlyLeavesOutWhatIsTheSame(t *testing.T) {
	var s snapshotState
	a, b := popupOf(t, 1, `{"label":"a","tags":[1.5,"<b>"]}`, 1, 1, 1), popupOf(t, 2, `{"label":"b"}`, 1, 1, 1)
	require.Len(t, deltas(t, &s, true, a, b), 2)
	require.Empty(t, deltas(t, &s, true, a, b))
	respelled := a
	respelled.Raw = []byte(`{ "email_count":1, "display_count":1,"click_count":1, "tags":[1.5,"\u003cb\u003e"],"label":"\u0061", "id":1 }`)
	require.Empty(t, deltas(t, &s, true, respelled, b), "the same in other bytes")
	require.Len(t, deltas(t, &s, true, popupOf(t, 1, `{"label":"new","tags":[1.5,"<b>"]}`, 1, 1, 1), b), 1, "a label changed")
	require.Len(t, deltas(t, &s, true, b, popupOf(t, 3, "", 0, 0, 0)), 1, "a pop-up is new")
	require.Len(t, deltas(t, &s, true, popupOf(t, 0, "", 1, 1, 1)), 1, "it has no id to know it by")
}

func TestContentIsTheApisObjectAndWhatIsAdded(t *testing.T) {
	c := popupOf(t, 7, `{}`)
	c.Raw = []byte(`{"id":7,"label":"50% & <more>","created_at":"2017-02-27 15:29:43","huge":12345678901234567890123,"none":null}`)
	c.CreatedAt = time.Date(2017, 2, 27, 15, 29, 43, 0, time.UTC)
	messages, _, err := snapshotState{}.next([]wisepops.Campaign{c}, snapshotTime, false)
	require.NoError(t, err)
	require.Equal(t, `{"created_at":"2017-02-27 15:29:43","created_at_utc":"2017-02-27T15:29:43Z","huge":12345678901234567890123,"id":7,`+
		`"label":"50% & <more>","none":null,"snapshot_at":"2026-01-31T10:00:00.412Z"}`, string(messages[0].content))

	c.Raw, c.CreatedAt = []byte(`{"id":7,"created_at":null}`), time.Time{}
	messages, _, err = snapshotState{}.next([]wisepops.Campaign{c}, snapshotTime, false)
	require.NoError(t, err)
	require.JSONEq(t, `{"id":7,"created_at":null,"created_at_utc":null,"snapshot_at":"2026-01-31T10:00:00.412Z"}`, string(messages[0].content))
}

// The deltas add up to how much the counts grew since the first snapshot.
func TestDeltasAddUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var s snapshotState
		counts, first, sums := map[int64]int64{}, map[int64]int64{}, map[int64]int64{}
		for range rapid.IntRange(1, 12).Draw(rt, "snapshots") {
			var campaigns []wisepops.Campaign
			for id := int64(1); id <= 3; id++ {
				counts[id] += rapid.Int64Range(0, 5).Draw(rt, "growth")
				if rapid.Bool().Draw(rt, "present") {
					campaigns = append(campaigns, popupOf(rt, id, "", counts[id], counts[id], counts[id]))
				}
			}
			messages, after, err := s.next(campaigns, snapshotTime, rapid.Bool().Draw(rt, "changed"))
			require.NoError(rt, err)
			for _, m := range messages {
				var content struct {
					Total int64             `json:"display_count"`
					Delta map[string]*int64 `json:"delta"`
				}
				require.NoError(rt, json.Unmarshal(m.content, &content))
				if content.Delta == nil {
					require.Zero(rt, sums[m.id])
					first[m.id] = content.Total
					continue
				}
				sums[m.id] += *content.Delta["display_count"]
				require.Equal(rt, content.Total, first[m.id]+sums[m.id])
			}
			data, err := after.encode("site")
			require.NoError(rt, err)
			var website string
			s, website, err = decodeSnapshot(data)
			require.NoError(rt, err)
			require.Equal(rt, "site", website)
		}
	})
}

func TestUnreadableSnapshots(t *testing.T) {
	for data, reason := range map[string]string{
		"":                                "empty",
		"{":                               "damaged",
		"null":                            "damaged",
		`{"version":1}`:                   "damaged",
		`{"version":0,"popups":{}}`:       "damaged",
		`{"version":1,"popups":{"x":{}}}`: "damaged",
		`{"version":2,"popups":{}}`:       "newer version",
	} {
		_, _, err := decodeSnapshot([]byte(data))
		require.ErrorContains(t, err, reason, data)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add([]byte(`{"version":1,"website":"0a1b2c3d","popups":{"12345":{"counts":[100,null,20],"digest":"00ff"}}}`))
	f.Add([]byte(`{"version":1,"popups":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, website, err := decodeSnapshot(data)
		if err != nil {
			return
		}
		again, err := s.encode(website)
		require.NoError(t, err)
		same, sameSite, err := decodeSnapshot(again)
		require.NoError(t, err)
		require.Equal(t, s, same)
		require.Equal(t, website, sameSite)
	})
}

package input_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func newPerformanceHarness(t *testing.T) *harness {
	h := newHarness(t, sandbox.Options{})
	h.conf = "wisepops_performance:"
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 10}, sandbox.Campaign{ID: 2, DisplayCount: 20})
	return h
}

// displays returns what was delivered, oldest first: the pop-up, its displays and
// their growth, or -1 where there is none.
func (h *harness) displays() [][3]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	type line struct {
		at    string
		entry [3]int64
	}
	var lines []line
	for raw := range h.delivered {
		var content struct {
			ID         int64             `json:"id"`
			Displays   int64             `json:"display_count"`
			Delta      map[string]*int64 `json:"delta"`
			SnapshotAt string            `json:"snapshot_at"`
		}
		require.NoError(h.t, json.Unmarshal([]byte(raw), &content))
		growth := int64(-1)
		if d := content.Delta["display_count"]; d != nil {
			growth = *d
		}
		lines = append(lines, line{content.SnapshotAt, [3]int64{content.ID, content.Displays, growth}})
	}
	slices.SortFunc(lines, func(a, b line) int {
		if a.at != b.at {
			return map[bool]int{true: -1, false: 1}[a.at < b.at]
		}
		return int(a.entry[0] - b.entry[0])
	})
	entries := make([][3]int64, len(lines))
	for i, l := range lines {
		entries[i] = l.entry
	}
	return entries
}

func (h *harness) calls() int { return h.sandbox.Calls().Total }

func TestSnapshotsOfScheduledRunsAreCompared(t *testing.T) {
	h := newPerformanceHarness(t)
	h.runToEnd("")
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 15}, sandbox.Campaign{ID: 3, DisplayCount: 4})
	h.runToEnd("")
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 2, DisplayCount: 5})
	h.runToEnd("")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}, {1, 15, 5}, {3, 4, 4}, {2, 5, 5}}, h.displays())
	require.Equal(t, 3, h.calls(), "a snapshot is one call")
	require.NotRegexp(t, "WARN|ERROR", h.logged())
}

func TestSnapshotsFollowEachOther(t *testing.T) {
	h := newPerformanceHarness(t)
	stop := h.start("emit: changed")
	eventually(t, func() bool { return h.calls() >= 3 })
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 11}, sandbox.Campaign{ID: 2, DisplayCount: 20})
	eventually(t, func() bool { return h.count() >= 3 })
	stop()
	h.runToEnd("emit: changed")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}, {1, 11, 1}}, h.displays())
}

func TestNoPopupsAtAll(t *testing.T) {
	h := newPerformanceHarness(t)
	h.sandbox.SetCampaigns()
	h.runToEnd("")
	require.Empty(t, h.displays())
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 2})
	h.runToEnd("")
	require.Equal(t, [][3]int64{{1, 2, 2}}, h.displays())
}

// The output refuses twice: what was refused is in the next snapshot, with the
// growth since the one that was delivered.
func TestRefusedSnapshotIsTakenAgain(t *testing.T) {
	h := newPerformanceHarness(t)
	h.runToEnd("")
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 15}, sandbox.Campaign{ID: 2, DisplayCount: 20})
	h.refuse = func(n int) bool { return n == 2 || n == 3 }
	h.runToEnd("auto_replay_nacks: false\nemit: changed")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}, {1, 15, 5}}, h.displays())
	require.Equal(t, 4, h.calls())
	require.Contains(t, h.logged(), "refused downstream")

	h.refuse = func(n int) bool { return n < 7 }
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 2, DisplayCount: 21})
	h.runToEnd("emit: changed")
	require.Equal(t, [3]int64{2, 21, 1}, h.displays()[3])
	require.Equal(t, 5, h.calls(), "a replay costs no call")
}

func TestFailedCallsAreTriedAgain(t *testing.T) {
	h := newPerformanceHarness(t)
	var calls atomic.Int32
	h.sandbox.Control(func(*http.Request) *sandbox.Fault {
		switch calls.Add(1) {
		case 1:
			return &sandbox.Fault{Body: []byte("<html>busy")}
		case 2:
			return &sandbox.Fault{Status: 500}
		}
		return nil
	})
	h.runToEnd("max_retries: 0")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}}, h.displays())
	require.EqualValues(t, 3, calls.Load())
	require.Contains(t, h.logged(), "not a list of pop-ups")
}

// A run whose state cannot be written does not end before it was.
func TestSnapshotIsStoredHoweverOftenThatFails(t *testing.T) {
	h := newPerformanceHarness(t)
	h.cache.breakWrites(errors.New("disk full"))
	h.refuse = func(int) bool { // the first batch is on its way: its acknowledgement fails to be stored, then not
		time.AfterFunc(50*time.Millisecond, func() { h.cache.breakWrites(nil) })
		return false
	}
	h.runToEnd("")
	require.Equal(t, 1, h.cache.writes)
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 11})
	h.runToEnd("")
	require.Equal(t, [3]int64{1, 11, 1}, h.displays()[2])
}

func TestSpentBudgetLeavesTheInputConnected(t *testing.T) {
	h := newPerformanceHarness(t)
	h.limit = func() time.Duration { return time.Hour }
	stop := h.start("rate_limit: budget")
	eventually(t, func() bool { return strings.Contains(h.logged(), "is now active") })
	stop() // at once, although the wait is an hour
	require.Zero(t, h.calls())
	require.NotRegexp(t, "WARN|ERROR", h.logged())
}

func TestUnreadableSnapshotIsAnErrorWithoutACall(t *testing.T) {
	h := newPerformanceHarness(t)
	h.cache.values["wisepops_performance"] = []byte(`{"version":9,"popups":{}}`)
	stop := h.start("")
	eventually(t, func() bool { return strings.Contains(h.logged(), "newer version") })
	stop()
	require.Contains(t, h.logged(), "checkpoint_cache_key")
	require.Zero(t, h.calls())
}

func TestPerformanceConfigErrors(t *testing.T) {
	for fields, want := range map[string]string{
		`api_key: " "`:                             "api_key is empty",
		"api_key: demo\n  emit: some":              "emit must be all or changed",
		"api_key: demo\n  poll_interval: 0s":       "poll_interval must be longer than zero",
		"api_key: demo\n  checkpoint_cache: other": "no cache resource with that label",
		"api_key: demo\n  checkpoint_cache_key: \"\"\n  checkpoint_cache: state": "checkpoint_cache_key is empty",
	} {
		h := newPerformanceHarness(t)
		b := h.env.NewStreamBuilder()
		b.DisableLinting()
		b.SetPrintLogger(printer{h})
		err := errors.Join(
			b.AddCacheYAML(`{label: state, flaky: {}}`),
			b.AddInputYAML("wisepops_performance:\n  "+fields),
			b.AddBatchConsumerFunc(h.consume),
		)
		require.NoError(t, err)
		s, err := b.Build()
		if err == nil {
			err = s.Run(t.Context())
		}
		require.ErrorContains(t, err, want)
	}
}

// The refusal comes when another snapshot has long been due: that one waits, so that its
// growth is the whole one.
func TestNoSnapshotIsTakenWhileOneMayBeRefused(t *testing.T) {
	h := newPerformanceHarness(t)
	h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 100})
	h.refuse = func(n int) bool {
		switch n {
		case 1:
			h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 110})
		case 2:
			h.sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 130})
			<-time.After(300 * time.Millisecond) // three times the interval
			return true
		}
		return false
	}
	stop := h.start("emit: changed\nauto_replay_nacks: false")
	eventually(t, func() bool { return h.count() == 2 })
	stop()
	require.Equal(t, [][3]int64{{1, 100, -1}, {1, 130, 30}}, h.displays())
}

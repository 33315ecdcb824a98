package performance_test

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
	"go.uber.org/goleak"

	_ "github.com/wisepops-connect/wisepops-connect/input/performance"
	"github.com/wisepops-connect/wisepops-connect/internal/inputtest"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

type harness struct{ *inputtest.Harness }

func newPerformanceHarness(t *testing.T) *harness {
	h := &harness{inputtest.New(t, sandbox.Options{})}
	h.Conf = "wisepops_performance:"
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 10}, sandbox.Campaign{ID: 2, DisplayCount: 20})
	return h
}

// displays returns what was delivered, oldest first: the pop-up, its displays and
// their growth, or -1 where there is none.
func (h *harness) displays() [][3]int64 {
	type line struct {
		at    string
		entry [3]int64
	}
	var lines []line
	for raw := range h.Delivered() {
		var content struct {
			ID         int64             `json:"id"`
			Displays   int64             `json:"display_count"`
			Delta      map[string]*int64 `json:"delta"`
			SnapshotAt string            `json:"snapshot_at"`
		}
		require.NoError(h.T, json.Unmarshal([]byte(raw), &content))
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

func (h *harness) calls() int { return h.Sandbox.Calls().Total }

func TestSnapshotsOfScheduledRunsAreCompared(t *testing.T) {
	h := newPerformanceHarness(t)
	h.RunToEnd("")
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 15}, sandbox.Campaign{ID: 3, DisplayCount: 4})
	h.RunToEnd("")
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 2, DisplayCount: 5})
	h.RunToEnd("")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}, {1, 15, 5}, {3, 4, 4}, {2, 5, 5}}, h.displays())
	require.Equal(t, 3, h.calls(), "a snapshot is one call")
	require.NotRegexp(t, "WARN|ERROR", h.Logged())
}

func TestSnapshotsFollowEachOther(t *testing.T) {
	h := newPerformanceHarness(t)
	stop := h.Start("emit: changed")
	inputtest.Eventually(t, func() bool { return h.calls() >= 3 })
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 11}, sandbox.Campaign{ID: 2, DisplayCount: 20})
	inputtest.Eventually(t, func() bool { return h.Count() >= 3 })
	stop()
	h.RunToEnd("emit: changed")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}, {1, 11, 1}}, h.displays())
}

func TestNoPopupsAtAll(t *testing.T) {
	h := newPerformanceHarness(t)
	h.Sandbox.SetCampaigns()
	h.RunToEnd("")
	require.Empty(t, h.displays())
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 2})
	h.RunToEnd("")
	require.Equal(t, [][3]int64{{1, 2, 2}}, h.displays())
}

// What is rejected is delivered again as it was, which costs no call, and what follows is
// compared with it.
func TestRejectedSnapshotIsDeliveredAgain(t *testing.T) {
	h := newPerformanceHarness(t)
	h.Reject(func(n int) bool { return n < 5 })
	h.RunToEnd("emit: changed")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}}, h.displays())
	require.Equal(t, 1, h.calls())

	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 15}, sandbox.Campaign{ID: 2, DisplayCount: 20})
	h.RunToEnd("emit: changed")
	require.Equal(t, [3]int64{1, 15, 5}, h.displays()[2])
	require.Equal(t, 2, h.calls())
}

// A snapshot that is rejected for long holds up neither the next one nor its growth.
func TestSnapshotsFollowWhileOneIsRejected(t *testing.T) {
	h := newPerformanceHarness(t)
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 100})
	stop := h.Start("emit: changed")
	inputtest.Eventually(t, func() bool { return h.Count() == 1 })
	h.Reject(func(int) bool { return true })
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 110})
	calls := h.calls()
	inputtest.Eventually(t, func() bool { return h.calls() > calls+1 })
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 130})
	calls = h.calls()
	inputtest.Eventually(t, func() bool { return h.calls() > calls+1 })
	h.Reject(nil)
	inputtest.Eventually(t, func() bool { return h.Count() == 3 })
	stop()
	require.Equal(t, [][3]int64{{1, 100, -1}, {1, 110, 10}, {1, 130, 20}}, h.displays())
}

func TestFailedCallsAreTriedAgain(t *testing.T) {
	h := newPerformanceHarness(t)
	var calls atomic.Int32
	h.Sandbox.Control(func(*http.Request) *sandbox.Fault {
		switch calls.Add(1) {
		case 1:
			return &sandbox.Fault{Body: []byte("<html>busy")}
		case 2:
			return &sandbox.Fault{Status: 500}
		}
		return nil
	})
	h.RunToEnd("max_retries: 0")
	require.Equal(t, [][3]int64{{1, 10, -1}, {2, 20, -1}}, h.displays())
	require.EqualValues(t, 3, calls.Load())
	require.Contains(t, h.Logged(), "not a list of pop-ups")
}

// A run whose state cannot be written does not end before it was.
func TestSnapshotIsStoredHoweverOftenThatFails(t *testing.T) {
	h := newPerformanceHarness(t)
	h.Cache.BreakWrites(errors.New("disk full"))
	h.Reject(func(int) bool { // the first batch is on its way: its acknowledgement fails to be stored, then not
		time.AfterFunc(50*time.Millisecond, func() { h.Cache.BreakWrites(nil) })
		return false
	})
	h.RunToEnd("")
	require.Equal(t, 1, h.Cache.Writes())
	h.Sandbox.SetCampaigns(sandbox.Campaign{ID: 1, DisplayCount: 11})
	h.RunToEnd("")
	require.Equal(t, [3]int64{1, 11, 1}, h.displays()[2])
}

func TestSpentBudgetLeavesTheInputConnected(t *testing.T) {
	h := newPerformanceHarness(t)
	h.Limit = func() time.Duration { return time.Hour }
	stop := h.Start("rate_limit: budget")
	inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "is now active") })
	stop() // at once, although the wait is an hour
	require.Zero(t, h.calls())
	require.NotRegexp(t, "WARN|ERROR", h.Logged())
}

func TestUnreadableSnapshotIsAnErrorWithoutACall(t *testing.T) {
	h := newPerformanceHarness(t)
	h.Cache.Put("wisepops_performance", `{"version":9,"popups":{}}`)
	stop := h.Start("")
	inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "newer version") })
	stop()
	require.Contains(t, h.Logged(), "checkpoint_cache_key")
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
		b := h.Env.NewStreamBuilder()
		b.DisableLinting()
		b.SetPrintLogger(h.Logger())
		err := errors.Join(
			b.AddCacheYAML(`{label: state, flaky: {}}`),
			b.AddInputYAML("wisepops_performance:\n  "+fields),
			b.AddBatchConsumerFunc(h.Consume),
		)
		require.NoError(t, err)
		s, err := b.Build()
		if err == nil {
			err = s.Run(t.Context())
		}
		require.ErrorContains(t, err, want)
	}
}

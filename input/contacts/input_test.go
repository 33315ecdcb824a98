package contacts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	_ "github.com/wisepops-connect/wisepops-connect/input/contacts"
	"github.com/wisepops-connect/wisepops-connect/internal/inputtest"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestFollowDeliversPastAndNewContactsOnceAcrossRestarts(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 350})
	for range 3 {
		stop := h.Start("")
		inputtest.Eventually(t, func() bool { return h.Count() == h.Sandbox.Len() })
		h.Sandbox.Add(sandbox.Contact{}, sandbox.Contact{})
		inputtest.Eventually(t, func() bool { return h.Count() == h.Sandbox.Len() })
		stop()
	}
	h.RequireAllOnce()
}

func TestMessageIsTheContactsOwnBytesWithMetadata(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{})
	raw := `{"wisepop_id": 12345,"fields":{"Name":"Zo\u00eb","email":"a@example.com"}, "collected_at":"2019-10-10T12:10:58.389+02:00"}`
	at, err := time.Parse(time.RFC3339, "2019-10-10T12:10:58.389+02:00")
	require.NoError(t, err)
	h.Sandbox.AddRaw(at, []byte(raw))
	b := h.Env.NewStreamBuilder()
	b.SetPrintLogger(h.Logger())
	require.NoError(t, b.AddInputYAML(fmt.Sprintf(`wisepops_contacts: {api_key: demo, base_url: "%s", checkpoint_cache: "", follow: false}`, h.URL)))
	meta := map[string]string{}
	require.NoError(t, b.AddConsumerFunc(func(_ context.Context, m *service.Message) error {
		content, err := m.AsBytes()
		assert.Equal(t, raw, string(content))
		return errors.Join(err, m.MetaWalk(func(k, v string) error { meta[k] = v; return nil }))
	}))
	s, err := b.Build()
	require.NoError(t, err)
	require.NoError(t, s.Run(t.Context()))
	require.Equal(t, map[string]string{
		"wisepops_contact_id":   "90069bd29576c5ebd8c14de5c545cb3e",
		"wisepops_collected_at": "2019-10-10T10:10:58.389Z",
		"wisepops_wisepop_id":   "12345",
		"wisepops_source":       "contacts",
	}, meta)
}

func TestRejectedBatchesAreReplayedBeforeTheInputEnds(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 550})
	h.Reject(func(n int) bool { return n%2 == 1 })
	h.RunToEnd("")
	h.RequireAllOnce()
}

func TestWatermarkStaysBehindNackedPage(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 350})
	h.Reject(func(n int) bool { return n >= 2 })
	stop := h.Start("")
	inputtest.Eventually(t, func() bool { return h.Batches() > 10 })
	stop()
	require.Equal(t, 100, h.Count())
	h.Reject(nil)
	h.RunToEnd("")
	h.RequireAllOnce()
}

func TestFailedWriteOfTheWatermarkPausesReading(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 3000})
	h.Cache.BreakWrites(errors.New("disk full"))
	h.Start("checkpoint_limit: 200")
	inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "disk full") })
	seen := h.Count()
	require.Less(t, seen, 1000)
	h.Cache.BreakWrites(nil)
	inputtest.Eventually(t, func() bool { return h.Count() == h.Sandbox.Len() })
	h.RequireAllOnce()
}

func TestCacheThatIsDownCostsNoCall(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 10})
	h.Cache.BreakReads(errors.New("connection refused"))
	h.Start("")
	inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "connection refused") })
	require.Zero(t, h.Sandbox.Calls().Total)
}

func TestUnreadableWatermarkIsNeverASilentReRead(t *testing.T) {
	for _, stored := range []string{"", "{", `{"version":9}`, `{"version":1,"wisepop_id":4}`} {
		h := inputtest.New(t, sandbox.Options{Contacts: 10})
		h.Cache.Put("wisepops_contacts", stored)
		stop := h.Start("")
		inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "start over") })
		stop()
		require.Zero(t, h.Count())
		require.Zero(t, h.Sandbox.Calls().Total)
		require.Equal(t, stored, h.Cache.Value("wisepops_contacts"))
	}
}

func TestInputIsConnectedWhileTheBudgetIsSpent(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 10})
	h.Limit = func() time.Duration { return 24 * time.Hour }
	stop := h.Start("rate_limit: budget")
	inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "is now active") })
	began := time.Now()
	stop()
	require.Less(t, time.Since(began), 5*time.Second)
	require.Zero(t, h.Sandbox.Calls().Total)
	h.Limit = func() time.Duration { return 0 }
	h.RunToEnd("rate_limit: budget")
	h.RequireAllOnce()
}

func TestOutageCostsOneCallAPollAndLosesNothing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]*sandbox.Fault{
		"500":  {Status: http.StatusInternalServerError},
		"401":  {Status: http.StatusUnauthorized},
		"drop": {DropConnection: true},
		"html": {Body: []byte("<html>secret@example.com</html>"), ContentType: "text/html"},
		"cut":  {CutBody: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := inputtest.New(t, sandbox.Options{Contacts: 250})
			h.Sandbox.Control(func(*http.Request) *sandbox.Fault { return fault })
			h.Start("")
			inputtest.Eventually(t, func() bool { return h.Sandbox.Calls().Total >= 8 })
			calls, began := h.Sandbox.Calls().Total, time.Now()
			inputtest.Eventually(t, func() bool { return h.Sandbox.Calls().Total >= calls+5 })
			require.GreaterOrEqual(t, time.Since(began), 4*90*time.Millisecond, "a call a poll interval")
			h.Sandbox.Control(nil)
			inputtest.Eventually(t, func() bool { return h.Count() == h.Sandbox.Len() })
			h.RequireAllOnce()
			require.NotContains(t, h.Logged(), "@example.")
			require.NotContains(t, h.Logged(), "page_size=")
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 10})
	h.Sandbox.Control(func(*http.Request) *sandbox.Fault {
		return &sandbox.Fault{Status: http.StatusTooManyRequests, RetryAfter: "3600"}
	})
	stop := h.Start("")
	inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "is now active") })
	stop()
	require.Equal(t, 1, h.Sandbox.Calls().Total)
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for extra, want := range map[string]string{
		"wisepop_id: -1":             "wisepop_id",
		"collected_after: yesterday": "collected_after",
		"collected_before: tomorrow": "collected_before",
		"poll_interval: 0s":          "poll_interval",
		"overlap: -1s":               "overlap",
		"checkpoint_limit: 0":        "checkpoint_limit",
		"rate_limit: nobody":         `"nobody"`,
		`checkpoint_cache_key: ""`:   "checkpoint_cache_key",
		"max_retries: -1":            "max_retries",
		"timeout: 0s":                "timeout",
		"collected_after: 2026-02-01T00:00:00Z\ncollected_before: 2026-01-01T00:00:00Z": "collected_before",
	} {
		h := inputtest.New(t, sandbox.Options{})
		s, err := h.Build(extra)
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err = s.Run(ctx)
			cancel()
		}
		require.ErrorContains(t, err, want, extra)
	}
}

func TestTwoInputsOnOneCheckpointKeyAreAnErrorThatNamesBoth(t *testing.T) {
	t.Parallel()
	h := inputtest.New(t, sandbox.Options{Contacts: 350})
	b := h.Env.NewStreamBuilder()
	b.SetPrintLogger(h.Logger())
	one := fmt.Sprintf(`{label: %%s, wisepops_contacts: {api_key: demo, base_url: "%s", checkpoint_cache: state, page_size: 100}}`, h.URL)
	require.NoError(t, b.AddCacheYAML(`{label: state, flaky: {}}`))
	require.NoError(t, b.AddInputYAML(fmt.Sprintf(`broker: {inputs: [%s, %s]}`, fmt.Sprintf(one, "shop_a"), fmt.Sprintf(one, "shop_b"))))
	require.NoError(t, b.AddBatchConsumerFunc(h.Consume))
	s, err := b.Build()
	require.NoError(t, err)
	go func() { _ = s.Run(context.Background()) }()
	inputtest.Eventually(t, func() bool { return strings.Contains(h.Logged(), "both keep their state under the key") })
	require.Contains(t, h.Logged(), `"shop_a"`)
	require.Contains(t, h.Logged(), `"shop_b"`)
	inputtest.Eventually(t, func() bool { return h.Count() == h.Sandbox.Len() })
	require.NoError(t, s.StopWithin(10*time.Second))
	h.RequireAllOnce()
}

// A stream that was built and never run, or failed to build, holds nothing.
func TestStreamThatNeverRanDoesNotHoldItsCheckpointKey(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 10})
	_, err := h.Build("")
	require.NoError(t, err)
	h.RunToEnd("")
	h.RequireAllOnce()
}

func TestOutputThatBatchesManyPagesDoesNotStall(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 1500})
	b := h.Env.NewStreamBuilder()
	b.SetPrintLogger(h.Logger())
	require.NoError(t, b.AddCacheYAML(`{label: state, flaky: {}}`))
	require.NoError(t, b.AddInputYAML(fmt.Sprintf(`
broker:
  inputs:
    - wisepops_contacts: {api_key: demo, base_url: "%s", checkpoint_cache: state, page_size: 100, follow: false}
  batching: {count: 500, period: 100ms}
`, h.URL)))
	require.NoError(t, b.AddBatchConsumerFunc(h.Consume))
	s, err := b.Build()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, s.Run(ctx))
	h.RequireAllOnce()
}

func TestWatermarkOfAnotherKeyIsWarnedOf(t *testing.T) {
	h := inputtest.New(t, sandbox.Options{Contacts: 5})
	run := func() string {
		before := len(h.Logged())
		s, err := h.Build("follow: false")
		require.NoError(t, err)
		require.NoError(t, s.Run(t.Context()))
		return h.Logged()[before:]
	}
	require.NotContains(t, run(), "another API key")
	require.NotContains(t, run(), "another API key")
	stored := h.Cache.Value("wisepops_contacts")
	require.Contains(t, stored, `"website":"`)
	h.Cache.Put("wisepops_contacts", strings.Replace(stored, `"website":"`, `"website":"x`, 1))
	require.Contains(t, run(), "was stored with another API key")
}

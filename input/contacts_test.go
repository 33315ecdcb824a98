package input_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	_ "github.com/wisepops-connect/wisepops-connect/input"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// flakyCache is a cache that tests break. Its content outlives the streams.
type flakyCache struct {
	mu     sync.Mutex
	values map[string][]byte
	writes int
	setErr error
	getErr error
}

func (c *flakyCache) Get(_ context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.getErr != nil {
		return nil, c.getErr
	}
	v, ok := c.values[key]
	if !ok {
		return nil, service.ErrKeyNotFound
	}
	return v, nil
}

func (c *flakyCache) Set(_ context.Context, key string, value []byte, _ *time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.setErr != nil {
		return c.setErr
	}
	c.values[key] = value
	c.writes++
	return nil
}

func (c *flakyCache) breakWrites(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setErr = err
}

func (c *flakyCache) Add(ctx context.Context, key string, value []byte, ttl *time.Duration) error {
	return c.Set(ctx, key, value, ttl)
}
func (*flakyCache) Delete(context.Context, string) error { return nil }
func (*flakyCache) Close(context.Context) error          { return nil }

// harness runs streams with the input against a sandbox.
type harness struct {
	t       *testing.T
	sandbox *sandbox.Service
	url     string
	cache   *flakyCache
	env     *service.Environment
	limit   func() time.Duration
	conf    string // the input's name and first fields

	mu        sync.Mutex
	delivered map[string]int
	refuse    func(n int) bool // whether to reject the nth batch
	batches   int
	logs      strings.Builder
}

func newHarness(t *testing.T, o sandbox.Options) *harness {
	h := &harness{
		t:         t,
		sandbox:   sandbox.New(o),
		cache:     &flakyCache{values: map[string][]byte{}},
		env:       service.NewEnvironment(),
		conf:      "wisepops_contacts:\n  page_size: 100\n",
		delivered: map[string]int{},
	}
	server := httptest.NewServer(h.sandbox)
	t.Cleanup(func() {
		h.sandbox.Release()
		server.Close()
	})
	h.url = server.URL
	require.NoError(t, h.env.RegisterCache("flaky", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.Cache, error) { return h.cache, nil }))
	require.NoError(t, h.env.RegisterRateLimit("scripted", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.RateLimit, error) {
			return scriptedLimit{h}, nil
		}))
	return h
}

type scriptedLimit struct{ h *harness }

func (l scriptedLimit) Access(context.Context) (time.Duration, error) { return l.h.limit(), nil }
func (scriptedLimit) Close(context.Context) error                     { return nil }

func (h *harness) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logs.Write(p)
}

func (h *harness) logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logs.String()
}

func (h *harness) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.delivered)
}

func (h *harness) consume(_ context.Context, batch service.MessageBatch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches++
	if h.refuse != nil && h.refuse(h.batches) {
		return errors.New("refused")
	}
	for _, m := range batch {
		raw, err := m.AsBytes()
		if err != nil {
			return err
		}
		h.delivered[string(raw)]++
	}
	return nil
}

func (h *harness) build(extra string) (*service.Stream, error) {
	b := h.env.NewStreamBuilder()
	b.SetPrintLogger(printer{h})
	err := errors.Join(
		b.AddCacheYAML(`{label: state, flaky: {}}`),
		b.AddRateLimitYAML(`{label: budget, scripted: {}}`),
		b.AddInputYAML(fmt.Sprintf(`%s
  api_key: demo
  base_url: %s
  checkpoint_cache: state
  poll_interval: 100ms
  backoff: { initial_interval: 1ms, max_interval: 1ms }
  %s
`, h.conf, h.url, strings.ReplaceAll(extra, "\n", "\n  "))),
	)
	if err != nil {
		return nil, err
	}
	if err := b.AddBatchConsumerFunc(h.consume); err != nil {
		return nil, err
	}
	return b.Build()
}

type printer struct{ h *harness }

func (p printer) Printf(format string, v ...any) { _, _ = fmt.Fprintf(p.h, format, v...) }
func (p printer) Println(v ...any)               { _, _ = fmt.Fprintln(p.h, v...) }

// start runs a stream until the function returned is called.
func (h *harness) start(extra string) (stop func()) {
	s, err := h.build(extra)
	require.NoError(h.t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			assert.NoError(h.t, s.StopWithin(10*time.Second))
			<-done
		})
	}
	h.t.Cleanup(stop)
	return stop
}

// runToEnd runs a stream whose input ends.
func (h *harness) runToEnd(extra string) {
	s, err := h.build("follow: false\n" + extra)
	require.NoError(h.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(h.t, s.Run(ctx))
}

func (h *harness) requireAllOnce() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.sandbox.Contacts() {
		require.Equal(h.t, 1, h.delivered[string(c.Raw)])
	}
	require.Len(h.t, h.delivered, h.sandbox.Len())
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 20*time.Second, 5*time.Millisecond)
}

func TestFollowDeliversPastAndNewContactsOnceAcrossRestarts(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 350})
	for range 3 {
		stop := h.start("")
		eventually(t, func() bool { return h.count() == h.sandbox.Len() })
		h.sandbox.Add(sandbox.Contact{}, sandbox.Contact{})
		eventually(t, func() bool { return h.count() == h.sandbox.Len() })
		stop()
	}
	h.requireAllOnce()
}

func TestMessageIsTheContactsOwnBytesWithMetadata(t *testing.T) {
	h := newHarness(t, sandbox.Options{})
	raw := `{"wisepop_id": 12345,"fields":{"Name":"Zo\u00eb","email":"a@example.com"}, "collected_at":"2019-10-10T12:10:58.389+02:00"}`
	at, err := time.Parse(time.RFC3339, "2019-10-10T12:10:58.389+02:00")
	require.NoError(t, err)
	h.sandbox.AddRaw(at, []byte(raw))
	b := h.env.NewStreamBuilder()
	b.SetPrintLogger(printer{h})
	require.NoError(t, b.AddInputYAML(fmt.Sprintf(`wisepops_contacts: {api_key: demo, base_url: "%s", checkpoint_cache: "", follow: false}`, h.url)))
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
		"wisepops_contact_id":   "3e387188b05a61a130ee504a762623e0",
		"wisepops_collected_at": "2019-10-10T10:10:58.389Z",
		"wisepops_wisepop_id":   "12345",
		"wisepops_source":       "contacts",
	}, meta)
}

func TestRejectedBatchesAreReplayedBeforeTheInputEnds(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 550})
	h.refuse = func(n int) bool { return n%2 == 1 }
	h.runToEnd("")
	h.requireAllOnce()
}

func TestRejectedContactsAreReadAgainWithoutReplay(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 550})
	h.refuse = func(n int) bool { return n == 2 || n == 6 || n == 8 }
	h.runToEnd("auto_replay_nacks: false")
	h.requireAllOnce()
}

func TestWatermarkStaysBehindNackedPage(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 350})
	h.refuse = func(n int) bool { return n >= 2 }
	stop := h.start("auto_replay_nacks: false")
	eventually(t, func() bool { return strings.Contains(h.logged(), "read again") })
	stop()
	require.Equal(t, 100, h.count())
	h.refuse = nil
	h.runToEnd("")
	h.requireAllOnce()
}

func TestFailedWriteOfTheWatermarkPausesReading(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 3000})
	h.cache.breakWrites(errors.New("disk full"))
	h.start("checkpoint_limit: 200")
	eventually(t, func() bool { return strings.Contains(h.logged(), "disk full") })
	seen := h.count()
	require.Less(t, seen, 1000)
	h.cache.breakWrites(nil)
	eventually(t, func() bool { return h.count() == h.sandbox.Len() })
	h.requireAllOnce()
}

func TestCacheThatIsDownCostsNoCall(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 10})
	h.cache.getErr = errors.New("connection refused")
	h.start("")
	eventually(t, func() bool { return strings.Contains(h.logged(), "connection refused") })
	require.Zero(t, h.sandbox.Calls().Total)
}

func TestUnreadableWatermarkIsNeverASilentReRead(t *testing.T) {
	for _, stored := range []string{"", "{", `{"version":9}`, `{"version":1,"wisepop_id":4}`} {
		h := newHarness(t, sandbox.Options{Contacts: 10})
		h.cache.values["wisepops_contacts"] = []byte(stored)
		stop := h.start("")
		eventually(t, func() bool { return strings.Contains(h.logged(), "start over") })
		stop()
		require.Zero(t, h.count())
		require.Zero(t, h.sandbox.Calls().Total)
		require.Equal(t, stored, string(h.cache.values["wisepops_contacts"]))
	}
}

func TestInputIsConnectedWhileTheBudgetIsSpent(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 10})
	h.limit = func() time.Duration { return 24 * time.Hour }
	stop := h.start("rate_limit: budget")
	eventually(t, func() bool { return strings.Contains(h.logged(), "is now active") })
	began := time.Now()
	stop()
	require.Less(t, time.Since(began), 5*time.Second)
	require.Zero(t, h.sandbox.Calls().Total)
	h.limit = func() time.Duration { return 0 }
	h.runToEnd("rate_limit: budget")
	h.requireAllOnce()
}

func TestOutageCostsOneCallAPollAndLosesNothing(t *testing.T) {
	for name, fault := range map[string]*sandbox.Fault{
		"500":  {Status: http.StatusInternalServerError},
		"401":  {Status: http.StatusUnauthorized},
		"drop": {DropConnection: true},
		"html": {Body: []byte("<html>secret@example.com</html>"), ContentType: "text/html"},
		"cut":  {CutBody: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, sandbox.Options{Contacts: 250})
			h.sandbox.Control(func(*http.Request) *sandbox.Fault { return fault })
			h.start("")
			eventually(t, func() bool { return h.sandbox.Calls().Total >= 8 })
			calls, began := h.sandbox.Calls().Total, time.Now()
			eventually(t, func() bool { return h.sandbox.Calls().Total >= calls+5 })
			require.GreaterOrEqual(t, time.Since(began), 4*90*time.Millisecond, "a call a poll interval")
			h.sandbox.Control(nil)
			eventually(t, func() bool { return h.count() == h.sandbox.Len() })
			h.requireAllOnce()
			require.NotContains(t, h.logged(), "@example.")
			require.NotContains(t, h.logged(), "page_size=")
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 10})
	h.sandbox.Control(func(*http.Request) *sandbox.Fault {
		return &sandbox.Fault{Status: http.StatusTooManyRequests, RetryAfter: "3600"}
	})
	stop := h.start("")
	eventually(t, func() bool { return strings.Contains(h.logged(), "is now active") })
	stop()
	require.Equal(t, 1, h.sandbox.Calls().Total)
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
		h := newHarness(t, sandbox.Options{})
		s, err := h.build(extra)
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err = s.Run(ctx)
			cancel()
		}
		require.ErrorContains(t, err, want, extra)
	}
}

func TestTwoInputsOnOneCheckpointKeyAreAnErrorThatNamesBoth(t *testing.T) {
	h := newHarness(t, sandbox.Options{})
	b := h.env.NewStreamBuilder()
	b.SetPrintLogger(printer{h})
	one := fmt.Sprintf(`{label: %%s, wisepops_contacts: {api_key: demo, base_url: "%s", checkpoint_cache: state}}`, h.url)
	require.NoError(t, b.SetYAML(fmt.Sprintf(`
input: {broker: {inputs: [%s, %s]}}
cache_resources: [{label: state, flaky: {}}]
output: {drop: {}}
`, fmt.Sprintf(one, "shop_a"), fmt.Sprintf(one, "shop_b"))))
	s, err := b.Build()
	if err == nil {
		err = s.Run(t.Context())
	}
	require.ErrorContains(t, err, "shop_a")
	require.ErrorContains(t, err, "shop_b")
}

func TestOutputThatBatchesManyPagesDoesNotStall(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 1500})
	b := h.env.NewStreamBuilder()
	b.SetPrintLogger(printer{h})
	require.NoError(t, b.AddCacheYAML(`{label: state, flaky: {}}`))
	require.NoError(t, b.AddInputYAML(fmt.Sprintf(`
broker:
  inputs:
    - wisepops_contacts: {api_key: demo, base_url: "%s", checkpoint_cache: state, page_size: 100, follow: false}
  batching: {count: 500, period: 100ms}
`, h.url)))
	require.NoError(t, b.AddBatchConsumerFunc(h.consume))
	s, err := b.Build()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, s.Run(ctx))
	h.requireAllOnce()
}

func TestWatermarkOfAnotherKeyIsWarnedOf(t *testing.T) {
	h := newHarness(t, sandbox.Options{Contacts: 5})
	run := func() string {
		before := len(h.logged())
		s, err := h.build("follow: false")
		require.NoError(t, err)
		require.NoError(t, s.Run(t.Context()))
		return h.logged()[before:]
	}
	require.NotContains(t, run(), "another API key")
	require.NotContains(t, run(), "another API key")
	stored := string(h.cache.values["wisepops_contacts"])
	require.Contains(t, stored, `"website":"`)
	h.cache.values["wisepops_contacts"] = []byte(strings.Replace(stored, `"website":"`, `"website":"x`, 1))
	require.Contains(t, run(), "was stored with another API key")
}

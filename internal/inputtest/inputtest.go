// Package inputtest runs streams with an input against a sandbox, in tests.
package inputtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure" // what streams are made of

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// Cache is a cache that tests break. Its content outlives the streams.
type Cache struct {
	mu     sync.Mutex
	values map[string][]byte
	writes int
	setErr error
	getErr error
}

// Get returns what a key holds, unless reads are broken.
func (c *Cache) Get(_ context.Context, key string) ([]byte, error) {
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

// Set has a key hold a value, unless writes are broken.
func (c *Cache) Set(_ context.Context, key string, value []byte, _ *time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.setErr != nil {
		return c.setErr
	}
	c.values[key] = value
	c.writes++
	return nil
}

// Value returns what a key holds, or an empty text.
func (c *Cache) Value(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.values[key])
}

// Put has a key hold a value.
func (c *Cache) Put(key, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[key] = []byte(value)
}

// Writes returns how many writes succeeded.
func (c *Cache) Writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// BreakReads has each read fail from now on, unless the error is nil.
func (c *Cache) BreakReads(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.getErr = err
}

// BreakWrites has each write fail from now on, unless the error is nil.
func (c *Cache) BreakWrites(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setErr = err
}

// Add is Set.
func (c *Cache) Add(ctx context.Context, key string, value []byte, ttl *time.Duration) error {
	return c.Set(ctx, key, value, ttl)
}

// Delete does nothing.
func (*Cache) Delete(context.Context, string) error { return nil }

// Close does nothing: the content outlives the streams.
func (*Cache) Close(context.Context) error { return nil }

// Harness runs streams with the input against a sandbox.
type Harness struct {
	Sandbox *sandbox.Service
	URL     string
	Cache   *Cache
	Env     *service.Environment
	Limit   func() time.Duration // how long the rate limit "budget" has each call wait
	Conf    string               // the input's name and first fields

	Sink func(context.Context, service.MessageBatch) error // Consume, unless replaced

	T         *testing.T
	mu        sync.Mutex
	delivered map[string]int
	reject    func(n int) bool // whether to reject the nth batch
	batches   int
	logs      strings.Builder
}

// New serves a sandbox, and registers a cache "flaky" and a rate limit "scripted".
func New(t *testing.T, o sandbox.Options) *Harness {
	h := &Harness{
		T:         t,
		Sandbox:   sandbox.New(o),
		Cache:     &Cache{values: map[string][]byte{}},
		Env:       service.NewEnvironment(),
		Conf:      "wisepops_contacts:\n  page_size: 100\n",
		delivered: map[string]int{},
	}
	h.Sink = h.Consume
	server := httptest.NewServer(h.Sandbox)
	t.Cleanup(func() {
		h.Sandbox.Release()
		server.Close()
	})
	h.URL = server.URL + "/api2"
	require.NoError(t, h.Env.RegisterCache("flaky", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.Cache, error) { return h.Cache, nil }))
	require.NoError(t, h.Env.RegisterRateLimit("scripted", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.RateLimit, error) {
			return scriptedLimit{h}, nil
		}))
	return h
}

type scriptedLimit struct{ h *Harness }

func (l scriptedLimit) Access(context.Context) (time.Duration, error) { return l.h.Limit(), nil }
func (scriptedLimit) Close(context.Context) error                     { return nil }

func (h *Harness) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logs.Write(p)
}

// Logged returns the lines of all streams so far.
func (h *Harness) Logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logs.String()
}

// Count returns how many different contents arrived.
func (h *Harness) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.delivered)
}

// Consume is a sink: it rejects whole batches, or takes them.
func (h *Harness) Consume(_ context.Context, batch service.MessageBatch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches++
	if h.reject != nil && h.reject(h.batches) {
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

// Build builds a stream whose input has further fields.
func (h *Harness) Build(extra string) (*service.Stream, error) {
	b := h.Env.NewStreamBuilder()
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
`, h.Conf, h.URL, strings.ReplaceAll(extra, "\n", "\n  "))),
	)
	if err != nil {
		return nil, err
	}
	if err := b.AddBatchConsumerFunc(func(ctx context.Context, batch service.MessageBatch) error { return h.Sink(ctx, batch) }); err != nil {
		return nil, err
	}
	return b.Build()
}

type printer struct{ h *Harness }

func (p printer) Printf(format string, v ...any) { _, _ = fmt.Fprintf(p.h, format, v...) }
func (p printer) Println(v ...any)               { _, _ = fmt.Fprintln(p.h, v...) }

// Start runs a stream until the function returned is called.
func (h *Harness) Start(extra string) (stop func()) {
	s, err := h.Build(extra)
	require.NoError(h.T, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			assert.NoError(h.T, s.StopWithin(10*time.Second))
			<-done
		})
	}
	h.T.Cleanup(stop)
	return stop
}

// RunToEnd runs a stream whose input ends.
func (h *Harness) RunToEnd(extra string) {
	s, err := h.Build("follow: false\n" + extra)
	require.NoError(h.T, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(h.T, s.Run(ctx))
}

// RequireAllOnce holds what was delivered against what the sandbox knows, which may be
// contacts that nothing tells apart.
func (h *Harness) RequireAllOnce() {
	h.T.Helper()
	known := map[string]int{}
	for _, c := range h.Sandbox.Contacts() {
		known[string(c.Raw)]++
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for raw, n := range known {
		require.Equal(h.T, n, h.delivered[raw])
	}
	require.Len(h.T, h.delivered, len(known))
}

// Eventually waits for a condition.
func Eventually(t *testing.T, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 20*time.Second, 5*time.Millisecond)
}

// Reject has the sink reject those batches, counted from 1, for which it returns true.
func (h *Harness) Reject(reject func(n int) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reject = reject
}

// Batches returns how many batches the sink was given.
func (h *Harness) Batches() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.batches
}

// Delivered returns how often each content arrived.
func (h *Harness) Delivered() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.delivered)
}

// Logger takes the lines of a stream.
func (h *Harness) Logger() service.PrintLogger { return printer{h} }

package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, conf string) *service.ParsedConfig {
	t.Helper()
	parsed, err := quotaSpec().ParseYAML(conf, nil)
	require.NoError(t, err)
	return parsed
}

func open(t *testing.T, mgr *service.Resources, conf string) *quota {
	t.Helper()
	q, err := newQuota(parse(t, "cache: state\n"+conf), mgr)
	require.NoError(t, err)
	return q
}

// restarted shares the caches of a manager, and nothing else.
func restarted(mgr *service.Resources) *service.Resources {
	mgr.SetGeneric(accountsKey{}, &accounts{byKey: map[accountKey]*account{}})
	return mgr
}

func allowed(t *testing.T, q *quota) bool {
	t.Helper()
	wait, err := q.Access(t.Context())
	require.NoError(t, err)
	return wait == 0
}

func TestQuotaHoldsOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
		n := 0
		for range 50 { // a crash loop
			q := open(t, restarted(mgr), "calls: 30")
			if allowed(t, q) {
				n++
			}
			<-time.After(time.Minute)
		}
		require.Equal(t, 30, n)
		q := open(t, restarted(mgr), "calls: 30")
		wait, err := q.Access(t.Context())
		require.NoError(t, err)
		require.Greater(t, wait, 718*time.Hour)
		require.Less(t, wait, 721*time.Hour)
		<-time.After(wait)
		require.True(t, allowed(t, q))
	})
}

func TestLoweredCallsCountWhatWasSpent(t *testing.T) {
	mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
	q := open(t, mgr, "calls: 100")
	for range 50 {
		require.True(t, allowed(t, q))
	}
	require.False(t, allowed(t, open(t, restarted(mgr), "calls: 50")))
	require.True(t, allowed(t, open(t, restarted(mgr), "calls: 51")))
}

func TestReserveIsLeftToOthers(t *testing.T) {
	mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
	polling, privacy := open(t, mgr, "calls: 10\nreserve: 3"), open(t, mgr, "calls: 10")
	for range 7 {
		require.True(t, allowed(t, polling))
	}
	require.False(t, allowed(t, polling))
	for range 3 {
		require.True(t, allowed(t, privacy))
	}
	require.False(t, allowed(t, privacy))
}

func TestManyAtOnceSpendNoMore(t *testing.T) {
	mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
	a, b := open(t, mgr, "calls: 100"), open(t, mgr, "calls: 100\nreserve: 50")
	var mu sync.Mutex
	n := 0
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			q := a
			if i%2 == 0 {
				q = b
			}
			wait, err := q.Access(context.Background())
			mu.Lock()
			defer mu.Unlock()
			assert.NoError(t, err)
			if wait == 0 {
				n++
			}
		})
	}
	all.Wait()
	require.Equal(t, 100, n)
}

// brokenCache fails on demand, and its writes may take effect all the same.
type brokenCache struct {
	mu     sync.Mutex
	value  []byte
	getErr error
	setErr error
	late   bool // a failed write takes effect
	sets   int
}

func (c *brokenCache) Get(context.Context, string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.getErr != nil {
		return nil, c.getErr
	}
	if c.value == nil {
		return nil, service.ErrKeyNotFound
	}
	return c.value, nil
}

func (c *brokenCache) Set(_ context.Context, _ string, value []byte, _ *time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sets++
	if c.setErr == nil || c.late {
		c.value = value
	}
	return c.setErr
}

func (c *brokenCache) Add(ctx context.Context, key string, value []byte, ttl *time.Duration) error {
	return c.Set(ctx, key, value, ttl)
}
func (*brokenCache) Delete(context.Context, string) error { return nil }
func (*brokenCache) Close(context.Context) error          { return nil }

// resourcesWith are those of a running stream whose cache is c, and what it logs.
func resourcesWith(t *testing.T, c service.Cache) (*service.Resources, *logs) {
	t.Helper()
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterCache("broken", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.Cache, error) { return c, nil }))
	return resourcesOf(t, env, `{label: state, broken: {}}`)
}

func resourcesOf(t testing.TB, env *service.Environment, cache string) (*service.Resources, *logs) {
	t.Helper()
	grabbed := make(chan *service.Resources, 1)
	require.NoError(t, env.RegisterInput("grab", service.NewConfigSpec(),
		func(_ *service.ParsedConfig, mgr *service.Resources) (service.Input, error) {
			grabbed <- mgr
			return idle{}, nil
		}))
	b := env.NewStreamBuilder()
	out := &logs{}
	b.SetPrintLogger(out)
	require.NoError(t, b.AddCacheYAML(cache))
	require.NoError(t, b.AddInputYAML(`grab: {}`))
	require.NoError(t, b.AddConsumerFunc(func(context.Context, *service.Message) error { return nil }))
	s, err := b.Build()
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	t.Cleanup(func() {
		assert.NoError(t, s.StopWithin(10*time.Second))
		<-done
	})
	return <-grabbed, out
}

type idle struct{}

func (idle) Connect(context.Context) error { return nil }
func (idle) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}
func (idle) Close(context.Context) error { return nil }

type logs struct {
	mu  sync.Mutex
	out strings.Builder
}

func (l *logs) Printf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.out, format, v...)
}

func (l *logs) Println(v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.out, v...)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// soon lets the next access to the cache happen at once.
func soon(q *quota) { q.account.retryAt = time.Time{} }

func TestLedgerThatCannotBeReadCountsAsSpent(t *testing.T) {
	c := &brokenCache{getErr: errors.New("down")}
	mgr, out := resourcesWith(t, c)
	q := open(t, mgr, "")
	for range 3 {
		wait, err := q.Access(t.Context())
		require.NoError(t, err)
		require.Positive(t, wait)
		require.LessOrEqual(t, wait, ledgerLastRetry)
		soon(q)
	}
	require.Equal(t, 1, strings.Count(out.String(), "reading the ledger of calls"))
	c.getErr = nil
	require.True(t, allowed(t, q))

	c.value = []byte{} // as a file that a crash cut
	q = open(t, restarted(mgr), "")
	require.False(t, allowed(t, q))
	require.Contains(t, out.String(), "cannot be used: it is empty: to start a new one, delete that key")
	require.Empty(t, c.value)
}

func TestCallIsWrittenDownBeforeItIsAllowed(t *testing.T) {
	for _, late := range []bool{false, true} {
		c := &brokenCache{late: late}
		mgr, out := resourcesWith(t, c)
		q := open(t, mgr, "calls: 3")
		require.True(t, allowed(t, q))
		require.Contains(t, string(c.value), `"calls":1`)
		c.setErr = errors.New("down")
		for range 5 {
			require.False(t, allowed(t, q))
			soon(q)
		}
		require.Equal(t, 1, strings.Count(out.String(), "writing the ledger of calls"))
		c.setErr = nil
		require.True(t, allowed(t, q))
		require.True(t, allowed(t, q))
		require.False(t, allowed(t, q))
		require.Equal(t, 1, strings.Count(out.String(), "The calls of the website are spent"))
	}
}

func TestBrokenCacheIsNotHammered(t *testing.T) {
	c := &brokenCache{setErr: errors.New("down")}
	mgr, _ := resourcesWith(t, c)
	q := open(t, mgr, "")
	for range 100 {
		require.False(t, allowed(t, q))
	}
	require.Equal(t, 1, c.sets)
}

func TestAccessEndsWithItsContext(t *testing.T) {
	mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
	q := open(t, mgr, "")
	q.account.turn <- struct{}{} // somebody else is at it
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := q.Access(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestQuotaConfigErrors(t *testing.T) {
	mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
	for conf, want := range map[string]string{
		"cache: state\ncalls: 0":                 "calls must be at least 1",
		"cache: state\nreserve: -1":              "reserve must not be negative",
		"cache: state\ncalls: 5\nreserve: 5":     "less than calls",
		"cache: state\nwindow: 1ms":              "window must be a second or longer",
		`cache: ""`:                              "cache is empty",
		`cache: nowhere`:                         `cache names "nowhere"`,
		"cache: state\ncache_key: \"\"":          "cache_key is empty",
		"cache: state\ncache_key: a\nwindow: 1h": "",
		"cache: state\ncache_key: b\nwindow: 2h": "",
	} {
		_, err := newQuota(parse(t, conf), mgr)
		if want == "" {
			assert.NoError(t, err, conf)
			continue
		}
		assert.ErrorContains(t, err, want, conf)
	}
	_, err := newQuota(parse(t, "cache: state\ncache_key: a\nwindow: 2h"), mgr)
	assert.ErrorContains(t, err, "is shared with a rate limit whose window is 1h0m0s")
}

// slowCache takes a while to write.
type slowCache struct {
	service.Cache
	values map[string][]byte
	slow   time.Duration
}

func (c *slowCache) Get(_ context.Context, key string) ([]byte, error) {
	if v, ok := c.values[key]; ok {
		return v, nil
	}
	return nil, service.ErrKeyNotFound
}

func (*slowCache) Close(context.Context) error { return nil }

func (c *slowCache) Set(_ context.Context, key string, value []byte, _ *time.Duration) error {
	<-time.After(c.slow)
	c.values[key] = value
	return nil
}

// The call is made after it was written down, and so is in another bucket.
func TestCallCountsForAWindowHoweverLongItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := &slowCache{values: map[string][]byte{}}
		env := service.NewEnvironment()
		require.NoError(t, env.RegisterCache("slow", service.NewConfigSpec(),
			func(*service.ParsedConfig, *service.Resources) (service.Cache, error) { return cache, nil }))
		mgr, _ := resourcesOf(t, env, `{label: state, slow: {}}`)
		a := open(t, mgr, "calls: 1").account
		sinceTheHour := time.Duration(time.Now().UnixNano() % int64(time.Hour))
		<-time.After(time.Hour - sinceTheHour - time.Second)
		cache.slow = 8 * time.Second
		wait, _, err := a.spend(t.Context(), 1)
		require.NoError(t, err)
		require.Zero(t, wait)
		made := time.Now()
		cache.slow = 0
		for {
			wait, _, err = a.spend(t.Context(), 1)
			require.NoError(t, err)
			if wait == 0 {
				break
			}
			<-time.After(wait)
		}
		require.GreaterOrEqual(t, time.Since(made), 720*time.Hour)
		require.Less(t, time.Since(made), 722*time.Hour)
	})
}

// Where a little more is wanted than there is, calls become free one by one.
func TestSpentBudgetIsToldOnceUntilItHasRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mgr, out := resourcesOf(t, service.NewEnvironment(), `{label: state, memory: {}}`)
		q := open(t, mgr, "calls: 20\nwindow: 720h")
		told := func() int { return strings.Count(out.String(), "The calls of the website are spent") }
		for range 100 {
			for !allowed(t, q) {
				<-time.After(6 * time.Hour)
			}
			<-time.After(24 * time.Hour)
		}
		require.Equal(t, 1, told())
		<-time.After(800 * time.Hour) // nothing is asked for
		for allowed(t, q) {
			<-time.After(time.Minute)
		}
		require.Equal(t, 2, told())
	})
}

package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/state"
)

const (
	wqFieldCalls    = "calls"
	wqFieldWindow   = "window"
	wqFieldCache    = "cache"
	wqFieldCacheKey = "cache_key"
	wqFieldReserve  = "reserve"

	// A ledger that cannot be read or written is tried again after a wait that
	// doubles up to the last one.
	ledgerFirstRetry = time.Second
	ledgerLastRetry  = time.Minute

	// slowestWrites is how often a call is written down where each write takes longer
	// than the one before.
	slowestWrites = 5

	// The budget has recovered where one in so many of its calls is left.
	recoveredShare = 10
)

func quotaSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Summary("Keeps the calls of a website within its budget over a rolling window, across restarts and crashes.").
		Description(`
Calls are counted in a ledger, in buckets of 1/720 of the window (an hour of 30 days). The ledger is written to a cache before a call is allowed, so that no restart, crash or crash loop overspends. A call counts until a whole window after the end of its bucket.

When the budget is spent the rate limit answers how long until a bucket leaves the window, and logs it once. A ledger that cannot be read, or written, counts as spent until it can. One that never existed starts at zero.

Several of these with the same `+"`cache` and `cache_key`"+` share one ledger within a process. With a `+"`reserve`"+` the polling inputs leave calls to the deletion of personal data, which has none. Several processes must not share a ledger, since caches cannot compare and swap: divide the calls among them, or use the `+"`redis`"+` rate limit.

== Metrics

- `+"`wisepops_quota_remaining`"+`: calls that are left to this rate limit
- `+"`wisepops_quota_denied`"+`: how often a call was denied
`).
		Field(service.NewIntField(wqFieldCalls).
			Description("How many calls the website has in the window, for all that share the ledger.").
			Default(1500).
			LintRule(`root = if this < 1 { "calls must be at least 1" }`)).
		Field(service.NewDurationField(wqFieldWindow).
			Description("The window, which rolls.").
			Default("720h")).
		Field(service.NewStringField(wqFieldCache).
			Description("The label of the xref:components:caches/about.adoc[cache resource] that keeps the ledger.").
			Example("state")).
		Field(service.NewStringField(wqFieldCacheKey).
			Description("The key of the ledger in the cache. Each website needs its own.").
			Default("wisepops_quota")).
		Field(service.NewIntField(wqFieldReserve).
			Description("How many of the calls this rate limit leaves to others on the same ledger.").
			Default(0).
			LintRule(`root = if this < 0 { "reserve must not be negative" }`)).
		Footnotes(strings.ReplaceAll(`
== Errors

- 'The calls of the website are spent' (a warning, once): calls are denied until the instant that it names. Poll less often, or raise 'calls' if the contract grants more.
- 'cache names …, and there is no cache resource with that label': give the file that defines it with '-r'.
- 'reading the ledger of calls', 'writing the ledger of calls': the cache does not answer. All calls are denied until it does.
- 'the ledger of calls … cannot be used': it is empty, damaged or written by a newer version. All calls are denied: to start a new one, delete the key that the error names.
- 'the ledger … is shared with a rate limit whose window is …': labels that share a ledger must have the same 'window'.
`, "'", "`")).
		Example("A budget with a reserve", "Polling leaves 300 calls to deletions.", `
rate_limit_resources:
  - label: budget
    wisepops_quota:
      cache: state
      reserve: 300
  - label: budget_privacy
    wisepops_quota:
      cache: state

cache_resources:
  - label: state
    redis:
      url: redis://localhost:6379
`)
}

func init() {
	service.MustRegisterRateLimit("wisepops_quota", quotaSpec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.RateLimit, error) {
			return newQuota(conf, mgr)
		})
}

// quota is one label on a ledger.
type quota struct {
	account   *account
	limit     int // calls less the reserve
	log       *service.Logger
	remaining *service.MetricGauge
	denied    *service.MetricCounter

	mu     sync.Mutex
	warned string // the warning since the budget had recovered
}

func newQuota(conf *service.ParsedConfig, mgr *service.Resources) (*quota, error) {
	calls, err := conf.FieldInt(wqFieldCalls)
	if err != nil {
		return nil, err
	}
	if calls < 1 {
		return nil, fmt.Errorf("%s must be at least 1", wqFieldCalls)
	}
	reserve, err := conf.FieldInt(wqFieldReserve)
	if err != nil {
		return nil, err
	}
	if reserve < 0 || reserve >= calls {
		return nil, fmt.Errorf("%s must not be negative, and less than %s: they are %d and %d", wqFieldReserve, wqFieldCalls, reserve, calls)
	}
	window, err := conf.FieldDuration(wqFieldWindow)
	if err != nil {
		return nil, err
	}
	if window < time.Second {
		return nil, fmt.Errorf("%s must be a second or longer", wqFieldWindow)
	}
	cache, err := conf.FieldString(wqFieldCache)
	if err != nil {
		return nil, err
	}
	if cache == "" {
		return nil, fmt.Errorf("%s is empty: name the cache resource that keeps the ledger", wqFieldCache)
	}
	key, err := conf.FieldString(wqFieldCacheKey)
	if err != nil {
		return nil, err
	}
	if key == "" {
		return nil, fmt.Errorf("%s is empty", wqFieldCacheKey)
	}
	if err := state.CheckCache(mgr, wqFieldCache, cache); err != nil {
		return nil, err
	}
	q := &quota{
		limit:     calls - reserve,
		log:       mgr.Logger(),
		remaining: mgr.Metrics().NewGauge("wisepops_quota_remaining"),
		denied:    mgr.Metrics().NewCounter("wisepops_quota_denied"),
	}
	q.account, err = sharedAccount(mgr, accountKey{cache, key}, window)
	return q, err
}

// Access allows a call, which is then written down already, or says how long to
// wait. It never sleeps.
func (q *quota) Access(ctx context.Context) (time.Duration, error) {
	wait, left, err := q.account.spend(ctx, q.limit)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		q.denied.Incr(1)
		q.remaining.Set(0)
		q.warn("%v: the calls count as spent until it can be used", err)
		return wait, nil
	}
	q.remaining.Set(int64(left))
	if wait > 0 {
		q.denied.Incr(1)
		q.warn("The calls of the website are spent (%d of the window of %s): the next one is allowed at %s",
			q.limit, q.account.window, time.Now().Add(wait).UTC().Format(time.RFC3339))
		return wait, nil
	}
	if left >= max(1, q.limit/recoveredShare) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.warned = ""
	}
	return 0, nil
}

// warn logs a warning once until the budget has recovered, or another comes: not each
// time that a single call became free and was made.
func (q *quota) warn(format string, args ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.warned != format {
		q.warned = format
		q.log.Warnf(format, args...)
	}
}

// Close does nothing: all is written down.
func (*quota) Close(context.Context) error { return nil }

// accounts are the ledgers of this process, by where they are kept.
type accounts struct {
	mu    sync.Mutex
	byKey map[accountKey]*account
}

type accountsKey struct{}

type accountKey struct{ cache, key string }

// account is a ledger and where it is kept.
type account struct {
	slot *state.Slot

	// Asked for in turns: a call is written down before the next is judged. It is
	// a channel, so that the wait ends with a context.
	turn chan struct{}

	window  time.Duration
	ledger  *ledger
	loaded  bool
	failed  error         // of the last access to the cache
	retryAt time.Time     // no access to the cache before then
	retry   time.Duration // the next wait
	start   time.Time     // with a monotonic clock
	writing int64         // milliseconds that the last write of the ledger took
}

func sharedAccount(mgr *service.Resources, key accountKey, window time.Duration) (*account, error) {
	shared, _ := mgr.GetOrSetGeneric(accountsKey{}, &accounts{byKey: map[accountKey]*account{}})
	all, ok := shared.(*accounts)
	if !ok {
		return nil, errors.New("the shared ledgers are of another type")
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	a, known := all.byKey[key]
	if !known {
		a = &account{slot: state.NewSlot(mgr, key.cache, key.key), turn: make(chan struct{}, 1), window: window, ledger: newLedger(window), start: time.Now()}
		all.byKey[key] = a
	}
	if a.window != window {
		return nil, fmt.Errorf("the ledger %q in cache %q is shared with a rate limit whose %s is %s, and not %s", key.key, key.cache, wqFieldWindow, a.window, window)
	}
	return a, nil
}

// now follows the wall clock at the start, and then the time that passed: a clock
// that is set meanwhile changes nothing.
func (a *account) now() int64 { return a.start.Add(time.Since(a.start)).UnixMilli() }

// spend writes a call down, unless limit calls count. It returns how long to wait
// then, or where the ledger cannot be used, and how many calls are left.
func (a *account) spend(ctx context.Context, limit int) (wait time.Duration, left int, err error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	if wait := time.Until(a.retryAt); wait > 0 {
		return wait, 0, a.failed
	}
	if err := a.load(ctx); err != nil {
		return a.putOff(err), 0, a.failed
	}
	now := a.now()
	if spent := a.ledger.spent(now); spent >= limit {
		// A moment more, since instants are cut to milliseconds.
		return time.Duration(a.ledger.freeAt(now, limit)-now+1) * time.Millisecond, 0, nil
	}
	if err := a.charge(ctx); err != nil {
		return a.putOff(err), 0, a.failed
	}
	a.failed, a.retry = nil, 0
	return 0, limit - a.ledger.spent(now), nil
}

// charge writes a call down, in the bucket of the instant at which it is made: when it
// is written. Where writing took longer than expected it is done again. What may or may
// not have been written is written anew with the next call; this one is not made.
func (a *account) charge(ctx context.Context) error {
	before := *a.ledger
	before.buckets = append([]bucket(nil), a.ledger.buckets...)
	for range slowestWrites {
		begun := a.now()
		expected := begun + a.writing
		a.ledger.charge(begun, expected)
		data, err := a.ledger.encode()
		if err == nil {
			err = a.slot.Set(ctx, data)
		}
		if err != nil {
			a.ledger.buckets = before.buckets
			return fmt.Errorf("writing the ledger of calls %q to cache %q: %w", a.slot.Key, a.slot.Cache, err)
		}
		written := a.now()
		a.writing = written - begun
		if written <= a.ledger.end(expected) {
			return nil
		}
		a.ledger.buckets = append([]bucket(nil), before.buckets...)
		a.writing *= 2
	}
	return fmt.Errorf("writing the ledger of calls %q to cache %q: it takes too long", a.slot.Key, a.slot.Cache)
}

func (a *account) load(ctx context.Context) error {
	if a.loaded {
		return nil
	}
	data, found, err := a.slot.Get(ctx)
	if err != nil {
		return fmt.Errorf("reading the ledger of calls %q from cache %q: %w", a.slot.Key, a.slot.Cache, err)
	}
	if found {
		if err := a.ledger.decode(data); err != nil {
			return fmt.Errorf("the ledger of calls %q in cache %q cannot be used: %w: to start a new one, delete that key", a.slot.Key, a.slot.Cache, err)
		}
	}
	a.loaded = true
	return nil
}

func (a *account) putOff(err error) time.Duration {
	a.failed = err
	a.retry = min(max(2*a.retry, ledgerFirstRetry), ledgerLastRetry)
	a.retryAt = time.Now().Add(a.retry)
	return a.retry
}

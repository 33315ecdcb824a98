package input

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Jeffail/checkpoint"
	"github.com/Jeffail/shutdown"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// longestSnapshotWait bounds the wait after failures, which would otherwise grow to a
// day.
const longestSnapshotWait = time.Hour

func init() {
	service.MustRegisterBatchInput("wisepops_performance", performanceSpec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchInput, error) {
			return newPerformanceInput(conf, mgr)
		})
}

type performanceInput struct {
	conf   performanceConfig
	client *wisepops.Client
	slot   *cacheSlot // nil: the state ends with the process
	log    *service.Logger
	claim  *checkpointClaim
	stop   *shutdown.Signaller
	again  *replays

	snapshots   *service.MetricCounter
	lastSuccess *service.MetricGauge
	writeErrors *service.MetricCounter

	abort  atomic.Pointer[context.CancelFunc] // ends the call under way
	denied atomic.Int64                       // how long the rate limit grants no call, in nanoseconds

	// Of Connect and ReadBatch, which Benthos never calls at the same time.
	kept     []wisepops.Campaign // fetched and not yet delivered
	failures int                 // failed calls in a row
	last     snapshotState       // what the next snapshot is compared with

	saving sync.Mutex // held while the state is written

	mu        sync.Mutex // guards what follows, and the content of states
	connected bool
	closed    bool
	due       time.Time // when to take the next snapshot
	order     *checkpoint.Uncapped[snapshotState]
	acked     snapshotState
	acks      int  // how often acked changed
	stored    int  // acks when it was stored last
	unsettled int  // batches
	refusals  int  // batches refused in a row
	ended     bool // unless something is refused, no snapshot follows
	changed   chan struct{}
}

func newPerformanceInput(conf *service.ParsedConfig, mgr *service.Resources) (*performanceInput, error) {
	c, err := parsePerformanceConfig(conf)
	if err != nil {
		return nil, err
	}
	m := mgr.Metrics()
	in := &performanceInput{
		conf:        c,
		log:         mgr.Logger(),
		stop:        shutdown.NewSignaller(),
		again:       newQueue[replay](),
		snapshots:   m.NewCounter("wisepops_performance_snapshots"),
		lastSuccess: m.NewGauge("wisepops_last_poll_success_seconds"),
		writeErrors: m.NewCounter("wisepops_snapshot_write_errors"),
		order:       checkpoint.NewUncapped[snapshotState](),
		changed:     make(chan struct{}),
	}
	if in.client, err = apiconfig.NewClient(conf, mgr, in.waitingForBudget); err != nil {
		return nil, err
	}
	if c.cache == "" {
		return in, nil
	}
	if err := checkCache(mgr, wpiFieldCheckpointCache, c.cache); err != nil {
		return nil, err
	}
	in.slot = &cacheSlot{mgr, c.cache, c.cacheKey}
	if in.claim, err = claimCheckpoint(mgr, c.cache, c.cacheKey); err != nil {
		return nil, err
	}
	return in, nil
}

// ConnectionTest costs one call.
func (in *performanceInput) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	if _, err := in.client.WithMaxRetries(0).Campaigns(ctx); err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	return service.ConnectionTestSucceeded().AsList()
}

// Connect loads the state and asks for the first snapshot, which the first read
// returns. While the budget is spent it succeeds at once, and the read waits.
func (in *performanceInput) Connect(ctx context.Context) error {
	if in.stop.IsHardStopSignalled() {
		return service.ErrEndOfInput
	}
	if in.isConnected() {
		return nil
	}
	if err := in.claim.use(); err != nil {
		return service.NewErrBackOff(err, time.Minute)
	}
	if !in.last.known {
		if err := in.load(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := in.stop.HardStopCtx(ctx)
	defer cancel()
	if err := in.fetch(ctx); err != nil {
		wait := in.failed(err)
		if apiErr, ok := errors.AsType[*wisepops.APIError](err); !ok || apiErr.RetryAfter == 0 {
			return service.NewErrBackOff(err, wait)
		}
		in.log.Errorf("%v: next attempt in %s", err, wait)
		in.postpone(wait)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.connected = true
	return nil
}

func (in *performanceInput) isConnected() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.connected
}

// waitingForBudget ends a call that would wait for days: readiness must not depend on
// the budget, and what was refused downstream is read again meanwhile.
func (in *performanceInput) waitingForBudget(wait time.Duration) {
	in.log.Debugf("The rate limit grants no call for %s", wait)
	in.denied.Store(int64(wait))
	if abort := in.abort.Load(); abort != nil {
		(*abort)()
	}
}

func (in *performanceInput) load(ctx context.Context) error {
	if in.slot == nil {
		return nil
	}
	data, found, err := in.slot.get(ctx)
	if err != nil {
		return fmt.Errorf("reading the last snapshot %q from cache %q: %w", in.slot.key, in.slot.cache, err)
	}
	if !found {
		return nil
	}
	state, website, err := decodeSnapshot(data)
	if err != nil {
		return fmt.Errorf("the last snapshot %q in cache %q cannot be used: %w: to start over, without deltas in the first snapshot, delete that key or set another %s",
			in.slot.key, in.slot.cache, err, wpiFieldCheckpointCacheKey)
	}
	if website != in.conf.website {
		in.log.Warnf("The last snapshot %q in cache %q was stored with another API key: if that is the key of another website, this one needs a %s of its own",
			in.slot.key, in.slot.cache, wpiFieldCheckpointCacheKey)
	}
	in.last, in.acked = state, state
	return nil
}

// fetch asks for a snapshot, and keeps it. Where the rate limit grants no call it has
// the next attempt wait, and keeps nothing.
func (in *performanceInput) fetch(ctx context.Context) error {
	if in.kept != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.denied.Store(0)
	in.abort.Store(&cancel)
	defer in.abort.Store(nil)
	client := in.client
	if in.failures > 0 {
		client = client.WithMaxRetries(0)
	}
	campaigns, err := client.Campaigns(ctx)
	if denied := time.Duration(in.denied.Load()); err != nil && denied > 0 {
		in.postpone(denied)
		return nil
	}
	if err != nil {
		return err
	}
	in.kept = campaigns
	in.failures = 0
	in.lastSuccess.Set(time.Now().Unix())
	return nil
}

// failed takes note of a failed call, and returns how long to wait.
func (in *performanceInput) failed(err error) time.Duration {
	in.failures++
	return apiconfig.WaitAfter(err, in.failures, in.longestWait())
}

func (in *performanceInput) longestWait() time.Duration {
	return min(in.conf.pollInterval, longestSnapshotWait)
}

func (in *performanceInput) postpone(wait time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.due = time.Now().Add(wait)
}

// ReadBatch returns the next snapshot that has something to deliver, or what was refused
// of one before.
func (in *performanceInput) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	if !in.isConnected() {
		return nil, nil, service.ErrNotConnected
	}
	ctx, cancel := in.stop.HardStopCtx(ctx)
	defer cancel()
	for {
		if again := in.again.take(); again != nil {
			batch, ack := again()
			return batch, ack, nil
		}
		due, err := in.awaitDue(ctx)
		if err != nil {
			return nil, nil, err
		}
		if !due {
			continue
		}
		batch, ack, err := in.read(ctx)
		if ctx.Err() != nil && err != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			wait := in.failed(err)
			in.log.Errorf("%v: next attempt in %s", err, wait)
			in.postpone(wait)
			continue
		}
		if len(batch) > 0 {
			return batch, ack, nil
		}
		if ack != nil {
			_ = ack(ctx, nil)
		}
	}
}

// read takes a snapshot. Its batch is empty where there is nothing to deliver; its
// acknowledgement is nil where none was taken.
func (in *performanceInput) read(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	if err := in.fetch(ctx); err != nil {
		return nil, nil, err
	}
	if in.kept == nil {
		return nil, nil, nil
	}
	campaigns := in.kept
	in.kept = nil

	in.mu.Lock()
	defer in.mu.Unlock()
	at := time.Now()
	before := in.last
	messages, after, err := before.next(campaigns, at, in.conf.changedOnly)
	if err != nil {
		return nil, nil, fmt.Errorf("comparing snapshots: %w", err)
	}
	in.last = after
	in.due = at.Add(in.conf.pollInterval)
	in.ended = !in.conf.follow
	in.snapshots.Incr(1)

	in.unsettled++
	resolve := in.order.Track(after, 1)
	settle := func(ctx context.Context, refused []int64) {
		in.settle(before, after, refused, resolve)
		in.saveOrRetry(ctx)
	}
	build := func(messages []popupMessage) service.MessageBatch { return popupMessages(messages, at) }
	if in.conf.autoReplay {
		batch, ack := replayed(in.again, messages, build, func(ctx context.Context) { settle(ctx, nil) })
		return batch, ack, nil
	}
	batch := build(messages)
	indexer := batch.Index()
	return batch, func(ctx context.Context, err error) error {
		var refused []int64
		if err != nil {
			for _, i := range refusedMessages(err, indexer, len(messages)) {
				refused = append(refused, messages[i].id)
			}
		}
		settle(ctx, refused)
		return nil
	}, nil
}

// Close stores what was acknowledged last. It is safe before Connect and twice.
func (in *performanceInput) Close(ctx context.Context) error {
	in.stop.TriggerHardStop()
	in.mu.Lock()
	closed := in.closed
	in.closed = true
	in.mu.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeCloseBudget)
	defer cancel()
	defer in.claim.release()
	defer in.client.CloseIdleConnections()
	if err := in.save(ctx); err != nil {
		return fmt.Errorf("%w: the next snapshot is compared with the one before", err)
	}
	return nil
}

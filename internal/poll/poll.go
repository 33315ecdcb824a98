// Package poll is the engine of the inputs that poll. It owns what they share: when to
// call, how long to back off, how far to read ahead, what to do about batches that were
// rejected downstream, in which order pages are committed, and when the state is stored.
// A [Source] says what to call, how to read it, and what a page changes.
//
// Two goroutines do the work: one polls, one stores. Connect and ReadBatch only report
// and hand over what the first has made.
package poll

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/exit"
	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// longestStateWait bounds the wait after the state could not be read. It costs no
	// call of the API.
	longestStateWait = 10 * time.Second

	// reportInterval is how often progress is reported while nothing changes.
	reportInterval = 15 * time.Second

	closeBudget = 5 * time.Second
)

// Source is what an [Input] polls. Load and Next are called by one goroutine. Commit
// (of a page), Encode and Report are called under one lock, so that they see the same
// committed state.
type Source interface {
	// Load takes over the stored state, or begins a new one where none is stored. Its
	// error says how to start over. It is called again until it succeeds.
	Load(data []byte, found bool) error

	// Next makes one call of the API and returns its page. Where retry is set the call
	// before failed: the wait after it grows, and the client is not to retry by itself.
	Next(ctx context.Context, retry bool) (Page, error)

	// Encode returns the state as of the last committed page, or nil where there is
	// nothing that is worth storing yet.
	Encode() ([]byte, error)

	// Report publishes progress. Oldest is the time of the oldest item that was read and
	// is not committed, or zero where there is none or none is known.
	Report(oldest time.Time)
}

// Page is what one call brought.
type Page struct {
	Len    int       // messages; 0 where there is nothing to deliver
	Bytes  int       // that the page holds in memory until it is committed
	Oldest time.Time // of its items; zero where unknown

	// Messages makes a batch of the messages from one index up to another. It is called
	// again for each attempt to deliver them.
	Messages func(from, to int) service.MessageBatch

	// Commit is called once everything of this page, and of all pages before it, was
	// delivered.
	Commit func()

	CaughtUp bool // there is no more at present: the next call waits for the interval
	Last     bool // nothing follows
}

// Options configure an [Input].
type Options struct {
	Interval    time.Duration // between polls that found everything
	LongestWait time.Duration // after failures of the API
	MaxMessages int           // in flight, or delivered and not stored
	MaxBytes    int           // of these
	Slot        *state.Slot   // where the state is kept; nil: nowhere
	StateName   string        // such as "watermark", for the log and for errors
	Items       string        // such as "contacts", likewise
	Identity    string        // tells inputs apart, so that many do not call at the same time
	WriteErrors *service.MetricCounter
}

// Input is a service.BatchInput that polls a source.
type Input struct {
	opts   Options
	source Source
	log    *service.Logger
	fleet  *fleet
	flow   *flow
	store  *store

	ctx    context.Context //nolint:containedctx // of the goroutine, which outlives the calls that start it
	cancel context.CancelFunc
	start  sync.Once
	done   chan struct{} // closed when the goroutine has ended

	mu        sync.Mutex
	claim     *state.Claim
	closed    bool
	ended     bool
	connected bool
	failed    error         // why it is not connected
	wait      time.Duration // until the next attempt
	attempts  int           // failed attempts to connect
	reported  int           // of these
	changed   broadcast
}

// New does no I/O and starts no goroutine.
func New(source Source, opts Options, mgr *service.Resources) (*Input, error) {
	all, err := fleetOf(mgr)
	if err != nil {
		return nil, err
	}
	in := &Input{
		opts:    opts,
		source:  source,
		log:     mgr.Logger(),
		fleet:   all,
		flow:    newFlow(source, opts.MaxMessages, opts.MaxBytes, opts.Slot != nil),
		done:    make(chan struct{}),
		changed: newBroadcast(),
	}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	in.store = newStore(in.flow, &in.opts, in.log)
	return in, nil
}

// Connect starts polling, and reports how the first poll went: its page waits for the
// first read. While the budget of calls is spent, or the API asks for patience, the input
// counts as connected.
func (in *Input) Connect(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.start.Do(func() { go in.run() })
	for {
		switch {
		case in.ended || in.closed:
			return service.ErrEndOfInput
		case in.connected:
			return nil
		case in.attempts > in.reported:
			in.reported = in.attempts
			return service.NewErrBackOff(in.failed, in.wait)
		}
		changed := in.changed.next()
		in.mu.Unlock()
		select {
		case <-changed:
		case <-in.done:
		case <-ctx.Done():
		}
		in.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// ReadBatch returns a page, or a part of one that was rejected before.
func (in *Input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	p, err := in.flow.next(ctx)
	if err != nil {
		return nil, nil, err
	}
	var once sync.Once
	return p.page.Messages(p.from, p.to), func(_ context.Context, err error) error {
		once.Do(func() { in.flow.settle(p, err, time.Now()) })
		return nil
	}, nil
}

// Close stops polling and stores what was committed last. It is safe before Connect, and
// stores again where it failed before. It waits for the goroutine and for the cache, five
// seconds each at most.
func (in *Input) Close(ctx context.Context) error {
	in.cancel()
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.start.Do(func() { close(in.done) })
	leaving, cancel := context.WithTimeout(ctx, closeBudget)
	defer cancel()
	select {
	case <-in.done:
	case <-leaving.Done():
	}
	_ = in.flow.awaitSure(leaving) // the doubt window at most
	err := in.store.close(ctx)
	if err != nil {
		// Benthos drops the error of a Close.
		in.log.Errorf("%v: the contacts delivered last will be delivered again", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.claim.Release()
	return err
}

// Waiting has the input count as connected: readiness must not depend on the budget. The
// client calls it before it waits for the rate limit.
func (in *Input) Waiting(wait time.Duration) {
	in.log.Debugf("The rate limit grants no call for %s", wait)
	in.setConnected()
}

func (in *Input) setConnected() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.connected {
		in.connected = true
		in.changed.notify()
	}
}

// fail has Connect report an error, or logs it where the input is connected already.
func (in *Input) fail(err error, wait time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.connected {
		in.log.Errorf("%v: next attempt in %s", err, wait)
		return
	}
	in.failed, in.wait = err, wait
	in.attempts++
	in.changed.notify()
}

// run polls until the input is closed, or nothing follows.
func (in *Input) run() {
	defer close(in.done)
	defer in.flow.end()
	defer in.fleet.leave()
	if !apiconfig.Sleep(in.ctx, spread(in.opts.Identity, in.fleet.join())) || !in.load() {
		return
	}
	in.store.start()
	failures := 0
	told := newProgress(in.log, in.opts.Items)
	for in.ctx.Err() == nil {
		if in.flow.awaitRoom(in.ctx) != nil {
			return
		}
		page, err := in.source.Next(in.ctx, failures > 0)
		told.called()
		if err != nil {
			if in.ctx.Err() != nil {
				return
			}
			// It is not forgotten before a page was taken: an answer that cannot be used
			// is a failure too.
			failures++
			wait := apiconfig.WaitAfter(err, failures, in.opts.LongestWait)
			if apiErr, ok := errors.AsType[*wisepops.APIError](err); ok && apiErr.RetryAfter > 0 {
				in.setConnected()
			}
			in.fail(err, wait)
			if !in.pause(wait) {
				return
			}
			continue
		}
		failures = 0
		in.setConnected()
		if in.flow.admit(in.ctx, page) != nil {
			return
		}
		told.read(page.Len)
		if page.Last {
			if in.finish() {
				told.finished()
			}
			return
		}
		if !page.CaughtUp {
			continue
		}
		wait := in.opts.Interval + spread(in.opts.Identity, in.opts.Interval/pollSpread)
		told.caughtUp(wait)
		if !in.pause(wait) {
			return
		}
	}
}

// load claims the slot and reads the state, until both succeed.
func (in *Input) load() bool {
	for failures := 1; ; failures++ {
		err := in.loadOnce()
		if err == nil {
			return true
		}
		if in.ctx.Err() != nil {
			return false
		}
		wait := apiconfig.Wait(failures, longestStateWait)
		in.fail(err, wait)
		if !apiconfig.Sleep(in.ctx, wait) {
			return false
		}
	}
}

func (in *Input) loadOnce() error {
	if in.opts.Slot == nil {
		return in.source.Load(nil, false)
	}
	if err := in.takeClaim(); err != nil {
		return err
	}
	data, found, err := in.opts.Slot.Get(in.ctx)
	if err != nil {
		return fmt.Errorf("reading the %s %q from cache %q: %w", in.opts.StateName, in.opts.Slot.Key, in.opts.Slot.Cache, err)
	}
	return in.source.Load(data, found)
}

func (in *Input) takeClaim() error {
	in.mu.Lock()
	claimed := in.claim != nil
	in.mu.Unlock()
	if claimed {
		return nil
	}
	claim, err := in.opts.Slot.Claim(in.ctx)
	if err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed { // and does not wait any more
		claim.Release()
		return context.Canceled
	}
	in.claim = claim
	return nil
}

// finish waits until everything is delivered and stored, and reports whether it was. A run
// that ends with its state not stored fails, since the next one repeats it.
func (in *Input) finish() (stored bool) {
	if in.flow.awaitDelivered(in.ctx) != nil {
		return false
	}
	stored = true
	if err := in.store.drain(in.ctx); err != nil && in.ctx.Err() == nil {
		in.log.Errorf("%v: this run ends, and the next one delivers again what this one delivered last", err)
		exit.Fail()
		stored = false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
	return stored
}

// pause waits between polls, and reports progress meanwhile.
func (in *Input) pause(d time.Duration) bool {
	for until := time.Now().Add(d); ; {
		in.flow.report()
		left := time.Until(until)
		if left <= 0 {
			return in.ctx.Err() == nil
		}
		if !apiconfig.Sleep(in.ctx, min(left, reportInterval)) {
			return false
		}
	}
}

package poll

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
)

const (
	storeRetryFirst = 100 * time.Millisecond
	storeRetryLast  = 10 * time.Second

	// storeGather lets a few pages come together for one write.
	storeGather = 20 * time.Millisecond

	// storeLogInterval is how often it is said that the state cannot be written.
	storeLogInterval = 30 * time.Second

	// storeDrain is how long the end of a run waits for its last write to succeed, and
	// storeClose how long a shutdown does.
	storeDrain = 30 * time.Second
	storeClose = 5 * time.Second
)

var errNotStored = errors.New("the cache does not answer")

// store writes the committed state, always the newest, from a goroutine of its own, so
// that a slow cache delays neither acknowledgements nor other pages.
type store struct {
	flow *flow
	opts *Options
	log  *service.Logger

	ctx     context.Context //nolint:containedctx // of the goroutine
	cancel  context.CancelFunc
	started atomic.Bool
	done    chan struct{} // closed when the goroutine has ended

	loggedAt time.Time // when a failure was logged
}

func newStore(f *flow, opts *Options, log *service.Logger) *store {
	s := &store{flow: f, opts: opts, log: log, done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *store) start() {
	if s.opts.Slot == nil {
		return
	}
	s.started.Store(true)
	go s.run()
}

func (s *store) run() {
	defer close(s.done)
	retry := storeRetryFirst
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.flow.wake:
		}
		if !s.gather() {
			return
		}
		err := s.write(s.ctx)
		if err == nil {
			retry = storeRetryFirst
			continue
		}
		if s.ctx.Err() != nil || !apiconfig.Sleep(s.ctx, retry) {
			return
		}
		retry = min(2*retry, storeRetryLast)
		s.flow.wakeStore()
	}
}

// gather waits for further pages, as long as that does not hold up reading.
func (s *store) gather() bool {
	t := time.NewTimer(storeGather)
	defer t.Stop()
	for !s.flow.pressing() {
		select {
		case <-t.C:
			return true
		case <-s.flow.wake:
		case <-s.ctx.Done():
			return false
		}
	}
	return true
}

// write stores the committed state, where there is anything new.
func (s *store) write(ctx context.Context) error {
	data, covers, err := s.flow.snapshot()
	if err == nil && data != nil {
		err = s.set(ctx, data)
	}
	s.flow.saved(covers, err)
	if err == nil || ctx.Err() != nil {
		s.loggedAt = time.Time{}
		return err
	}
	s.opts.WriteErrors.Incr(1)
	if time.Since(s.loggedAt) >= storeLogInterval {
		s.loggedAt = time.Now()
		s.report(err)
	}
	return err
}

// set writes, and reports while the cache does not answer.
func (s *store) set(ctx context.Context, data []byte) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	slow := time.AfterFunc(storeLogInterval, func() {
		for ok := true; ok; ok = apiconfig.Sleep(waiting, storeLogInterval) {
			s.report(errNotStored)
		}
	})
	defer slow.Stop()
	return s.opts.Slot.Set(ctx, data)
}

func (s *store) report(err error) {
	s.log.Errorf("%v: reading pauses until it is stored, and it is tried again", s.wrap(err))
}

func (s *store) wrap(err error) error {
	return fmt.Errorf("storing the %s %q in cache %q: %w", s.opts.StateName, s.opts.Slot.Key, s.opts.Slot.Cache, err)
}

// drain waits until everything committed is stored.
func (s *store) drain(ctx context.Context) error {
	if s.opts.Slot == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeDrain)
	defer cancel()
	var err error
	if s.flow.await(ctx, func() bool {
		err = s.flow.failing
		return s.flow.clean()
	}) == nil {
		return nil
	}
	if err == nil {
		err = errNotStored
	}
	return s.wrap(err)
}

// close stores what was committed last. It waits some seconds at most, and may be called
// again where it failed.
func (s *store) close(ctx context.Context) error {
	s.cancel()
	if !s.started.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeClose)
	defer cancel()
	select {
	case <-s.done:
	case <-ctx.Done():
		return s.wrap(errNotStored)
	}
	data, covers, err := s.flow.snapshot()
	if err == nil && data != nil {
		err = s.opts.Slot.Set(ctx, data)
	}
	s.flow.saved(covers, err)
	if err != nil {
		return s.wrap(err)
	}
	return nil
}

package input

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/Jeffail/checkpoint"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	storeRetryFirst  = 100 * time.Millisecond
	storeRetryLast   = 10 * time.Second
	storeCloseBudget = 5 * time.Second
	storeGather      = 20 * time.Millisecond

	// maxStoredMidRun bounds the ids that are stored while the position cannot
	// move, which is as long as an API without order is read for the first time.
	// Past it a crash in that run repeats the run.
	maxStoredMidRun = 100_000
)

var errRefused = errors.New("contacts were refused downstream")

// checkpointer follows the pages that are in flight, in order, and stores how far
// they were acknowledged. A goroutine writes, always the newest state, so that a
// slow cache delays neither acknowledgements nor other pages.
type checkpointer struct {
	store   *store // nil: nothing is kept
	overlap time.Duration
	limit   int
	log     *service.Logger
	errs    *service.MetricCounter
	size    *service.MetricGauge

	mu          sync.Mutex
	acked       progress
	completeTo  int64
	order       *checkpoint.Uncapped[int64]
	pages       []*pageInFlight // from the oldest that is not acknowledged
	tracked     int64
	outstanding int  // contacts in flight, or acknowledged and not stored
	unsaved     int  // the latter
	refused     int  // contacts
	delivered   int  // contacts acknowledged in order, ever
	midRun      bool // the last page neither moved the position nor ended a run
	dirty       bool
	failing     bool
	changed     chan struct{} // closed and replaced when any of this changes

	wake chan struct{}
	quit chan struct{}
	done chan struct{}
}

type pageInFlight struct {
	number   int64
	delta    delta
	contacts int
	resolved bool
}

func newCheckpointer(p progress, s *store, overlap time.Duration, limit int, mgr *service.Resources) *checkpointer {
	c := &checkpointer{
		store:   s,
		overlap: overlap,
		limit:   limit,
		log:     mgr.Logger(),
		errs:    mgr.Metrics().NewCounter("wisepops_watermark_write_errors"),
		size:    mgr.Metrics().NewGauge("wisepops_seen_size"),
		acked:   p,
		order:   checkpoint.NewUncapped[int64](),
		changed: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go c.write()
	return c
}

// track takes a page in. It waits while that would exceed the limit of contacts
// in flight, or acknowledged and not stored, and while storing fails. The
// function returned settles the page, once: refused lists the contacts that were
// not delivered, or is nil. Where contacts were refused before, track returns
// errRefused, since pages behind them never leave the limit.
func (c *checkpointer) track(ctx context.Context, d delta, contacts int) (settle func(refused map[wisepops.ID]bool), err error) {
	if err := c.await(ctx, func() bool {
		fits := c.outstanding == 0 || c.outstanding+contacts <= c.limit
		return c.refused > 0 || fits && !c.failing
	}); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused > 0 {
		return nil, errRefused
	}
	c.tracked++
	page := &pageInFlight{number: c.tracked, delta: d, contacts: contacts}
	c.pages = append(c.pages, page)
	c.outstanding += contacts
	resolve := c.order.Track(page.number, int64(max(contacts, 1)))
	return func(refused map[wisepops.ID]bool) { c.settle(page, resolve, refused) }, nil
}

func (c *checkpointer) settle(page *pageInFlight, resolve func() *int64, refused map[wisepops.ID]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.notify()
	page.resolved = true
	if len(refused) > 0 {
		page.delta = page.delta.without(refused)
		c.refused += len(refused)
		return
	}
	highest := resolve()
	if highest == nil {
		return
	}
	for len(c.pages) > 0 && c.pages[0].number <= *highest {
		p := c.pages[0]
		c.pages[0] = nil
		c.pages = c.pages[1:]
		before := c.acked.position
		c.delivered += p.contacts
		c.acked.apply(&p.delta, c.overlap)
		c.midRun = c.acked.position == before && p.delta.completeTo == 0
		if p.delta.completeTo != 0 {
			c.completeTo = p.delta.completeTo
		}
		if c.store == nil {
			c.outstanding -= p.contacts
			continue
		}
		c.unsaved += p.contacts
		c.dirty = true
	}
	c.size.Set(int64(c.acked.size()))
	c.wakeWriter()
}

func (c *checkpointer) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// without leaves out what was not delivered, and all that would follow from the
// page as a whole.
func (d *delta) without(refused map[wisepops.ID]bool) delta {
	var kept delta
	for _, s := range d.seen {
		if !refused[s.id] {
			kept.seen = append(kept.seen, s)
		}
	}
	for _, id := range d.undated {
		if !refused[id] {
			kept.undated = append(kept.undated, id)
		}
	}
	return kept
}

func (c *checkpointer) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until cond, which is asked under the lock, holds.
func (c *checkpointer) await(ctx context.Context, cond func() bool) error {
	for {
		c.mu.Lock()
		ok, changed := cond(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain waits until no page is unsettled.
func (c *checkpointer) drain(ctx context.Context) error {
	return c.await(ctx, func() bool {
		for _, p := range c.pages {
			if !p.resolved {
				return false
			}
		}
		return true
	})
}

// refusals is how many contacts were refused since the last rewind: they must be
// read again.
func (c *checkpointer) refusals() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// progressed is how many contacts were acknowledged in order, ever.
func (c *checkpointer) progressed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.delivered
}

// rewind forgets the pages behind a refused one, but not which of their contacts
// were delivered, and returns the progress to read on from. No page may be
// unsettled.
func (c *checkpointer) rewind() progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pages {
		for _, s := range p.delta.seen {
			c.acked.seen[s.id] = s.at
		}
		c.acked.addUndated(p.delta.undated...)
	}
	c.pages = nil
	c.refused = 0
	c.outstanding = c.unsaved
	c.order = checkpoint.NewUncapped[int64]()
	c.dirty = c.store != nil
	c.wakeWriter()
	return c.acked.clone()
}

// behind is how far the instant up to which everything was delivered lies before
// now.
func (c *checkpointer) behind(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := max(c.acked.position, c.completeTo)
	if at == beginning || at == 0 {
		return 0
	}
	return max(0, now.Sub(time.UnixMilli(at)))
}

func (c *checkpointer) write() {
	defer close(c.done)
	retry := storeRetryFirst
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		select {
		case <-c.quit:
			return
		case <-c.wake:
		}
		if !c.gather() {
			return
		}
		err := c.flush(ctx)
		if err == nil || ctx.Err() != nil {
			retry = storeRetryFirst
			continue
		}
		c.errs.Incr(1)
		c.log.Errorf("%v: reading pauses until it can be stored; next attempt in %s", err, retry)
		select {
		case <-c.quit:
			return
		case <-time.After(retry):
		}
		retry = min(2*retry, storeRetryLast)
		c.wakeWriter()
	}
}

// gather lets a few pages come together for one write, as long as the limit does
// not hold up reading.
func (c *checkpointer) gather() bool {
	t := time.NewTimer(storeGather)
	defer t.Stop()
	for {
		c.mu.Lock()
		urgent := 2*c.unsaved >= c.limit
		c.mu.Unlock()
		if urgent {
			return true
		}
		select {
		case <-t.C:
			return true
		case <-c.wake:
		case <-c.quit:
			return false
		}
	}
}

// flush writes the acknowledged progress, if there is anything new.
func (c *checkpointer) flush(ctx context.Context) error {
	c.mu.Lock()
	if !c.dirty || c.store == nil {
		c.mu.Unlock()
		return nil
	}
	covered := c.unsaved
	if c.midRun && len(c.acked.seen) > maxStoredMidRun {
		c.failing = false
		c.saved(c.unsaved)
		c.mu.Unlock()
		return nil
	}
	c.dirty = false
	data, err := c.acked.encode(c.store.wisepopID)
	c.mu.Unlock()

	if err == nil {
		err = c.store.save(ctx, data)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing = err != nil
	if err != nil {
		c.dirty = true
		return err
	}
	c.saved(covered)
	return nil
}

// saved takes contacts out of the limit, under the lock.
func (c *checkpointer) saved(contacts int) {
	c.unsaved -= contacts
	c.outstanding -= contacts
	c.notify()
}

// close stores what was acknowledged last. It waits a few seconds at most.
func (c *checkpointer) close(ctx context.Context) error {
	close(c.quit)
	ctx, cancel := context.WithTimeout(ctx, storeCloseBudget)
	defer cancel()
	select {
	case <-c.done:
	case <-ctx.Done():
		return errors.New("storing the last watermark: the cache does not answer: what was delivered last will be delivered again")
	}
	if err := c.flush(ctx); err != nil {
		return fmt.Errorf("%w: what was delivered last will be delivered again", err)
	}
	return nil
}

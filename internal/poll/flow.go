package poll

import (
	"context"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// pagesAhead is how many pages wait for their read, so that polling and reading need not
// keep the same pace. They count as in flight.
const pagesAhead = 2

// page is a page on its way through the pipeline.
type page struct {
	Page
	left  int      // messages that are not delivered
	after []func() // commits of pages without messages that followed it
}

// flow holds the pages that are in flight: it bounds them, hands them out, takes their
// acknowledgements, and commits them in order.
type flow struct {
	maxMessages, maxBytes int
	stored                bool // what was committed leaves the bounds only once it is stored
	source                Source

	mu        sync.Mutex
	pages     []*page // that are not committed, oldest first
	fresh     []*page // of these, those that nobody has read
	isolation isolation
	messages  int // of pages, or committed and not stored
	bytes     int // likewise
	unsaved   weight
	lastBytes int // of the last page: the next one is taken to be as large
	dirty     bool
	failing   error // why the state cannot be written: reading pauses
	ended     bool
	changed   broadcast
	wake      chan struct{} // of the store
}

// weight is how much of the bounds something takes.
type weight struct{ messages, bytes, commits int }

func newFlow(source Source, maxMessages, maxBytes int, stored bool) *flow {
	return &flow{
		maxMessages: maxMessages,
		maxBytes:    maxBytes,
		stored:      stored,
		source:      source,
		changed:     newBroadcast(),
		wake:        make(chan struct{}, 1),
	}
}

// await waits until cond, which is evaluated under the lock, holds.
func (f *flow) await(ctx context.Context, cond func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := cond(), f.changed.next()
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reportInterval):
			f.report()
		}
	}
}

// awaitRoom waits until a page like the last one fits into memory, before it is requested.
// A page is always let in where nothing else is in flight.
func (f *flow) awaitRoom(ctx context.Context) error {
	return f.await(ctx, func() bool {
		return f.messages == 0 || f.bytes+f.lastBytes <= f.maxBytes && f.failing == nil
	})
}

// admit takes a page in, once it fits. One without messages always does, and adds to the
// page before it: behind a message that is never delivered they must not pile up.
func (f *flow) admit(ctx context.Context, p Page) error {
	if p.Len == 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		if n := len(f.pages); n > 0 {
			f.pages[n-1].after = append(f.pages[n-1].after, p.Commit)
			return nil
		}
		f.pages = append(f.pages, &page{Page: Page{Commit: p.Commit}})
		f.commit()
		return nil
	}
	if err := f.await(ctx, func() bool {
		fits := f.messages == 0 || f.messages+p.Len <= f.maxMessages && f.bytes+p.Bytes <= f.maxBytes
		return fits && f.failing == nil && len(f.fresh) < pagesAhead
	}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastBytes = p.Bytes
	pg := &page{Page: p, left: p.Len}
	f.pages = append(f.pages, pg)
	f.fresh = append(f.fresh, pg)
	f.messages += p.Len
	f.bytes += p.Bytes
	f.changed.notify()
	return nil
}

// next returns what to deliver next, and waits for it.
func (f *flow) next(ctx context.Context) (*part, error) {
	for {
		f.mu.Lock()
		p, wait := f.take(time.Now())
		ended, changed := f.ended, f.changed.next()
		f.mu.Unlock()
		switch {
		case p != nil:
			return p, nil
		case ended:
			return nil, service.ErrEndOfInput
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-changed:
		case <-timer:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns what to deliver now, or how long to wait for a part that was rejected.
func (f *flow) take(now time.Time) (*part, time.Duration) {
	p, hold, wait := f.isolation.next(now)
	if p == nil && !hold && len(f.fresh) > 0 {
		pg := f.fresh[0]
		f.fresh[0] = nil
		f.fresh = f.fresh[1:]
		f.changed.notify() // there is room for another
		p = &part{page: pg, to: pg.Len}
	}
	if p != nil {
		f.isolation.sent(p, now)
	}
	return p, wait
}

// settle takes the outcome of a batch. Only whether it is nil counts: what a
// service.BatchError says of single messages is not used.
func (f *flow) settle(p *part, err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.changed.notify()
	if err != nil {
		f.isolation.nacked(p, now)
	} else {
		f.isolation.acked(p, now)
	}
	f.deliver(now)
	if err == nil && len(f.isolation.held) > 0 {
		time.AfterFunc(doubtWindow, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.deliver(time.Now())
			f.changed.notify()
		})
	}
}

// deliver takes what is out of doubt for delivered, under the lock.
func (f *flow) deliver(now time.Time) {
	sure := f.isolation.delivered(now)
	for _, p := range sure {
		p.page.left -= p.size()
	}
	if len(sure) > 0 {
		f.commit()
	}
}

// commit commits the pages up to the first one that is not delivered, under the lock.
func (f *flow) commit() {
	before := len(f.pages)
	for len(f.pages) > 0 && f.pages[0].left == 0 {
		pg := f.pages[0]
		f.pages[0] = nil
		f.pages = f.pages[1:]
		pg.Commit()
		for _, commit := range pg.after {
			commit()
		}
		if !f.stored {
			f.messages -= pg.Len
			f.bytes -= pg.Bytes
			continue
		}
		f.unsaved.messages += pg.Len
		f.unsaved.bytes += pg.Bytes
		f.unsaved.commits++
	}
	if len(f.pages) == before {
		return
	}
	f.reportLocked()
	f.changed.notify()
	if f.stored {
		f.dirty = true
		f.wakeStore()
	}
}

func (f *flow) wakeStore() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// awaitDelivered waits until no page is in flight.
func (f *flow) awaitDelivered(ctx context.Context) error {
	return f.await(ctx, func() bool { return len(f.pages) == 0 })
}

// awaitSure waits until no acknowledgement is in doubt.
func (f *flow) awaitSure(ctx context.Context) error {
	return f.await(ctx, func() bool { return len(f.isolation.held) == 0 })
}

// end has reads end.
func (f *flow) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.changed.notify()
}

func (f *flow) report() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reportLocked()
}

func (f *flow) reportLocked() {
	var oldest time.Time
	for _, pg := range f.pages {
		if !pg.Oldest.IsZero() && (oldest.IsZero() || pg.Oldest.Before(oldest)) {
			oldest = pg.Oldest
		}
	}
	f.source.Report(oldest)
}

// snapshot encodes the committed state for a write, with what it covers. Data is nil
// where there is nothing new, or nothing worth storing.
func (f *flow) snapshot() (data []byte, covers weight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dirty {
		return nil, weight{}, nil
	}
	data, err = f.source.Encode()
	f.dirty = err != nil
	return data, f.unsaved, err
}

// saved takes what a write covered out of the bounds, or has reading pause.
func (f *flow) saved(covered weight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.changed.notify()
	f.failing = err
	if err != nil {
		f.dirty = true
		return
	}
	f.unsaved.messages -= covered.messages
	f.unsaved.bytes -= covered.bytes
	f.unsaved.commits -= covered.commits
	f.messages -= covered.messages
	f.bytes -= covered.bytes
}

// pressing reports whether what is not stored is about to hold up reading.
func (f *flow) pressing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 2*f.unsaved.messages >= f.maxMessages || 2*f.unsaved.bytes >= f.maxBytes
}

// clean reports, under the lock, whether everything committed is stored: also that no write
// of it is under way.
func (f *flow) clean() bool { return !f.dirty && f.unsaved == weight{} }

package input

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// receiver takes requests to the pipeline, and answers them.
type receiver struct {
	keys        []string // nil: signatures are not verified
	maxBody     int64
	maxInFlight int
	ackTimeout  time.Duration
	log         *service.Logger
	counts      *service.MetricCounter
	latency     *service.MetricTimer

	deliveries chan *delivery
	warnedAt   [http.StatusInternalServerError]atomic.Int64 // by status, in Unix seconds

	mu       sync.Mutex
	open     int             // requests that are not answered yet
	inFlight int             // those of them that are signed, and wait for the pipeline
	stopped  chan struct{}   // closed while nobody reads
	stopping func() bool     // ends the watch over the context of the last read
	reading  <-chan struct{} // the end of that context
	closing  chan struct{}   // closed by close: no acknowledgement will come
	closed   bool
	idle     chan struct{} // closed when closed and nothing is in flight
}

func newReceiver(conf *webhookConfig, mgr *service.Resources) *receiver {
	rec := &receiver{
		maxBody:     conf.maxBody,
		maxInFlight: conf.maxInFlight,
		ackTimeout:  conf.ackTimeout,
		log:         mgr.Logger(),
		counts:      mgr.Metrics().NewCounter("wisepops_deliveries", "event", "status"),
		latency:     mgr.Metrics().NewTimer("wisepops_delivery_latency_ns"),
		deliveries:  make(chan *delivery),
		stopped:     make(chan struct{}),
		closing:     make(chan struct{}),
		idle:        make(chan struct{}),
	}
	if conf.verify {
		rec.keys = conf.apiKeys
	}
	return rec
}

// next returns the next delivery. Once the context of the last read has ended
// nobody reads any more, and deliveries are refused.
func (rec *receiver) next(ctx context.Context) (*delivery, error) {
	rec.watch(ctx)
	select {
	case d := <-rec.deliveries:
		return d, nil
	case <-rec.closing:
		return nil, service.ErrEndOfInput
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (rec *receiver) watch(ctx context.Context) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.reading == ctx.Done() || rec.closed {
		return
	}
	if rec.stopping != nil && !rec.stopping() {
		rec.stopped = make(chan struct{})
	}
	rec.reading = ctx.Done()
	stopped := rec.stopped
	rec.stopping = context.AfterFunc(ctx, func() { close(stopped) })
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// close refuses everything from now on, also what waits for an acknowledgement.
func (rec *receiver) close() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed {
		return
	}
	rec.closed = true
	if rec.stopping != nil {
		rec.stopping()
	}
	close(rec.closing)
	if rec.open == 0 {
		close(rec.idle)
	}
}

// drain waits until everything in flight is answered.
func (rec *receiver) drain(ctx context.Context) {
	select {
	case <-rec.idle:
	case <-ctx.Done():
	}
}

// enter counts a request in. It returns what closes when nobody reads any more, or
// nil where the request is to be refused.
func (rec *receiver) enter() (stopped <-chan struct{}) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed || isClosed(rec.stopped) {
		return nil
	}
	rec.open++
	return rec.stopped
}

func (rec *receiver) leave() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.open--
	if rec.closed && rec.open == 0 {
		close(rec.idle)
	}
}

// admit counts a request in whose signature is right: what strangers send must not
// use up the places of others.
func (rec *receiver) admit() bool {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.inFlight >= rec.maxInFlight {
		return false
	}
	rec.inFlight++
	return true
}

func (rec *receiver) dismiss() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.inFlight--
}

// crowded tells whether so many requests are open that no more is read of any.
func (rec *receiver) crowded() bool {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.open > openPerPlace*rec.maxInFlight
}

package webhook

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
	warnedAt    [http.StatusInternalServerError]atomic.Int64 // by status, in Unix seconds

	mu       sync.Mutex             // never held while waiting
	open     int                    // requests that are not answered yet
	inFlight map[*delivery]struct{} // what waits for the pipeline, read or not
	waiting  *queue[*delivery]      // what of it nobody has read
	reading  <-chan struct{}        // the end of the context of the last read
	stopping func() bool            // ends the watch over that context
	stopped  bool                   // nobody reads any more
	closed   bool                   // no acknowledgement will come
	idle     chan struct{}          // closed when closed and everything is answered
}

func newReceiver(conf *config, mgr *service.Resources) *receiver {
	rec := &receiver{
		maxBody:     conf.maxBody,
		maxInFlight: conf.maxInFlight,
		ackTimeout:  conf.ackTimeout,
		log:         mgr.Logger(),
		counts:      mgr.Metrics().NewCounter("wisepops_deliveries", "event", "status"),
		latency:     mgr.Metrics().NewTimer("wisepops_delivery_latency_ns"),
		inFlight:    map[*delivery]struct{}{},
		waiting:     newQueue[*delivery](),
		idle:        make(chan struct{}),
	}
	if conf.verify {
		rec.keys = conf.apiKeys
	}
	return rec
}

// delivery is one accepted request on its way through the pipeline.
type delivery struct {
	messages service.MessageBatch
	status   chan int // receives the status of the answer
}

func newDelivery(messages service.MessageBatch) *delivery {
	return &delivery{messages: messages, status: make(chan int, 1)}
}

// answer sets the status. An answer is given once: later ones are of no effect.
func (d *delivery) answer(status int) {
	select {
	case d.status <- status:
	default:
	}
}

func (d *delivery) ack(_ context.Context, err error) error {
	if err != nil {
		d.answer(http.StatusServiceUnavailable)
	} else {
		d.answer(http.StatusOK)
	}
	return nil
}

// deliver waits for the pipeline, and returns the status of the answer. That the
// client seems to have gone changes nothing: it may only have closed its half of
// the connection.
func (rec *receiver) deliver(d *delivery) int {
	if !rec.admit(d) {
		return http.StatusServiceUnavailable
	}
	defer rec.dismiss(d)
	timeout := time.AfterFunc(rec.ackTimeout, func() { d.answer(http.StatusGatewayTimeout) })
	defer timeout.Stop()
	// One channel each: waiting on shared ones too, requests would wait for one
	// another's locks.
	return <-d.status
}

// admit queues a delivery whose signature is right: what strangers send must not
// use up the places of others.
func (rec *receiver) admit(d *delivery) bool {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed || rec.stopped || len(rec.inFlight) >= rec.maxInFlight {
		return false
	}
	rec.inFlight[d] = struct{}{}
	rec.waiting.add(d)
	return true
}

// dismiss takes back what was not read in time, too.
func (rec *receiver) dismiss(d *delivery) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	delete(rec.inFlight, d)
	rec.waiting.remove(func(other *delivery) bool { return other == d })
}

// next returns the next delivery. Once the context of the last read has ended
// nobody reads any more, and deliveries are refused.
func (rec *receiver) next(ctx context.Context) (*delivery, error) {
	for {
		d, err := rec.take(ctx)
		if d != nil || err != nil {
			return d, err
		}
		select {
		case <-rec.waiting.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns the oldest delivery that waits, or nil.
func (rec *receiver) take(ctx context.Context) (*delivery, error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed {
		return nil, service.ErrEndOfInput
	}
	rec.watch(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return rec.waiting.take(), nil
}

func (rec *receiver) watch(ctx context.Context) {
	if rec.reading == ctx.Done() {
		return
	}
	if rec.stopping != nil {
		rec.stopping()
	}
	reading := ctx.Done()
	rec.reading, rec.stopped = reading, false
	rec.stopping = context.AfterFunc(ctx, func() { rec.stop(reading) })
}

// stop refuses what nobody has read, once the context has ended that reads had.
func (rec *receiver) stop(reading <-chan struct{}) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.reading != reading {
		return
	}
	rec.stopped = true
	for d := rec.waiting.take(); d != nil; d = rec.waiting.take() {
		d.answer(http.StatusServiceUnavailable)
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
	rec.waiting.signal()
	for d := range rec.inFlight {
		d.answer(http.StatusServiceUnavailable)
	}
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

// ending tells whether new requests are refused, and whether those in flight are.
func (rec *receiver) ending() (stopped, closed bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.closed || rec.stopped, rec.closed
}

// enter counts a request in, unless it is to be refused. Crowded tells that so many
// are open that no more is to be read of it.
func (rec *receiver) enter() (entered, crowded bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed || rec.stopped {
		return false, false
	}
	rec.open++
	return true, rec.open > max(openPerPlace*rec.maxInFlight, openAtLeast)
}

func (rec *receiver) leave() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.open--
	if rec.closed && rec.open == 0 {
		close(rec.idle)
	}
}

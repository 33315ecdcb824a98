package input

import (
	"context"
	"net/http"
	"slices"
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
	waiting  []*delivery            // what of it nobody has read, the oldest first
	arrived  chan struct{}          // holds something when waiting has grown
	reading  <-chan struct{}        // the end of the context of the last read
	stopping func() bool            // ends the watch over that context
	stopped  bool                   // nobody reads any more
	closed   bool                   // no acknowledgement will come
	closing  chan struct{}          // closed when closed
	idle     chan struct{}          // closed when closed and everything is answered
}

func newReceiver(conf *webhookConfig, mgr *service.Resources) *receiver {
	rec := &receiver{
		maxBody:     conf.maxBody,
		maxInFlight: conf.maxInFlight,
		ackTimeout:  conf.ackTimeout,
		log:         mgr.Logger(),
		counts:      mgr.Metrics().NewCounter("wisepops_deliveries", "event", "status"),
		latency:     mgr.Metrics().NewTimer("wisepops_delivery_latency_ns"),
		inFlight:    map[*delivery]struct{}{},
		arrived:     make(chan struct{}, 1),
		closing:     make(chan struct{}),
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
	rec.waiting = append(rec.waiting, d)
	select {
	case rec.arrived <- struct{}{}:
	default:
	}
	return true
}

// dismiss takes back what was not read in time, too.
func (rec *receiver) dismiss(d *delivery) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	delete(rec.inFlight, d)
	if i := slices.Index(rec.waiting, d); i >= 0 {
		rec.waiting = slices.Delete(rec.waiting, i, i+1)
	}
}

// next returns the next delivery. Once the context of the last read has ended
// nobody reads any more, and deliveries are refused.
func (rec *receiver) next(ctx context.Context) (*delivery, error) {
	for {
		if d := rec.take(ctx); d != nil {
			return d, nil
		}
		select {
		case <-rec.arrived:
		case <-rec.closing:
			return nil, service.ErrEndOfInput
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns the oldest delivery that waits, or nil.
func (rec *receiver) take(ctx context.Context) (d *delivery) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.watch(ctx)
	if len(rec.waiting) == 0 || rec.stopped || ctx.Err() != nil {
		return nil
	}
	d, rec.waiting[0] = rec.waiting[0], nil
	rec.waiting = rec.waiting[1:]
	return d
}

func (rec *receiver) watch(ctx context.Context) {
	if rec.reading == ctx.Done() || rec.closed {
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
	for _, d := range rec.waiting {
		d.answer(http.StatusServiceUnavailable)
	}
	rec.waiting = nil
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

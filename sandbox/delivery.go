package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	defaultDeliveryWorkers  = 8
	defaultDeliveryAttempts = 20
	defaultDeliveryTimeout  = 15 * time.Second
	defaultDeliveryRetry    = 500 * time.Millisecond
	longestDeliveryRetry    = 30 * time.Second
)

// Delivery is one contact on its way to one hook.
type Delivery struct {
	Hook    Hook
	Contact Contact
	Attempt int // from 1
}

// DeliveryFault is what a control function does to one attempt of a delivery,
// see [Service.ControlDeliveries]. Its parts combine. The zero DeliveryFault is
// the normal delivery.
type DeliveryFault struct {
	// Delay is waited out before the request: later deliveries overtake it.
	Delay time.Duration

	// SlowBody spreads the body over this long.
	SlowBody time.Duration

	// Reset breaks the connection in the middle of the body. The attempt failed.
	Reset bool

	// Twice sends the delivery a second time, whatever the first answer. Both are
	// one attempt, which fails where either does.
	Twice bool

	// Body replaces the body before it is signed.
	Body []byte

	// Signature replaces the signatures: none where empty and not nil.
	Signature []string
}

// Deliveries counts what became of deliveries.
type Deliveries struct {
	Delivered int // answered with 2xx
	Pending   int // waiting for their first or next attempt, or for an answer
	GivenUp   int // failed for the last time
	Attempts  int
	ByStatus  map[int]int // of attempts; 0 is where no answer came
}

// DeliveryOptions configure [Service.Deliver].
type DeliveryOptions struct {
	Workers  int           // deliveries under way at a time; 0 means 8
	Attempts int           // of one delivery, then it is given up; 0 means 20
	Timeout  time.Duration // of one attempt; 0 means 15 s
	Retry    time.Duration // wait after the first failure, doubled up to 30 s; 0 means 500 ms
}

// courier holds the deliveries that wait.
type courier struct {
	mu      sync.Mutex
	waiting []pendingDelivery
	counts  Deliveries
	added   chan struct{} // closed and replaced when something waits anew
	control func(Delivery) *DeliveryFault
}

type pendingDelivery struct {
	Delivery
	due time.Time
}

// ControlDeliveries sets the function that is asked about every attempt of a
// delivery; nil from it means the normal delivery. It is called concurrently,
// without locks held.
func (s *Service) ControlDeliveries(fn func(Delivery) *DeliveryFault) {
	s.courier.mu.Lock()
	defer s.courier.mu.Unlock()
	s.courier.control = fn
}

// Deliveries returns the counts up to now.
func (s *Service) Deliveries() Deliveries {
	s.courier.mu.Lock()
	defer s.courier.mu.Unlock()
	counts := s.courier.counts
	counts.ByStatus = maps.Clone(counts.ByStatus)
	return counts
}

// dispatch queues a contact for the hooks that are there for it. It is called
// with s.mu held.
func (s *Service) dispatch(event string, c Contact) {
	for _, h := range s.hooks {
		if h.Event == event && (h.WisepopID == 0 || h.WisepopID == c.WisepopID) {
			s.courier.add(Delivery{Hook: h, Contact: c, Attempt: 1})
		}
	}
}

// Deliver posts what visitors submit to the hooks, signed, one contact a request,
// again and again where it fails. It returns when ctx ends, and leaves what is not
// delivered to the next call. Without it, deliveries wait.
func (s *Service) Deliver(ctx context.Context, opts DeliveryOptions) {
	opts.setDefaults()
	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: opts.Workers},
		Timeout:       opts.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	var workers sync.WaitGroup
	for range opts.Workers {
		workers.Go(func() {
			for {
				d, ok := s.courier.next(ctx)
				if !ok {
					return
				}
				status := s.attempt(ctx, client, d)
				s.courier.settle(ctx, d, status, opts)
			}
		})
	}
	workers.Wait()
}

func (o *DeliveryOptions) setDefaults() {
	o.Workers = cmp.Or(o.Workers, defaultDeliveryWorkers)
	o.Attempts = cmp.Or(o.Attempts, defaultDeliveryAttempts)
	o.Timeout = cmp.Or(o.Timeout, defaultDeliveryTimeout)
	o.Retry = cmp.Or(o.Retry, defaultDeliveryRetry)
}

func (c *courier) add(d Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Pending++
	c.queue(d, time.Now())
}

// queue is called with c.mu held.
func (c *courier) queue(d Delivery, due time.Time) {
	c.waiting = append(c.waiting, pendingDelivery{d, due})
	if c.added != nil {
		close(c.added)
	}
	c.added = make(chan struct{})
}

// next returns the delivery that is due first, as soon as it is.
func (c *courier) next(ctx context.Context) (Delivery, bool) {
	for ctx.Err() == nil {
		c.mu.Lock()
		if c.added == nil {
			c.added = make(chan struct{})
		}
		added, wait := c.added, time.Hour
		first := 0
		for i := range c.waiting {
			if c.waiting[i].due.Before(c.waiting[first].due) {
				first = i
			}
		}
		if len(c.waiting) > 0 {
			d := c.waiting[first]
			if wait = time.Until(d.due); wait <= 0 {
				c.waiting = slices.Delete(c.waiting, first, first+1)
				c.counts.Attempts++
				c.mu.Unlock()
				return d.Delivery, true
			}
		}
		c.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-added:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return Delivery{}, false
}

// settle takes note of how an attempt ended: status is 0 where no answer came.
func (c *courier) settle(ctx context.Context, d Delivery, status int, opts DeliveryOptions) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts.ByStatus == nil {
		c.counts.ByStatus = map[int]int{}
	}
	c.counts.ByStatus[status]++
	switch {
	case status >= 200 && status < 300:
		c.counts.Delivered++
		c.counts.Pending--
	case ctx.Err() != nil && status == 0:
		c.queue(d, time.Now()) // it was cut short by its own end
	case d.Attempt >= opts.Attempts:
		c.counts.GivenUp++
		c.counts.Pending--
	default:
		wait := opts.Retry
		for n := 1; n < d.Attempt && wait < longestDeliveryRetry; n++ {
			wait *= 2
		}
		d.Attempt++
		c.queue(d, time.Now().Add(min(wait, longestDeliveryRetry)))
	}
}

// attempt posts a delivery, and returns the status of the answer, or 0 where none
// came.
func (s *Service) attempt(ctx context.Context, client *http.Client, d Delivery) int {
	s.courier.mu.Lock()
	control := s.courier.control
	s.courier.mu.Unlock()
	var fault DeliveryFault
	if control != nil {
		if f := control(d); f != nil {
			fault = *f
		}
	}
	if !pause(ctx, fault.Delay) {
		return 0
	}
	raw := d.Contact.Raw
	if s.opts.RespellDeliveries {
		raw = respell(raw)
	}
	body := slices.Concat([]byte("["), raw, []byte("]"))
	if fault.Body != nil {
		body = fault.Body
	}
	status := s.post(ctx, client, d.Hook.TargetURL, body, &fault)
	if fault.Twice {
		second := s.post(ctx, client, d.Hook.TargetURL, body, &fault)
		status = worse(status, second)
	}
	return status
}

// worse is the status of an attempt of two requests.
func worse(a, b int) int {
	if a >= 200 && a < 300 {
		return b
	}
	return a
}

func (s *Service) post(ctx context.Context, client *http.Client, target string, body []byte, fault *DeliveryFault) int {
	var sent io.Reader = bytes.NewReader(body)
	if fault.SlowBody > 0 || fault.Reset {
		sent = &faultyBody{ctx: ctx, body: body, pace: fault.SlowBody / time.Duration(max(len(body), 1)), reset: fault.Reset}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, sent)
	if err != nil {
		return 0
	}
	req.ContentLength = int64(len(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header["X-Wisepops-Signature"] = fault.Signature
	if fault.Signature == nil {
		mac := hmac.New(sha256.New, []byte(s.opts.APIKey))
		mac.Write(body)
		req.Header.Set("X-Wisepops-Signature", hex.EncodeToString(mac.Sum(nil)))
	}
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	return res.StatusCode
}

// faultyBody is a body that comes slowly, byte by byte, or breaks in its middle.
type faultyBody struct {
	ctx   context.Context //nolint:containedctx // io.Reader has no room for it
	body  []byte
	pace  time.Duration
	reset bool
	at    int
}

func (b *faultyBody) Read(p []byte) (int, error) {
	if b.at == len(b.body) {
		return 0, io.EOF
	}
	if b.reset && b.at >= len(b.body)/2 {
		return 0, errors.New("the connection is broken on purpose")
	}
	if !pause(b.ctx, b.pace) {
		return 0, b.ctx.Err()
	}
	n := copy(p[:min(len(p), 1)], b.body[b.at:])
	b.at += n
	return n, nil
}

// pause reports whether the time passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

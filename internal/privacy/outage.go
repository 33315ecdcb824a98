package privacy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// A day of an outage costs some hundred calls with this, and a day of a refused
	// key some thirty.
	outageLastWait  = 15 * time.Minute
	refusedLastWait = time.Hour
)

// outage keeps calls from being wasted while the API is away: after a call that
// failed, though it was retried, the next is made after a wait that doubles, and by
// one message alone. While the key is refused, others fail without a call.
type outage struct {
	mu       sync.Mutex
	failures int
	until    time.Time
	refused  error         // the API refuses the key
	probe    chan struct{} // closed when the call under way has ended; nil: there is none
}

// enter waits until a call may be made. The function returned takes its error.
func (o *outage) enter(ctx context.Context) (probing bool, done func(error), err error) {
	for {
		o.mu.Lock()
		if o.failures == 0 {
			begun := time.Now()
			o.mu.Unlock()
			return false, func(err error) { o.settle(err, begun) }, nil
		}
		wait := time.Until(o.until)
		if o.refused != nil && (wait > 0 || o.probe != nil) {
			err := fmt.Errorf("not tried, since the last call failed (next attempt in %s): %w", max(wait, 0).Round(time.Second), o.refused)
			o.mu.Unlock()
			return false, nil, err
		}
		probe := o.probe
		if wait <= 0 && probe == nil {
			mine := make(chan struct{})
			o.probe = mine
			o.mu.Unlock()
			return true, func(err error) {
				o.settle(err, time.Now())
				o.mu.Lock()
				defer o.mu.Unlock()
				o.probe = nil
				close(mine)
			}, nil
		}
		o.mu.Unlock()
		timer := time.NewTimer(max(wait, time.Millisecond))
		if probe != nil {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-probe:
		case <-ctx.Done():
			timer.Stop()
			return false, nil, ctx.Err()
		}
		timer.Stop()
	}
}

// settle takes note of how a call ended that began at an instant. Calls that were
// under way together fail together, and count once.
func (o *outage) settle(err error, begun time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var (
		apiErr    *wisepops.APIError
		transport *wisepops.TransportError
		format    *wisepops.FormatError
		last      time.Duration
	)
	switch {
	case errors.Is(err, wisepops.ErrUnauthorized):
		last = refusedLastWait
	case errors.As(err, &apiErr) && (apiErr.Status == 429 || apiErr.Status >= 500 || apiErr.Blocked):
		last = outageLastWait
	case errors.Is(err, context.Canceled):
		return
	case errors.As(err, &transport), errors.As(err, &format):
		last = outageLastWait
	case err == nil || apiErr != nil: // or an error of that message alone
		o.failures, o.refused = 0, nil
		return
	default: // the rate limit, or the end
		return
	}
	if o.failures > 0 && begun.Before(o.until) {
		return
	}
	o.failures++
	o.until = time.Now().Add(apiconfig.WaitAfter(err, o.failures, last))
	o.refused = nil
	if errors.Is(err, wisepops.ErrUnauthorized) {
		o.refused = err
	}
}

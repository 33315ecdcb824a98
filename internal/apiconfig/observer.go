package apiconfig

import (
	"strconv"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// longRetryAfter is the wait from which a Retry-After is worth a line: the default
	// distance between two polls.
	longRetryAfter = 30 * time.Minute

	// Waits that end within this are one and the same, told by several calls.
	sameRetryAfter = time.Minute
)

// observer counts attempts, and logs when the API wants no call for long.
type observer struct {
	requests *service.MetricCounter
	latency  *service.MetricTimer
	log      *service.Logger

	mu    sync.Mutex
	until time.Time // what the last line about a long wait said
}

func newAttemptObserver(mgr *service.Resources) func(wisepops.Attempt) {
	o := &observer{
		requests: mgr.Metrics().NewCounter("wisepops_api_requests", "endpoint", "status"),
		latency:  mgr.Metrics().NewTimer("wisepops_api_latency_ns", "endpoint"),
		log:      mgr.Logger(),
	}
	return o.observe
}

func (o *observer) observe(a wisepops.Attempt) {
	status := "none"
	if a.Status != 0 {
		status = strconv.Itoa(a.Status)
	}
	o.requests.Incr(1, a.Endpoint, status)
	o.latency.Timing(a.Latency.Nanoseconds(), a.Endpoint)
	o.log.Debugf("%s: status %s in %s", a.Endpoint, status, a.Latency.Round(time.Microsecond))
	if until, news := o.longWait(a.RetryAfter); news {
		o.log.Warnf("%s: status %s, and the API asks to make no call for %s: waiting until %s", a.Endpoint, status, a.RetryAfter.Round(time.Second), until.Format(time.RFC3339))
	}
}

// longWait reports whether a wait is long and not known yet, and when it ends.
func (o *observer) longWait(wait time.Duration) (until time.Time, news bool) {
	if wait <= longRetryAfter {
		return time.Time{}, false
	}
	until = time.Now().Add(wait)
	o.mu.Lock()
	defer o.mu.Unlock()
	if until.Sub(o.until).Abs() < sameRetryAfter {
		return until, false
	}
	o.until = until
	return until, true
}

package sandbox

import (
	"maps"
	"sync"
	"time"
)

// Calls counts requests. A request counts in Total and ByEndpoint when it
// arrives, and in ByStatus just before the first byte of its answer.
type Calls struct {
	// Total is all of them, whatever became of them.
	Total int

	// Charged is what they cost of the website's budget: all of them, or with
	// [Switches.FailedCallsFree] those answered with 2xx.
	Charged int

	// ByEndpoint counts by method and path, such as "GET /contacts", without
	// /api2; "other" is what no endpoint answers.
	ByEndpoint map[string]int

	// ByStatus counts by HTTP status; 0 is where no answer was sent.
	ByStatus map[int]int
}

// Calls returns the counts up to now.
func (s *Service) Calls() Calls {
	return s.calls.snapshot()
}

type ledger struct {
	failedFree bool
	budget     int // calls in the window; 0 for no limit
	window     time.Duration

	mu         sync.Mutex
	total      int
	byEndpoint map[string]int
	byStatus   map[int]int
	charged    []time.Time // when, within the window; only where there is a budget
}

// spent returns how long to wait where the budget of the window is used up, and
// otherwise charges a call.
func (l *ledger) spent(now time.Time) (wait time.Duration, spent bool) {
	if l.budget <= 0 {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.charged) > 0 && !l.charged[0].Add(l.window).After(now) {
		l.charged = l.charged[1:]
	}
	if len(l.charged) >= l.budget {
		return l.charged[len(l.charged)-l.budget].Add(l.window).Sub(now), true
	}
	l.charged = append(l.charged, now)
	return 0, false
}

// refund takes the last charge back.
func (l *ledger) refund() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.charged) > 0 {
		l.charged = l.charged[:len(l.charged)-1]
	}
}

func (l *ledger) arrived(endpoint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if l.byEndpoint == nil {
		l.byEndpoint = map[string]int{}
		l.byStatus = map[int]int{}
	}
	l.byEndpoint[endpoint]++
}

func (l *ledger) answered(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byStatus[status]++
}

func (l *ledger) snapshot() Calls {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Calls{
		Total:      l.total,
		Charged:    l.total,
		ByEndpoint: maps.Clone(l.byEndpoint),
		ByStatus:   maps.Clone(l.byStatus),
	}
	if l.failedFree {
		c.Charged = 0
		for status, n := range l.byStatus {
			if status >= 200 && status < 300 {
				c.Charged += n
			}
		}
	}
	return c
}

package sandbox

import (
	"maps"
	"sync"
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

	mu         sync.Mutex
	total      int
	byEndpoint map[string]int
	byStatus   map[int]int
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

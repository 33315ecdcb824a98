package poll

import (
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	// Polls are spread over a further 1/50 of their interval: never less than the
	// interval, whose calls fit the budget.
	pollSpread = 50

	// Starts are spread over so much for each input of the process.
	startSpread = 20 * time.Millisecond
)

// fleet is all the running inputs of a process, which share its caches and its network.
type fleet struct {
	mu   sync.Mutex
	size int
}

type fleetKey struct{}

func fleetOf(mgr *service.Resources) (*fleet, error) {
	shared, _ := mgr.GetOrSetGeneric(fleetKey{}, &fleet{})
	all, ok := shared.(*fleet)
	if !ok {
		return nil, errors.New("the inputs of this process are counted in another type")
	}
	return all, nil
}

// join returns the span over which the next start is spread: nothing for the first input.
func (f *fleet) join() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size++
	return time.Duration(f.size-1) * startSpread
}

func (f *fleet) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size--
}

// spread is a share of a span that is always the same for an identity.
func spread(identity string, span time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(identity))
	const resolution = 1 << 16
	return span / resolution * time.Duration(h.Sum32()%resolution)
}

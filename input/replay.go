package input

import (
	"context"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	replayWaitFirst = time.Millisecond
	replayWaitLast  = time.Second
)

// replays holds what was refused downstream, until it is read again. It does the work
// of service.AutoRetryNacksBatched, which loses messages where a part of a batch fails,
// is sent again, and fails in part again: it looks up what failed by the indexes of the
// whole batch.
type replays struct {
	ready chan struct{} // holds a value where there may be something to take

	mu      sync.Mutex
	waiting []replay
}

// replay makes a batch of what was refused, and its acknowledgement.
type replay func() (service.MessageBatch, service.AckFunc)

func newReplays() *replays { return &replays{ready: make(chan struct{}, 1)} }

// take returns the oldest replay, or nil.
func (r *replays) take() replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	oldest := r.waiting[0]
	r.waiting = r.waiting[1:]
	if len(r.waiting) > 0 {
		r.signal()
	}
	return oldest
}

func (r *replays) add(again replay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, again)
	r.signal()
}

func (r *replays) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// replayed makes a batch of items. What is refused of it waits among the replays, for
// longer each time; settled is called once everything was acknowledged.
func replayed[T any](r *replays, items []T, messages func([]T) service.MessageBatch, settled func(context.Context)) (service.MessageBatch, service.AckFunc) {
	return replayedAfter(0, r, items, messages, settled)
}

func replayedAfter[T any](wait time.Duration, r *replays, items []T, messages func([]T) service.MessageBatch, settled func(context.Context)) (service.MessageBatch, service.AckFunc) {
	batch := messages(items)
	indexer := batch.Index()
	var once sync.Once
	return batch, func(ctx context.Context, err error) error {
		once.Do(func() {
			if err == nil {
				settled(ctx)
				return
			}
			refused := make([]T, 0, len(items))
			for _, i := range refusedMessages(err, indexer, len(items)) {
				refused = append(refused, items[i])
			}
			longer := min(max(2*wait, replayWaitFirst), replayWaitLast)
			again := func() (service.MessageBatch, service.AckFunc) {
				return replayedAfter(longer, r, refused, messages, settled)
			}
			if wait == 0 {
				r.add(again)
				return
			}
			time.AfterFunc(wait, func() { r.add(again) })
		})
		return nil
	}
}

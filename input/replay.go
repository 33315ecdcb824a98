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

// replays hold what was refused downstream, until it is read again. They do the work
// of service.AutoRetryNacksBatched, which loses messages where a part of a batch fails,
// is sent again, and fails in part again: it looks up what failed by the indexes of the
// whole batch.
type replays = queue[replay]

// replay makes a batch of what was refused, and its acknowledgement.
type replay func() (service.MessageBatch, service.AckFunc)

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

package input

import (
	"context"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
)

// settle takes note of what became of a batch. Pop-ups that were refused are as
// they were, and soon in another snapshot.
func (in *performanceInput) settle(before, after snapshotState, refused []int64, resolve func() *snapshotState) {
	in.mu.Lock()
	defer in.mu.Unlock()
	after.restore(before, refused)
	in.refusals++
	if len(refused) == 0 {
		in.refusals = 0
	} else {
		wait := apiconfig.Wait(in.refusals, in.longestWait())
		in.log.Warnf("%d pop-ups of a snapshot were refused downstream: the next snapshot follows in %s", len(refused), wait)
		in.due = time.Now().Add(wait)
		in.ended = false
	}
	if highest := resolve(); highest != nil {
		in.acked = *highest
		in.acks++
	}
	in.unsettled--
	in.notify()
}

func (in *performanceInput) notify() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// dirty tells, under the lock, whether the acknowledged state is not stored.
func (in *performanceInput) dirty() bool { return in.slot != nil && in.stored != in.acks }

// save stores the acknowledged state, unless it is stored already.
func (in *performanceInput) save(ctx context.Context) error {
	in.saving.Lock()
	defer in.saving.Unlock()
	in.mu.Lock()
	if !in.dirty() {
		in.mu.Unlock()
		return nil
	}
	acks := in.acks
	data, err := in.acked.encode(in.conf.website)
	in.mu.Unlock()
	if err == nil {
		err = in.slot.set(ctx, data)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	defer in.notify()
	if err == nil {
		in.stored = acks
		return nil
	}
	in.writeErrors.Incr(1)
	return fmt.Errorf("storing the last snapshot %q in cache %q: %w", in.slot.key, in.slot.cache, err)
}

// saveOrRetry leaves it to awaitDue to try again what fails.
func (in *performanceInput) saveOrRetry(ctx context.Context) {
	if err := in.save(ctx); err != nil {
		in.log.Errorf("%v: it is tried again", err)
	}
}

// awaitDue waits until a snapshot is due, or something is to be replayed. Where no
// snapshot follows it returns service.ErrEndOfInput, once all is settled and stored.
func (in *performanceInput) awaitDue(ctx context.Context) (due bool, err error) {
	for retry := storeRetryFirst; ; {
		in.mu.Lock()
		changed, dirty := in.changed, in.dirty()
		wait, ended, settled := time.Until(in.due), in.ended, in.unsettled == 0
		in.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case ended && settled && !dirty:
			return false, service.ErrEndOfInput
		case !ended && wait <= 0 && (settled || in.conf.autoReplay):
			return true, nil
		case ended || wait <= 0: // until what is in flight is settled
			wait = longestSnapshotWait
		}
		if dirty {
			wait = min(wait, retry)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-in.again.ready:
			return false, nil
		case <-time.After(wait):
			if dirty {
				retry = min(2*retry, storeRetryLast)
				in.saveOrRetry(ctx)
			}
		}
	}
}

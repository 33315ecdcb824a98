package poll

import (
	"context"
	"time"
)

// sleep reports whether the time passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// broadcast wakes all that wait for the next change.
type broadcast struct{ ch chan struct{} }

func newBroadcast() broadcast { return broadcast{make(chan struct{})} }

// next is closed at the next change.
func (b *broadcast) next() <-chan struct{} { return b.ch }

func (b *broadcast) notify() {
	close(b.ch)
	b.ch = make(chan struct{})
}

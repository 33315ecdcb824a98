package webhook

import (
	"slices"
	"sync"
)

// queue holds items until they are taken, the oldest first.
type queue[T any] struct {
	ready chan struct{} // holds a value where there may be something to take

	mu    sync.Mutex
	items []T
}

func newQueue[T any]() *queue[T] { return &queue[T]{ready: make(chan struct{}, 1)} }

func (q *queue[T]) add(item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item)
	q.signal()
}

// take returns the oldest item, or the zero value where there is none.
func (q *queue[T]) take() (oldest T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return oldest
	}
	oldest = q.items[0]
	clear(q.items[:1]) // else the array keeps it
	q.items = q.items[1:]
	if len(q.items) > 0 {
		q.signal()
	}
	return oldest
}

func (q *queue[T]) remove(is func(T) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = slices.DeleteFunc(q.items, is)
}

func (q *queue[T]) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

package privacy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	rememberFor  = time.Hour
	rememberMost = 100_000 // people, some 15 MB
)

// Memory remembers for an hour whose data was deleted, so that a batch that is written
// again, since a part of it failed, makes no call for the rest. It holds no identity,
// but HMACs with a key that ends with the process. Safe for concurrent use.
type Memory struct {
	key []byte

	mu       sync.Mutex
	known    map[person]struct{}
	order    []memory // of what is known, oldest first
	underway map[person]*erasure
}

type person [sha256.Size]byte

type memory struct {
	of    person
	until time.Time
}

// erasure is a call that is in flight. Its error is set before done is closed.
type erasure struct {
	done chan struct{}
	err  error
}

// NewMemory returns an empty memory.
func NewMemory() *Memory {
	m := &Memory{
		key:      make([]byte, sha256.Size),
		known:    map[person]struct{}{},
		underway: map[person]*erasure{},
	}
	_, _ = rand.Read(m.key) // never fails
	return m
}

// once calls erase unless it succeeded for the person within the hour. Concurrent calls
// for one person share one erasure and its error, unless the context of who runs it ends.
func (m *Memory) once(ctx context.Context, who wisepops.Identity, erase func() error) (repeated bool, err error) {
	of := m.person(who)
	for {
		m.mu.Lock()
		m.expire(time.Now())
		if _, ok := m.known[of]; ok {
			m.mu.Unlock()
			return true, nil
		}
		other := m.underway[of]
		if other == nil {
			mine := &erasure{done: make(chan struct{})}
			m.underway[of] = mine
			m.mu.Unlock()
			mine.err = erase()
			m.settle(of, mine)
			return false, mine.err
		}
		m.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		if !errors.Is(other.err, context.Canceled) {
			return true, other.err
		}
	}
}

func (m *Memory) settle(of person, e *erasure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.underway, of)
	if e.err == nil {
		if len(m.order) == rememberMost {
			m.forgetOldest()
		}
		m.known[of] = struct{}{}
		m.order = append(m.order, memory{of, time.Now().Add(rememberFor)})
	}
	close(e.done)
}

func (m *Memory) expire(now time.Time) {
	for len(m.order) > 0 && !now.Before(m.order[0].until) {
		m.forgetOldest()
	}
}

func (m *Memory) forgetOldest() {
	delete(m.known, m.order[0].of)
	m.order = m.order[1:]
}

func (m *Memory) person(who wisepops.Identity) (p person) {
	mac := hmac.New(sha256.New, m.key)
	mac.Write([]byte(who.Phone + "\x00" + who.Email)) // a phone is a plus and digits
	mac.Sum(p[:0])
	return p
}

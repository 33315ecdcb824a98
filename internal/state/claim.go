package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// claimPatience is how long a claim waits for the one who holds the slot: an input
// that replaces another, as in a dynamic input, connects before the other has closed.
const claimPatience = 5 * time.Second

// claims are the slots that inputs of this process hold.
type claims struct {
	mu      sync.Mutex
	holders map[slotID]*Claim
}

type slotID struct{ cache, key string }

type claimsKey struct{}

// Claim is the right of one input to move the state in a slot.
type Claim struct {
	all      *claims
	id       slotID
	name     string
	released chan struct{}
}

// Claim makes sure that no other input of the process moves the same state. It waits
// some seconds for another input to release the slot, and then returns an error that
// names both. A component claims while it connects and not before, since a component
// that is built and never used is never closed either.
func (s *Slot) Claim(ctx context.Context) (*Claim, error) {
	shared, _ := s.mgr.GetOrSetGeneric(claimsKey{}, &claims{holders: map[slotID]*Claim{}})
	all, ok := shared.(*claims)
	if !ok {
		return nil, errors.New("the claims on checkpoint keys are of another type")
	}
	me := &Claim{all: all, id: slotID{s.Cache, s.Key}, name: Describe(s.mgr), released: make(chan struct{})}
	ctx, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for {
		holder := all.take(me)
		if holder == nil {
			return me, nil
		}
		select {
		case <-holder.released:
		case <-ctx.Done():
			return nil, fmt.Errorf("the inputs %s and %s both keep their state under the key %q of the cache %q: give each its own checkpoint_cache_key, and run one copy of each",
				holder.name, me.name, s.Key, s.Cache)
		}
	}
}

// take returns who holds the slot, or nil where it was taken.
func (all *claims) take(c *Claim) (holder *Claim) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if holder, taken := all.holders[c.id]; taken {
		return holder
	}
	all.holders[c.id] = c
	return nil
}

// Release lets others claim the slot. It is safe on nil, and twice.
func (c *Claim) Release() {
	if c == nil {
		return
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if c.all.holders[c.id] == c {
		delete(c.all.holders, c.id)
		close(c.released)
	}
}

// Describe names a component, and its stream where there are several.
func Describe(mgr *service.Resources) string {
	name := mgr.Label()
	if name == "" {
		name = strings.Join(mgr.Path(), ".")
	}
	name = strconv.Quote(name)
	if stream := mgr.StreamID(); stream != "" {
		name += fmt.Sprintf(" of stream %q", stream)
	}
	return name
}

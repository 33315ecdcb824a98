package input

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// checkpointClaims are the checkpoint keys that inputs of this process hold.
type checkpointClaims struct {
	mu      sync.Mutex
	holders map[checkpointKey]*checkpointClaim
}

type checkpointKey struct{ cache, key string }

// checkpointClaim is the right of one input to move a watermark.
type checkpointClaim struct {
	all  *checkpointClaims
	key  checkpointKey
	name string
	used bool
}

type checkpointClaimsKey struct{}

// claimCheckpoint makes sure that no other input of the process moves the same
// watermark. A component that is built again, as in a stream that failed to start,
// takes over from itself as long as it was not used.
func claimCheckpoint(mgr *service.Resources, cache, key string) (*checkpointClaim, error) {
	shared, _ := mgr.GetOrSetGeneric(checkpointClaimsKey{}, &checkpointClaims{holders: map[checkpointKey]*checkpointClaim{}})
	all, ok := shared.(*checkpointClaims)
	if !ok {
		return nil, errors.New("the claims on checkpoint keys are of another type")
	}
	me := &checkpointClaim{all: all, key: checkpointKey{cache, key}, name: describeComponent(mgr)}
	all.mu.Lock()
	defer all.mu.Unlock()
	if other, taken := all.holders[me.key]; taken && (other.used || other.String() != me.String()) {
		return nil, me.conflict(other)
	}
	all.holders[me.key] = me
	return me, nil
}

// use is called before the watermark is touched. It fails where another input
// took over, as one of several copies does.
func (c *checkpointClaim) use() error {
	if c == nil {
		return nil
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if holder, taken := c.all.holders[c.key]; taken && holder != c {
		return c.conflict(holder)
	}
	c.all.holders[c.key] = c
	c.used = true
	return nil
}

func (c *checkpointClaim) release() {
	if c == nil {
		return
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if c.all.holders[c.key] == c {
		delete(c.all.holders, c.key)
	}
}

func (c *checkpointClaim) conflict(other *checkpointClaim) error {
	return fmt.Errorf("the inputs %s and %s both keep their state under the key %q of the cache %q: give each its own %s, and run one copy of each",
		other, c, c.key.key, c.key.cache, wciFieldCheckpointCacheKey)
}

func (c *checkpointClaim) String() string { return c.name }

// describeComponent names a component, and its stream where there are several.
func describeComponent(mgr *service.Resources) string {
	name := strconv.Quote(componentName(mgr))
	if stream := mgr.StreamID(); stream != "" {
		name += fmt.Sprintf(" of stream %q", stream)
	}
	return name
}

func componentName(mgr *service.Resources) string {
	if label := mgr.Label(); label != "" {
		return label
	}
	return strings.Join(mgr.Path(), ".")
}

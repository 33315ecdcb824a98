package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// accessTimeout bounds one read or write of a cache.
const accessTimeout = 10 * time.Second

// Slot is one key of a Benthos cache.
type Slot struct {
	mgr   *service.Resources
	Cache string // the label of the cache resource
	Key   string
}

// NewSlot makes no access.
func NewSlot(mgr *service.Resources, cache, key string) *Slot {
	return &Slot{mgr: mgr, Cache: cache, Key: key}
}

// Get returns nil, and found false, where the key is not there.
func (s *Slot) Get(ctx context.Context) (data []byte, found bool, err error) {
	err = s.access(ctx, func(ctx context.Context, c service.Cache) (err error) {
		data, err = c.Get(ctx, s.Key)
		return err
	})
	if errors.Is(err, service.ErrKeyNotFound) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// Set replaces what the key holds.
func (s *Slot) Set(ctx context.Context, data []byte) error {
	return s.access(ctx, func(ctx context.Context, c service.Cache) error {
		return c.Set(ctx, s.Key, data, nil)
	})
}

func (s *Slot) access(ctx context.Context, use func(context.Context, service.Cache) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	accessErr := s.mgr.AccessCache(ctx, s.Cache, func(c service.Cache) { err = use(ctx, c) })
	return errors.Join(accessErr, err)
}

// CheckCache returns an error where a field names a label of no cache resource.
func CheckCache(mgr *service.Resources, field, label string) error {
	if !mgr.HasCache(label) {
		return fmt.Errorf("%s names %q, and there is no cache resource with that label", field, label)
	}
	return nil
}

// CheckVersion returns an error for what a newer version of this program stored,
// whatever else it looks like.
func CheckVersion(data []byte, known int) error {
	var format struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(data, &format) == nil && format.Version > known {
		return fmt.Errorf("it was written by a newer version of this program (format %d, and this one reads %d)", format.Version, known)
	}
	return nil
}

package input

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

const cacheTimeout = 10 * time.Second

// cacheSlot is a key of a Benthos cache.
type cacheSlot struct {
	mgr   *service.Resources
	cache string
	key   string
}

// get returns nil, and found false, where the key is not there.
func (s cacheSlot) get(ctx context.Context) (data []byte, found bool, err error) {
	err = s.access(ctx, func(ctx context.Context, c service.Cache) (err error) {
		data, err = c.Get(ctx, s.key)
		return err
	})
	if errors.Is(err, service.ErrKeyNotFound) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (s cacheSlot) set(ctx context.Context, data []byte) error {
	return s.access(ctx, func(ctx context.Context, c service.Cache) error {
		return c.Set(ctx, s.key, data, nil)
	})
}

// checkCache refuses a label of no cache resource, which a field names.
func checkCache(mgr *service.Resources, field, label string) error {
	if !mgr.HasCache(label) {
		return fmt.Errorf("%s names %q, and there is no cache resource with that label", field, label)
	}
	return nil
}

// checkVersion refuses what a newer version of this program stored, whatever else it
// looks like.
func checkVersion(data []byte, known int) error {
	var format struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(data, &format) == nil && format.Version > known {
		return fmt.Errorf("it was written by a newer version of this program (format %d, and this one reads %d)", format.Version, known)
	}
	return nil
}

func (s cacheSlot) access(ctx context.Context, use func(context.Context, service.Cache) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	accessErr := s.mgr.AccessCache(ctx, s.cache, func(c service.Cache) { err = use(ctx, c) })
	return errors.Join(accessErr, err)
}

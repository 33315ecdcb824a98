package input

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

const storeTimeout = 10 * time.Second

// store keeps the watermark in a Benthos cache.
type store struct {
	mgr       *service.Resources
	cache     string
	key       string
	wisepopID int64
}

// load returns a new progress where none is stored. Errors say how to go on.
func (s *store) load(ctx context.Context) (p progress, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var data []byte
	accessErr := s.mgr.AccessCache(ctx, s.cache, func(c service.Cache) {
		data, err = c.Get(ctx, s.key)
	})
	if errors.Is(err, service.ErrKeyNotFound) {
		return newProgress(), false, nil
	}
	if err = errors.Join(accessErr, err); err != nil {
		return p, false, fmt.Errorf("reading the watermark %q from cache %q: %w", s.key, s.cache, err)
	}
	if p, err = decodeProgress(data, s.wisepopID); err != nil {
		return p, false, fmt.Errorf("the watermark %q in cache %q cannot be used: %w: to start over from collected_after, delete that key or set another checkpoint_cache_key; to go on from a known instant, set collected_after to it as well", s.key, s.cache, err)
	}
	return p, true, nil
}

func (s *store) save(ctx context.Context, data []byte) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	accessErr := s.mgr.AccessCache(ctx, s.cache, func(c service.Cache) {
		err = c.Set(ctx, s.key, data, nil)
	})
	if err = errors.Join(accessErr, err); err != nil {
		return fmt.Errorf("storing the watermark %q in cache %q: %w", s.key, s.cache, err)
	}
	return nil
}

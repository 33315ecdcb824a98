package input

import (
	"context"
	"fmt"
)

// store keeps the watermark in a Benthos cache.
type store struct {
	cacheSlot
	wisepopID int64
}

// load returns a new progress where none is stored. Errors say how to go on.
func (s *store) load(ctx context.Context) (p progress, found bool, err error) {
	data, found, err := s.get(ctx)
	if err != nil {
		return p, false, fmt.Errorf("reading the watermark %q from cache %q: %w", s.key, s.cache, err)
	}
	if !found {
		return newProgress(), false, nil
	}
	if p, err = decodeProgress(data, s.wisepopID); err != nil {
		return p, false, fmt.Errorf("the watermark %q in cache %q cannot be used: %w: to start over from collected_after, delete that key or set another checkpoint_cache_key; to go on from a known instant, set collected_after to it as well", s.key, s.cache, err)
	}
	return p, true, nil
}

func (s *store) save(ctx context.Context, data []byte) error {
	if err := s.set(ctx, data); err != nil {
		return fmt.Errorf("storing the watermark %q in cache %q: %w", s.key, s.cache, err)
	}
	return nil
}

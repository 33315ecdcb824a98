package state

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSlot(t *testing.T) {
	mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
	slot := NewSlot(mgr, "state", "a")
	_, found, err := slot.Get(t.Context())
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, slot.Set(t.Context(), []byte("1")))
	require.NoError(t, slot.Set(t.Context(), []byte("2")))
	data, found, err := slot.Get(t.Context())
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "2", string(data))
	_, found, err = NewSlot(mgr, "state", "b").Get(t.Context())
	require.NoError(t, err)
	require.False(t, found)

	require.NoError(t, CheckCache(mgr, "checkpoint_cache", "state"))
	require.ErrorContains(t, CheckCache(mgr, "checkpoint_cache", "nowhere"), `checkpoint_cache names "nowhere"`)
	require.Error(t, NewSlot(mgr, "nowhere", "a").Set(t.Context(), nil))
	_, found, err = NewSlot(mgr, "nowhere", "a").Get(t.Context())
	require.Error(t, err)
	require.False(t, found)
}

func TestCheckVersion(t *testing.T) {
	require.NoError(t, CheckVersion([]byte(`{"version":2}`), 2))
	require.NoError(t, CheckVersion([]byte(`{`), 2), "damage is for the caller to tell")
	require.ErrorContains(t, CheckVersion([]byte(`{"version":3,"position":[]}`), 2), "format 3, and this one reads 2")
}

func TestClaimIsExclusiveByCacheAndKey(t *testing.T) {
	mgr := service.MockResources()
	synctest.Test(t, func(t *testing.T) {
		mine, err := NewSlot(mgr, "state", "a").Claim(t.Context())
		require.NoError(t, err)
		for _, other := range []*Slot{NewSlot(mgr, "state", "b"), NewSlot(mgr, "other", "a")} {
			claim, err := other.Claim(t.Context())
			require.NoError(t, err)
			claim.Release()
		}
		begun := time.Now()
		_, err = NewSlot(mgr, "state", "a").Claim(t.Context())
		require.ErrorContains(t, err, `the key "a" of the cache "state"`)
		require.Equal(t, claimPatience, time.Since(begun))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = NewSlot(mgr, "state", "a").Claim(ctx)
		require.Error(t, err)
		require.Equal(t, claimPatience+time.Second, time.Since(begun), "the wait ends with the context")

		time.AfterFunc(2*time.Second, mine.Release)
		next, err := NewSlot(mgr, "state", "a").Claim(t.Context())
		require.NoError(t, err, "it is released while another waits")
		mine.Release() // twice, and after another has it
		_, err = NewSlot(mgr, "state", "a").Claim(t.Context())
		require.Error(t, err)
		next.Release()
		(*Claim)(nil).Release()
	})
}

// Of any number of inputs that claim and release, never do two hold one slot.
func TestNeverDoTwoHoldOneSlot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mgr := service.MockResources()
		var mu sync.Mutex
		holders := map[string]int{}
		var wg sync.WaitGroup
		for range rapid.IntRange(2, 12).Draw(rt, "inputs") {
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key")
			rounds := rapid.IntRange(1, 5).Draw(rt, "rounds")
			wg.Go(func() {
				for range rounds {
					claim, err := NewSlot(mgr, "state", key).Claim(t.Context())
					if err != nil {
						continue
					}
					mu.Lock()
					holders[key]++
					n := holders[key]
					mu.Unlock()
					if n > 1 {
						panic(errors.New("two hold one slot"))
					}
					mu.Lock()
					holders[key]--
					mu.Unlock()
					claim.Release()
				}
			})
		}
		wg.Wait()
	})
}

func TestDescribe(t *testing.T) {
	require.Equal(t, `""`, Describe(service.MockResources()))
}

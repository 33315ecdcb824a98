package privacy

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

var (
	errRefusedKey = &wisepops.APIError{Endpoint: "DELETE /data-privacy", Status: 401}
	errAway       = &wisepops.APIError{Endpoint: "DELETE /data-privacy", Status: 500}
)

func TestOutageIsProbedByOneCallAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		var mu sync.Mutex
		calls, underWay, most := 0, 0, 0
		var messages sync.WaitGroup
		for range 20 {
			messages.Go(func() {
				for {
					probing, done, err := o.enter(ctx)
					if err != nil {
						assert.ErrorIs(t, err, context.DeadlineExceeded)
						return
					}
					mu.Lock()
					calls++
					if probing {
						underWay++
						most = max(most, underWay)
					}
					mu.Unlock()
					<-time.After(time.Second)
					mu.Lock()
					if probing {
						underWay--
					}
					mu.Unlock()
					done(errAway)
				}
			})
		}
		messages.Wait()
		require.Equal(t, 1, most)
		require.Less(t, calls, 20+110)
		require.Greater(t, calls, 20+80)
	})
}

func TestOutageEndsWithTheFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage
		_, done, err := o.enter(t.Context())
		require.NoError(t, err)
		done(errAway)
		begun := time.Now()
		probing, done, err := o.enter(t.Context())
		require.NoError(t, err)
		require.True(t, probing)
		require.Equal(t, time.Second, time.Since(begun))
		done(nil)
		probing, _, err = o.enter(t.Context())
		require.NoError(t, err)
		require.False(t, probing)
		require.Equal(t, time.Second, time.Since(begun))
	})
}

func TestRefusedKeyFailsOthersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage
		calls := 0
		for range 24 * 60 * 60 {
			_, done, err := o.enter(t.Context())
			if err == nil {
				calls++
				done(errRefusedKey)
			} else {
				require.ErrorIs(t, err, wisepops.ErrUnauthorized)
			}
			<-time.After(time.Second)
		}
		require.Less(t, calls, 40)
	})
}

func TestWhatBlocksCallsIsAnOutage(t *testing.T) {
	var o outage
	_, done, err := o.enter(t.Context())
	require.NoError(t, err)
	done(&wisepops.APIError{Endpoint: "DELETE /data-privacy", Status: 403, Blocked: true})
	require.Equal(t, 1, o.failures)
	require.NoError(t, o.refused, "the key is not at fault")
}

func TestErrorsOfOneMessageAreNoOutage(t *testing.T) {
	var o outage
	for _, err := range []error{&wisepops.APIError{Status: 400}, &wisepops.APIError{Status: 422}, context.Canceled, errors.New("the rate limit failed")} {
		_, done, enterErr := o.enter(t.Context())
		require.NoError(t, enterErr)
		done(err)
		require.Zero(t, o.failures, err)
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage
		_, done, err := o.enter(t.Context())
		require.NoError(t, err)
		done(&wisepops.APIError{Status: 429, RetryAfter: 3 * time.Hour})
		begun := time.Now()
		_, done, err = o.enter(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3*time.Hour, time.Since(begun))
		done(nil)
	})
}

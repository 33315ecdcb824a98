package apiconfig

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func TestWaitsGrow(t *testing.T) {
	for times, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second, 7: time.Minute, math.MaxInt: time.Minute,
	} {
		require.Equal(t, want, Wait(times, time.Minute), times)
	}
	require.Equal(t, 100*time.Millisecond, Wait(1, 100*time.Millisecond))
}

func TestWaitIsNeverShorterThanRetryAfter(t *testing.T) {
	require.Equal(t, 2*time.Second, WaitAfter(errors.New("no answer"), 2, time.Minute))
	for retryAfter, want := range map[time.Duration]time.Duration{0: 2 * time.Second, time.Second: 2 * time.Second, time.Hour: time.Hour} {
		require.Equal(t, want, WaitAfter(&wisepops.APIError{Status: 429, RetryAfter: retryAfter}, 2, time.Minute))
	}
}

package apiconfig

import (
	"context"
	"errors"
	"time"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const firstWait = time.Second

// Wait is how long to wait where something failed for so many times in a row: a second,
// and twice as long each time, up to the longest.
func Wait(times int, longest time.Duration) time.Duration {
	wait := firstWait
	for i := 1; i < times && wait < longest; i++ {
		wait *= 2
	}
	return min(wait, longest)
}

// WaitAfter is [Wait] for calls of the API: never less than its Retry-After, whatever
// the longest is.
func WaitAfter(err error, times int, longest time.Duration) time.Duration {
	wait := Wait(times, longest)
	if apiErr, ok := errors.AsType[*wisepops.APIError](err); ok {
		wait = max(wait, apiErr.RetryAfter)
	}
	return wait
}

// Sleep reports whether the time passed before the context ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

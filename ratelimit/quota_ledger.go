package ratelimit

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/wisepops-connect/wisepops-connect/internal/state"
)

const (
	ledgerVersion = 1

	// A bucket is an hour of 30 days.
	bucketsPerWindow = 720

	// Calls are remembered for this many windows: a clock that was set forth and
	// back must not make them forgotten.
	windowsRemembered = 2
)

// ledger counts the calls of a rolling window in buckets. It is pure: no I/O, no
// clock. Instants are milliseconds since 1970.
type ledger struct {
	window time.Duration
	width  time.Duration // of a bucket

	buckets []bucket // by their end
	latest  int64    // newest instant that was ever told
}

// bucket holds the calls of a span of time. They count until a window after its
// end, so that no call is let off early.
type bucket struct {
	end   int64
	calls int
}

func newLedger(window time.Duration) *ledger {
	return &ledger{window: window, width: max(window/bucketsPerWindow, time.Millisecond)}
}

// at takes note of the time. Where the clock was set back, the newest instant
// stands: a call counts for a whole window whatever the clock says.
func (l *ledger) at(now int64) int64 {
	l.latest = max(l.latest, now)
	horizon := l.latest - windowsRemembered*l.window.Milliseconds()
	l.buckets = slices.DeleteFunc(l.buckets, func(b bucket) bool { return b.end <= horizon })
	return l.latest
}

// spent is how many calls count at an instant.
func (l *ledger) spent(now int64) int {
	now = l.at(now)
	n := 0
	for _, b := range l.buckets {
		if b.end+l.window.Milliseconds() > now {
			n += b.calls
		}
	}
	return n
}

// charge counts a call that is made now or, as is expected, a little later.
func (l *ledger) charge(now, made int64) {
	end := l.end(max(l.at(now), made))
	i, found := slices.BinarySearchFunc(l.buckets, end, func(b bucket, end int64) int { return int(min(max(b.end-end, -1), 1)) })
	if !found {
		l.buckets = slices.Insert(l.buckets, i, bucket{end: end})
	}
	l.buckets[i].calls++
}

// end is that of the bucket in which a call at an instant counts.
func (l *ledger) end(now int64) int64 {
	width := l.width.Milliseconds()
	return (now/width + 1) * width
}

// freeAt returns when fewer than limit calls count, which is now or later.
func (l *ledger) freeAt(now int64, limit int) int64 {
	now = l.at(now)
	over := l.spent(now) - limit
	for _, b := range l.buckets {
		if over < 0 {
			break
		}
		if leaves := b.end + l.window.Milliseconds(); leaves > now {
			over -= b.calls
			if over < 0 {
				return leaves
			}
		}
	}
	return now
}

// storedLedger is a ledger as it stands in the cache.
type storedLedger struct {
	Version int            `json:"version"`
	Latest  *int64         `json:"latest"` // milliseconds since 1970
	Buckets []storedBucket `json:"buckets"`
}

type storedBucket struct {
	End   int64 `json:"end"` // milliseconds since 1970
	Calls int   `json:"calls"`
}

func (l *ledger) encode() ([]byte, error) {
	s := storedLedger{Version: ledgerVersion, Latest: &l.latest, Buckets: make([]storedBucket, len(l.buckets))}
	for i, b := range l.buckets {
		s.Buckets[i] = storedBucket{End: b.end, Calls: b.calls}
	}
	return json.Marshal(s)
}

// decode reads what encode wrote, whatever the window was then.
func (l *ledger) decode(data []byte) error {
	var s storedLedger
	if len(data) == 0 {
		return errors.New("it is empty")
	}
	if err := state.CheckVersion(data, ledgerVersion); err != nil {
		return err
	}
	if json.Unmarshal(data, &s) != nil {
		return errors.New("it is not the JSON of a ledger")
	}
	if s.Version != ledgerVersion || s.Latest == nil || s.Buckets == nil {
		return errors.New("it is not the JSON of a ledger")
	}
	buckets := make([]bucket, len(s.Buckets))
	for i, b := range s.Buckets {
		// No bucket lies further from 1970 than this, so that sums cannot overflow.
		const farthest = int64(1) << 60
		if b.Calls < 0 || b.Calls > 1<<40 || b.End < -farthest || b.End > farthest {
			return errors.New("it holds numbers that no ledger holds")
		}
		buckets[i] = bucket{end: b.End, calls: b.Calls}
	}
	slices.SortStableFunc(buckets, func(a, b bucket) int { return int(min(max(a.end-b.end, -1), 1)) })
	l.buckets = buckets
	l.latest = *s.Latest
	return nil
}

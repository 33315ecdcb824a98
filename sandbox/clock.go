package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// clock is how the server's clock differs from [Options.Clock].
type clock struct {
	offset atomic.Int64 // in nanoseconds
	jumpAt time.Time    // by Options.Clock; zero for never
}

func (c *clock) start(opts *Options) {
	c.offset.Store(int64(opts.ClockOffset))
	if opts.ClockJump != 0 {
		c.jumpAt = opts.Clock().Add(opts.ClockJumpAfter)
	}
}

// SetClockOffset has the server's clock jump: from now on it is ahead by this, or behind
// where it is negative.
func (s *Service) SetClockOffset(ahead time.Duration) { s.clock.offset.Store(int64(ahead)) }

// now is the server's time.
func (s *Service) now() time.Time {
	now := s.opts.Clock()
	offset := time.Duration(s.clock.offset.Load())
	if !s.clock.jumpAt.IsZero() && !now.Before(s.clock.jumpAt) {
		offset += s.opts.ClockJump
	}
	return now.Add(offset)
}

// date is the time that answers are dated at.
func (s *Service) date() time.Time { return s.now().Add(s.opts.DateOffset) }

// RetryAfter is a form of the header of that name.
type RetryAfter int

// The forms. The instants are in the time of the Date header.
const (
	RetryAfterSeconds  RetryAfter = iota // 3600
	RetryAfterDecimals                   // 3600.000
	RetryAfterDoubled                    // 3600, 3600
	RetryAfterHTTPDate                   // Wed, 21 Oct 2015 07:28:00 GMT
	RetryAfterISODate                    // 2015-10-21T07:28:00Z
	RetryAfterEpoch                      // 1445412480
)

var retryAfterNames = []string{"seconds", "decimals", "doubled", "http-date", "iso-date", "epoch"}

// String returns the name that [ParseRetryAfter] reads.
func (f RetryAfter) String() string { return nameOf(retryAfterNames, int(f), "RetryAfter") }

// ParseRetryAfter reads seconds, decimals, doubled, http-date, iso-date or epoch.
func ParseRetryAfter(name string) (RetryAfter, error) {
	i, err := indexOf(retryAfterNames, name)
	return RetryAfter(i), err
}

// header writes a wait, rounded up to a second.
func (f RetryAfter) header(wait time.Duration, now time.Time) string {
	seconds := int64(wait/time.Second) + 1
	text := strconv.FormatInt(seconds, 10)
	at := now.Add(time.Duration(seconds) * time.Second).UTC()
	switch f {
	case RetryAfterDecimals:
		return text + ".000"
	case RetryAfterDoubled:
		return text + ", " + text
	case RetryAfterHTTPDate:
		return at.Format(http.TimeFormat)
	case RetryAfterISODate:
		return at.Format(time.RFC3339)
	case RetryAfterEpoch:
		return strconv.FormatInt(at.Unix(), 10)
	default:
		return text
	}
}

// PastEnd is an answer to a page past the last one.
type PastEnd int

// The answers to a page past the last one.
const (
	PastEndEmpty    PastEnd = iota // an empty array
	PastEndNotFound                // 404
	PastEndLastPage                // the last page once more
)

var pastEndNames = []string{"empty", "not-found", "last-page"}

// String returns the name that [ParsePastEnd] reads.
func (p PastEnd) String() string { return nameOf(pastEndNames, int(p), "PastEnd") }

// ParsePastEnd reads empty, not-found or last-page.
func ParsePastEnd(name string) (PastEnd, error) {
	i, err := indexOf(pastEndNames, name)
	return PastEnd(i), err
}

func nameOf(names []string, i int, kind string) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}

func indexOf(names []string, name string) (int, error) {
	if i := slices.Index(names, name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("it must be one of %q", names)
}

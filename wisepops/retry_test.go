package wisepops

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script answers each attempt with its next line, and the last line for ever.
type script struct {
	lines []line
	asks  []time.Duration // when each attempt came, since the first
	first time.Time
	open  int // bodies not yet closed
}

// scriptBody counts itself as open until it is closed.
type scriptBody struct {
	io.Reader
	s *script
}

func (b *scriptBody) Close() error {
	b.s.open--
	return nil
}

type line struct {
	status     int
	body       string
	retryAfter string
	date       string
	err        error
	hang       bool // until the attempt is given up
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.first.IsZero() {
		s.first = time.Now()
	}
	s.asks = append(s.asks, time.Since(s.first))
	l := s.lines[min(len(s.asks), len(s.lines))-1]
	if l.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if l.err != nil {
		return nil, l.err
	}
	h := http.Header{}
	for one := range strings.SplitSeq(l.retryAfter, "\n") {
		h.Add("Retry-After", one)
	}
	if l.date != "" {
		h.Set("Date", l.date)
	}
	s.open++
	return &http.Response{StatusCode: l.status, Header: h, Body: &scriptBody{strings.NewReader(l.body), s}, ContentLength: -1}, nil
}

func (s *script) client(t *testing.T, opts Options) *Client {
	opts.APIKey, opts.Transport = "key", s
	c, err := New(opts)
	require.NoError(t, err)
	return c
}

// limiter answers each ask with its next wait, and then zero; its asks and the
// attempts of a script can be put in one sequence.
type limiter struct {
	waits []time.Duration
	err   error
	asked func()
	asks  int
}

func (l *limiter) Access(context.Context) (time.Duration, error) {
	l.asks++
	if l.asked != nil {
		l.asked()
	}
	if l.asks <= len(l.waits) {
		return l.waits[l.asks-1], nil
	}
	return 0, l.err
}

func TestAttempts(t *testing.T) {
	const maxRetries = 3
	for name, test := range map[string]struct {
		line     line
		attempts int
	}{
		"429":              {line{status: 429}, 1 + maxRetries},
		"500":              {line{status: 500}, 1 + maxRetries},
		"502":              {line{status: 502}, 1 + maxRetries},
		"503":              {line{status: 503}, 1 + maxRetries},
		"504":              {line{status: 504}, 1 + maxRetries},
		"599":              {line{status: 599}, 1 + maxRetries},
		"connection reset": {line{err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}, 1 + maxRetries},
		"no answer":        {line{err: io.EOF}, 1 + maxRetries},
		"no such host":     {line{err: &net.DNSError{Name: "x", IsNotFound: true}}, 1 + maxRetries},
		"malformed answer": {line{err: errors.New("malformed")}, 1 + maxRetries},
		"time-out":         {line{hang: true}, 1 + maxRetries},

		"200":       {line{status: 200, body: "[]"}, 1},
		"204":       {line{status: 204}, 1},
		"HTML":      {line{status: 200, body: "<html>"}, 1},
		"301":       {line{status: 301}, 1},
		"304":       {line{status: 304}, 1},
		"400":       {line{status: 400}, 1},
		"401":       {line{status: 401}, 1},
		"403":       {line{status: 403}, 1},
		"404":       {line{status: 404}, 1},
		"408":       {line{status: 408}, 1},
		"too large": {line{err: ErrResponseTooLarge}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{lines: []line{test.line}}
				l := &limiter{}
				var seen []Attempt
				c := s.client(t, Options{MaxRetries: maxRetries, Limiter: l, OnAttempt: func(a Attempt) { seen = append(seen, a) }})
				_, err := c.Contacts(t.Context(), ContactsRequest{})
				require.Equal(t, name == "200", err == nil)
				assert.Len(t, s.asks, test.attempts)
				assert.Equal(t, test.attempts, l.asks)
				assert.Zero(t, s.open)
				require.Len(t, seen, test.attempts)
				for _, a := range seen {
					assert.Equal(t, "GET /contacts", a.Endpoint)
					assert.Equal(t, test.line.status, a.Status)
					if test.line.hang {
						assert.Equal(t, DefaultTimeout, a.Latency)
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
				}

				// NoRetry, and no retry by default.
				_, err = c.Contacts(t.Context(), ContactsRequest{NoRetry: true})
				require.Equal(t, name == "200", err == nil)
				assert.Len(t, s.asks, test.attempts+1)
				_, err = s.client(t, Options{}).Contacts(t.Context(), ContactsRequest{})
				require.Equal(t, name == "200", err == nil)
				assert.Len(t, s.asks, test.attempts+2)
			})
		})
	}
}

func TestRetriesEndWithTheFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{lines: []line{{status: 503}, {err: io.ErrUnexpectedEOF}, {status: 200, body: `[{}]`}, {status: 500}}}
		page, err := s.client(t, Options{MaxRetries: 9}).Contacts(t.Context(), ContactsRequest{})
		require.NoError(t, err)
		require.Len(t, page.Contacts, 1)
		require.Len(t, s.asks, 3)
	})
}

func TestRetriesEndWithTheFirstPermanentError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{lines: []line{{status: 503}, {status: 401}}}
		_, err := s.client(t, Options{MaxRetries: 9}).Contacts(t.Context(), ContactsRequest{})
		require.ErrorIs(t, err, ErrUnauthorized)
		require.Len(t, s.asks, 2)
	})
}

func TestRetriesAreSpacedWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := map[time.Duration]bool{}
		for range 10 {
			s := &script{lines: []line{{status: 500}}}
			c := s.client(t, Options{MaxRetries: 5, BackOff: backoff.ExponentialBackOff{InitialInterval: 10 * time.Second, MaxInterval: 40 * time.Second, Multiplier: 2, RandomizationFactor: 0.1}})
			_, err := c.Contacts(t.Context(), ContactsRequest{})
			require.Error(t, err)
			require.Len(t, s.asks, 6)
			for i, want := range []time.Duration{10, 20, 40, 40, 40} {
				got := s.asks[i+1] - s.asks[i]
				require.InDelta(t, want*time.Second, got, float64(want*time.Second)/10+1)
				waits[got] = true
			}
		}
		require.Greater(t, len(waits), 40)
	})
}

func TestRetryAfterIsWaitedFor(t *testing.T) {
	const (
		backOff = time.Second
		jitter  = backOff / 2
	)
	for _, test := range []struct {
		retryAfter, date string
		ask              time.Duration // 0: as the back-off says
	}{
		{"7", "", 7 * time.Second},
		{" 7 ", "", 7 * time.Second},
		{"0007", "", 7 * time.Second},
		{"2592000", "", 720 * time.Hour},
		// In synctest our clock says 2000-01-01 00:00:00.
		{"Sat, 01 Jan 2000 00:01:30 GMT", "", 90 * time.Second},
		{"Sat, 01 Jan 2000 00:01:30 GMT", "Fri, 31 Dec 1999 21:01:30 GMT", 3 * time.Hour},
		{"Wed, 01 Jan 2025 00:01:30 GMT", "Wed, 01 Jan 2025 00:00:00 GMT", 90 * time.Second},
		{"Wednesday, 01-Jan-25 00:01:30 GMT", "Wed, 01 Jan 2025 00:00:00 GMT", 90 * time.Second},
		{"Sat, 01 Jan 2000 00:01:30 GMT", "yesterday", 90 * time.Second},
		// Decimals, and what a proxy adds to.
		{"7.5", "", 7500 * time.Millisecond},
		{"7.000000001", "", 7*time.Second + 1},
		{"3600, 3600", "", time.Hour},
		{"60,3600", "", time.Hour},
		{"60\n3600", "", time.Hour}, // two headers
		{"3600, soon", "", time.Hour},
		{"Sat, 01 Jan 2000 00:01:30 GMT, 7", "", 90 * time.Second},
		{"Sat, 01 Jan 2000 00:01:30 GMT, Sat, 01 Jan 2000 00:01:30 GMT", "", 90 * time.Second},
		// Instants in other forms. 946684800 is 2000-01-01, and below 10^9.
		{"2000-01-01T00:01:30Z", "", 90 * time.Second},
		{"2000-01-01 02:01:30+02", "", 90 * time.Second},
		{"2025-01-01T00:01:30.5Z", "Wed, 01 Jan 2025 00:00:00 GMT", 90500 * time.Millisecond},
		{"1735689690", "Wed, 01 Jan 2025 00:00:00 GMT", 90 * time.Second},
		{"1735689690.5", "Wed, 01 Jan 2025 00:00:00 GMT", 90500 * time.Millisecond},
		{"1735689690000", "Wed, 01 Jan 2025 00:00:00 GMT", 90 * time.Second},
		// Never longer than the window of the budget.
		{"2592001", "", 720 * time.Hour},
		{"1764210000", "", 720 * time.Hour},
		{"2030-01-01T00:00:00Z", "", 720 * time.Hour},
		// The server's clock lies: ours is the one that is left.
		{"Sat, 01 Jan 2000 00:01:30 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", 90 * time.Second},

		{"", "", 0},
		{"0", "", 0},
		{"-5", "", 0},
		{"+5", "", 0},
		{"1.5e3", "", 0},
		{"90s", "", 0},
		{"soon", "", 0},
		{"２", "", 0},
		{".", "", 0},
		{",", "", 0},
		{"7 8", "", 0},
		{"1000000000", "Wed, 01 Jan 2025 00:00:00 GMT", 0},
		{"1999-01-01T00:00:00Z", "", 0},
		{"Sat, 01 Jan 2000 00:01:30 GMT", "Sat, 01 Jan 2000 00:01:30 GMT", 0},
		{"Sat, 01 Jan 2000 00:01:30 GMT", "Wed, 01 Jan 2025 00:00:00 GMT", 0},
	} {
		for _, status := range []int{429, 503} {
			synctest.Test(t, func(t *testing.T) {
				s := &script{lines: []line{{status: status, retryAfter: test.retryAfter, date: test.date}, {status: 200, body: "[]"}}}
				c := s.client(t, Options{MaxRetries: 1, BackOff: backoff.ExponentialBackOff{InitialInterval: backOff}})
				_, err := c.Contacts(t.Context(), ContactsRequest{})
				require.NoError(t, err)
				require.Len(t, s.asks, 2)
				if test.ask > 0 {
					assert.Equal(t, test.ask, s.asks[1], test.retryAfter)
				} else {
					assert.InDelta(t, backOff, s.asks[1], float64(jitter)+1, test.retryAfter)
				}
			})
		}
	}
}

func TestRetryAfterShorterThanTheBackOffDoesNotShortenIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{lines: []line{{status: 429, retryAfter: "1"}, {status: 200, body: "[]"}}}
		_, err := s.client(t, Options{MaxRetries: 1, BackOff: backoff.ExponentialBackOff{InitialInterval: time.Minute}}).Contacts(t.Context(), ContactsRequest{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, s.asks[1], 30*time.Second)
	})
}

func TestRetryAfterPastMaxElapsedTimeIsReturnedAtOnce(t *testing.T) {
	for retryAfter, want := range map[string]time.Duration{
		"61":                            61 * time.Second,
		"2592000":                       720 * time.Hour,
		"2592001":                       720 * time.Hour,
		"999999999.9":                   720 * time.Hour,
		"1764210000":                    720 * time.Hour,
		"99999999999999999999999999999": 720 * time.Hour,
		"Fri, 31 Dec 9999 23:59:59 GMT": 720 * time.Hour,
		"9999-12-31T23:59:59Z":          720 * time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{lines: []line{{status: 429, retryAfter: retryAfter}}}
			start := time.Now()
			_, err := s.client(t, Options{MaxRetries: 3, BackOff: backoff.ExponentialBackOff{MaxElapsedTime: time.Minute}}).Contacts(t.Context(), ContactsRequest{})
			apiErr, ok := errors.AsType[*APIError](err)
			require.True(t, ok)
			assert.Equal(t, want, apiErr.RetryAfter)
			assert.Len(t, s.asks, 1)
			assert.Zero(t, time.Since(start))
		})
	}
}

func TestMaxElapsedTimeCountsWhatWasWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{lines: []line{{status: 503, retryAfter: "4"}}}
		_, err := s.client(t, Options{MaxRetries: 99, BackOff: backoff.ExponentialBackOff{MaxElapsedTime: 10 * time.Second}}).Contacts(t.Context(), ContactsRequest{})
		require.Error(t, err)
		require.Equal(t, []time.Duration{0, 4 * time.Second, 8 * time.Second}, s.asks)

		s = &script{lines: []line{{status: 500}}}
		_, err = s.client(t, Options{MaxRetries: 99, BackOff: backoff.ExponentialBackOff{MaxElapsedTime: 10 * time.Second}}).Contacts(t.Context(), ContactsRequest{})
		require.Error(t, err)
		require.Less(t, len(s.asks), 50)
		require.LessOrEqual(t, s.asks[len(s.asks)-1], 10*time.Second)
	})
}

func TestMaxElapsedTimeDoesNotCountTheWaitForTheLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{lines: []line{{status: 503, retryAfter: "5"}, {status: 200, body: "[]"}}}
		c := s.client(t, Options{MaxRetries: 1, Limiter: &limiter{waits: []time.Duration{48 * time.Hour}}, BackOff: backoff.ExponentialBackOff{MaxElapsedTime: 10 * time.Second}})
		_, err := c.Contacts(t.Context(), ContactsRequest{})
		require.NoError(t, err)
		require.Len(t, s.asks, 2)
	})
}

func TestWaitsEndWithTheContext(t *testing.T) {
	for _, retryAfter := range []string{"", "600", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := &script{lines: []line{{status: 503, retryAfter: retryAfter}}}
			c := s.client(t, Options{MaxRetries: 9, BackOff: backoff.ExponentialBackOff{InitialInterval: time.Hour, MaxInterval: time.Hour}})
			start := time.Now()
			_, err := c.Contacts(ctx, ContactsRequest{})
			assert.Equal(t, time.Minute, time.Since(start))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			apiErr, ok := errors.AsType[*APIError](err)
			require.True(t, ok)
			assert.Equal(t, 503, apiErr.Status)
			assert.Len(t, s.asks, 1)
		})
	}
}

func TestAnAttemptEndsWithTheContextAndIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		s := &script{lines: []line{{hang: true}}}
		_, err := s.client(t, Options{MaxRetries: 9}).Contacts(ctx, ContactsRequest{})
		require.ErrorIs(t, err, context.Canceled)
		require.EqualError(t, err, "GET /contacts: context canceled")
		require.Len(t, s.asks, 1)
	})
}

func TestLimiterIsAskedBeforeEveryAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		s := &script{lines: []line{{status: 503}, {err: io.EOF}, {status: 200, body: "[]"}}}
		l := &limiter{
			waits: []time.Duration{72 * time.Hour, time.Nanosecond, 0, -time.Second, 240 * time.Hour},
			asked: func() { events = append(events, "ask") },
		}
		c := s.client(t, Options{
			MaxRetries: 2, Limiter: l,
			OnAttempt: func(Attempt) { events = append(events, "call") },
			OnWait:    func(d time.Duration) { events = append(events, d.String()) },
		})
		start := time.Now()
		_, err := c.Contacts(t.Context(), ContactsRequest{})
		require.NoError(t, err)
		require.Equal(t, []string{"ask", "72h0m0s", "ask", "1ns", "ask", "call", "ask", "call", "ask", "240h0m0s", "ask", "call"}, events)
		require.GreaterOrEqual(t, time.Since(start), 312*time.Hour)
		require.Less(t, time.Since(start), 313*time.Hour)
	})
}

func TestLimiterWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		s := &script{lines: []line{{status: 200, body: "[]"}}}
		l := &limiter{waits: []time.Duration{720 * time.Hour}}
		start := time.Now()
		_, err := s.client(t, Options{Limiter: l}).Contacts(ctx, ContactsRequest{})
		require.EqualError(t, err, "GET /contacts: waiting for the rate limit: context canceled")
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, time.Minute, time.Since(start))
		require.Empty(t, s.asks)
		require.Equal(t, 1, l.asks)
	})
}

func TestLimiterIsNotChargedForACallThatIsNotMade(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &script{lines: []line{{status: 200, body: "[]"}}}
	l := &limiter{}
	c := s.client(t, Options{Limiter: l})
	_, err := c.Contacts(ctx, ContactsRequest{})
	require.ErrorIs(t, err, context.Canceled)
	for _, r := range []ContactsRequest{{PageSize: -1}, {PageSize: 1001}, {Page: -1}} {
		_, err = c.Contacts(t.Context(), r)
		require.Error(t, err)
	}
	require.Zero(t, l.asks)
	require.Empty(t, s.asks)
}

func TestLimiterError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{lines: []line{{status: 503}}}
		l := &limiter{err: errors.New("the ledger is gone")}
		_, err := s.client(t, Options{Limiter: l, MaxRetries: 3}).Contacts(t.Context(), ContactsRequest{})
		require.ErrorIs(t, err, l.err)
		require.EqualError(t, err, "GET /contacts: asking the rate limit: the ledger is gone")
		require.Empty(t, s.asks)
		require.Equal(t, 1, l.asks)

		l = &limiter{err: l.err, waits: []time.Duration{0}}
		_, err = s.client(t, Options{Limiter: l, MaxRetries: 3}).Contacts(t.Context(), ContactsRequest{})
		require.ErrorIs(t, err, l.err)
		require.Len(t, s.asks, 1)
		require.Equal(t, 2, l.asks)
	})
}

func TestAttemptsTellWhatTheAPIAskedToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		s := &script{lines: []line{{status: 429, retryAfter: "7200, 7200"}, {status: 503}, {status: 200, body: "[]"}}}
		c := s.client(t, Options{MaxRetries: 2, OnAttempt: func(a Attempt) { waits = append(waits, a.RetryAfter) }})
		_, err := c.Contacts(t.Context(), ContactsRequest{})
		require.NoError(t, err)
		require.Equal(t, []time.Duration{2 * time.Hour, 0, 0}, waits)
	})
}

package poll

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wisepops-connect/wisepops-connect/internal/exit"
	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// numbers is a source of numbers, so many to a page. What it stores is how many were
// committed.
type numbers struct {
	pages    int // 0: without end
	pageSize int
	answers  func(call int) error // nil: no call fails

	emptyLast bool // the last page has no messages

	mu        sync.Mutex
	calls     []time.Time
	retries   int // calls after a failure
	next      int
	committed int
	loads     int
	oldest    time.Time
}

func (s *numbers) Load(data []byte, found bool) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	if found {
		s.committed, err = strconv.Atoi(string(data))
		s.next = s.committed / s.pageSize
	}
	return err
}

func (s *numbers) Next(_ context.Context, retry bool) (Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, time.Now())
	if retry {
		s.retries++
	}
	if s.answers != nil {
		if err := s.answers(len(s.calls)); err != nil {
			return Page{}, err
		}
	}
	first := s.next * s.pageSize
	s.next++
	last := s.pages > 0 && s.next >= s.pages
	if last && s.emptyLast {
		return Page{Commit: func() {}, Last: true}, nil
	}
	return Page{
		Len:    s.pageSize,
		Bytes:  s.pageSize,
		Oldest: time.Unix(int64(first), 0),
		Messages: func(from, to int) service.MessageBatch {
			var batch service.MessageBatch
			for i := from; i < to; i++ {
				batch = append(batch, service.NewMessage([]byte(strconv.Itoa(first+i))))
			}
			return batch
		},
		Commit: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.committed != first {
				panic("committed out of order")
			}
			s.committed += s.pageSize
		},
		CaughtUp: s.pages == 0,
		Last:     last,
	}, nil
}

func (s *numbers) Encode() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []byte(strconv.Itoa(s.committed)), nil
}

func (s *numbers) Report(oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = oldest
}

func (s *numbers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// brokenCache is a cache whose writes fail, or never return.
type brokenCache struct {
	mu    sync.Mutex
	value []byte
	fail  error
	hang  chan struct{} // until it is closed
	reads error
}

func (c *brokenCache) Get(context.Context, string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reads != nil {
		return nil, c.reads
	}
	if c.value == nil {
		return nil, service.ErrKeyNotFound
	}
	return c.value, nil
}

func (c *brokenCache) Set(_ context.Context, _ string, value []byte, _ *time.Duration) error {
	c.mu.Lock()
	hang := c.hang
	c.mu.Unlock()
	if hang != nil {
		<-hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	c.value = value
	return nil
}

func (c *brokenCache) Add(ctx context.Context, key string, value []byte, ttl *time.Duration) error {
	return c.Set(ctx, key, value, ttl)
}
func (*brokenCache) Delete(context.Context, string) error { return nil }
func (*brokenCache) Close(context.Context) error          { return nil }

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// engine builds an input on a cache. It has to be built outside of the bubble of a test
// with a clock of its own.
func resources(t testing.TB, cache service.Cache) (*service.Resources, *lines) {
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterCache("broken", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.Cache, error) { return cache, nil }))
	b := env.NewResourceBuilder()
	out := &lines{}
	b.SetLogger(slog.New(slog.NewTextHandler(out, nil)))
	require.NoError(t, b.AddCacheYAML(`{label: state, broken: {}}`))
	mgr, _, err := b.BuildSuspended()
	require.NoError(t, err)
	return mgr, out
}

func newInput(t testing.TB, mgr *service.Resources, source Source, stored bool) *Input {
	opts := Options{
		Interval:    30 * time.Minute,
		LongestWait: 30 * time.Minute,
		MaxMessages: 1000,
		MaxBytes:    1 << 20,
		StateName:   "watermark",
		Items:       "numbers",
		WriteErrors: mgr.Metrics().NewCounter("errors"),
	}
	if stored {
		opts.Slot = state.NewSlot(mgr, "state", "key")
	}
	in, err := New(source, opts, mgr)
	require.NoError(t, err)
	return in
}

func TestFailuresOfAPollBackOff(t *testing.T) {
	mgr, out := resources(t, &brokenCache{})
	synctest.Test(t, func(t *testing.T) {
		source := &numbers{pageSize: 10, answers: func(int) error { return errors.New("no answer") }}
		in := newInput(t, mgr, source, false)
		err := in.Connect(t.Context())
		backOff, ok := errors.AsType[*service.ErrBackOff](err)
		require.True(t, ok)
		require.Equal(t, time.Second, backOff.Wait)
		require.NoError(t, err2nil(in.Connect(t.Context())), "reports the second failure too")
		<-time.After(24 * time.Hour)
		require.Less(t, source.count(), 100, "in a day")
		require.Equal(t, source.count()-1, source.retries)
		require.NotContains(t, out.String(), "no answer", "Connect reports it, and Benthos logs that")
		require.NoError(t, in.Close(t.Context()))
	})
}

// err2nil is nil for an error that says how long to wait.
func err2nil(err error) error {
	if _, ok := errors.AsType[*service.ErrBackOff](err); ok {
		return nil
	}
	return errors.Join(errors.New("is no back-off"), err)
}

// Answers that are no failure of a call, but cannot be used, are failures as well; and an
// input that is connected logs them itself.
func TestFailuresAreForgottenWhenAPageWasTaken(t *testing.T) {
	mgr, out := resources(t, &brokenCache{})
	synctest.Test(t, func(t *testing.T) {
		source := &numbers{pageSize: 10, answers: func(call int) error {
			if call == 1 || call == 5 {
				return nil
			}
			return errors.New("cannot be used")
		}}
		in := newInput(t, mgr, source, false)
		require.NoError(t, in.Connect(t.Context()))
		<-time.After(65 * time.Minute)
		require.NoError(t, in.Close(t.Context()))
		var waits []time.Duration
		for i := range source.calls[1:] {
			wait := source.calls[i+1].Sub(source.calls[i])
			if wait > 10*time.Minute {
				require.GreaterOrEqual(t, wait, 30*time.Minute)
				wait = wait.Truncate(time.Minute) // polls are spread
			}
			waits = append(waits, wait)
		}
		s := time.Second
		require.Equal(t, []time.Duration{30 * time.Minute, s, 2 * s, 4 * s, 30 * time.Minute, s, 2 * s, 4 * s, 8 * s, 16 * s}, waits[:10])
		require.Contains(t, out.String(), "cannot be used: next attempt in 1s")
	})
}

func TestThrottledInputCountsAsConnected(t *testing.T) {
	mgr, _ := resources(t, &brokenCache{})
	synctest.Test(t, func(t *testing.T) {
		source := &numbers{pageSize: 10, answers: func(int) error { return &wisepops.APIError{Status: 429, RetryAfter: time.Hour} }}
		in := newInput(t, mgr, source, false)
		require.NoError(t, in.Connect(t.Context()))
		<-time.After(59 * time.Minute)
		require.Equal(t, 1, source.count())
		require.NoError(t, in.Close(t.Context()))
	})
}

func TestStateIsReadBeforeAnyCall(t *testing.T) {
	cache := &brokenCache{reads: errors.New("connection refused")}
	mgr, _ := resources(t, cache)
	synctest.Test(t, func(t *testing.T) {
		source := &numbers{pageSize: 10}
		in := newInput(t, mgr, source, true)
		for range 5 {
			require.ErrorContains(t, in.Connect(t.Context()), "connection refused")
		}
		require.Zero(t, source.loads)
		require.Zero(t, source.count())
		cache.mu.Lock()
		cache.reads, cache.value = nil, []byte("30")
		cache.mu.Unlock()
		require.NoError(t, in.Connect(t.Context()))
		batch, _, err := in.ReadBatch(t.Context())
		require.NoError(t, err)
		text, err := batch[0].AsBytes()
		require.NoError(t, err)
		require.Equal(t, "30", string(text))
		require.NoError(t, in.Close(t.Context()))
	})
}

// A run ends when its last watermark is stored, however long that fails; or else it says
// what will come again, and fails the process.
func TestRunEndsWhenItsStateIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		healAfter time.Duration
		hang      bool
		fails     bool
		emptyLast bool
	}{
		"at once":                          {},
		"after some seconds":               {healAfter: 20 * time.Second},
		"never":                            {healAfter: time.Hour, fails: true},
		"hangs":                            {healAfter: time.Hour, hang: true, fails: true},
		"hangs at a page without messages": {healAfter: time.Hour, hang: true, fails: true, emptyLast: true},
	} {
		t.Run(name, func(t *testing.T) {
			cache := &brokenCache{}
			mgr, out := resources(t, cache)
			before := exit.Failed()
			synctest.Test(t, func(t *testing.T) {
				if c.healAfter > 0 {
					if c.hang {
						cache.hang = make(chan struct{})
					} else {
						cache.fail = errors.New("disk full")
					}
					time.AfterFunc(c.healAfter, func() {
						cache.mu.Lock()
						defer cache.mu.Unlock()
						cache.fail = nil
						if c.hang {
							close(cache.hang)
						}
					})
				}
				source := &numbers{pages: 3, pageSize: 10, emptyLast: c.emptyLast}
				in := newInput(t, mgr, source, true)
				require.NoError(t, in.Connect(t.Context()))
				for {
					_, ack, err := in.ReadBatch(t.Context())
					if errors.Is(err, service.ErrEndOfInput) {
						break
					}
					require.NoError(t, err)
					require.NoError(t, ack(t.Context(), nil))
				}
				require.ErrorIs(t, in.Connect(t.Context()), service.ErrEndOfInput)
				err := in.Close(t.Context())
				if !c.fails {
					require.NoError(t, err)
					require.Equal(t, "30", string(cache.value))
					return
				}
				require.Error(t, err)
				require.Contains(t, out.String(), "again")
				require.Contains(t, out.String(), "storing the watermark")
				<-time.After(2 * time.Hour)
			})
			require.Equal(t, before || c.fails, exit.Failed())
		})
	}
}

// State that cannot be written is heard at once, and every 30 seconds.
func TestStateThatCannotBeWrittenIsHeard(t *testing.T) {
	for _, hang := range []bool{false, true} {
		cache := &brokenCache{}
		mgr, out := resources(t, cache)
		synctest.Test(t, func(t *testing.T) {
			cache.fail = errors.New("disk full")
			if hang {
				cache.hang = make(chan struct{})
			}
			source := &numbers{pages: 1000, pageSize: 10}
			in := newInput(t, mgr, source, true)
			require.NoError(t, in.Connect(t.Context()))
			go func() {
				for {
					_, ack, err := in.ReadBatch(t.Context())
					if err != nil {
						return
					}
					_ = ack(t.Context(), nil)
				}
			}()
			<-time.After(5*time.Minute + time.Second)
			require.Less(t, source.count(), 110, "reading pauses")
			said := bytes.Count([]byte(out.String()), []byte("storing the watermark"))
			require.InDelta(t, 10, said, 2)
			if hang {
				close(cache.hang)
			}
			_ = in.Close(t.Context())
		})
	}
}

// A Close that could not store is not the last word.
func TestCloseStoresAgain(t *testing.T) {
	cache := &brokenCache{fail: errors.New("disk full")}
	mgr, out := resources(t, cache)
	in := newInput(t, mgr, &numbers{pages: 2, pageSize: 10}, true)
	require.NoError(t, in.Connect(t.Context()))
	_, ack, err := in.ReadBatch(t.Context())
	require.NoError(t, err)
	require.NoError(t, ack(t.Context(), nil))
	require.ErrorContains(t, in.Close(t.Context()), "disk full")
	require.Contains(t, out.String(), "will be delivered again")
	cache.mu.Lock()
	cache.fail = nil
	cache.mu.Unlock()
	require.NoError(t, in.Close(t.Context()))
	require.Equal(t, "10", string(cache.value))
}

func TestCloseIsSafeBeforeConnectAndTwice(t *testing.T) {
	mgr, _ := resources(t, &brokenCache{})
	in := newInput(t, mgr, &numbers{pageSize: 10}, true)
	require.NoError(t, in.Close(t.Context()))
	require.NoError(t, in.Close(t.Context()))
	require.ErrorIs(t, in.Connect(t.Context()), service.ErrEndOfInput)
	_, err := state.NewSlot(mgr, "state", "key").Claim(t.Context())
	require.NoError(t, err)
}

// A claim is released even where the cache hangs for ever.
func TestCloseReleasesItsClaimWhateverHappens(t *testing.T) {
	cache := &brokenCache{hang: make(chan struct{})}
	mgr, _ := resources(t, cache)
	synctest.Test(t, func(t *testing.T) {
		cache.hang = make(chan struct{})
		in := newInput(t, mgr, &numbers{pages: 2, pageSize: 10}, true)
		require.NoError(t, in.Connect(t.Context()))
		_, ack, err := in.ReadBatch(t.Context())
		require.NoError(t, err)
		require.NoError(t, ack(t.Context(), nil))
		<-time.After(time.Second)
		begun := time.Now()
		require.Error(t, in.Close(t.Context()))
		require.LessOrEqual(t, time.Since(begun), closeBudget)
		claim, err := state.NewSlot(mgr, "state", "key").Claim(t.Context())
		require.NoError(t, err)
		claim.Release()
		close(cache.hang)
	})
}

// A claim that an input holds is waited for by the next, which then goes on.
func TestInputTakesOverFromOneThatCloses(t *testing.T) {
	mgr, _ := resources(t, &brokenCache{})
	synctest.Test(t, func(t *testing.T) {
		first := newInput(t, mgr, &numbers{pageSize: 10}, true)
		require.NoError(t, first.Connect(t.Context()))
		second := newInput(t, mgr, &numbers{pageSize: 10}, true)
		require.ErrorContains(t, second.Connect(t.Context()), "both keep their state")
		time.AfterFunc(3*time.Second, func() { _ = first.Close(context.Background()) })
		require.NoError(t, second.Connect(t.Context()))
		require.NoError(t, second.Close(t.Context()))
	})
}

// Whatever order the pages are acknowledged in, and however often they are rejected: pages
// are committed in order, once each, and only when all of them was delivered; what is in
// flight stays within its bounds, and no more is kept of pages without messages.
func TestPagesAreCommittedInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const pages = 12
		pageSize := rapid.SampledFrom([]int{1, 7, 64}).Draw(rt, "page size")
		maxMessages := rapid.IntRange(1, 5*pageSize).Draw(rt, "limit")
		maxBytes := rapid.IntRange(1, 5*pageSize).Draw(rt, "bytes")
		stored := rapid.Bool().Draw(rt, "stored")
		f := newFlow(&numbers{}, maxMessages, maxBytes, stored)
		delivered := map[*page]int{} // messages that were acknowledged, in doubt or not
		var committed []int
		now := time.Now()
		var flying []*part
		admitted := 0
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a wait returns at once
		for steps := 0; len(committed) < pages; steps++ {
			require.Less(rt, steps, 100_000)
			if admitted < pages {
				number := admitted
				p := Page{Commit: func() { committed = append(committed, number) }}
				if rapid.Bool().Draw(rt, "messages") {
					p.Len, p.Bytes = pageSize, pageSize
				}
				fits := f.messages == 0 || f.messages+p.Len <= maxMessages && f.bytes+p.Bytes <= maxBytes && len(f.fresh) < pagesAhead
				if err := f.admit(ctx, p); p.Len == 0 || fits {
					require.NoError(rt, err)
					admitted++
				} else {
					require.Error(rt, err, "it does not fit")
				}
			}
			require.LessOrEqual(rt, f.messages, max(pageSize, maxMessages))
			require.LessOrEqual(rt, f.bytes, max(pageSize, maxBytes))
			full := 0
			for _, pg := range f.pages {
				if pg.Len > 0 {
					full++
				}
			}
			require.LessOrEqual(rt, len(f.pages), full+1)
			f.mu.Lock()
			p, wait := f.take(now)
			f.mu.Unlock()
			now = now.Add(wait)
			if p != nil {
				flying = append(flying, p)
			}
			if len(flying) > 0 && (len(flying) == 4 || rapid.Bool().Draw(rt, "settle")) {
				i := rapid.IntRange(0, len(flying)-1).Draw(rt, "which")
				p = flying[i]
				flying = append(flying[:i], flying[i+1:]...)
				var err error
				if rapid.IntRange(0, 3).Draw(rt, "nack") == 0 {
					err = errors.New("rejected")
				} else {
					delivered[p.page] += p.size()
				}
				f.settle(p, err, now)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(rt, "gap")) * doubtWindow * 2 / 3)
			f.mu.Lock()
			f.deliver(now)
			f.mu.Unlock()
			if stored {
				data, covers, err := f.snapshot()
				require.NoError(rt, err)
				require.Equal(rt, f.unsaved == weight{}, f.clean(), "nothing is stored before the write has ended")
				if data != nil {
					f.saved(covers, nil)
				}
			}
			for n, number := range committed {
				require.Equal(rt, n, number, "in order")
			}
			if len(f.pages) > 0 {
				require.Positive(rt, f.pages[0].left, "what is delivered in order is committed")
			}
		}
		for pg, n := range delivered {
			require.GreaterOrEqual(rt, n, pg.Len, "committed, and not delivered")
		}
		require.Zero(rt, f.messages)
		require.Zero(rt, f.bytes)
		require.True(rt, f.clean())
	})
}

// The indexes of a service.BatchError say nothing of what was delivered.
func TestIndexesOfABatchErrorAreNotTrusted(t *testing.T) {
	source := &numbers{pages: 1, pageSize: 8}
	f := newFlow(source, 100, 100, false)
	page, err := source.Next(t.Context(), false)
	require.NoError(t, err)
	require.NoError(t, f.admit(t.Context(), page))
	p, err := f.next(t.Context())
	require.NoError(t, err)
	batch := p.page.Messages(0, 8)
	f.settle(p, service.NewBatchError(batch, errors.New("x")).Failed(3, errors.New("x")), time.Now())
	sent := 0
	for range 8 {
		p, err := f.next(t.Context())
		require.NoError(t, err)
		sent += p.size()
		f.settle(p, nil, time.Now())
	}
	require.Equal(t, 8, sent)
	require.Equal(t, 8, source.committed)
}

// The oldest item that is read and not committed is reported, whatever the sink does.
func TestOldestItemInFlightIsReported(t *testing.T) {
	source := &numbers{pages: 9, pageSize: 10}
	f := newFlow(source, 100, 100, false)
	for range 3 {
		page, err := source.Next(t.Context(), false)
		require.NoError(t, err)
		require.NoError(t, f.admit(t.Context(), page))
		p, err := f.next(t.Context())
		require.NoError(t, err)
		f.settle(p, map[bool]error{true: errors.New("rejected")}[page.Oldest.Unix() > 0], time.Now())
	}
	f.report()
	require.EqualValues(t, 10, source.oldest.Unix())
}

// A run tells how far it is each half minute, when it has caught up, and at its end; polls
// that find nothing are quiet.
func TestProgressIsTold(t *testing.T) {
	mgr, out := resources(t, &brokenCache{})
	synctest.Test(t, func(*testing.T) {
		p := newProgress(mgr.Logger(), "contacts")
		for range 100 {
			<-time.After(time.Second)
			p.called()
			p.read(1000)
		}
		p.called()
		p.caughtUp(30 * time.Minute)
		for range 48 {
			<-time.After(30 * time.Minute)
			p.called()
			p.read(0)
			p.caughtUp(30 * time.Minute)
		}
		p.called()
		p.read(2)
		p.finished()
	})
	require.Equal(t, 5, bytes.Count([]byte(out.String()), []byte("contacts")))
	require.Contains(t, out.String(), "60000 contacts read so far, in 60 calls, 1000/s")
	require.Contains(t, out.String(), "Caught up: 100000 contacts in 101 calls; the next poll is at 2000-01-01T00:31:40Z")
	require.Contains(t, out.String(), "Finished: 2 contacts in 1 calls, all delivered")
}

func TestStartsAndPollsAreSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for i := range 200 {
		d := spread("website "+strconv.Itoa(i), time.Minute)
		require.Less(t, d, time.Minute)
		require.Equal(t, d, spread("website "+strconv.Itoa(i), time.Minute))
		seen[d.Truncate(10*time.Second)] = true
	}
	require.Len(t, seen, 6)
	all := &fleet{}
	require.Zero(t, all.join(), "a single input starts at once")
	require.Positive(t, all.join())
	all.leave()
	all.leave()
	require.Zero(t, all.join())
}

package poll

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// sink is a simulated output. It takes time, and may gather batches into one.
type sink struct {
	rejects func(now time.Time, message int) bool // a message by its index over all pages
	fails   func() bool                           // a whole write; nil: none does
	latency time.Duration
	period  time.Duration // of gathering; zero: each batch is a write of its own
	count   int           // messages that a gathered write has at least, without waiting for the period
	shared  bool          // one rejected message has the whole write rejected
	mixes   bool          // one batch of a write is blamed for what any of them failed in

	gathering []*part
	flushAt   time.Time
}

type outcome struct {
	at     time.Time
	p      *part
	nacked bool
}

// simulation runs pages through an isolation and a sink, on a clock of its own.
type simulation struct {
	*testing.T
	sink     *sink
	now      time.Time
	start    time.Time
	pageSize int
	pages    int
	fresh    []*page
	flow     isolation
	outcomes []outcome

	written   map[int]int // how often the sink wrote a message
	delivered map[int]int // how often one counted as delivered
	sent      int         // messages
	batches   int         // that were sent
	lastGood  time.Time   // when a message was delivered last
	attempts  map[int]int // of single messages
}

func simulate(t *testing.T, pages, pageSize int, s *sink) *simulation {
	t.Helper()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sim := &simulation{
		T: t, sink: s, now: start, start: start, pageSize: pageSize,
		written: map[int]int{}, delivered: map[int]int{}, attempts: map[int]int{},
	}
	sim.add(pages)
	return sim
}

func (sim *simulation) add(pages int) {
	for range pages {
		sim.fresh = append(sim.fresh, &page{Page: Page{Len: sim.pageSize, Bytes: sim.pages}}) // Bytes numbers it
		sim.pages++
	}
}

func (sim *simulation) id(p *part, i int) int { return p.page.Bytes*sim.pageSize + i }

// run goes on until the time is over, or nothing is in flight or waits.
func (sim *simulation) run(d time.Duration) {
	end := sim.now.Add(d)
	for sim.now.Before(end) {
		p, hold, wait := sim.flow.next(sim.now)
		if p == nil && !hold && len(sim.fresh) > 0 {
			p = &part{page: sim.fresh[0], to: sim.fresh[0].Len}
			sim.fresh = sim.fresh[1:]
		}
		if p != nil {
			sim.flow.sent(p, sim.now)
			sim.send(p)
			continue
		}
		next := end
		if wait > 0 {
			next = earliest(next, sim.now.Add(wait))
		}
		if len(sim.sink.gathering) > 0 {
			next = earliest(next, sim.sink.flushAt)
		}
		for _, o := range sim.outcomes {
			next = earliest(next, o.at)
		}
		for _, p := range sim.flow.held {
			next = earliest(next, p.ackedAt.Add(doubtWindow))
		}
		sim.now = next
		if len(sim.sink.gathering) > 0 && !sim.sink.flushAt.After(sim.now) {
			sim.flush()
		}
		sim.settle()
	}
	for message := range sim.delivered {
		require.Positive(sim.T, sim.written[message], "counts as delivered, and was not written: %d", message)
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (sim *simulation) send(p *part) {
	sim.sent += p.size()
	sim.batches++
	if p.size() == 1 {
		sim.attempts[sim.id(p, p.from)]++
	}
	if len(sim.sink.gathering) == 0 {
		sim.sink.flushAt = sim.now.Add(sim.sink.period)
	}
	sim.sink.gathering = append(sim.sink.gathering, p)
	gathered := 0
	for _, p := range sim.sink.gathering {
		gathered += p.size()
	}
	if sim.sink.period == 0 || sim.sink.count > 0 && gathered >= sim.sink.count {
		sim.flush()
	}
}

// flush writes what was gathered.
func (sim *simulation) flush() {
	bad := make([]bool, len(sim.sink.gathering))
	failed := sim.sink.fails != nil && sim.sink.fails()
	rejected := failed
	for n, p := range sim.sink.gathering {
		for i := p.from; i < p.to; i++ {
			if failed || sim.sink.rejects(sim.now, sim.id(p, i)) {
				bad[n], rejected = true, true
			}
		}
	}
	for n, p := range sim.sink.gathering {
		nacked := bad[n] || sim.sink.shared && rejected
		if !nacked { // of others, some may have been written; that does not matter
			for i := p.from; i < p.to; i++ {
				sim.written[sim.id(p, i)]++
			}
		}
		if sim.sink.mixes {
			nacked = n == sim.batches%len(sim.sink.gathering) && rejected
		}
		sim.outcomes = append(sim.outcomes, outcome{sim.now.Add(sim.sink.latency), p, nacked})
	}
	sim.sink.gathering = nil
}

func (sim *simulation) settle() {
	due := sim.outcomes
	sim.outcomes = nil
	for _, o := range due {
		switch {
		case o.at.After(sim.now):
			sim.outcomes = append(sim.outcomes, o)
		case o.nacked:
			sim.flow.nacked(o.p, sim.now)
		default:
			sim.flow.acked(o.p, sim.now)
		}
	}
	for _, p := range sim.flow.delivered(sim.now) {
		sim.lastGood = sim.now
		for i := p.from; i < p.to; i++ {
			sim.delivered[sim.id(p, i)]++
		}
	}
}

func none(time.Time, int) bool { return false }

func sinks() map[string]*sink {
	return map[string]*sink{
		"each batch by itself":   {latency: 5 * time.Millisecond},
		"slow":                   {latency: 500 * time.Millisecond},
		"gathers for a second":   {latency: 5 * time.Millisecond, period: time.Second, shared: true},
		"gathers 1,000":          {latency: 5 * time.Millisecond, period: 100 * time.Millisecond, count: 1000, shared: true},
		"gathers, own outcomes":  {latency: 5 * time.Millisecond, period: 20 * time.Millisecond},
		"gathers and mixes":      {latency: 5 * time.Millisecond, period: 20 * time.Millisecond, mixes: true},
		"gathers without period": {latency: 5 * time.Millisecond, period: 1000 * time.Hour, count: 1500, shared: true},
	}
}

// One poisoned message among 5,000: the others are delivered within a minute, no more
// than three times as many messages are sent, and the poisoned one is tried ever more
// seldom.
func TestOnePoisonedMessageIsIsolated(t *testing.T) {
	const pages, pageSize, poisoned = 5, 1000, 3421
	for name, s := range sinks() {
		t.Run(name, func(t *testing.T) {
			if name == "gathers without period" {
				t.Skip("holds its last messages for ever, by itself too")
			}
			s.rejects = func(_ time.Time, message int) bool { return message == poisoned }
			sim := simulate(t, pages, pageSize, s)
			sim.run(time.Minute)
			require.Len(t, sim.delivered, pages*pageSize-1)
			require.LessOrEqual(t, sim.sent, 3*pages*pageSize)
			for message, times := range sim.written {
				require.LessOrEqual(t, times, 6, message)
			}
			attempts := sim.attempts[poisoned]
			sim.run(time.Hour)
			require.NotContains(t, sim.delivered, poisoned)
			require.InDelta(t, 30, sim.attempts[poisoned]-attempts, 10, "a wait that grows to two minutes")
		})
	}
}

// An output that gathers without a period answers only what comes together with more: the
// parts are not held back for ever.
func TestPartsDoNotWaitForEverToBeAlone(t *testing.T) {
	s := sinks()["gathers without period"]
	s.rejects = none
	failed := false
	s.fails = func() bool { first := !failed; failed = true; return first }
	sim := simulate(t, 6, 500, s)
	sim.run(10 * time.Minute)
	require.Len(t, sim.delivered, 3000)
}

// A share of the messages is rejected each time, at random.
func TestMessagesThatAreRejectedAtRandomAllArrive(t *testing.T) {
	for name, s := range sinks() {
		t.Run(name, func(t *testing.T) {
			if s.shared {
				t.Skip("of a write of 1,000 none would ever succeed")
			}
			random := rand.New(rand.NewPCG(1, 2))
			s.rejects = func(time.Time, int) bool { return random.IntN(5) == 0 }
			sim := simulate(t, 9, 100, s)
			sim.run(15 * time.Minute)
			require.Len(t, sim.delivered, 900)
			require.LessOrEqual(t, sim.sent, 8*900)
		})
	}
}

// A share of the writes is rejected, at random.
func TestWritesThatAreRejectedAtRandomAllArrive(t *testing.T) {
	for name, s := range sinks() {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			s.rejects = none
			s.fails = func() bool { return random.IntN(5) == 0 }
			if name == "gathers without period" {
				s.period = 10 * time.Second
			}
			sim := simulate(t, 20, 1000, s)
			sim.run(10 * time.Minute)
			require.Len(t, sim.delivered, 20_000)
			require.LessOrEqual(t, sim.sent, 6*20_000)
		})
	}
}

// A sink that is away for an hour is probed seldom, pages stay nearly whole, and all
// arrives soon after it is back.
func TestOutageOfASinkIsProbed(t *testing.T) {
	for name, s := range sinks() {
		t.Run(name, func(t *testing.T) {
			if name == "gathers without period" {
				t.Skip("a probe never leaves it")
			}
			var sim *simulation
			s.rejects = func(now time.Time, _ int) bool { return now.Sub(sim.start) < time.Hour }
			sim = simulate(t, 10, 1000, s)
			sim.run(time.Hour)
			require.Empty(t, sim.delivered)
			require.Less(t, sim.batches, 150)
			before := sim.batches
			sim.run(4 * time.Minute)
			require.Len(t, sim.delivered, 10_000)
			require.Less(t, sim.lastGood.Sub(sim.start.Add(time.Hour)), 3*time.Minute)
			require.Less(t, sim.batches-before, 400)
		})
	}
}

// A message that is always rejected never keeps a new page from being delivered.
func TestPoisonNeverHoldsUpNewPages(t *testing.T) {
	s := sinks()["gathers for a second"]
	s.rejects = func(_ time.Time, message int) bool { return message < 3000 && message%1000 == 7 }
	sim := simulate(t, 3, 1000, s)
	sim.run(10 * time.Minute)
	require.Len(t, sim.delivered, 3*999)
	for i := range 20 {
		sim.add(1)
		sim.run(time.Minute)
		require.Len(t, sim.delivered, 3*999+1000*(i+1))
	}
}

// A sink that mixes up batches has nothing count as delivered that it did not write,
// whatever it rejects.
func TestNothingCountsAsDeliveredThatWasNotWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &sink{
			latency: time.Duration(rapid.IntRange(1, 50).Draw(rt, "latency")) * time.Millisecond,
			period:  time.Duration(rapid.IntRange(0, 300).Draw(rt, "period")) * time.Millisecond,
			count:   rapid.IntRange(0, 60).Draw(rt, "count"),
			mixes:   true,
		}
		share := rapid.IntRange(2, 60).Draw(rt, "one in")
		random := rand.New(rand.NewPCG(uint64(share), 1))
		s.rejects = func(time.Time, int) bool { return random.IntN(share) == 0 }
		sim := simulate(t, rapid.IntRange(1, 12).Draw(rt, "pages"), rapid.IntRange(1, 20).Draw(rt, "page size"), s)
		all := len(sim.fresh) * sim.pageSize
		sim.run(time.Hour)
		require.Len(rt, sim.delivered, all)
	})
}

// Whatever the sink does, each message is delivered once it is taken, and none is lost
// between parts.
func TestPartsCoverTheirPage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 1000).Draw(rt, "size")
		from := rapid.IntRange(0, 1000).Draw(rt, "from")
		p := &part{page: &page{}, from: from, to: from + size}
		if size == 1 {
			return
		}
		next := p.from
		parts := p.split()
		require.LessOrEqual(rt, len(parts), splitInto)
		for _, q := range parts {
			require.Equal(rt, next, q.from)
			require.Positive(rt, q.size())
			require.Less(rt, q.size(), size)
			next = q.to
		}
		require.Equal(rt, p.to, next)
	})
}

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
	rejects   func(now time.Time, message int) bool // a message by its index over all pages
	period    time.Duration                         // of gathering; zero: each batch is a write of its own
	count     int                                   // messages that a gathered write has at least, without waiting for the period
	shared    bool                                  // one rejected message has the whole write rejected
	partial   bool                                  // its errors tell messages of a batch apart
	fails     func() bool                           // a whole write; nil: none does
	latency   time.Duration
	gathering []*part
	flushAt   time.Time
}

type outcome struct {
	at      time.Time
	p       *part
	nacked  bool
	partial bool
}

// simulation runs pages through an isolation and a sink, on a clock of its own.
type simulation struct {
	*testing.T
	sink      *sink
	now       time.Time
	start     time.Time
	pageSize  int
	fresh     []*page
	flow      isolation
	outcomes  []outcome
	delivered map[int]int
	sent      int                 // messages
	batches   int                 // that were sent
	lastGood  time.Time           // when a message was delivered for the first time last
	waits     []time.Duration     // between attempts of the first rejected single message
	singles   map[int][]time.Time // attempts of single messages
}

func simulate(t *testing.T, pages, pageSize int, s *sink) *simulation {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sim := &simulation{T: t, sink: s, now: start, start: start, pageSize: pageSize, delivered: map[int]int{}, singles: map[int][]time.Time{}}
	for i := range pages {
		sim.fresh = append(sim.fresh, &page{Page: Page{Len: pageSize, Bytes: i}, left: pageSize}) // Bytes numbers it
	}
	return sim
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
			sim.flow.sent(p)
			sim.send(p)
			continue
		}
		next := end
		if wait > 0 {
			next = sim.now.Add(wait)
		}
		if len(sim.sink.gathering) > 0 && sim.sink.flushAt.Before(next) {
			next = sim.sink.flushAt
		}
		for _, o := range sim.outcomes {
			if o.at.Before(next) {
				next = o.at
			}
		}
		if next.Equal(end) {
			return
		}
		sim.now = next
		if len(sim.sink.gathering) > 0 && !sim.sink.flushAt.After(sim.now) {
			sim.flush()
		}
		sim.settle()
	}
}

func (sim *simulation) send(p *part) {
	sim.sent += p.size()
	sim.batches++
	if p.size() == 1 {
		sim.singles[sim.id(p, p.from)] = append(sim.singles[sim.id(p, p.from)], sim.now)
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
	var bad []int
	any, failed := false, sim.sink.fails != nil && sim.sink.fails()
	for _, p := range sim.sink.gathering {
		n := 0
		for i := p.from; i < p.to; i++ {
			if sim.sink.rejects(sim.now, sim.id(p, i)) {
				n++
				any = true
			}
		}
		bad = append(bad, n)
	}
	for i, p := range sim.sink.gathering {
		nacked := failed || bad[i] > 0 || sim.sink.shared && any
		partial := sim.sink.partial && bad[i] > 0 && bad[i] < p.size()
		sim.outcomes = append(sim.outcomes, outcome{sim.now.Add(sim.sink.latency), p, nacked, partial})
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
			sim.flow.nacked(o.p, o.partial, sim.now)
		default:
			sim.flow.acked(o.p)
			for i := o.p.from; i < o.p.to; i++ {
				id := sim.id(o.p, i)
				if sim.delivered[id] == 0 {
					sim.lastGood = sim.now
				}
				sim.delivered[id]++
			}
		}
	}
}

func sinks(partial bool) map[string]*sink {
	all := map[string]*sink{
		"each batch by itself":   {latency: 5 * time.Millisecond},
		"slow":                   {latency: 500 * time.Millisecond},
		"gathers for a second":   {latency: 5 * time.Millisecond, period: time.Second, shared: true},
		"gathers 1,000":          {latency: 5 * time.Millisecond, period: 100 * time.Millisecond, count: 1000, shared: true},
		"gathers, own outcomes":  {latency: 5 * time.Millisecond, period: 100 * time.Millisecond},
		"gathers without period": {latency: 5 * time.Millisecond, period: time.Hour, count: 1500, shared: true},
	}
	for _, s := range all {
		s.partial = partial && !s.shared
	}
	return all
}

// One poisoned message among 5,000: the others are delivered within a minute, no more
// than three times as many messages are sent, and the poisoned one is tried ever more
// seldom.
func TestOnePoisonedMessageIsIsolated(t *testing.T) {
	const pages, pageSize, poisoned = 5, 1000, 3421
	for _, partial := range []bool{false, true} {
		for name, s := range sinks(partial) {
			t.Run(name, func(t *testing.T) {
				if name == "gathers without period" {
					t.Skip("holds its last messages for ever, by itself too")
				}
				s.rejects = func(_ time.Time, message int) bool { return message == poisoned }
				sim := simulate(t, pages, pageSize, s)
				sim.run(time.Minute)
				require.Len(t, sim.delivered, pages*pageSize-1)
				require.LessOrEqual(t, sim.sent, 3*pages*pageSize)
				for message, times := range sim.delivered {
					require.LessOrEqual(t, times, 6, message)
				}
				attempts := len(sim.singles[poisoned])
				sim.run(time.Hour)
				require.NotContains(t, sim.delivered, poisoned)
				require.InDelta(t, 30, len(sim.singles[poisoned])-attempts, 10, "a wait that grows to two minutes")
			})
		}
	}
}

// An output that gathers without a period answers only what comes together with more: the
// parts are not held back for ever.
func TestPartsDoNotWaitForEverToBeAlone(t *testing.T) {
	s := sinks(false)["gathers without period"]
	failed := false
	s.rejects = func(_ time.Time, _ int) bool { first := !failed; failed = true; return first }
	sim := simulate(t, 6, 500, s)
	sim.run(10 * time.Minute)
	require.Len(t, sim.delivered, 3000)
}

// A share of the messages is rejected each time, at random.
func TestMessagesThatAreRejectedAtRandomAllArrive(t *testing.T) {
	for _, partial := range []bool{false, true} {
		for name, s := range sinks(partial) {
			t.Run(name, func(t *testing.T) {
				if s.shared {
					t.Skip("of a write of 1,000 none would ever succeed")
				}
				random := rand.New(rand.NewPCG(1, 2))
				s.rejects = func(time.Time, int) bool { return random.IntN(5) == 0 }
				sim := simulate(t, 9, 100, s)
				sim.run(2 * time.Minute)
				require.Len(t, sim.delivered, 900)
				require.LessOrEqual(t, sim.sent, 8*900)
			})
		}
	}
}

// A share of the writes is rejected, at random.
func TestWritesThatAreRejectedAtRandomAllArrive(t *testing.T) {
	for name, s := range sinks(false) {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			s.rejects = func(time.Time, int) bool { return false }
			s.fails = func() bool { return random.IntN(5) == 0 }
			if name == "gathers without period" {
				s.period = 10 * time.Second
			}
			sim := simulate(t, 20, 1000, s)
			sim.run(5 * time.Minute)
			require.Len(t, sim.delivered, 20_000)
			require.LessOrEqual(t, sim.sent, 6*20_000)
		})
	}
}

// A sink that is away for an hour is probed seldom, pages stay nearly whole, and all
// arrives soon after it is back.
func TestOutageOfASinkIsProbed(t *testing.T) {
	for name, s := range sinks(false) {
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
			sim.run(3 * time.Minute)
			require.Len(t, sim.delivered, 10_000)
			require.Less(t, sim.lastGood.Sub(sim.start.Add(time.Hour)), 2*time.Minute)
			require.Less(t, sim.batches-before, 400)
		})
	}
}

// A message that is always rejected never keeps a new page from being delivered.
func TestPoisonNeverHoldsUpNewPages(t *testing.T) {
	s := sinks(false)["gathers for a second"]
	s.rejects = func(_ time.Time, message int) bool { return message%1000 == 7 }
	sim := simulate(t, 3, 1000, s)
	sim.run(10 * time.Minute)
	require.Len(t, sim.delivered, 3*999)
	for i := range 20 {
		sim.fresh = append(sim.fresh, &page{Page: Page{Len: 1000, Bytes: 3 + i}, left: 1000})
		s.rejects = func(_ time.Time, message int) bool { return message < 3000 && message%1000 == 7 }
		sim.run(time.Minute)
		require.Len(t, sim.delivered, 3*999+1000*(i+1))
	}
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

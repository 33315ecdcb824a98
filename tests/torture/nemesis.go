package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// nemesis causes faults. Faults of different groups overlap.
type nemesis struct {
	w *world

	// peace is held for reading by each fault that may make the binary's end unclean,
	// and for writing by who wants a clean one.
	peace sync.RWMutex

	mu     sync.Mutex
	under  int       // such faults that go on
	calmed time.Time // when the last one ended
}

// disturbed reports whether such a fault goes on, or did so a moment ago.
func (n *nemesis) disturbed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.under > 0 || time.Since(n.calmed) < aftermath
}

func (n *nemesis) disturb(by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.under += by
	n.calmed = time.Now()
}

// fault is one way to go wrong. It returns what ends it.
type fault struct {
	name  string
	cause func(rng *rand.Rand) (heal func())
}

// pace says how long faults last, and how long there are none.
type pace struct{ quietLeast, quietMost, least, most time.Duration }

var (
	often  = pace{300 * time.Millisecond, 4 * time.Second, 100 * time.Millisecond, 3 * time.Second}
	seldom = pace{time.Second, 7 * time.Second, 100 * time.Millisecond, 2 * time.Second}
	rarely = pace{4 * time.Second, 12 * time.Second, 0, 0}
)

// group causes faults of one kind, one at a time, until ctx ends. No fault outlives it.
func (n *nemesis) group(name string, tempo pace, breaksPeace bool, faults ...fault) func(context.Context) {
	rng := n.w.rng(name)
	return func(ctx context.Context) {
		for pause(ctx, between(rng, tempo.quietLeast, tempo.quietMost)) {
			f := faults[rng.IntN(len(faults))]
			lasts := between(rng, tempo.least, tempo.most)
			n.inflict(ctx, rng, name, f, lasts, breaksPeace)
		}
	}
}

func (n *nemesis) inflict(ctx context.Context, rng *rand.Rand, name string, f fault, lasts time.Duration, breaksPeace bool) {
	if breaksPeace {
		n.peace.RLock()
		defer n.peace.RUnlock()
		n.disturb(1)
		defer n.disturb(-1)
	}
	if n.w.opts.verbose {
		n.w.note("%s: %s for %s", name, f.name, lasts.Round(time.Millisecond))
	}
	n.w.res.faulted(name + ": " + f.name)
	heal := f.cause(rng)
	pause(ctx, lasts)
	heal()
}

// apiFaults are faults of the API, of every kind.
func (n *nemesis) apiFaults(tempo pace) func(context.Context) {
	faults := make([]fault, len(apiFaults))
	for i, kind := range apiFaults {
		faults[i] = fault{kind, func(*rand.Rand) func() { return n.w.api.misbehave(kind) }}
	}
	return n.group("api", tempo, false, faults...)
}

// sinkFaults are faults of the sink, of every kind.
func (n *nemesis) sinkFaults(tempo pace) func(context.Context) {
	s := n.w.sink
	faults := make([]fault, len(sinkFaults), len(sinkFaults)+1)
	for i, kind := range sinkFaults {
		faults[i] = fault{kind, func(*rand.Rand) func() { return s.misbehave(kind) }}
	}
	faults = append(faults, fault{"closed", func(*rand.Rand) func() {
		s.stop()
		return func() {
			if err := s.listen(n.w.ctx); err != nil {
				n.w.problem("opening the sink again: %v", err)
			}
		}
	}})
	return n.group("sink", tempo, true, faults...)
}

// stateFaults are those that the kind of state knows.
func (n *nemesis) stateFaults(tempo pace) func(context.Context) {
	faults := n.group("state", tempo, true, n.w.state.faults...)
	if n.w.state.meanwhile == nil {
		return faults
	}
	return func(ctx context.Context) { n.w.during(ctx, faults, n.w.state.meanwhile)() }
}

// clockJumps set the service's clock.
func (n *nemesis) clockJumps(back time.Duration) func(context.Context) {
	return n.group("clock", pace{2 * time.Second, 6 * time.Second, 0, 0}, false, fault{"jump", func(rng *rand.Rand) func() {
		n.w.api.jump(rng, back)
		return func() {}
	}})
}

// ending is how a run of the binary ended.
type ending int

const (
	crashed    ending = iota // what was in flight may come again
	terminated               // in the middle of faults: so may what could not be stored
	ended                    // with nothing in its way: nothing comes again
)

// reap runs the binary again and again, and ends it at random moments. The
// configuration is made for each run, by its number.
func (n *nemesis) reap(ctx context.Context, conf func(run int) obj) {
	w := n.w
	rng := w.rng("reaper")
	for ctx.Err() == nil {
		run := int(w.runs.Add(1))
		p, err := w.start(conf(run))
		if err != nil {
			w.problem("starting the binary: %v", err)
			return
		}
		n.live(ctx, p, rng)
		way := rng.IntN(6)
		w.sink.endOf(run, n.finish(p, way))
	}
}

// live lets a run go on for a while: a short one, in which it hardly starts; until it is
// in the middle of its work; or a longer one.
func (n *nemesis) live(ctx context.Context, p *process, rng *rand.Rand) {
	life := between(rng, time.Second, 5*time.Second)
	which, posts, more := rng.IntN(4), int64(1+rng.IntN(30)), between(rng, 0, 40*time.Millisecond)
	if which == 0 {
		life = between(rng, 50*time.Millisecond, time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	already := n.w.sink.requests.Load()
	for pause(ctx, time.Millisecond) {
		if !p.running() {
			return
		}
		if which > 1 && n.w.sink.requests.Load() >= already+posts {
			pause(ctx, more)
			return
		}
	}
}

// finish ends a run in one of six ways.
func (n *nemesis) finish(p *process, way int) ending {
	w := n.w
	if !p.running() {
		// A supervisor would start it again, as the next run does. Without its state it
		// cannot start.
		p.check()
		w.res.count(&w.res.gaveUp)
		if !n.disturbed() {
			w.problem("the binary ended by itself with %d:\n%s", p.code, p.output.tail())
		} else if w.opts.verbose {
			w.note("ended by itself with %d:\n%s", p.code, p.output.tail())
		}
		return crashed
	}
	switch way {
	case 0, 1:
		n.peace.Lock()
		defer n.peace.Unlock()
		p.launches()
		pause(w.ctx, calm)
		w.res.count(&w.res.terminations)
		if p.terminate(endBound) && p.code != 0 {
			w.problem("SIGTERM with nothing in its way: exit code %d:\n%s", p.code, p.output.tail())
			return crashed
		}
		return ended
	case 2:
		w.res.count(&w.res.terminations)
		p.terminate(endBound)
		return terminated
	case 3:
		w.res.count(&w.res.crashes)
		p.kill()
		if w.state.powerLoss != nil {
			w.state.powerLoss()
		}
		return crashed
	default:
		w.res.count(&w.res.crashes)
		p.kill()
		return crashed
	}
}

const (
	// calm is how long faults are over before an end counts as one with nothing in
	// its way: what was refused was accepted by then.
	calm = 2 * time.Second

	// aftermath is how long after a fault the binary may still end because of it: a
	// cache tries for some seconds.
	aftermath = 10 * time.Second

	// endBound is longer than Benthos' shutdown_timeout and that of the inputs.
	endBound = 25 * time.Second
)

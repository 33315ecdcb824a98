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
}

// fault is one way to go wrong. It returns what ends it.
type fault struct {
	name  string
	cause func(rng *rand.Rand) (heal func())
}

// pace says how long faults last, and how long there are none.
type pace struct{ quietLeast, quietMost, least, most time.Duration }

var often = pace{300 * time.Millisecond, 4 * time.Second, 100 * time.Millisecond, 3 * time.Second}

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
	return n.group("state", tempo, true, n.w.state.faults...)
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
		life := between(rng, 50*time.Millisecond, 1500*time.Millisecond)
		if rng.IntN(2) == 0 {
			life = between(rng, time.Second, 5*time.Second)
		}
		way := rng.IntN(6)
		timer := time.NewTimer(life)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-p.ended:
		}
		timer.Stop()
		w.sink.endOf(run, n.finish(p, way))
	}
}

// finish ends a run in one of six ways.
func (n *nemesis) finish(p *process, way int) ending {
	w := n.w
	select {
	case <-p.ended:
		// A supervisor would start it again, as the next run does. Without its state it
		// cannot start.
		p.check()
		w.res.count(&w.res.gaveUp)
		if w.opts.verbose {
			w.note("ended by itself with %d:\n%s", p.code, p.output.tail())
		}
		return crashed
	default:
	}
	switch way {
	case 0, 1:
		n.peace.Lock()
		defer n.peace.Unlock()
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

	// endBound is longer than Benthos' shutdown_timeout and that of the inputs.
	endBound = 25 * time.Second
)

package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	contactsBudget = 80 // calls in a window

	// overlap is how far each poll reaches back. What is late, or dated by a clock that
	// was set back, is so by less.
	overlap   = 20 * time.Second
	clockBack = 12 * time.Second
	mostLate  = 5 * time.Second
)

// tortureContacts polls past and live contacts into the sink.
func tortureContacts(w *world) {
	rng := w.rng("contacts")
	pageSize := pick(rng, 50, 100, 250, 1000)
	limit := pick(rng, 1, 2, 10) * pageSize
	switches := drawSwitches(rng)
	served := pageSize
	if switches.PageCap > 0 {
		served = min(served, switches.PageCap)
	}
	w.serve(sandbox.Options{
		Seed: w.seed, Contacts: 500 + rng.IntN(20*served), Burst: rng.IntN(3 * pageSize), Switches: switches,
	})
	if err := w.useState(true); err != nil {
		w.problem("making the state: %v", err)
		return
	}
	w.describe("pages of %d, %d in flight, %+v", pageSize, limit, switches)
	w.sink.identify = func(_ string, line []byte) (string, bool) { return string(line), true }
	workers := 1 + rng.IntN(4)
	visitors := pick(rng, 5, 20, 60)

	conf := func(run int, follow bool) obj {
		return w.pipeline(
			obj{"wisepops_contacts": obj{
				"api_key":          apiKey,
				"base_url":         w.api.url,
				"timeout":          "2s",
				"backoff":          obj{"initial_interval": "20ms", "max_interval": "200ms"},
				"rate_limit":       "budget",
				"page_size":        pageSize,
				"poll_interval":    "250ms",
				"follow":           follow,
				"overlap":          overlap.String(),
				"checkpoint_cache": "state",
				"checkpoint_limit": limit,
			}},
			w.sink.output("/contacts", run, workers),
			contactsBudget,
		)
	}

	ctx, stop := w.faultsFor()
	wait := w.during(ctx,
		w.nemesis.apiFaults(often),
		w.nemesis.sinkFaults(often),
		w.nemesis.stateFaults(seldom),
		w.nemesis.clockJumps(clockBack),
		w.addOddContacts,
		func(ctx context.Context) { w.addBursts(ctx, 4*served) },
		func(ctx context.Context) { w.api.Visit(ctx, float64(visitors)) },
		func(ctx context.Context) {
			w.nemesis.reap(ctx, func(run int) obj { return conf(run, true) })
		},
	)
	wait()
	stop()

	w.runToTheEnd(func(run int) obj { return conf(run, false) })
	w.auditContacts(limit + pageSize)
	w.auditCalls(contactsBudget)
	w.res.count(&w.res.epochs)
}

// drawSwitches chooses among the answers to what the API's documentation leaves open.
func drawSwitches(rng *rand.Rand) sandbox.Switches {
	coin := func() bool { return rng.IntN(2) == 0 }
	s := sandbox.Switches{
		ExclusiveBound: coin(),
		SecondBound:    coin(),
		SecondTimes:    coin(),
		Order:          pick(rng, sandbox.OldestFirst, sandbox.OldestFirst, sandbox.NewestFirst, sandbox.Unsorted),
		PageCap:        pick(rng, 0, 0, 100, 250, 500),
		PageCapSkips:   coin(),
		PlainFields:    coin(),
		Anonymous:      -1, // contacts are told apart by their bytes
	}
	if coin() {
		s.Late = between(rng, time.Second, mostLate)
	}
	return s
}

// addOddContacts adds what is dated after the service's clock.
func (w *world) addOddContacts(ctx context.Context) {
	rng := w.rng("odd contacts")
	for pause(ctx, between(rng, time.Second, 5*time.Second)) {
		ahead := pick(rng, 3*time.Second, 20*time.Second, 24*time.Hour)
		w.api.Add(sandbox.Contact{CollectedAt: time.Now().Add(time.Duration(w.api.ahead.Load()) + ahead)})
	}
}

// addBursts adds so many contacts at a time that the binary is in the middle of reading
// them when it is killed.
func (w *world) addBursts(ctx context.Context, most int) {
	rng := w.rng("bursts")
	for pause(ctx, between(rng, 300*time.Millisecond, 2*time.Second)) {
		for range 1 + rng.IntN(most) {
			w.api.Submit()
		}
	}
}

// runToTheEnd runs a pipeline that ends, without faults.
func (w *world) runToTheEnd(conf func(run int) obj) {
	run := int(w.runs.Add(1))
	p, err := w.start(conf(run))
	if err != nil {
		w.problem("starting the binary: %v", err)
		return
	}
	if p.wait(patience) && p.code != 0 {
		w.problem("the last run: exit code %d:\n%s", p.code, p.output.tail())
	}
	w.sink.endOf(run, ended)
	w.sink.settle(w)
}

// auditContacts compares the service's contacts with what the sink has, byte for byte.
func (w *world) auditContacts(inFlight int) {
	contacts := w.api.Contacts()
	arrived, lost := 0, 0
	for _, c := range contacts {
		if w.sink.count(string(c.Raw)) > 0 {
			arrived++
			continue
		}
		if lost++; lost <= 3 {
			w.note("lost: collected at %s", c.CollectedAt.Format(time.RFC3339Nano))
		}
	}
	w.judge(len(contacts), arrived, lost, inFlight, w.sink.explain(inFlight))
	if foreign := w.sink.distinct() - arrived; foreign > 0 {
		w.problem("%d messages are no contact of the service", foreign)
	}
}

// judge adds an epoch's figures to those of the scenario, and says what must not be.
func (w *world) judge(offered, arrived, lost, inFlight int, r repeats) {
	worst, byCrash := 0, 0
	for run, n := range r.byEnd {
		byCrash += n
		worst = max(worst, n)
		if n > inFlight {
			w.problem("the end of run %d repeated %d messages, and at most %d were in flight", run, n, inFlight)
		}
	}
	w.note("offered %d, arrived %d, lost %d, repeated %d (%d by crashes, %d by one at most; %d ambiguous; %d forgotten by the state; %d close to a rejection)",
		offered, arrived, lost, r.all, byCrash, worst, r.ambiguous, r.lost, r.beside)
	w.res.add(offered, arrived, lost, r, byCrash, worst, inFlight)
	if lost > 0 {
		w.problem("%d of %d lost", lost, offered)
	}
	if n := len(r.unexplained); n > 0 {
		w.problem("%d messages came again without a reason: %s", n, w.sink.history(r.unexplained[0]))
	}
}

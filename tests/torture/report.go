package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// result is what a scenario came to, over all its epochs.
type result struct {
	scenario string

	mu sync.Mutex

	offered, arrived, lost int

	repeated    int
	byCrash     int // of these
	byAmbiguity int
	byStateLoss int
	beside      int
	worstCrash  int // repeats that one crash caused
	inFlight    int // the most that it may cause

	calls, failedCalls int
	busiest, budget    int

	epochs, crashes, terminations, gaveUp, stateLosses int

	faults   map[string]int
	problems []string
}

func newResult(scenario string) *result {
	return &result{scenario: scenario, faults: map[string]int{}}
}

func (r *result) count(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

func (r *result) faulted(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[name]++
}

func (r *result) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, "PROBLEM "+text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, text)
}

// report prints a table, what went wrong, and how.
func report(results []*result) {
	fmt.Println()
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(name string, value func(*result) string) {
		cells := []string{name}
		for _, r := range results {
			cells = append(cells, value(r))
		}
		_, _ = fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	number := func(name string, value func(*result) int) {
		row(name, func(r *result) string { return fmt.Sprint(value(r)) }) //nolint:perfsprint // a table
	}
	row("", func(r *result) string { return r.scenario })
	number("epochs", func(r *result) int { return r.epochs })
	number("kill -9", func(r *result) int { return r.crashes })
	number("SIGTERM", func(r *result) int { return r.terminations })
	number("ended by itself, without its state", func(r *result) int { return r.gaveUp })
	number("state set back", func(r *result) int { return r.stateLosses })
	number("offered", func(r *result) int { return r.offered })
	number("arrived", func(r *result) int { return r.arrived })
	number("lost", func(r *result) int { return r.lost })
	number("repeated", func(r *result) int { return r.repeated })
	number("  after a crash", func(r *result) int { return r.byCrash })
	row("  by the worst crash, of at most", func(r *result) string { return fmt.Sprintf("%d/%d", r.worstCrash, r.inFlight) })
	number("  after an ambiguous answer", func(r *result) int { return r.byAmbiguity })
	number("  since the state forgot", func(r *result) int { return r.byStateLoss })
	number("  close to a rejection", func(r *result) int { return r.beside })
	number("calls of the API", func(r *result) int { return r.calls })
	number("  that met a fault", func(r *result) int { return r.failedCalls })
	row("  in the busiest window, of at most", func(r *result) string { return fmt.Sprintf("%d/%d", r.busiest, r.budget) })
	number("problems", func(r *result) int { return len(r.problems) })
	_ = t.Flush()
	for _, r := range results {
		fmt.Printf("\nfaults of %s:", r.scenario)
		for _, name := range slices.Sorted(maps.Keys(r.faults)) {
			fmt.Printf(" %s %d;", name, r.faults[name])
		}
		fmt.Println()
		for _, p := range r.problems {
			fmt.Println("PROBLEM", p)
		}
	}
}

// add adds the figures of an epoch.
func (r *result) add(offered, arrived, lost int, again repeats, byCrash, worst, inFlight int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered += offered
	r.arrived += arrived
	r.lost += lost
	r.repeated += again.all
	r.byCrash += byCrash
	r.byAmbiguity += again.ambiguous
	r.byStateLoss += again.lost
	r.beside += again.beside
	if worst >= r.worstCrash {
		r.worstCrash = worst
	}
	r.inFlight = max(r.inFlight, inFlight)
}

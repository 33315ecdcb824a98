// Command torture runs the binary through what production may bring, at random, and
// counts what became of every contact, delivery and deletion: kill -9 at any moment,
// SIGTERM under load, an API that fails in every way, a state that errs, hangs, fills
// up or forgets, sinks that refuse or hang, deliveries that break, and clocks that
// jump.
//
//	go run ./tests/torture -binary bin/wisepops-connect -duration 2m
//	go run ./tests/torture -binary bin/wisepops-connect -scenario webhook -seed 7
//	go run ./tests/torture -binary bin/wisepops-connect -soak -duration 2h
//
// The first line names the seed. Faults, their order and their moments follow from
// it; how the machine schedules the processes does not.
//
// Each scenario runs in epochs, one after the other, each with a service, a state and
// faults of its own. At the end of an epoch the faults stop, the binary runs to the
// end, and the service's own records are compared with what the sink has. The exit
// code is 1 where anything was lost, where something came again without a crash or an
// ambiguous answer to blame, where a crash repeated more than was in flight, where a
// window saw more calls than the budget, or where personal data was printed.
//
// A soak is one process under moderate load, with faults but without an end: its
// memory and its goroutines must not grow.
//
// The clock that jumps is the service's. The binary's own cannot be moved: it is linked
// statically, so that no library can stand between it and the kernel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	binary   string
	duration time.Duration
	seed     uint64
	rate     float64
	forget   int
	verbose  bool
}

func main() {
	var opts options
	flag.StringVar(&opts.binary, "binary", "bin/wisepops-connect", "the binary to torture")
	flag.DurationVar(&opts.duration, "duration", 2*time.Minute, "how long faults go on; the ends of the epochs come on top")
	flag.Uint64Var(&opts.seed, "seed", 0, "replays a run; 0 draws one")
	flag.Float64Var(&opts.rate, "rate", 20, "visitors a second of a soak")
	flag.IntVar(&opts.forget, "forget", 0, "have the sink forget one message in so many, to see that it is noticed")
	flag.BoolVar(&opts.verbose, "v", false, "print each fault")
	scenario := flag.String("scenario", "all", "contacts, webhook, privacy or all")
	soaking := flag.Bool("soak", false, "one process under moderate load instead")
	flag.Parse()
	for opts.seed == 0 {
		opts.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	err := torture(ctx, opts, *scenario, *soaking)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var scenarios = []struct {
	name string
	run  func(*world)
}{
	{"contacts", tortureContacts},
	{"webhook", tortureWebhook},
	{"privacy", torturePrivacy},
}

var errCutShort = errors.New("the run was cut short: it shows nothing")

func torture(ctx context.Context, opts options, only string, soaking bool) error {
	if _, err := os.Stat(opts.binary); err != nil {
		return fmt.Errorf("looking for the binary (make build): %w", err)
	}
	fmt.Printf("seed %d; replay with -seed %d -duration %s\n", opts.seed, opts.seed, opts.duration)
	if soaking {
		return soak(ctx, opts)
	}
	if os.Geteuid() != 0 {
		fmt.Println("note: not root, so that no small disk can be mounted: no disk fills up in this run")
	}

	var results []*result
	var running sync.WaitGroup
	for _, s := range scenarios {
		if only != "all" && only != s.name {
			continue
		}
		r := newResult(s.name)
		results = append(results, r)
		running.Go(func() { epochs(ctx, opts, s.run, r) })
	}
	if len(results) == 0 {
		return fmt.Errorf("there is no scenario %q", only)
	}
	running.Wait()
	if ctx.Err() != nil {
		return errCutShort
	}
	report(results)
	var failed []string
	for _, r := range results {
		if len(r.problems) > 0 {
			failed = append(failed, r.scenario)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("what must hold did not hold: %s (seed %d)", strings.Join(failed, ", "), opts.seed)
	}
	return nil
}

// epochLength is how long faults of one epoch go on, unless the run is shorter.
const epochLength = 25 * time.Second

func epochs(ctx context.Context, opts options, run func(*world), r *result) {
	end := time.Now().Add(opts.duration)
	for n := 0; ctx.Err() == nil; n++ {
		left := time.Until(end)
		if n > 0 && left < epochLength/3 {
			return
		}
		w, err := newWorld(ctx, opts, r, n, min(left, epochLength))
		if err != nil {
			r.problem("epoch %d: %v", n, err)
			return
		}
		run(w)
		w.close()
		if ctx.Err() != nil {
			return // what it counted means nothing
		}
	}
}

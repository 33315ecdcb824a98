package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	apiKey     = "KEYMARKER-7f21c4"
	receiptKey = "RECEIPTMARKER-93ab"

	// budgetWindow stands for the 30 days.
	budgetWindow = 10 * time.Second

	// patience bounds waits that end sooner unless something is broken.
	patience = 2 * time.Minute
)

// obj is an object of a configuration, which Benthos reads as JSON.
type obj = map[string]any

// list is an array of a configuration.
type list = []any

// world is what one epoch of a scenario runs in.
type world struct {
	ctx  context.Context //nolint:containedctx // of the epoch, which the world lives for
	opts options
	res  *result

	name   string
	seed   uint64
	number int
	length time.Duration
	dir    string

	api     *api
	sink    *sink
	state   *state
	nemesis *nemesis

	runs   atomic.Int64 // of the binary so far
	failed atomic.Bool
}

func newWorld(ctx context.Context, opts options, r *result, number int, length time.Duration) (*world, error) {
	dir, err := os.MkdirTemp("", "torture")
	if err != nil {
		return nil, err
	}
	w := &world{
		ctx: ctx, opts: opts, res: r, number: number, length: length, dir: dir,
		name: fmt.Sprintf("%s/%d", r.scenario, number),
		seed: opts.seed + uint64(number)*1_000_003,
	}
	w.nemesis = &nemesis{w: w}
	if w.sink, err = newSink(ctx, w.rng("sink requests"), opts.forget); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return w, nil
}

// serve starts the service's stand-in.
func (w *world) serve(opts sandbox.Options) { w.api = newAPI(opts, w.rng("api calls")) }

func (w *world) close() {
	if w.api != nil {
		w.api.close()
	}
	w.sink.close()
	if w.state != nil {
		w.state.close()
	}
	if w.failed.Load() {
		w.note("what the binary printed is kept in %s", w.dir)
		return
	}
	if err := os.RemoveAll(w.dir); err != nil {
		w.note("%v", err)
	}
}

// rng is a stream of random numbers of its own, so that what one part draws changes
// nothing for another.
func (w *world) rng(part string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(w.res.scenario + "/" + part)) // never fails
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))     //nolint:gosec // it must be replayable
}

func (w *world) note(format string, args ...any) {
	fmt.Printf("%-11s %s\n", w.name, fmt.Sprintf(format, args...))
}

func (w *world) problem(format string, args ...any) {
	if w.ctx.Err() != nil {
		return // what was cut short is not finished
	}
	w.failed.Store(true)
	w.res.problem("%s: %s", w.name, fmt.Sprintf(format, args...))
}

// await waits for a condition, and reports whether it held in time.
func (w *world) await(what string, holds func() bool) bool {
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			w.problem("waited %s in vain for %s", patience, what)
			return false
		}
		if !pause(w.ctx, 5*time.Millisecond) {
			return false
		}
	}
	return true
}

// write puts a configuration into a file.
func (w *world) write(name string, conf obj) (string, error) {
	data, err := json.Marshal(conf)
	if err != nil {
		return "", err
	}
	path := filepath.Join(w.dir, name)
	return path, os.WriteFile(path, data, 0o600)
}

// during runs parts that end with the faults.
func (w *world) during(ctx context.Context, parts ...func(context.Context)) (wait func()) {
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() { part(ctx) })
	}
	return running.Wait
}

// pause reports whether the time passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// between draws a duration.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)+1))
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

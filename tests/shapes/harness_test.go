package shapes_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
)

// item is what the input under test brings, as shapes see it.
type item struct {
	id    string
	group string
	odd   bool
}

const hexDigits = "0123456789abcdef"

func newItem(id string) item {
	last := strings.IndexByte(hexDigits, id[len(id)-1])
	return item{id: id, group: fmt.Sprintf("g%d", last%7), odd: last%2 == 1}
}

// front makes the message that shapes work on. It is the same for a message that went
// through it before, and leaves those alone that are not of the input under test.
func front(id string) string {
	return strings.NewReplacer("ID", id, "HEX", hexDigits).Replace(
		"let id = ID\nlet last = if $id == \"\" { 0 } else { \"HEX\".index_of($id.slice(-1)) }\n" +
			`root = if $id == "" { this } else { {"id": $id, "group": "g%d".format($last % 7), "odd": $last % 2 == 1} }`)
}

// fault is what a sink fails.
type fault int

const (
	failMessages fault = iota // some messages of a batch: a BatchError names them
	failBatches               // whole batches: a plain error, and nothing is written
	failCalls                 // calls of one message: what stands before is written, and the error is plain
	faults
)

func (f fault) String() string { return [...]string{"messages", "batches", "calls"}[f] }

// world outlives the streams of one case: what was written, and how the sink fails.
type world struct {
	shape shape
	fault fault

	mu      sync.Mutex
	rng     *rand.Rand
	failed  map[string]int // by payload
	written map[string]int // by id, and copy
	current *life
}

// life is one run of a stream, which a crash ends: from then on nothing that it
// writes arrives, and nothing that it stores is kept.
type life struct {
	world   *world
	left    int // ids until the crash; below zero: none comes
	crashed chan struct{}
	values  map[string][]byte
	calls   int
	sent    int
}

func newWorld(s shape, f fault, seed uint64) *world {
	return &world{
		shape: s, fault: f,
		rng:     rand.New(rand.NewPCG(seed, uint64(f))),
		failed:  map[string]int{},
		written: map[string]int{},
	}
}

// begin starts a life on the state that the one before left. It crashes once it wrote so
// many ids; 0 means never.
func (w *world) begin(crashAfter int) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &life{world: w, left: crashAfter, crashed: make(chan struct{}), values: map[string][]byte{}}
	if crashAfter == 0 {
		l.left = -1
	}
	if w.current != nil {
		maps.Copy(l.values, w.current.values)
	}
	w.current = l
	return l
}

var (
	idPattern   = regexp.MustCompile(`[0-9a-f]{32}`)
	copyPattern = regexp.MustCompile(`"copy":\d`)
)

var (
	errFlaky = errors.New("flaky sink")
	errOver  = errors.New("the process has crashed")
)

// write records a message, and reports whether the life goes on.
func (l *life) write(payload []byte) bool {
	if l.left == 0 {
		return false
	}
	suffix := string(copyPattern.Find(payload))
	ids := idPattern.FindAll(payload, -1)
	for _, id := range ids {
		l.world.written[string(id)+suffix]++
	}
	l.sent += len(ids)
	if l.left < 0 {
		return true
	}
	if l.left = max(l.left-len(ids), 0); l.left > 0 {
		return true
	}
	close(l.crashed)
	return false
}

// fails draws whether a write of the payload is to fail: at most a few times, so that
// an output which sends a batch again and again comes to an end.
func (w *world) fails(payload []byte) bool {
	share, most := 0.2, 3
	if w.shape.slow {
		share, most = 0.005, 1
	}
	if w.rng.Float64() >= share || w.failed[string(payload)] >= most {
		return false
	}
	w.failed[string(payload)]++
	return true
}

func (l *life) writeBatch(batch service.MessageBatch) error {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != l || l.left == 0 {
		return errOver
	}
	l.calls++
	payloads := make([][]byte, len(batch))
	for i, m := range batch {
		raw, err := m.AsBytes()
		if err != nil {
			return err
		}
		payloads[i] = raw
	}
	switch w.fault {
	case failBatches:
		if w.fails(bytes.Join(payloads, nil)) {
			return errFlaky
		}
		for _, p := range payloads {
			if !l.write(p) {
				return errOver
			}
		}
		return nil
	case failCalls:
		for _, p := range payloads {
			if w.fails(p) {
				return errFlaky
			}
			if !l.write(p) {
				return errOver
			}
		}
		return nil
	default:
		return batch.WalkWithBatchedErrors(func(i int, _ *service.Message) error {
			if w.fails(payloads[i]) {
				if w.rng.IntN(4) == 0 && !l.write(payloads[i]) { // written, but the answer got lost
					return errOver
				}
				return errFlaky
			}
			if !l.write(payloads[i]) {
				return errOver
			}
			return nil
		})
	}
}

// flakySink is the output that a shape's SINK stands for.
type flakySink struct{ l *life }

func (flakySink) Connect(context.Context) error { return nil }
func (flakySink) Close(context.Context) error   { return nil }

func (s flakySink) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	w := s.l.world
	w.mu.Lock()
	pause := time.Duration(w.rng.IntN(1000)) * time.Microsecond
	w.mu.Unlock()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.l.writeBatch(batch)
}

// lifeCache is the cache for the state of one life.
type lifeCache struct{ l *life }

func (c lifeCache) Get(_ context.Context, key string) ([]byte, error) {
	c.l.world.mu.Lock()
	defer c.l.world.mu.Unlock()
	v, ok := c.l.values[key]
	if !ok {
		return nil, service.ErrKeyNotFound
	}
	return v, nil
}

func (c lifeCache) Set(_ context.Context, key string, value []byte, _ *time.Duration) error {
	c.l.world.mu.Lock()
	defer c.l.world.mu.Unlock()
	if c.l.left == 0 || c.l.world.current != c.l {
		return errOver
	}
	c.l.values[key] = bytes.Clone(value)
	return nil
}

func (c lifeCache) Add(ctx context.Context, key string, value []byte, ttl *time.Duration) error {
	if _, err := c.Get(ctx, key); err == nil {
		return service.ErrKeyAlreadyExists
	}
	return c.Set(ctx, key, value, ttl)
}

func (c lifeCache) Delete(_ context.Context, key string) error {
	c.l.world.mu.Lock()
	defer c.l.world.mu.Unlock()
	delete(c.l.values, key)
	return nil
}
func (lifeCache) Close(context.Context) error { return nil }

func (l *life) environment() (*service.Environment, error) {
	env := service.NewEnvironment()
	return env, errors.Join(
		env.RegisterBatchOutput("flaky_sink", service.NewConfigSpec().Field(service.NewBatchPolicyField("batching")),
			func(conf *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
				policy, err := conf.FieldBatchPolicy("batching")
				return flakySink{l}, policy, 4, err
			}),
		env.RegisterCache("life", service.NewConfigSpec(),
			func(*service.ParsedConfig, *service.Resources) (service.Cache, error) { return lifeCache{l}, nil }),
	)
}

// subject is an input under test.
type subject struct {
	input string // its name and fields on one line; STATE stands for the label of the cache
	front string
	items []item
}

// config is the configuration of a stream of the shape, without its resources.
func (s shape) config(sub subject) string {
	indent := func(spaces, text string) string {
		return spaces + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+spaces)
	}
	or := func(text, other string) string {
		if text == "" {
			return other
		}
		return text
	}
	text := "input:\n" + indent("  ", or(s.input, "INPUT")) +
		"\npipeline:\n  threads: " + strconv.Itoa(max(s.threads, 1)) +
		"\n  processors:\n    - FRONT\n" + indent("    ", or(s.pipeline, "- noop: {}")) +
		"\noutput:\n" + indent("  ", or(s.output, "SINK: {}")) + "\n"
	return strings.NewReplacer(
		"INPUT", sub.input,
		"SINK", "flaky_sink",
		"FRONT", fmt.Sprintf("mapping: %q", sub.front),
	).Replace(text)
}

var labels atomic.Int64

// run runs a stream to its end, or until it crashes. It reports whether one of them came.
func (l *life) run(t *testing.T, sub subject, patience time.Duration) bool {
	t.Helper()
	// Labels differ, since an input of a crashed stream may not have let go of its claim.
	state := fmt.Sprintf("state_%d", labels.Add(1))
	conf := strings.ReplaceAll(l.world.shape.config(sub), "STATE", state)
	env, err := l.environment()
	require.NoError(t, err)
	b := env.NewStreamBuilder()
	require.NoError(t, b.SetYAML(conf+fmt.Sprintf(`
cache_resources:
  - { label: %s, life: {} }
  - { label: memo, memory: {} }
output_resources:
  - { label: sink, flaky_sink: {} }
logger: { level: NONE }
`, state)), conf)
	s, err := b.Build()
	require.NoError(t, err, conf)

	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		require.NoError(t, err)
		return true
	case <-l.crashed:
	case <-timer.C:
	}
	// The rest is without effect, and only frees what the stream holds.
	_ = s.StopWithin(50 * time.Millisecond)
	select {
	case <-l.crashed:
		return true
	default:
		return false
	}
}

type result struct {
	lost     []string
	repeated float64 // ids written, by ids expected
}

func (w *world) result(items []item) result {
	w.mu.Lock()
	defer w.mu.Unlock()
	var r result
	expected, written := 0, 0
	for _, it := range items {
		if w.shape.drops != nil && w.shape.drops(it) {
			continue
		}
		keys := []string{it.id}
		for c := range w.shape.times {
			if c == 0 {
				keys = keys[:0]
			}
			keys = append(keys, fmt.Sprintf("%s\"copy\":%d", it.id, c+1))
		}
		for _, key := range keys {
			expected++
			written += w.written[key]
			if w.written[key] == 0 {
				r.lost = append(r.lost, key)
			}
		}
	}
	r.repeated = float64(written) / float64(max(expected, 1))
	return r
}

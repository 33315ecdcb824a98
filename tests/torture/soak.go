package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/tests/freeport"
)

const (
	soakBudget = 60 // calls in a window

	sampleInterval = 10 * time.Second

	// What memory and goroutines may be at most at the end, against the beginning. The
	// garbage collector lets the heap double before it looks.
	memoryGrowth     = 1.2
	memoryAllowance  = 10 << 10 // KiB
	goroutineGrowth  = 20
	fewestSamples    = 8
	warmUp           = 30 * time.Second
	longestSoakTable = 24
)

// sample is what a moment of a soak looked like.
type sample struct {
	at         time.Duration
	memoryKiB  int64
	goroutines int
	arrived    int
	calls      int
}

// soak runs one process under moderate load, with faults, and watches what it takes.
func soak(ctx context.Context, opts options) error {
	r := newResult("soak")
	w, err := newWorld(ctx, opts, r, 0, opts.duration)
	if err != nil {
		return err
	}
	defer w.close()
	samples := w.soak()
	r.epochs = 1
	printSamples(samples)
	if ctx.Err() != nil {
		return errCutShort
	}
	judgeSamples(r, samples)
	report([]*result{r})
	if len(r.problems) > 0 {
		return fmt.Errorf("what must hold did not hold (seed %d)", opts.seed)
	}
	return nil
}

func (w *world) soak() []sample {
	w.serve(sandbox.Options{Seed: w.seed, Contacts: 2000, Switches: sandbox.Switches{Late: 2 * time.Second, Anonymous: -1}})
	w.state = w.sqliteState(filepath.Join(w.dir, "state.db"))
	hookAddress, err := freeport.Address(w.ctx)
	if err != nil {
		w.problem("finding an address: %v", err)
		return nil
	}
	requestAddress, err := freeport.Address(w.ctx)
	if err != nil {
		w.problem("finding an address: %v", err)
		return nil
	}
	debugAddress, err := freeport.Address(w.ctx)
	if err != nil {
		w.problem("finding an address: %v", err)
		return nil
	}
	s := newSoaked(w)
	p, err := w.start(w.soakPipeline(hookAddress, requestAddress, debugAddress))
	if err != nil {
		w.problem("starting the binary: %v", err)
		return nil
	}
	defer p.kill()

	working, stopWork := context.WithCancel(w.ctx)
	waitForWork := w.during(working, func(ctx context.Context) {
		w.api.Deliver(ctx, sandbox.DeliveryOptions{Workers: couriers, Attempts: 1 << 30, Retry: 100 * time.Millisecond})
	})
	defer func() { stopWork(); waitForWork() }()
	if !w.await("the hooks", func() bool { return len(w.api.Hooks()) == 3 }) {
		return nil
	}

	ctx, stop := w.faultsFor()
	defer stop()
	tempo := pace{15 * time.Second, 45 * time.Second, 500 * time.Millisecond, 3 * time.Second}
	bring := &bringer{w: w, url: "http://" + requestAddress + "/requests", posts: newPosts()}
	var samples []sample
	wait := w.during(ctx,
		w.nemesis.apiFaults(tempo),
		w.nemesis.sinkFaults(tempo),
		w.nemesis.stateFaults(tempo),
		w.nemesis.group("deliveries", tempo, false, s.couriers.faults()...),
		func(ctx context.Context) { w.api.Visit(ctx, w.opts.rate) },
		func(ctx context.Context) { s.askForDeletions(ctx, bring) },
		func(ctx context.Context) { samples = w.sample(ctx, p, debugAddress) },
	)
	wait()

	// A poll that begins now brings what there is.
	w.await("all contacts, by both ways", func() bool {
		return w.api.Deliveries().Pending == 0 && s.missing("/contacts") == 0 && s.missing("/hooks") == 0
	})
	if !p.running() {
		w.problem("the binary ended by itself with %d:\n%s", p.code, p.output.tail())
	} else if p.terminate(endBound) && p.code != 0 {
		w.problem("the last run: exit code %d:\n%s", p.code, p.output.tail())
	}
	w.sink.settle(w)
	s.audit(bring.posts)
	w.auditCalls(soakBudget)
	return samples
}

// soakPipeline takes contacts by both ways and deletion requests, in one process.
func (w *world) soakPipeline(hookAddress, requestAddress, debugAddress string) obj {
	component := func(settings obj) obj {
		settings["api_key"], settings["base_url"], settings["timeout"] = apiKey, w.api.url, "3s"
		settings["backoff"] = obj{"initial_interval": "50ms", "max_interval": "500ms"}
		return settings
	}
	conf := w.pipeline(
		obj{"broker": obj{"inputs": list{
			obj{"wisepops_webhook": component(obj{
				"address": hookAddress, "public_url": "http://" + hookAddress + "/wisepops", "checkpoint_cache": "state",
				"register_interval": "1m", "rate_limit": "budget", "ack_timeout": "5s",
			})},
			obj{"wisepops_contacts": component(obj{
				"poll_interval": "2s", "overlap": "5s", "checkpoint_cache": "state", "rate_limit": "budget",
			})},
			obj{"http_server": obj{"address": requestAddress, "path": "/requests", "timeout": "20s"}},
		}}},
		w.sink.output(`/${! @way }`, 1, 8),
		soakBudget,
		obj{"switch": list{
			obj{
				"check": `@http_server_request_path.or("") == "/requests"`,
				"processors": list{
					obj{"mapping": "meta way = \"answers\"\nmeta request = this.id\nroot = this"},
					obj{"wisepops_privacy_delete": component(obj{"receipt_key": receiptKey, "rate_limit": "budget_privacy"})},
					obj{"mapping": "root.request = @request\nroot.receipt = if errored() { null } else { this }\nroot.reason = if errored() { error() } else { null }"},
				},
			},
			obj{"processors": list{obj{"mapping": `meta way = if @wisepops_source == "webhook" { "hooks" } else { "contacts" }`}}},
		}},
	)
	conf["http"] = obj{"enabled": true, "address": debugAddress, "debug_endpoints": true}
	return conf
}

// soaked follows what was offered and what arrived, by way.
type soaked struct {
	w        *world
	couriers *courierFaults
	rng      *rand.Rand

	mu    sync.Mutex
	asked map[string]bool
}

func newSoaked(w *world) *soaked {
	s := &soaked{w: w, rng: w.rng("deletions"), asked: map[string]bool{}}
	s.couriers = &courierFaults{rng: w.rng("deliveries"), posts: newPosts(), hooks: map[string]int64{}}
	w.api.ControlDeliveries(s.couriers.fault)
	w.sink.identify = func(path string, line []byte) (string, bool) {
		if path == "/answers" {
			var r record
			err := json.Unmarshal(line, &r)
			return path + r.Request, err == nil
		}
		email, ok := emailOf(line)
		return path + email, ok
	}
	return s
}

// askForDeletions brings a request each few seconds.
func (s *soaked) askForDeletions(ctx context.Context, b *bringer) {
	for n := 0; pause(ctx, between(s.rng, 2*time.Second, 5*time.Second)); n++ {
		contacts := s.w.api.Contacts()
		c := contacts[s.rng.IntN(len(contacts))]
		s.mu.Lock()
		s.asked[c.Email] = true
		s.mu.Unlock()
		r := request{id: fmt.Sprintf("r%d", n), valid: true, body: obj{"email": c.Email}}
		// Those of the last moments are brought after the end of the faults.
		b.all(s.w.ctx, []request{r}, 0, "")
	}
}

// missing is how many contacts did not come by a way: of those that the API has, or
// that were delivered.
func (s *soaked) missing(way string) int {
	n := 0
	if way == "/contacts" {
		for _, c := range s.w.api.Contacts() {
			if s.w.sink.count(way+c.Email) == 0 {
				n++
			}
		}
		return n
	}
	p := s.couriers.posts
	p.mu.Lock()
	defer p.mu.Unlock()
	for email := range p.sent {
		if s.w.sink.count(way+email) == 0 {
			n++
		}
	}
	return n
}

func (s *soaked) audit(requests *posts) {
	w := s.w
	lost := s.missing("/contacts") + s.missing("/hooks")
	answered := 0
	for id := range requests.sent {
		if w.sink.count("/answers"+id) == 0 {
			lost++
		} else {
			answered++
		}
	}
	offered := w.api.Len() + len(s.couriers.posts.sent) + len(requests.sent)
	// Of the polled contacts nothing comes again without an ambiguous answer.
	r := w.sink.explain(0)
	r.unexplained = slices.DeleteFunc(r.unexplained, func(id string) bool {
		if len(id) > len("/hooks") && id[:len("/hooks")] == "/hooks" || len(id) > len("/answers") && id[:len("/answers")] == "/answers" {
			r.ambiguous++
			return true
		}
		return false
	})
	w.judge(offered, offered-lost, lost, 0, r)
	if w.sink.foreign > 0 {
		w.problem("%d messages are nothing that was offered", w.sink.foreign)
	}
	w.note("%d deletions asked for and answered", answered)
	left := map[string]bool{}
	for _, c := range w.api.Contacts() {
		left[c.Email] = true
	}
	still := 0
	for email := range s.asked {
		if left[email] {
			still++
		}
	}
	w.note("%d of them failed, and stand in the sink with their reason", still)
}

// sample looks at the process until ctx ends.
func (w *world) sample(ctx context.Context, p *process, debugAddress string) []sample {
	begun := time.Now()
	var samples []sample
	client := &http.Client{Timeout: 5 * time.Second}
	for pause(ctx, sampleInterval) && p.running() {
		memory, err := p.memory()
		if err != nil {
			w.problem("looking at the memory: %v", err)
			return samples
		}
		goroutines, err := goroutinesOf(w.ctx, client, debugAddress)
		if err != nil {
			w.note("looking at the goroutines: %v", err)
			continue
		}
		w.sink.mu.Lock()
		arrived := w.sink.stored
		w.sink.mu.Unlock()
		samples = append(samples, sample{
			at: time.Since(begun), memoryKiB: memory, goroutines: goroutines,
			arrived: arrived, calls: w.api.Calls().Total,
		})
	}
	return samples
}

// goroutinesOf asks Benthos' debug endpoint.
func goroutinesOf(ctx context.Context, client *http.Client, address string) (n int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/debug/pprof/goroutine?debug=1", nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(line, "goroutine profile: total %d", &n)
	return n, err
}

// judgeSamples compares the last quarter with the first, without the time in which
// the past contacts were read.
func judgeSamples(r *result, samples []sample) {
	samples = slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.at < warmUp })
	if len(samples) < fewestSamples {
		r.problem("too short to tell whether anything grows: %d samples", len(samples))
		return
	}
	quarter := len(samples) / 4
	first, last := samples[:quarter], samples[len(samples)-quarter:]
	memory := func(s sample) int64 { return s.memoryKiB }
	goroutines := func(s sample) int64 { return int64(s.goroutines) }
	m0, m1 := median(first, memory), median(last, memory)
	g0, g1 := median(first, goroutines), median(last, goroutines)
	fmt.Printf("\nmedians of the first and the last quarter: memory %.1f and %.1f MiB, goroutines %d and %d\n",
		float64(m0)/1024, float64(m1)/1024, g0, g1)
	if float64(m1) > memoryGrowth*float64(m0)+memoryAllowance {
		r.problem("memory grew from %d to %d KiB", m0, m1)
	}
	if g1 > g0+goroutineGrowth {
		r.problem("goroutines grew from %d to %d", g0, g1)
	}
}

func median(samples []sample, of func(sample) int64) int64 {
	values := make([]int64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// printSamples prints a table of some of them, evenly spread.
func printSamples(samples []sample) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "after\tmemory MiB\tgoroutines\tmessages\tcalls\t")
	step := max(1, len(samples)/longestSoakTable)
	for i := 0; i < len(samples); i += step {
		s := samples[i]
		_, _ = fmt.Fprintf(t, "%s\t%.1f\t%d\t%d\t%d\t\n", s.at.Round(time.Second), float64(s.memoryKiB)/1024, s.goroutines, s.arrived, s.calls)
	}
	_ = t.Flush()
}

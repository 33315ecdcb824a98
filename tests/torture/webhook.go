package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/tests/freeport"
)

const (
	webhookBudget = 60 // calls in a window

	// couriers is how many deliveries the service makes at a time, and so how many are
	// in flight when the binary is killed.
	couriers = 8
)

// posts counts what was sent to the binary, by what it is called in the sink.
type posts struct {
	mu      sync.Mutex
	sent    map[string]int
	doubled map[string]bool // sent twice whatever the answer
}

func newPosts() *posts { return &posts{sent: map[string]int{}, doubled: map[string]bool{}} }

func (p *posts) add(id string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[id] += n
	if n > 1 {
		p.doubled[id] = true
	}
}

// tortureWebhook receives deliveries into the sink. Whoever sent one sends it again
// until it is answered with 200, so that everything must arrive in the end.
func tortureWebhook(w *world) {
	rng := w.rng("webhook")
	w.serve(sandbox.Options{Seed: w.seed, Contacts: 100, Switches: sandbox.Switches{
		RespellDeliveries: rng.IntN(2) == 0,
		RefuseTwinHooks:   rng.IntN(2) == 0,
		Anonymous:         -1, // contacts are told apart by their email
	}})
	if err := w.useState(true); err != nil {
		w.problem("making the state: %v", err)
		return
	}
	address, err := freeport.Address(w.ctx)
	if err != nil {
		w.problem("finding an address: %v", err)
		return
	}
	visitors := pick(rng, 10, 30)
	w.describe("%d visitors a second", visitors)
	target := "http://" + address + "/wisepops/"
	stranger := sandbox.Hook{Event: sandbox.EventEmail, TargetURL: "http://127.0.0.1:9/other", WisepopID: 999_999}
	stranger.ID = w.api.AddHook(stranger)

	w.sink.identify = func(_ string, line []byte) (string, bool) { return emailOf(line) }
	c := &courierFaults{rng: w.rng("deliveries"), posts: newPosts(), hooks: map[string]int64{}}
	w.api.ControlDeliveries(c.fault)
	conf := func(run int) obj {
		return w.pipeline(
			obj{"wisepops_webhook": obj{
				"api_key":           apiKey,
				"base_url":          w.api.url,
				"timeout":           "2s",
				"backoff":           obj{"initial_interval": "20ms", "max_interval": "200ms"},
				"rate_limit":        "budget",
				"address":           address,
				"public_url":        strings.TrimSuffix(target, "/"),
				"checkpoint_cache":  "state",
				"register_interval": "2s",
				"ack_timeout":       "3s",
				"shutdown_timeout":  "5s",
			}},
			w.sink.output("/leads", run, 8),
			webhookBudget,
		)
	}

	delivering, stopDelivering := context.WithCancel(w.ctx)
	defer stopDelivering()
	waitForCouriers := w.during(delivering, func(ctx context.Context) {
		w.api.Deliver(ctx, sandbox.DeliveryOptions{Workers: couriers, Attempts: 1 << 30, Retry: 50 * time.Millisecond, Timeout: 8 * time.Second})
	})
	ctx, stop := w.faultsFor()
	wait := w.during(ctx,
		w.nemesis.apiFaults(often),
		w.nemesis.sinkFaults(often),
		w.nemesis.stateFaults(seldom),
		w.nemesis.group("deliveries", often, false, c.faults()...),
		w.nemesis.group("hooks", rarely, false, w.hookFaults(target)...),
		func(ctx context.Context) { w.api.Visit(ctx, float64(visitors)) },
		func(ctx context.Context) { w.nemesis.reap(ctx, conf) },
	)
	wait()
	stop()

	run := int(w.runs.Add(1))
	p, err := w.start(conf(run))
	if err != nil {
		w.problem("starting the binary: %v", err)
		return
	}
	w.await("all deliveries", func() bool { return w.api.Deliveries().Pending == 0 })
	w.await("three hooks, once each, beside that of somebody else", func() bool {
		return slices.Contains(w.api.Hooks(), stranger) && slices.Equal(targets(w.api.Hooks(), stranger.ID), []string{
			"email " + target + "email", "phone " + target + "phone", "survey " + target + "survey",
		})
	})
	p.launches()
	if p.terminate(endBound) && p.code != 0 {
		w.problem("the last run: exit code %d:\n%s", p.code, p.output.tail())
	}
	w.sink.endOf(run, ended)
	stopDelivering()
	waitForCouriers()
	w.sink.settle(w)
	if n := w.api.Deliveries().GivenUp; n > 0 {
		w.problem("%d deliveries were given up", n)
	}
	w.auditPosts(c.posts, couriers)
	w.auditCalls(webhookBudget)
	w.res.count(&w.res.epochs)
}

// targets are the events and targets of hooks, sorted, but for one hook.
func targets(hooks []sandbox.Hook, but int64) (all []string) {
	for _, h := range hooks {
		if h.ID != but {
			all = append(all, h.Event+" "+h.TargetURL)
		}
	}
	slices.Sort(all)
	return all
}

// hookFaults are what somebody may do to the hooks by hand.
func (w *world) hookFaults(target string) []fault {
	return []fault{
		{"deleted", func(rng *rand.Rand) func() {
			for _, h := range w.api.Hooks() {
				if strings.HasPrefix(h.TargetURL, target) && rng.IntN(2) == 0 {
					w.api.RemoveHook(h.ID)
				}
			}
			return func() {}
		}},
		{"twin", func(rng *rand.Rand) func() {
			event := pick(rng, sandbox.EventEmail, sandbox.EventPhone, sandbox.EventSurvey)
			w.api.AddHook(sandbox.Hook{Event: event, TargetURL: target + event})
			return func() {}
		}},
	}
}

// courierFaults are what happens to deliveries on their way.
type courierFaults struct {
	posts *posts

	mu    sync.Mutex
	rng   *rand.Rand
	kind  string
	hooks map[string]int64 // by contact: a twin of a hook brings it a second time
}

func (c *courierFaults) faults() []fault {
	var all []fault
	for _, kind := range []string{"slow body", "reset", "twice", "late", "unsigned"} {
		all = append(all, fault{kind, func(*rand.Rand) func() {
			c.set(kind)
			return func() { c.set("") }
		}})
	}
	return all
}

func (c *courierFaults) set(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kind = kind
}

func (c *courierFaults) fault(d sandbox.Delivery) *sandbox.DeliveryFault {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &sandbox.DeliveryFault{}
	some := c.rng.IntN(100)
	switch {
	case some >= 50:
	case c.kind == "slow body":
		f.SlowBody = time.Duration(some) * 20 * time.Millisecond
	case c.kind == "reset":
		f.Reset = true
	case c.kind == "twice":
		f.Twice = true
	case c.kind == "late":
		f.Delay = time.Duration(some) * 20 * time.Millisecond
	case c.kind == "unsigned":
		f.Signature = [][]string{{}, {"00"}, {"00", "00"}}[some%3]
	}
	n := 1
	if f.Twice {
		n = 2
	}
	c.posts.add(d.Contact.Email, n)
	if first, known := c.hooks[d.Contact.Email]; known && first != d.Hook.ID {
		c.posts.double(d.Contact.Email)
	}
	c.hooks[d.Contact.Email] = d.Hook.ID
	return f
}

func (p *posts) double(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubled[id] = true
}

// emailOf finds the email address of a contact, which no other has.
func emailOf(raw []byte) (string, bool) {
	var contact struct {
		Fields map[string]any `json:"fields"`
	}
	if json.Unmarshal(raw, &contact) != nil {
		return "", false
	}
	for _, value := range contact.Fields {
		if s, ok := value.(string); ok && strings.Contains(s, "@") {
			return s, true
		}
	}
	return "", false
}

// auditPosts compares what was sent to the binary until it was answered with what the
// sink has.
func (w *world) auditPosts(p *posts, inFlight int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	arrived, lost := 0, 0
	for id := range p.sent {
		if w.sink.count(id) > 0 {
			arrived++
		} else {
			lost++
		}
	}
	r := w.sink.explainPosts(p)
	w.judge(len(p.sent), arrived, lost, inFlight, r)
	if foreign := w.sink.distinct() - arrived; foreign > 0 {
		w.problem("%d messages were never sent", foreign)
	}
}

// explainPosts finds what was to blame for each message that came again.
func (s *sink) explainPosts(p *posts) repeats {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := repeats{byEnd: map[int]int{}}
	for id, times := range s.times {
		if len(times) > p.sent[id] {
			r.unexplained = append(r.unexplained, id)
		}
		for i := 1; i < len(times); i++ {
			before, again := times[i-1], times[i]
			r.all++
			if end, known := s.ends[before.run]; again.run > before.run && known && end != ended && !before.ambiguous && !p.doubled[id] {
				r.byEnd[before.run]++
			} else {
				// Sent twice, or again since no answer came.
				r.ambiguous++
			}
		}
	}
	return r
}

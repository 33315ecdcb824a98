package e2e_test

import (
	"context"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// webhook is the configuration of an input whose hooks lead to the address.
func (a *api) webhook(address string, settings obj) obj {
	return obj{"wisepops_webhook": merge(obj{
		"api_key":          apiKey,
		"base_url":         a.url,
		"address":          address,
		"public_url":       "http://" + address + "/wisepops",
		"checkpoint_cache": "state",
		"ack_timeout":      "2s",
		"backoff":          obj{"initial_interval": "10ms", "max_interval": "50ms"},
	}, settings)}
}

// delivers has submissions delivered until the test ends.
func (a *api) delivers(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var delivering sync.WaitGroup
	delivering.Go(func() {
		a.Deliver(ctx, sandbox.DeliveryOptions{Retry: 20 * time.Millisecond, Attempts: 1000})
	})
	t.Cleanup(func() {
		cancel()
		delivering.Wait()
	})
}

func waitForHooks(t *testing.T, a *api, n int) {
	t.Helper()
	waitFor(t, "hooks", func() bool { return len(a.Hooks()) == n })
}

// The receiver is terminated and killed under load, while its sink refuses now and
// then: whatever was answered with 200 must be there, and the rest is sent again.
func TestDeliveriesSurviveRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	a := newAPI(t, sandbox.Options{Seed: seed})
	a.delivers(t)
	s := newSink(t)
	var posts atomic.Int64
	s.answer(func([]byte) int {
		if posts.Add(1)%17 == 0 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	conf := pipeline(a.webhook(freeAddress(t), nil), s.output(obj{"max_in_flight": 8}), filepath.Join(t.TempDir(), "state.db"), obj{"logger": obj{"level": "TRACE"}})
	killed := 0
	for round := range 8 {
		p := run(t, conf)
		waitForHooks(t, a, 3)
		already, more := a.Deliveries().Delivered, 20+rng.IntN(200)
		for a.Deliveries().Delivered < already+more && p.running() {
			a.Submit()
			waitFor(t, "the sandbox to keep up", func() bool { return a.Deliveries().Pending < 100 || !p.running() })
		}
		if round%2 == 0 {
			p.terminate()
			require.Less(t, p.waitAtMost(patience), 15*time.Second)
			require.Zero(t, p.code)
		} else {
			p.kill()
			killed++
		}
	}
	p := run(t, conf)
	waitFor(t, "all deliveries", func() bool { return a.Deliveries().Pending == 0 })
	p.terminate()
	p.succeeds()
	require.Zero(t, a.Deliveries().GivenUp)
	lost, repeated, foreign := compare(a, s.settled(t))
	require.Zero(t, lost)
	require.Zero(t, foreign)
	require.LessOrEqual(t, repeated, 8*(killed+1)+int(posts.Load()/17), "what was in flight")
	// One look at the hooks, whatever the restarts.
	require.Equal(t, map[string]int{"GET /hooks": 2, "POST /hooks": 3}, a.Calls().ByEndpoint)
}

func TestStuckSinkDoesNotHoldUpTheEndOfAReceiver(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed})
	a.delivers(t)
	s := newSink(t)
	release := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	s.answer(func([]byte) int { <-release; return http.StatusServiceUnavailable })
	p := run(t, pipeline(a.webhook(freeAddress(t), obj{"shutdown_timeout": "1s"}), s.output(nil), filepath.Join(t.TempDir(), "state.db"), obj{"shutdown_timeout": "2s"}))
	waitForHooks(t, a, 3)
	a.Submit()
	waitFor(t, "an attempt", func() bool { return a.Deliveries().Attempts > 0 })
	p.terminate()
	require.Less(t, p.waitAtMost(patience), 8*time.Second)
	require.Zero(t, a.Deliveries().Delivered)
}

// Two ways in, one row: what a webhook brought is recognised when the poll brings
// it, in other bytes.
func TestContactIsTheSameByHookAndByPoll(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 50, Switches: sandbox.Switches{RespellDeliveries: true, NullCountries: true}})
	a.delivers(t)
	out := filepath.Join(t.TempDir(), "ids")
	conf := pipeline(
		obj{"broker": obj{"inputs": list{a.webhook(freeAddress(t), nil), a.contacts(obj{"follow": true, "poll_interval": "200ms"})}}},
		fileOutput(out), filepath.Join(t.TempDir(), "state.db"),
		obj{"pipeline": obj{"processors": list{obj{"mapping": `root = @wisepops_contact_id + " " + @wisepops_source`}}}},
	)
	p := run(t, conf)
	waitForHooks(t, a, 3)
	for range 30 {
		a.Submit()
	}
	waitFor(t, "both ways", func() bool {
		return a.Deliveries().Pending == 0 && len(readLines(t, out)) >= a.Len()+a.Deliveries().Delivered
	})
	p.terminate()
	p.succeeds()
	ways := map[string]int{}
	for _, line := range readLines(t, out) {
		ways[line[:32]]++
	}
	require.Len(t, ways, a.Len())
}

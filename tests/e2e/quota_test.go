package e2e_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func quota(label string, settings obj) obj {
	return obj{"label": label, "wisepops_quota": merge(obj{"cache": "state"}, settings)}
}

// A process that is killed over and over, at any moment, makes no more calls than
// the budget, and polling leaves the reserve.
func TestCrashesStayWithinTheBudget(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 5000})
	s := newSink(t)
	state := filepath.Join(t.TempDir(), "state.db")
	conf := pipeline(
		a.contacts(obj{"follow": true, "poll_interval": "10ms", "page_size": 100, "rate_limit": "budget"}),
		s.output(nil), state,
		obj{"rate_limit_resources": list{quota("budget", obj{"calls": 40, "reserve": 10}), quota("rest", obj{"calls": 40})}},
	)
	for range 25 {
		p := run(t, conf)
		already := a.Calls().Total
		most := 1 + rng.IntN(4)
		deadline := time.Now().Add(1500 * time.Millisecond)
		waitFor(t, "calls", func() bool {
			return a.Calls().Total >= already+most || time.Now().After(deadline) || !p.running()
		})
		p.kill()
		require.LessOrEqual(t, a.Calls().Total, 30)
	}
	// A kill between the ledger and the call wastes that call.
	require.GreaterOrEqual(t, a.Calls().Total, 10, "the budget was not used")
	polled := a.Calls().Total

	// Spent, it is one warning that says until when, and no obstacle to the end.
	p := run(t, conf)
	p.prints("the next one is allowed at 20")
	p.terminate()
	require.Less(t, p.waitAtMost(patience), 5*time.Second)
	require.Zero(t, p.code)
	require.Equal(t, 1, strings.Count(p.printed(), "level=warn"))

	// What is left is for deletions.
	del := pipeline(
		obj{"generate": obj{"count": 12, "interval": "1ms", "mapping": `root.email = "person%v@example.com".format(count("people"))`}},
		obj{"wisepops_privacy_delete": obj{"api_key": apiKey, "base_url": a.url, "rate_limit": "rest"}},
		state,
		obj{"rate_limit_resources": list{quota("rest", obj{"calls": 40})}},
	)
	p = run(t, del)
	p.prints("the next one is allowed at 20")
	waitFor(t, "the calls that were allowed", func() bool { return a.Calls().ByEndpoint["DELETE /data-privacy"] >= 10 })
	p.terminate()
	p.waitAtMost(patience)
	require.Equal(t, polled+10, a.Calls().Total)
}

// Time is scaled down: whatever the crashes and the faults of the API, no more calls are
// made than the budget grants for the time that has passed. (That no single window sees
// more is a property of the ledger, in package ratelimit: here a slow machine would blur
// when each call was made.)
func TestNoCrashOrFaultBuysCallsBeyondTheBudget(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 100})
	var arrived atomic.Int64
	a.Control(func(*http.Request) *sandbox.Fault {
		if arrived.Add(1)%5 == 0 {
			return &sandbox.Fault{Status: 500}
		}
		return nil
	})
	const (
		calls  = 15
		window = 3 * time.Second
		runs   = 30
	)
	conf := pipeline(
		a.contacts(obj{"follow": true, "poll_interval": "5ms", "rate_limit": "budget"}),
		newSink(t).output(nil), filepath.Join(t.TempDir(), "state.db"),
		obj{"rate_limit_resources": list{quota("budget", obj{"calls": calls, "window": window.String()})}},
	)
	begun := time.Now()
	for n := 0; n < runs && arrived.Load() <= 2*calls; n++ {
		p := run(t, conf)
		already := arrived.Load()
		deadline := time.Now().Add(time.Duration(500+rng.IntN(1500)) * time.Millisecond)
		waitFor(t, "some time", func() bool { return time.Now().After(deadline) || arrived.Load() > already+2*calls })
		p.kill()
	}
	elapsed := time.Since(begun)
	require.Greater(t, arrived.Load(), int64(2*calls), "the budget is spent, and renewed")
	require.LessOrEqual(t, arrived.Load(), calls*(1+int64(elapsed/window)))
}

package e2e_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestTerminatedBackfillLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 20_000})
	s := newSink(t)
	s.answer(func([]byte) int {
		<-time.After(2 * time.Millisecond)
		return http.StatusOK
	})
	conf := pipeline(a.contacts(obj{"page_size": 100, "checkpoint_limit": 2000}), s.output(obj{"max_in_flight": 8}), filepath.Join(t.TempDir(), "state.db"))
	for range 5 {
		p := run(t, conf)
		already, more := s.count(), 100+rng.IntN(2500)
		waitFor(t, "some contacts", func() bool { return s.count() >= already+more || !p.running() })
		p.terminate()
		require.Less(t, p.waitAtMost(patience), 5*time.Second)
		require.Zero(t, p.code, "exit code")
		lost, repeated, _ := compare(a, s.received())
		require.Zero(t, repeated)
		require.Positive(t, lost, "the backfill ended too early for this test")
	}
	run(t, conf).succeeds()
	requireExactlyOnce(t, a, s.received())
}

func TestTerminationWhileTheOutputBlocksEndsInTime(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 5000})
	s := newSink(t)
	release := make(chan struct{})
	s.answer(func([]byte) int { <-release; return http.StatusServiceUnavailable })
	conf := pipeline(a.contacts(nil), s.output(nil), filepath.Join(t.TempDir(), "state.db"), obj{"shutdown_timeout": "2s"})
	p := run(t, conf)
	waitFor(t, "calls", func() bool { return a.Calls().Total >= 3 })
	p.terminate()
	require.Less(t, p.waitAtMost(patience), 5*time.Second)
	close(release)
	s.answer(nil)

	run(t, conf).succeeds()
	requireExactlyOnce(t, a, s.settled(t))
}

func TestTerminationWhileWaitingIsQuick(t *testing.T) {
	hang := func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Hang: true} }
	hangLater := func(a *api) func(*http.Request) *sandbox.Fault {
		return func(*http.Request) *sandbox.Fault {
			if a.Calls().Total > 2 {
				return &sandbox.Fault{Hang: true}
			}
			return nil
		}
	}
	for _, tc := range []struct {
		name     string
		settings obj
		control  func(a *api) func(*http.Request) *sandbox.Fault
		ready    func(a *api) bool
	}{
		{
			name:    "for an API that hangs from the start",
			control: func(*api) func(*http.Request) *sandbox.Fault { return hang },
			ready:   func(a *api) bool { return a.Calls().Total == 1 },
		},
		{
			name:     "for an API that hangs later",
			settings: obj{"page_size": 100},
			control:  hangLater,
			ready:    func(a *api) bool { return a.Calls().Total == 3 },
		},
		{
			name: "for the next poll",
			// All contacts are one page.
			ready: func(a *api) bool { return a.Calls().Total == 1 },
		},
		{
			name:     "to retry",
			settings: obj{"backoff": obj{"initial_interval": "1h", "max_interval": "1h", "max_elapsed_time": "10h"}},
			control: func(*api) func(*http.Request) *sandbox.Fault {
				return func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 500} }
			},
			ready: func(a *api) bool { return a.Calls().Total == 1 },
		},
		{
			name: "as long as Retry-After says",
			control: func(*api) func(*http.Request) *sandbox.Fault {
				return func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 429, RetryAfter: "86400"} }
			},
			ready: func(a *api) bool { return a.Calls().Total == 1 },
		},
		{
			name:     "for a rate limit",
			settings: obj{"rate_limit": "budget", "page_size": 100},
			ready:    func(a *api) bool { return a.Calls().Total == 1 },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 310})
			if tc.control != nil {
				a.Control(tc.control(a))
			}
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			conf := pipeline(a.contacts(merge(obj{"follow": true}, tc.settings)), fileOutput(out), filepath.Join(dir, "state.db"), hourlyBudget)
			p := run(t, conf)
			waitFor(t, "the wait", func() bool { return tc.ready(a) })
			if tc.control == nil {
				waitFor(t, "the first page", func() bool { return len(readLines(t, out)) >= 100 })
			}
			<-time.After(50 * time.Millisecond) // so that the wait has begun
			p.terminate()
			require.Less(t, p.waitAtMost(patience), 3*time.Second)
			require.Zero(t, p.code, "exit code")

			a.Control(nil)
			run(t, pipeline(a.contacts(obj{"page_size": 100}), fileOutput(out), filepath.Join(dir, "state.db"))).succeeds()
			requireExactlyOnce(t, a, readLines(t, out))
		})
	}
}

// hourlyBudget grants one call an hour.
var hourlyBudget = obj{"rate_limit_resources": list{
	obj{"label": "budget", "local": obj{"count": 1, "interval": "1h"}},
}}

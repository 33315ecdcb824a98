package e2e_test

import (
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestEveryCallAsksTheRateLimit(t *testing.T) {
	t.Parallel()
	const interval = 200 * time.Millisecond
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 950})
	var first time.Time
	a.Control(func(*http.Request) *sandbox.Fault {
		if a.Calls().Total == 1 {
			first = time.Now()
		}
		if a.Calls().Total%3 == 2 {
			return &sandbox.Fault{Status: 500} // the retry must ask as well
		}
		return nil
	})
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	conf := pipeline(a.contacts(obj{"page_size": 100, "rate_limit": "budget"}), fileOutput(out), filepath.Join(dir, "state.db"),
		obj{"rate_limit_resources": list{obj{"label": "budget", "local": obj{"count": 2, "interval": interval.String()}}}})
	run(t, conf).succeeds()
	calls := a.Calls()
	require.GreaterOrEqual(t, calls.ByStatus[500], 4)
	// Two an interval, and the last interval need not be over.
	require.GreaterOrEqual(t, time.Since(first), time.Duration((calls.Total-1)/2-1)*interval)
	requireExactlyOnce(t, a, readLines(t, out))
}

func TestInputIsReadyWhileTheBudgetIsSpent(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 300})
	spent := newAPI(t, sandbox.Options{Seed: seed, Contacts: 300})
	dir := t.TempDir()
	address := freeAddress(t)
	// The first input spends the one call of the hour; the other never gets any.
	inputs := list{
		a.contacts(obj{"rate_limit": "budget", "follow": true, "checkpoint_cache_key": "a"}),
		spent.contacts(obj{"rate_limit": "budget", "follow": true, "checkpoint_cache_key": "b"}),
	}
	p := run(t, pipeline(obj{"broker": obj{"inputs": inputs}}, fileOutput(filepath.Join(dir, "out")), filepath.Join(dir, "state.db"),
		hourlyBudget, obj{"http": obj{"enabled": true, "address": address}}))
	waitFor(t, "the one call", func() bool { return a.Calls().Total+spent.Calls().Total == 1 })
	waitFor(t, "readiness", func() bool { return get(t, "http://"+address+"/ready") == http.StatusOK })
	for range 20 {
		require.Equal(t, http.StatusOK, get(t, "http://"+address+"/ready"))
	}
	require.Equal(t, 1, a.Calls().Total+spent.Calls().Total, "calls of the hour")
	p.terminate()
	require.Less(t, p.waitAtMost(patience), 3*time.Second)
}

// get returns the status, or 0.
func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

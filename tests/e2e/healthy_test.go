package e2e_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// Where nothing is wrong, nothing is logged that would wake somebody up, from the
// first start to the last end.
func TestHealthyRunLogsNothingAboveInfo(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 2500})
	a.delivers(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	shared := obj{"api_key": apiKey, "base_url": a.url, "rate_limit": "budget"}
	conf := pipeline(
		obj{"broker": obj{"inputs": list{
			a.contacts(obj{"follow": true, "poll_interval": "200ms", "rate_limit": "budget"}),
			a.webhook(freeAddress(t), obj{"rate_limit": "budget"}),
			obj{"wisepops_performance": merge(obj{"poll_interval": "200ms", "checkpoint_cache": "state"}, shared)},
			obj{"generate": obj{"count": 3, "interval": "1ms", "mapping": `root.person = "person%v@example.com".format(count("healthy"))`}},
		}}},
		obj{"switch": obj{"cases": list{
			obj{
				"check":  "this.person.or(null) != null",
				"output": obj{"wisepops_privacy_delete": merge(obj{"email": "${! this.person }"}, shared)},
			},
			obj{"output": fileOutput(out)},
		}}},
		filepath.Join(dir, "state.db"),
		obj{
			"pipeline": obj{"processors": list{obj{"wisepops_campaign": merge(obj{}, shared)}}},
			"rate_limit_resources": list{obj{"label": "budget", "wisepops_quota": obj{
				"calls": 10_000, "window": "1h", "cache": "state",
			}}},
		},
	)
	for round := range 2 {
		p := run(t, conf)
		waitForHooks(t, a, 3)
		for range 20 {
			a.Submit()
		}
		before := a.Calls().Total
		waitFor(t, "deliveries, deletions and quiet polls", func() bool {
			return a.Deliveries().Pending == 0 && a.Calls().ByEndpoint["DELETE /data-privacy"] == 3*(round+1) &&
				a.Calls().Total > before+20 && len(readLines(t, out)) > a.Len()
		})
		p.terminate()
		p.succeeds()
		require.Contains(t, p.printed(), "level=info")
		for _, level := range []string{"level=warn", "level=error", "level=fatal"} {
			require.NotContains(t, p.printed(), level)
		}
	}
}

package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// One process, one SQLite file for the watermarks and the ledgers of all: each write waits
// for its turn, and none for the lock of the file.
func TestTwoHundredWebsitesShareOneState(t *testing.T) {
	t.Parallel()
	const websites, contacts, pageSize = 200, 100, 5
	apis := make([]*api, websites)
	mux := http.NewServeMux()
	for i := range apis {
		apis[i] = &api{Service: sandbox.New(sandbox.Options{APIKey: apiKey, Seed: seed + uint64(i), Contacts: contacts})}
		prefix := fmt.Sprintf("/website/%d", i)
		mux.Handle(prefix+"/", http.StripPrefix(prefix, apis[i].Service))
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	inputs, limits := make(list, websites), make(list, websites)
	for i, a := range apis {
		a.url = fmt.Sprintf("%s/website/%d/api2", server.URL, i)
		input := a.contacts(obj{
			"page_size":            pageSize,
			"checkpoint_cache_key": fmt.Sprintf("website_%d", i),
			"rate_limit":           fmt.Sprintf("budget_%d", i),
		})
		input["processors"] = list{obj{"mapping": fmt.Sprintf(`root = "%d " + content().string()`, i)}}
		inputs[i] = input
		limits[i] = obj{"label": fmt.Sprintf("budget_%d", i), "wisepops_quota": obj{"cache": "state", "cache_key": fmt.Sprintf("ledger_%d", i)}}
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	conf := pipeline(obj{"broker": obj{"inputs": inputs}}, fileOutput(out), "", obj{"rate_limit_resources": limits, "cache_resources": nil})
	resource := stateResource(t, filepath.Join(dir, "state.db"))

	begun := time.Now()
	first := run(t, conf, "-r", resource)
	first.succeeds()
	t.Logf("%d websites of %d contacts in %.1f s", websites, contacts, time.Since(begun).Seconds())
	requireQuiet(t, first)
	calls := requireEachWebsiteOnce(t, apis, out)

	begun = time.Now()
	second := run(t, conf, "-r", resource)
	second.succeeds()
	t.Logf("again, when all are caught up, in %.1f s", time.Since(begun).Seconds())
	requireQuiet(t, second)
	again := requireEachWebsiteOnce(t, apis, out)
	require.LessOrEqual(t, again-calls, 2*websites, "calls of a run after the watermarks")
}

// A connection more, and writers wait for the lock of the file instead of their turn.
func TestEverySQLiteFileHasOneConnection(t *testing.T) {
	t.Parallel()
	found := 0
	var walk func(file string, node any)
	walk = func(file string, node any) {
		switch n := node.(type) {
		case obj:
			if n["driver"] == "sqlite" {
				found++
				require.Equal(t, 1, n["conn_max_open"], "%s: %v", file, n["dsn"])
			}
			for _, child := range n {
				walk(file, child)
			}
		case list:
			for _, child := range n {
				walk(file, child)
			}
		}
	}
	for _, pattern := range []string{"config/*.yaml", "resources/*.yaml", "deploy/kubernetes/pipelines/*.yaml"} {
		files, err := filepath.Glob(filepath.Join("..", "..", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var root any
			require.NoError(t, yaml.Unmarshal(text, &root), file)
			walk(file, root)
		}
	}
	require.Equal(t, 6, found, "the state, the demo's table and state, and the tables of leads_to_sqlite, which stand there thrice")
}

// stateResource is resources/state_sqlite.yaml on a file of the test's own.
func stateResource(t *testing.T, file string) (path string) {
	t.Helper()
	shipped, err := os.ReadFile(filepath.Join("..", "..", "resources", "state_sqlite.yaml"))
	require.NoError(t, err)
	const variable = "${WISEPOPS_STATE:wisepops_state.db}"
	require.Contains(t, string(shipped), variable)
	path = filepath.Join(t.TempDir(), "state_sqlite.yaml")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(shipped), variable, file)), 0o600))
	return path
}

// requireQuiet demands that nothing was logged above INFO.
func requireQuiet(t *testing.T, p *process) {
	t.Helper()
	for line := range strings.Lines(p.printed()) {
		require.NotRegexp(t, `database is locked|level=(warning|error)`, line)
	}
}

func requireEachWebsiteOnce(t *testing.T, apis []*api, out string) (calls int) {
	t.Helper()
	delivered := make([][]string, len(apis))
	for _, line := range readLines(t, out) {
		website, contact, ok := strings.Cut(line, " ")
		require.True(t, ok)
		i, err := strconv.Atoi(website)
		require.NoError(t, err)
		delivered[i] = append(delivered[i], contact)
	}
	for i, a := range apis {
		requireExactlyOnce(t, a, delivered[i])
		calls += a.Calls().Total
	}
	return calls
}

// What is no contact at all is no line of the output. It is a file, as it came, and the
// same one when it comes again.
func TestWebsitesPutDeadLettersAside(t *testing.T) {
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 100})
	const letter = "[\n  \"EMAILMARKER@example.com\"\n]"
	a.AddRaw(a.Contacts()[50].CollectedAt, []byte(letter))
	dir := t.TempDir()
	t.Setenv("WISEPOPS_API_KEY_FR", apiKey)
	t.Setenv("WISEPOPS_API_KEY_DE", apiKey)
	t.Setenv("WISEPOPS_BASE_URL", a.url)
	t.Setenv("WISEPOPS_DEAD_LETTERS", filepath.Join(dir, "aside"))
	for _, strict := range []string{"false", "true"} {
		// With a state of its own each run reads all.
		p := startUnchecked(t, "run", "-r", stateResource(t, filepath.Join(dir, strict+".db")),
			"--set", "http.enabled=false", "--set", "error_handling.strict="+strict,
			"--set", "input.broker.inputs.0.wisepops_contacts.follow=false", "--set", "input.broker.inputs.1.wisepops_contacts.follow=false",
			filepath.Join("..", "..", "config", "websites.yaml"))
		p.succeeds()
		records := map[string]int{}
		for line := range strings.Lines(p.output.String()) {
			for _, website := range []string{"shop.example.fr", "shop.example.de"} {
				if strings.HasPrefix(line, "{") && strings.Contains(line, `"website":"`+website+`"`) {
					records[website]++
				}
			}
			if !strings.HasPrefix(line, "{") {
				assertNothingPrivate(t, line)
			}
		}
		require.Equal(t, map[string]int{"shop.example.fr": 100, "shop.example.de": 100}, records)
		require.Contains(t, p.printed(), "goes to the dead letters. reading contact: message is not a JSON object")
		files, err := filepath.Glob(filepath.Join(dir, "aside", "*"))
		require.NoError(t, err)
		require.Len(t, files, 2, "a file for each website")
		for _, file := range files {
			require.Regexp(t, `/shop\.example\.(fr|de)_[0-9a-f]{32}$`, file)
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, letter, string(content))
		}
	}
}

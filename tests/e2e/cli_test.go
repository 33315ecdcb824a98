package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func stdout(t *testing.T, args ...string) string {
	t.Helper()
	p := startUnchecked(t, args...)
	p.succeeds()
	return p.output.String()
}

func TestPluginsAreListed(t *testing.T) {
	require.Contains(t, stdout(t, "list", "inputs"), "wisepops_contacts")
	require.Contains(t, stdout(t, "list", "processors"), "wisepops_contact")
}

func TestCreatedConfigNamesTheFields(t *testing.T) {
	out := stdout(t, "create", "wisepops_contacts/wisepops_contact/drop")
	for _, text := range []string{"wisepops_contacts:", "api_key:", "page_size: 1000", "poll_interval: 30m", "checkpoint_cache:", "wisepops_contact:", "drop: {}"} {
		require.Contains(t, out, text)
	}
}

func TestJSONSchemaDescribesThePlugins(t *testing.T) {
	out := stdout(t, "list", "--format", "jsonschema")
	var schema any
	require.NoError(t, json.Unmarshal([]byte(out), &schema))
	require.Contains(t, out, `"wisepops_contacts"`)
	require.Contains(t, out, `"wisepops_contact"`)
	require.Contains(t, out, `"checkpoint_cache_key"`)

	var full struct {
		Inputs []struct {
			Name string `json:"name"`
		} `json:"inputs"`
	}
	require.NoError(t, json.Unmarshal([]byte(stdout(t, "list", "--format", "json-full")), &full))
	names := make([]string, len(full.Inputs))
	for i, in := range full.Inputs {
		names[i] = in.Name
	}
	require.Contains(t, names, "wisepops_contacts")
}

func TestLintFindsWhatIsWrong(t *testing.T) {
	a := newAPI(t, sandbox.Options{})
	good := writeJSON(t, "good.yaml", pipeline(a.contacts(nil), obj{"drop": obj{}}, "state.db"))
	stdout(t, "lint", good)

	bad := writeJSON(t, "bad.yaml", pipeline(a.contacts(obj{"page_size": 1001, "poll_intervall": "1m"}), obj{"drop": obj{}}, "state.db"))
	p := start(t, "lint", bad)
	require.NotZero(t, p.wait())
	require.Contains(t, p.output.String(), "page_size must be between 1 and 1000")
	require.Contains(t, p.output.String(), "poll_intervall")
}

func TestStreamsModeDeliversEachStream(t *testing.T) {
	dir := t.TempDir()
	resources := writeJSON(t, "resources.yaml", obj{"cache_resources": list{stateCache(filepath.Join(dir, "state.db"))}})
	service := writeJSON(t, "service.yaml", obj{"http": obj{"enabled": false}, "logger": obj{"level": "TRACE"}, "metrics": obj{"none": obj{}}})
	args := []string{"streams", "--no-api", "-o", service, "-r", resources}
	apis := map[string]*api{}
	for i, name := range []string{"shop_de", "shop_fr"} {
		a := newAPI(t, sandbox.Options{Seed: seed + uint64(i), Contacts: 1500 + i})
		apis[name] = a
		args = append(args, writeJSON(t, name+".yaml", obj{
			"input":  a.contacts(obj{"follow": true, "checkpoint_cache_key": name}),
			"output": fileOutput(filepath.Join(dir, name)),
		}))
	}
	p := start(t, args...)
	for name, a := range apis {
		waitFor(t, name, func() bool { return len(readLines(t, filepath.Join(dir, name))) >= a.Len() })
	}
	p.terminate()
	p.succeeds()
	for name, a := range apis {
		requireExactlyOnce(t, a, readLines(t, filepath.Join(dir, name)))
	}
}

func TestTwoStreamsOnOneCheckpointKeyAreAnError(t *testing.T) {
	dir := t.TempDir()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 1500})
	resources := writeJSON(t, "resources.yaml", obj{"cache_resources": list{stateCache(filepath.Join(dir, "state.db"))}})
	service := writeJSON(t, "service.yaml", obj{"http": obj{"enabled": false}, "logger": obj{"level": "TRACE"}, "metrics": obj{"none": obj{}}})
	args := []string{"streams", "--no-api", "-o", service, "-r", resources}
	for _, name := range []string{"shop_de", "shop_fr"} {
		args = append(args, writeJSON(t, name+".yaml", obj{
			"input": a.contacts(obj{"follow": true}), "output": fileOutput(filepath.Join(dir, "out")),
		}))
	}
	p := start(t, args...)
	p.prints("give each its own checkpoint_cache_key")
	require.Contains(t, p.output.String(), `of stream \"shop_de\"`)
	require.Contains(t, p.output.String(), `of stream \"shop_fr\"`)
	p.terminate()
	p.succeeds()

	out := filepath.Join(dir, "alone")
	run(t, pipeline(a.contacts(obj{"checkpoint_cache_key": "alone"}), fileOutput(out), filepath.Join(dir, "state.db"))).succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
}

func TestSandboxCommandServesTheInput(t *testing.T) {
	address := freeAddress(t)
	server := startUnchecked(t, "sandbox", "--address", address, "--contacts", "700", "--api-key", "public-demo")
	server.prints("base_url")
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	a := &api{url: "http://" + address + "/api2"}
	run(t, pipeline(a.contacts(obj{"api_key": "public-demo"}), fileOutput(out), filepath.Join(dir, "state.db"))).succeeds()
	lines := readLines(t, out)
	require.Len(t, lines, 700)
	for _, line := range lines {
		require.True(t, strings.HasPrefix(line, `{"collected_at"`))
	}
	server.terminate()
	server.succeeds()
	_, err := os.Stat(out)
	require.NoError(t, err)
}

var requiredVariable = regexp.MustCompile(`\$\{([A-Z_]+)\}`)

// A pipeline with its resources needs nothing but its variables, and says which one it
// lacks.
func TestPipelinesNameTheVariablesThatAreNotSet(t *testing.T) {
	root := filepath.Join("..", "..")
	paths, err := filepath.Glob(filepath.Join(root, "config", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), binary, "run",
			"-r", filepath.Join(root, "resources", "state_sqlite.yaml"),
			"-r", filepath.Join(root, "resources", "budget.yaml"),
			"--set", "http.enabled=false", path)
		cmd.Env = []string{"WISEPOPS_STATE=" + filepath.Join(t.TempDir(), "state.db")}
		required := requiredVariable.FindAllSubmatch(text, -1)
		if len(required) == 0 {
			continue // it runs: see the tests of the demo
		}
		output, err := cmd.CombinedOutput()
		require.Error(t, err, path)
		for _, variable := range required {
			require.Contains(t, string(output), string(variable[1]), path)
		}
	}
}

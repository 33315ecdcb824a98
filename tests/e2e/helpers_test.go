package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	apiKey = "KEYMARKER-5c1d0e"

	// patience bounds waits that end sooner unless something is broken.
	patience = 60 * time.Second
)

// obj is an object of a configuration. Benthos reads JSON as it reads YAML.
type obj = map[string]any

// list is an array of a configuration.
type list = []any

// api is a sandbox that is served on a loopback address.
type api struct {
	*sandbox.Service
	url string
}

func newAPI(t *testing.T, opts sandbox.Options) *api {
	t.Helper()
	opts.APIKey = apiKey
	a := &api{Service: sandbox.New(opts)}
	server := httptest.NewServer(a.Service)
	a.url = server.URL + "/api2"
	t.Cleanup(func() {
		a.Release()
		server.CloseClientConnections()
		server.Close()
	})
	return a
}

// contacts is the input's configuration: it ends when it has caught up, unless
// the settings say otherwise.
func (a *api) contacts(settings obj) obj {
	c := obj{
		"api_key":          apiKey,
		"base_url":         a.url,
		"checkpoint_cache": "state",
		"follow":           false,
		"backoff":          obj{"initial_interval": "10ms", "max_interval": "50ms"},
	}
	return obj{"wisepops_contacts": merge(c, settings)}
}

func merge(into, from obj) obj {
	for k, v := range from {
		if v == nil {
			delete(into, k)
			continue
		}
		into[k] = v
	}
	return into
}

// pipeline is a whole configuration with the state in SQLite.
func pipeline(input, output obj, stateFile string, settings ...obj) obj {
	conf := obj{
		"http":             obj{"enabled": false},
		"logger":           obj{"level": "INFO"},
		"metrics":          obj{"none": obj{}},
		"shutdown_timeout": "20s",
		"input":            input,
		"output":           output,
		"cache_resources":  list{stateCache(stateFile)},
	}
	for _, s := range settings {
		merge(conf, s)
	}
	return conf
}

func stateCache(file string) obj {
	return obj{"label": "state", "sql": obj{
		"driver":         "sqlite",
		"dsn":            sqliteDSN(file),
		"table":          "state",
		"key_column":     "key",
		"value_column":   "value",
		"set_suffix":     "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
		"init_statement": "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
	}}
}

func sqliteDSN(file string) string {
	return "file:" + file + "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)"
}

// process is a run of the binary.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output buffer
	ended  chan struct{}
	code   int // of the exit; -1 where a signal ended it
}

type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// run starts the binary with a configuration.
func run(t *testing.T, conf obj, args ...string) *process {
	t.Helper()
	return start(t, append(append([]string{"run"}, args...), writeJSON(t, "pipeline.yaml", conf))...)
}

func writeJSON(t *testing.T, name string, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// start starts the binary with arguments. Whatever it prints must hold nothing
// private.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := startUnchecked(t, args...)
	t.Cleanup(func() {
		p.kill()
		assertNothingPrivate(t, p.output.String())
	})
	return p
}

// startUnchecked is start for commands that print documentation.
func startUnchecked(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{})}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	// Binaries must not outlive a test binary that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the binary printed:\n%s", tail(p.output.String()))
		}
	})
	return p
}

func tail(s string) string {
	const most = 6000
	if len(s) > most {
		return "[…]" + s[len(s)-most:]
	}
	return s
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) terminate() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// wait waits for the end and returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	p.waitAtMost(patience)
	return p.code
}

// waitAtMost returns how long the end took.
func (p *process) waitAtMost(most time.Duration) time.Duration {
	p.t.Helper()
	begun := time.Now()
	select {
	case <-p.ended:
	case <-time.After(most):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // prints the goroutines
		<-p.ended
		p.t.Fatalf("the binary did not end within %s:\n%s", most, p.output.String())
	}
	return time.Since(begun)
}

// succeeds waits for an end without error.
func (p *process) succeeds() {
	p.t.Helper()
	require.Zero(p.t, p.wait(), "exit code")
}

// printed is the output, without the escapes of log lines.
func (p *process) printed() string {
	return strings.ReplaceAll(p.output.String(), `\"`, `"`)
}

// prints waits until the output holds a text.
func (p *process) prints(text string) {
	p.t.Helper()
	waitFor(p.t, "the binary to print "+text, func() bool {
		return strings.Contains(p.printed(), text) || !p.running()
	})
	require.Contains(p.t, p.printed(), text)
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // a poll, bounded by the deadline
	}
}

// assertNothingPrivate looks for what no log may hold. Every email address of
// the sandbox is in one of the domains, and every other marker is put into
// contacts by the tests.
func assertNothingPrivate(t *testing.T, output string) {
	t.Helper()
	for _, private := range []string{
		apiKey, "KEYMARKER", "@example.", "@mail.example", "@shop.example", "EMAILMARKER", "PHONEMARKER",
		"collected_after=", "page_size=", "page=", "WISEPOPS-API", "form_session",
	} {
		if i := strings.Index(output, private); i >= 0 {
			t.Errorf("the output holds %q: …%s…", private, output[max(0, i-200):min(len(output), i+200)])
		}
	}
}

// fileOutput appends each contact as a line.
func fileOutput(path string) obj {
	return obj{"file": obj{"path": path, "codec": "lines"}}
}

// readLines returns the whole lines of a file, which may be written to meanwhile.
func readLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	return splitLines(data[:bytes.LastIndexByte(data, '\n')+1])
}

// repairLines is readLines after a kill. A last line that the kill cut, and which
// was not acknowledged, is removed: the next run would go on in it.
func repairLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	whole := bytes.LastIndexByte(data, '\n') + 1
	require.NoError(t, os.Truncate(path, int64(whole)))
	return splitLines(data[:whole])
}

func splitLines(data []byte) []string {
	if len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// sink is an output that the test controls: an HTTP server that keeps the lines
// it accepts.
type sink struct {
	url string

	mu       sync.Mutex
	lines    []string
	longest  int // lines of the longest post
	rejected int
	onPost   func(body []byte) (status int) // nil accepts
	conns    map[net.Conn]bool
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{conns: map[net.Conn]bool{}}
	server := httptest.NewUnstartedServer(s)
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if state == http.StateClosed || state == http.StateHijacked {
			delete(s.conns, c)
		} else {
			s.conns[c] = true
		}
	}
	server.Start()
	s.url = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut by a kill
	}
	s.mu.Lock()
	onPost := s.onPost
	s.mu.Unlock()
	status := http.StatusOK
	if onPost != nil {
		status = onPost(body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if status != http.StatusOK {
		s.rejected++
		w.WriteHeader(status)
		return
	}
	lines := splitLines(body)
	s.longest = max(s.longest, len(lines))
	s.lines = append(s.lines, lines...)
}

// answer sets what decides on each message; nil accepts all.
func (s *sink) answer(fn func(body []byte) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onPost = fn
}

func (s *sink) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

// settled returns what was received once the binary is dead and every request of
// it was handled.
func (s *sink) settled(t *testing.T) []string {
	t.Helper()
	waitFor(t, "the sink to finish", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	})
	return s.received()
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

func (s *sink) rejections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rejected
}

// output posts each batch as lines, whole or not at all.
func (s *sink) output(settings obj) obj {
	conf := obj{
		"url":           s.url,
		"verb":          "POST",
		"timeout":       "60s",
		"retries":       0,
		"retry_period":  "1ms",
		"max_in_flight": 1,
	}
	return obj{
		"http_client": merge(conf, settings),
		"processors":  list{obj{"archive": obj{"format": "lines"}}},
	}
}

// compare counts, among what was delivered, the contacts of the sandbox that are
// missing, those that came more than once, and what is no contact of it.
func compare(a *api, delivered []string) (lost, repeated, foreign int) {
	times := make(map[string]int, len(delivered))
	for _, line := range delivered {
		times[line]++
	}
	known := map[string]int{} // two visitors may have given the same answer
	for _, c := range a.Contacts() {
		known[string(c.Raw)]++
	}
	for raw, n := range known {
		lost += max(n-times[raw], 0)
		repeated += max(times[raw]-n, 0)
		delete(times, raw)
	}
	for _, n := range times {
		foreign += n
	}
	return lost, repeated, foreign
}

// requireExactlyOnce demands every contact once, byte for byte.
func requireExactlyOnce(t *testing.T, a *api, delivered []string) {
	t.Helper()
	lost, repeated, foreign := compare(a, delivered)
	require.Zero(t, lost, "contacts lost, of %d", a.Len())
	require.Zero(t, repeated, "contacts repeated, of %d", a.Len())
	require.Zero(t, foreign, "messages that are no contact")
}

func requireCalls(t *testing.T, a *api, atMost int) {
	t.Helper()
	c := a.Calls()
	require.Equal(t, c.Total, c.ByEndpoint["GET /contacts"], "calls to other endpoints: %v", c.ByEndpoint)
	require.LessOrEqual(t, c.Total, atMost, "API calls")
}

func requireCode(t *testing.T, want int, p *process) {
	t.Helper()
	assert.Equal(t, want, p.wait(), "exit code")
}

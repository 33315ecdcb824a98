// Package integration_test runs the built binary, with the pipelines of config/ and of
// this folder's config/, and the resources of resources/, against real servers. It is
// skipped unless WISEPOPS_TEST_SERVICES is 1, and then fails without them.
//
// PostgreSQL and Redis must be running, on their usual ports. Servers that a test stops
// are its own: their programs must be installed. Kafka is kfake, in the test's process.
//
//	WISEPOPS_TEST_POSTGRES=postgres://...   another server, whose user may create schemas
//	WISEPOPS_TEST_REDIS=host:port           another server; its database 13 is used
package integration_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
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
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// patience bounds waits that end sooner unless something is broken.
	patience = time.Minute

	// once has a pipeline end when it has caught up.
	once = "input.wisepops_contacts.follow=false"

	// glance is how often a condition is looked at.
	glance = 10 * time.Millisecond
)

var (
	binary       string
	postgresBase = cmp.Or(os.Getenv("WISEPOPS_TEST_POSTGRES"), "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable")
	redisAddress = cmp.Or(os.Getenv("WISEPOPS_TEST_REDIS"), "127.0.0.1:6379")
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Getenv("WISEPOPS_TEST_SERVICES") != "1" {
		return m.Run() // each test skips itself
	}
	// They wait for servers more than they compute. What the command line says wins.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	dir, err := os.MkdirTemp("", "integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "wisepops-connect")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = repository()
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
		return 2
	}
	return m.Run()
}

func needServices(t *testing.T) {
	t.Helper()
	if os.Getenv("WISEPOPS_TEST_SERVICES") != "1" {
		t.Skip("WISEPOPS_TEST_SERVICES is not 1")
	}
}

func TestPipelinesOfTheTestsLint(t *testing.T) {
	needServices(t)
	files, err := filepath.Glob(filepath.Join("config", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out, err := exec.CommandContext(t.Context(), binary, append([]string{"lint", "--skip-env-var-check"}, files...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func repository(path ...string) string {
	abs, err := filepath.Abs(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		panic(err)
	}
	return abs
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, glance, what)
}

// website is what one test's pipelines read: a stand-in of a website, with a key of
// the state and a working directory.
type website struct {
	t    *testing.T
	site *sandbox.Service
	key  string
	dir  string
	env  []string
}

func newWebsite(t *testing.T, opts sandbox.Options) *website {
	t.Helper()
	needServices(t)
	w := &website{t: t, site: sandbox.New(opts), dir: t.TempDir()}
	server := httptest.NewServer(w.site)
	t.Cleanup(func() {
		w.site.Release()
		server.Close()
	})
	w.key = fmt.Sprintf("wisepops_it_%d_%d", os.Getpid(), time.Now().UnixNano())
	w.env = append(os.Environ(),
		"WISEPOPS_API_KEY="+sandbox.DefaultAPIKey,
		"WISEPOPS_BASE_URL="+server.URL+"/api2",
		"WISEPOPS_CALLS=1000000", // the ledger outlives a test
	)
	return w
}

// set adds variables of the environment, such as NAME=value.
func (w *website) set(variables ...string) {
	w.env = append(w.env, variables...)
}

// start runs a pipeline of the repository with resources of it, and changes of fields.
// What it logs must hold nothing private.
func (w *website) start(pipeline string, resources []string, fields ...string) *run {
	w.t.Helper()
	r := w.prepare(pipeline, resources, fields...)
	require.NoError(w.t, r.cmd.Start())
	return r
}

func (w *website) prepare(pipeline string, resources []string, fields ...string) *run {
	w.t.Helper()
	args := []string{"run"}
	for _, resource := range resources {
		args = append(args, "-r", repository(resource))
	}
	for _, field := range append(fields, "http.enabled=false") {
		args = append(args, "--set", field)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*patience)
	r := &run{t: w.t, cmd: exec.CommandContext(ctx, binary, append(args, repository(pipeline))...)}
	r.cmd.Dir, r.cmd.Env = w.dir, w.env
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	// No run outlives a test that is killed.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.t.Cleanup(func() {
		cancel()
		if r.cmd.Process != nil && r.cmd.ProcessState == nil {
			_ = r.cmd.Wait()
		}
		log := r.log.String()
		for _, private := range []string{"@example", "@mail.example", "@shop.example", "EMAILMARKER", "form_session"} {
			assert.NotContains(w.t, log, private, "something private is logged")
		}
		if w.t.Failed() {
			w.t.Logf("%s logged:\n%s", pipeline, tail(log))
		}
	})
	return r
}

// run is a run of the binary.
type run struct {
	t   *testing.T
	cmd *exec.Cmd
	log buffer
}

// succeeds waits for an end without error, and returns what was logged.
func (r *run) succeeds() string {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Wait())
	return r.log.String()
}

// terminate asks for the end, and waits for it.
func (r *run) terminate() string {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(syscall.SIGTERM))
	return r.succeeds()
}

// kill is kill -9.
func (r *run) kill() {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Kill())
	_ = r.cmd.Wait() // it was killed
}

// complaints counts the lines that were logged above INFO.
func (r *run) complaints() int {
	log := r.log.String()
	return strings.Count(log, "level=error") + strings.Count(log, "level=warn")
}

// buffer may be read while it is written to.
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

func tail(s string) string {
	const most = 6000
	if len(s) > most {
		return "[…]" + s[len(s)-most:]
	}
	return s
}

// arrivals is what came out of a pipeline: the email addresses of contacts, by
// contact id.
type arrivals map[string]string

// read takes note of a message.
func (a arrivals) read(t *testing.T, message []byte) (id string) {
	t.Helper()
	var record struct {
		ContactID string  `json:"contact_id"`
		Email     *string `json:"email"`
	}
	require.NoError(t, json.Unmarshal(message, &record))
	require.Len(t, record.ContactID, 32)
	email := ""
	if record.Email != nil {
		email = *record.Email
	}
	a[record.ContactID] = email
	return record.ContactID
}

// requireAll compares what arrived with the contacts of the sandbox, but for those
// that are aside.
func (w *website) requireAll(arrived arrivals, aside int) {
	w.t.Helper()
	known, lost := 0, 0
	for _, c := range w.site.Contacts() {
		id, err := wisepops.ContactID(c.Raw)
		email, ok := arrived[id]
		if err != nil || !ok {
			lost++
			continue
		}
		require.Equal(w.t, strings.ToLower(strings.TrimSpace(c.Email)), email)
		known++
	}
	require.Equal(w.t, aside, lost, "contacts that did not arrive")
	require.Len(w.t, arrived, known, "something arrived that is no contact")
}

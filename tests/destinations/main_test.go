// Package destinations_test runs the built binary, with the pipelines of config/ that
// write to the APIs of vendors, against fakes of these APIs. The fakes are written from the
// vendors' references, which docs/destinations.md names, and hold a client to them: how it
// proves who it is, how much it sends at once, how often, and how long it stays away when it
// is told to.
//
//	E2E_BINARY=path   test that binary instead of building one
package destinations_test

import (
	"bytes"
	"context"
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
)

const (
	// patience bounds waits that end sooner unless something is broken.
	patience = 40 * time.Second

	// token is what the fakes demand, and what no log may hold.
	token = "TOKENMARKER-7f3a"
)

var binary string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	// They wait more than they compute. What the command line says wins.
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if binary = os.Getenv("E2E_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "destinations")
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

func repository(path ...string) string {
	abs, err := filepath.Abs(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		panic(err)
	}
	return abs
}

// website is a stand-in of a website, whose contacts a pipeline takes to a vendor.
type website struct {
	*sandbox.Service

	t        *testing.T
	pipeline string
	dir      string
	env      []string
}

// newWebsite has the pipeline of a file of config/ read the contacts of a website.
func newWebsite(t *testing.T, pipeline string, opts sandbox.Options, variables ...string) *website {
	t.Helper()
	w := &website{Service: sandbox.New(opts), t: t, pipeline: pipeline, dir: t.TempDir()}
	server := httptest.NewServer(w.Service)
	t.Cleanup(func() {
		w.Release()
		server.Close()
	})
	w.env = append(os.Environ(),
		"WISEPOPS_API_KEY="+sandbox.DefaultAPIKey,
		"WISEPOPS_BASE_URL="+server.URL+"/api2",
		"WISEPOPS_CALLS=1000000",
	)
	w.env = append(w.env, variables...)
	return w
}

// run runs the pipeline until it has caught up, with a state of that name, and returns
// what it logged, which must hold nothing private.
func (w *website) run(state string, fields ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cmd, log := w.prepare(ctx, state, append(fields, "input.wisepops_contacts.follow=false")...)
	err := cmd.Run()
	w.requireNothingPrivate(log.String())
	require.NoError(w.t, err, "%s", tail(log.String()))
	return log.String()
}

func (w *website) prepare(ctx context.Context, state string, fields ...string) (*exec.Cmd, *buffer) {
	args := []string{"run", "-r", repository("resources/state_sqlite.yaml"), "-r", repository("resources/budget.yaml")}
	for _, field := range append(fields, "http.enabled=false") {
		args = append(args, "--set", field)
	}
	log := &buffer{}
	cmd := exec.CommandContext(ctx, binary, append(args, repository("config", w.pipeline+".yaml"))...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, log, log
	cmd.Env = append(w.env, "WISEPOPS_STATE="+state+".db")
	// No run outlives a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, log
}

func (w *website) requireNothingPrivate(log string) {
	w.t.Helper()
	for _, private := range []string{"@example", "@mail.example", "@shop.example", refused, "EMAILMARKER", token, "form_session"} {
		assert.False(w.t, strings.Contains(log, private), "%s is logged", private) //nolint:testifylint // NotContains prints the log
	}
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

// goodContacts is how many contacts of a thousand a vendor takes.
const goodContacts = 990

// refused is the domain of the email addresses that every fake refuses.
const refused = "@refused.invalid"

// poisoned are ten contacts that no destination takes: two that are no contact, and two
// each with a control character, with too long a value, and with a refused email. The last two are the
// destination's own.
func poisoned(own ...string) []string {
	const contact = `{"collected_at":%q,"wisepop_id":7,"fields":%s}`
	var all []string
	for i := range 2 {
		at := fmt.Sprintf("2024-01-01T12:00:00.00%dZ", i)
		all = append(all,
			[]string{`["EMAILMARKER"]`, `"EMAILMARKER"`}[i],
			fmt.Sprintf(contact, at, fmt.Sprintf(`{"email":"control%d@example.com","city":"a\u0001b"}`, i)),
			fmt.Sprintf(contact, at, fmt.Sprintf(`{"email":"long%d@example.com","city":%q}`, i, strings.Repeat("x", 70_000))),
			fmt.Sprintf(contact, at, fmt.Sprintf(`{"email":"poison%d%s","city":"Paris"}`, i, refused)),
			fmt.Sprintf(contact, at, own[i]),
		)
	}
	return all
}

// named is a website whose past contacts have an email each.
func named(contacts int) sandbox.Options {
	return sandbox.Options{Contacts: contacts, Switches: sandbox.Switches{Anonymous: -1}}
}

// add strews contacts among those that there are.
func (w *website) add(contacts ...string) {
	all := w.Contacts()
	for i, raw := range contacts {
		w.AddRaw(all[(i+1)*len(all)/(len(contacts)+2)].CollectedAt, []byte(raw))
	}
}

// addTwice adds twice@example.com, who submits two forms, one right after the other, amid
// the others of a batch.
func (w *website) addTwice() {
	all := w.Contacts()
	before := all[len(all)*45/100].CollectedAt
	for i, fields := range []string{
		`{"email":"Twice@example.com","first_name":"Zoé","city":"Lyon"}`,
		`{"email":"twice@example.com","city":"Paris"}`,
	} {
		w.addAt(before.Add(time.Duration(i+1)*time.Millisecond), fields)
	}
}

// addAt adds a contact with these fields.
func (w *website) addAt(at time.Time, fields string) {
	w.AddRaw(at, fmt.Appendf(nil, `{"collected_at":%q,"wisepop_id":7,"fields":%s}`, at.UTC().Format("2006-01-02T15:04:05.000Z"), fields))
}

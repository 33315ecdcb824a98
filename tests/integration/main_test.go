// Package integration_test runs the pipelines of config/ with the resources of
// resources/, in the built binary, against real PostgreSQL and Redis servers. It
// is skipped unless WISEPOPS_TEST_SERVICES is 1, and then fails without them.
//
//	WISEPOPS_TEST_POSTGRES=postgres://...   another server, whose user may create schemas
//	WISEPOPS_TEST_REDIS=host:port           another server; its database 13 is used
package integration_test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// patience bounds waits that end sooner unless something is broken.
const patience = time.Minute

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
	dir, err := os.MkdirTemp("", "integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "wisepops-connect")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
		return 2
	}
	return m.Run()
}

// place is where one test's pipelines run: a website, a schema of PostgreSQL, a
// key of the state and a working directory.
type place struct {
	t    *testing.T
	site *sandbox.Service
	url  string
	dsn  string
	db   *sql.DB
	key  string
	dir  string
}

func newPlace(t *testing.T, opts sandbox.Options) *place {
	t.Helper()
	if os.Getenv("WISEPOPS_TEST_SERVICES") != "1" {
		t.Skip("WISEPOPS_TEST_SERVICES is not 1")
	}
	p := &place{t: t, site: sandbox.New(opts), dir: t.TempDir()}
	server := httptest.NewServer(p.site)
	t.Cleanup(server.Close)
	p.url = server.URL + "/api2"
	p.key = fmt.Sprintf("wisepops_it_%d_%d", os.Getpid(), time.Now().UnixNano())

	admin, err := sql.Open("postgres", postgresBase)
	require.NoError(t, err)
	_, err = admin.ExecContext(t.Context(), "CREATE SCHEMA "+p.key)
	require.NoError(t, err, "PostgreSQL must be running")
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), "DROP SCHEMA "+p.key+" CASCADE")
		require.NoError(t, err)
		require.NoError(t, admin.Close())
		p.forgetRedis()
	})

	dsn, err := url.Parse(postgresBase)
	require.NoError(t, err)
	query := dsn.Query()
	query.Set("search_path", p.key)
	dsn.RawQuery = query.Encode()
	p.dsn = dsn.String()
	p.db, err = sql.Open("postgres", p.dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.db.Close()) })
	return p
}

// forgetRedis removes what a pipeline left in Redis.
func (p *place) forgetRedis() {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", redisAddress)
	require.NoError(p.t, err, "Redis must be running")
	defer func() { require.NoError(p.t, conn.Close()) }()
	_, err = fmt.Fprintf(conn, "SELECT 13\r\nDEL wisepops:%s wisepops:wisepops_quota\r\nQUIT\r\n", p.key)
	require.NoError(p.t, err)
}

// start runs leads_to_postgres with the state resource and changes of fields.
func (p *place) start(state string, set ...string) *run {
	p.t.Helper()
	return p.startPipeline("leads_to_postgres", state, append(set, "input.wisepops_contacts.checkpoint_cache_key="+p.key)...)
}

// startPipeline runs a pipeline of config/ with the state resource, the budget and
// changes of fields.
func (p *place) startPipeline(config, state string, set ...string) *run {
	p.t.Helper()
	args := []string{"run", "-r", repository("resources", state+".yaml"), "-r", repository("resources", "budget.yaml")}
	for _, s := range append(set, "http.enabled=false") {
		args = append(args, "--set", s)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*patience)
	p.t.Cleanup(cancel)
	r := &run{cmd: exec.CommandContext(ctx, binary, append(args, repository("config", config+".yaml"))...)}
	r.cmd.Dir = p.dir
	r.cmd.Env = append(os.Environ(),
		"WISEPOPS_API_KEY="+sandbox.DefaultAPIKey,
		"WISEPOPS_BASE_URL="+p.url,
		"POSTGRES_DSN="+p.dsn,
		"RECEIPT_KEY=integration",
		"PRIVACY_INTERVAL=200ms",
		"WISEPOPS_CALLS=1000000", // the ledger outlives a test
		"WISEPOPS_STATE_DSN="+p.dsn,
		"WISEPOPS_STATE_REDIS=redis://"+redisAddress+"/13",
	)
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	require.NoError(p.t, r.cmd.Start())
	return r
}

// runToEnd has a pipeline catch up and returns what it logged, which holds no
// personal data.
func (p *place) runToEnd(state string) string {
	p.t.Helper()
	r := p.start(state, "input.wisepops_contacts.follow=false")
	require.NoError(p.t, r.cmd.Wait(), "%s", &r.log)
	require.NotContains(p.t, r.log.String(), "@example", "an email address is logged")
	return r.log.String()
}

type run struct {
	cmd *exec.Cmd
	log bytes.Buffer // to be read once the command has ended
}

func repository(path ...string) string {
	abs, err := filepath.Abs(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		panic(err)
	}
	return abs
}

// count is 0 for a table that is not there. A condition may follow its name.
func (p *place) count(table string) (n int) {
	p.t.Helper()
	if name, _, _ := strings.Cut(table, " "); p.exists(name) {
		require.NoError(p.t, p.db.QueryRowContext(p.t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	}
	return n
}

func (p *place) exec(statement string) {
	p.t.Helper()
	_, err := p.db.ExecContext(p.t.Context(), statement)
	require.NoError(p.t, err)
}

// requireAll compares the rows of the table with the contacts of the sandbox, but
// for those that are aside.
func (p *place) requireAll(aside int) {
	p.t.Helper()
	rows := map[string]string{}
	found, err := p.db.QueryContext(p.t.Context(), "SELECT contact_id, coalesce(email, '') FROM wisepops_contacts")
	require.NoError(p.t, err)
	defer func() { require.NoError(p.t, found.Close()) }()
	for found.Next() {
		var id, email string
		require.NoError(p.t, found.Scan(&id, &email))
		rows[id] = email
	}
	require.NoError(p.t, found.Err())

	lost := 0
	for _, c := range p.site.Contacts() {
		id, err := wisepops.ContactID(c.Raw)
		email, ok := rows[id]
		if err != nil || !ok {
			lost++
			continue
		}
		require.Equal(p.t, strings.ToLower(strings.TrimSpace(c.Email)), email)
		delete(rows, id)
	}
	require.Equal(p.t, aside, lost, "contacts without a row")
	require.Empty(p.t, rows, "rows of no contact")
}

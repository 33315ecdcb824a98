package integration_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const zoe = `{"collected_at":"2030-01-01T12:00:00.5+02:00","wisepop_id":12345,"ip":null,` +
	`"fields":{"EMAIL":" Zoë@Example.com ","Pr\u00e9nom":"Zo\u00eb \ud83c\udf3b","Taille (cm)":172,"Avis":null,"O'Hara\"":"'; --"}}`

func TestEveryContactIsOneRow(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 3000, Burst: 1500})
	p.site.AddRaw(time.Date(2030, time.January, 1, 10, 0, 0, 0, time.UTC), []byte(zoe))
	p.runToEnd("state_postgres")
	p.requireAll(0)
	require.Zero(t, p.count("wisepops_dead_letters"))

	var at, email, fields string
	var noEvent, noIP, noCountry, noPhone bool
	require.NoError(t, p.db.QueryRowContext(t.Context(), `
		SELECT to_char(collected_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), email, fields::text,
			event IS NULL, ip IS NULL, country_code IS NULL, phone IS NULL
		FROM wisepops_contacts WHERE wisepop_id = 12345 AND collected_at > '2029-01-01'`).
		Scan(&at, &email, &fields, &noEvent, &noIP, &noCountry, &noPhone))
	assert.Equal(t, "2030-01-01 10:00:00.500", at)
	assert.Equal(t, "zoë@example.com", email)
	assert.JSONEq(t, `{"prenom":"Zoë 🌻","taille_cm":172,"avis":null,"o_hara":"'; --"}`, fields)
	assert.True(t, noEvent && noIP && noCountry && noPhone, "unknown is null")
}

func TestReadingAllAgainChangesNothing(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 2500})
	const digest = `SELECT md5(string_agg(c::text, '|' ORDER BY contact_id)) FROM wisepops_contacts c`
	var before, after string
	p.runToEnd("state_postgres")
	require.NoError(t, p.db.QueryRowContext(t.Context(), digest).Scan(&before))

	p.exec("DELETE FROM wisepops_state")
	calls := p.site.Calls().Total
	p.runToEnd("state_postgres")
	require.Greater(t, p.site.Calls().Total, calls+1, "it did not read all again")
	require.NoError(t, p.db.QueryRowContext(t.Context(), digest).Scan(&after))
	require.Equal(t, before, after)
	p.requireAll(0)
}

// A contact that can never become a row must stop no other, and must not vanish.
func TestRefusedContactsAreKeptAside(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 50})
	for i, raw := range []string{
		`{"collected_at":"2024-01-01T00:00:00Z","wisepop_id":1,"fields":{"email":"nul@example.com","a":"b\u0000c"}}`,
		`{"collected_at":"2024-01-01T00:00:01Z","wisepop_id":123456789012345678901234567890,"fields":{"email":"id@example.com"}}`,
		`{"collected_at":"0000-01-01T00:00:00Z","wisepop_id":1,"fields":{"email":"year@example.com"}}`,
		`{"collected_at":"2024-01-01T00:00:02Z","wisepop_id":1,"fields":{"email":"number@example.com","n":1e200000}}`,
		`["array@example.com"]`,
		`"string@example.com"`,
		`null`,
	} {
		p.site.AddRaw(sandbox.DefaultStart.Add(time.Duration(i)*time.Millisecond), []byte(raw))
	}

	log := p.runToEnd("state_postgres")
	p.requireAll(6)
	require.Equal(t, 6, p.count("wisepops_dead_letters"))
	require.Contains(t, log, "goes to the table wisepops_dead_letters")
	var kept int
	require.NoError(t, p.db.QueryRowContext(t.Context(),
		`SELECT count(*) FROM wisepops_dead_letters WHERE contact_id ~ '^[0-9a-f]{32}$' AND reason <> ''
			AND encode(content, 'escape') ~ '@example.com|null'`).Scan(&kept))
	require.Equal(t, 6, kept)

	// NUL characters, which a text of PostgreSQL cannot hold, are taken out.
	var stripped string
	require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT fields->>'a' FROM wisepops_contacts WHERE email = 'nul@example.com'`).Scan(&stripped))
	require.Equal(t, "bc", stripped)
}

// While PostgreSQL is away contacts wait: they are no dead letters.
func TestPostgresStoppedInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	needServices(t)
	s, base := newPostgres(t)
	p := newPlaceOn(t, base, sandbox.Options{Contacts: 3000})
	g := newGate(p.website)
	r := p.start("state_sqlite", once, smallPages)
	eventually(t, "the table is there", func() bool { return p.exists("wisepops_contacts") })
	p.survives(g, func() int { return p.count("wisepops_contacts") },
		s.outage(r, syscall.SIGINT),  // a fast shutdown
		s.outage(r, syscall.SIGQUIT), // what a crash leaves
	)
	r.succeeds()
	p.requireAll(0)
	require.Zero(t, p.count("wisepops_dead_letters"))
}

// A pop-up that can never become a row stops no other of its snapshot.
func TestSnapshotsAreRowsButForOneThatIsRejected(t *testing.T) {
	p := newPlace(t, sandbox.Options{})
	made, never := "2017-02-27 15:29:43", "0000-01-01 00:00:00"
	popups := make([]sandbox.Campaign, 1000)
	for i := range popups {
		popups[i] = sandbox.Campaign{ID: int64(i + 1), Label: "Pop-up", CreatedAt: &made, Activated: true, DisplayCount: 1 << 40}
	}
	popups[499].CreatedAt = &never
	p.site.SetCampaigns(popups...)
	for snapshots := 1; snapshots <= 2; snapshots++ {
		log := p.website.start("config/performance_to_postgres.yaml", resources("state_sqlite"), "input.wisepops_performance.follow=false").succeeds()
		require.Contains(t, log, "Pop-up 500 of ")
		require.Equal(t, 999*snapshots, p.count("wisepops_performance WHERE wisepop_id <> 500 AND display_count = 1099511627776"))
		require.Equal(t, snapshots, p.count("wisepops_performance_dead_letters WHERE wisepop_id = '500' AND reason LIKE '%(22008)'"))
	}
	require.Equal(t, 999, p.count("wisepops_performance WHERE display_growth = 0"), "the second knows the first")
}

// Live contacts come by webhook while past ones are read, some of them by both ways.
func TestDeliveriesAreRowsBesideABackfill(t *testing.T) {
	t.Parallel()
	const past = 20_000
	p := newPlace(t, sandbox.Options{Contacts: past})
	receiver := net.JoinHostPort("127.0.0.1", freePort(t))
	p.set("WEBHOOK_ADDRESS="+receiver, "WEBHOOK_PUBLIC_URL=http://"+receiver+"/wisepops", "POLL_INTERVAL=1s")
	const pipeline = "config/leads_realtime_to_postgres.yaml"
	r := p.website.start(pipeline, resources("state_sqlite"))
	eventually(t, "hooks are registered", func() bool { return len(p.site.Hooks()) == 3 })
	p.delivers(t)
	for range 300 {
		p.site.Submit()
	}
	eventually(t, "deliveries are rows", func() bool { return p.count("wisepops_contacts WHERE event IS NOT NULL") > 100 })
	require.Less(t, p.count("wisepops_contacts"), past, "the backfill was over before deliveries came")
	r.kill()
	r = p.website.start(pipeline, resources("state_sqlite"))
	eventually(t, "all are delivered", func() bool { return p.site.Deliveries().Pending == 0 })
	eventually(t, "all are read", func() bool { return p.count("wisepops_contacts") == p.site.Len() })
	live := p.count("wisepops_contacts WHERE event IS NOT NULL")
	require.Equal(t, p.site.Len()-past, live)
	calls := p.site.Calls().ByEndpoint["GET /contacts"]
	eventually(t, "polls bring what webhooks had", func() bool { return p.site.Calls().ByEndpoint["GET /contacts"] > calls+1 })
	r.terminate()
	p.requireAll(0)
	require.Equal(t, live, p.count("wisepops_contacts WHERE event IS NOT NULL"), "a poll took the event away")
	require.Zero(t, p.count("wisepops_dead_letters"))
}

// delivers has the website deliver what visitors submit, until the test ends.
func (w *website) delivers(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var delivering sync.WaitGroup
	delivering.Go(func() {
		w.site.Deliver(ctx, sandbox.DeliveryOptions{Retry: 50 * time.Millisecond, Attempts: 1000})
	})
	t.Cleanup(func() {
		cancel()
		delivering.Wait()
	})
}

// A delivery is answered 200 once its row is committed, and not before.
func TestNoDeliveryIsAnsweredBeforeItsRowIsCommitted(t *testing.T) {
	t.Parallel()
	p := newPlace(t, sandbox.Options{})
	receiver := net.JoinHostPort("127.0.0.1", freePort(t))
	p.set("WEBHOOK_ADDRESS="+receiver, "WEBHOOK_PUBLIC_URL=http://"+receiver+"/wisepops")
	r := p.website.start("config/leads_realtime_to_postgres.yaml", resources("state_sqlite"))
	eventually(t, "hooks are registered", func() bool { return len(p.site.Hooks()) == 3 })
	eventually(t, "the table is there", func() bool { return p.exists("wisepops_contacts") })
	// Whoever commits a contact waits for this transaction.
	p.exec(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext(current_schema())); RETURN NULL; END $$`)
	p.exec(`CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON wisepops_contacts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()`)
	other, err := p.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = other.ExecContext(t.Context(), "SELECT pg_advisory_xact_lock(hashtext(current_schema()))")
	require.NoError(t, err)

	p.delivers(t)
	p.site.Submit()
	eventually(t, "the commit waits", func() bool {
		var waiting bool
		require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND objid::bigint = (hashtext(current_schema())::bigint & 4294967295))`).Scan(&waiting))
		return waiting
	})
	require.Empty(t, p.site.Deliveries().ByStatus)
	require.Zero(t, p.count("wisepops_contacts"))
	require.NoError(t, other.Rollback())
	eventually(t, "it is delivered", func() bool { return p.site.Deliveries().Pending == 0 })
	require.Positive(t, p.site.Deliveries().ByStatus[http.StatusOK])
	require.Equal(t, p.site.Len(), p.count("wisepops_contacts"))
	r.terminate()
}

// newPostgres returns a server, and the DSN of a user who may do everything.
func newPostgres(t *testing.T) (s *server, dsn string) {
	t.Helper()
	s = newServer(t)
	as := s.notAsRoot("postgres")
	data := filepath.Join(s.dir, "data")
	out, err := as(exec.CommandContext(t.Context(), program(t, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")).CombinedOutput()
	require.NoError(t, err, "%s", out)

	dsn = "postgres://postgres@" + s.address + "/postgres?sslmode=disable"
	db, err := sql.Open("postgres", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s.ready = func() bool { return db.PingContext(t.Context()) == nil }
	s.last = syscall.SIGQUIT // by SIGKILL it leaves processes behind
	postgres := program(t, "postgres")
	s.command = func() *exec.Cmd {
		return as(exec.Command(postgres, "-D", data, "-p", s.port, "-c", "listen_addresses=127.0.0.1", "-k", s.dir))
	}
	s.start()
	return s, dsn
}

// place is a website with a schema of PostgreSQL.
type place struct {
	*website
	dsn string
	db  *sql.DB
}

// newPlace has its schema in the server that all tests share, and leaves nothing in
// Redis.
func newPlace(t *testing.T, opts sandbox.Options) *place {
	t.Helper()
	p := newPlaceOn(t, postgresBase, opts)
	p.set("WISEPOPS_STATE_REDIS=redis://" + redisAddress + "/13")
	t.Cleanup(p.forgetRedis)
	return p
}

func newPlaceOn(t *testing.T, base string, opts sandbox.Options) *place {
	t.Helper()
	p := &place{website: newWebsite(t, opts)}
	admin, err := sql.Open("postgres", base)
	require.NoError(t, err)
	_, err = admin.ExecContext(t.Context(), "CREATE SCHEMA "+p.key)
	require.NoError(t, err, "PostgreSQL must be running")
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), "DROP SCHEMA "+p.key+" CASCADE")
		require.NoError(t, err)
		require.NoError(t, admin.Close())
	})

	dsn, err := url.Parse(base)
	require.NoError(t, err)
	query := dsn.Query()
	query.Set("search_path", p.key)
	dsn.RawQuery = query.Encode()
	p.dsn = dsn.String()
	p.db, err = sql.Open("postgres", p.dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.db.Close()) })
	p.set("POSTGRES_DSN=" + p.dsn) // for the state as well
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
func (p *place) start(state string, fields ...string) *run {
	p.t.Helper()
	return p.website.start("config/leads_to_postgres.yaml", resources(state), append(fields, "input.wisepops_contacts.checkpoint_cache_key="+p.key)...)
}

// resources are those that a pipeline needs: where its state is, and its budget.
func resources(state string) []string {
	return []string{"resources/" + state + ".yaml", "resources/budget.yaml"}
}

// runToEnd has a pipeline catch up and returns what it logged.
func (p *place) runToEnd(state string) string {
	p.t.Helper()
	return p.start(state, once).succeeds()
}

func (p *place) exists(table string) (there bool) {
	p.t.Helper()
	require.NoError(p.t, p.db.QueryRowContext(p.t.Context(), "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there))
	return there
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

// requireAll compares the rows of the table with the contacts of the sandbox, but for
// those that are aside.
func (p *place) requireAll(aside int) {
	p.t.Helper()
	p.website.requireAll(rows(p.t, p.db), aside)
}

// rows reads a table of contacts.
func rows(t *testing.T, db *sql.DB) arrivals {
	t.Helper()
	found, err := db.QueryContext(t.Context(), "SELECT contact_id, coalesce(email, '') FROM wisepops_contacts")
	require.NoError(t, err)
	defer func() { require.NoError(t, found.Close()) }()
	arrived := arrivals{}
	for found.Next() {
		var id, email string
		require.NoError(t, found.Scan(&id, &email))
		arrived[id] = email
	}
	require.NoError(t, found.Err())
	return arrived
}

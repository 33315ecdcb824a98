package integration_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

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
	p.requireAll(7)
	require.Equal(t, 7, p.count("wisepops_dead_letters"))
	require.Contains(t, log, "went to the table wisepops_dead_letters")
	var kept int
	require.NoError(t, p.db.QueryRowContext(t.Context(),
		`SELECT count(*) FROM wisepops_dead_letters WHERE contact_id ~ '^[0-9a-f]{32}$' AND reason <> ''
			AND encode(content, 'escape') ~ '@example.com|null'`).Scan(&kept))
	require.Equal(t, 7, kept)
}

// While PostgreSQL is away contacts wait: they are no dead letters.
func TestPostgresAwayForAWhile(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 4000})
	dsn, err := url.Parse(p.dsn)
	require.NoError(t, err)
	away := newProxy(t, dsn.Host)
	dsn.Host = away.address
	p.dsn = dsn.String()

	r := p.start("state_sqlite", "input.wisepops_contacts.follow=false", "input.wisepops_contacts.page_size=100")
	require.Eventually(t, func() bool { return p.count("wisepops_contacts") > 300 }, patience, 10*time.Millisecond)
	away.cut(true)
	cutAt := p.count("wisepops_contacts")
	require.Less(t, cutAt, 4000, "too late to cut")
	require.Eventually(t, func() bool { return away.refusals() >= 20 }, patience, 10*time.Millisecond, "it does not try again")
	away.cut(false)
	require.NoError(t, r.cmd.Wait(), "%s", &r.log)
	p.requireAll(0)
	require.Zero(t, p.count("wisepops_dead_letters"))
}

// proxy passes connections on, or refuses them.
type proxy struct {
	address string

	mu      sync.Mutex
	away    bool
	refused int
	open    []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{address: listener.Addr().String()}
	var pipes sync.WaitGroup
	pipes.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil || !p.accepts(client, server) {
				_ = client.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				pipes.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_, _ = pair[0].Close(), pair[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut(true)
		pipes.Wait()
	})
	return p
}

func (p *proxy) accepts(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		p.refused++
		_ = server.Close()
		return false
	}
	p.open = append(p.open, client, server)
	return true
}

// cut closes all connections and refuses further ones, or ends that.
func (p *proxy) cut(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

func (p *proxy) refusals() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

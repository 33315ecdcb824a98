package integration_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// sqlSink is a database, and the pipeline of config/ that writes contacts to it.
type sqlSink struct {
	pipeline string
	open     func(*testing.T, sandbox.Options) (*website, *sql.DB)
	own      []string // statements of somebody who makes the table before the pipeline does
	poison   []string // ten contacts that it rejects, however often they come
}

// Of no database a contact.
var noContacts = []string{`["EMAILMARKER@example.com"]`, `"EMAILMARKER@example.com"`, `null`, `17`}

func poisoned(fields ...string) (contacts []string) {
	for i, field := range fields {
		contacts = append(contacts, fmt.Sprintf(`{"collected_at":"2026-01-02T03:04:05.%03dZ","wisepop_id":7,"fields":{"email":"EMAILMARKER@example.com",%s}}`, i, field))
	}
	return contacts
}

const hugeID = `{"collected_at":"2026-01-02T03:04:06Z","wisepop_id":123456789012345678901234567890,"fields":{"email":"EMAILMARKER@example.com"}}`

func nested(depth int) string {
	return `"deep":` + strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

// lengthy is a contact with a text of so many characters in a column.
func lengthy(n int) string {
	_, essay := large(n)
	return fmt.Sprintf(`{"collected_at":"2026-01-02T03:04:07Z","wisepop_id":7,"ip":%q,"fields":{"email":"EMAILMARKER@example.com"}}`, essay)
}

var sqlSinks = map[string]sqlSink{
	"PostgreSQL": {
		pipeline: "config/leads_to_postgres.yaml",
		open: func(t *testing.T, opts sandbox.Options) (*website, *sql.DB) {
			t.Helper()
			p := newPlace(t, opts)
			p.set("POSTGRES_DSN=" + p.dsn + "&max_stack_depth=200kB") // with 2 MB of it, it takes whatever JSON Go does
			return p.website, p.db
		},
		own: []string{
			`CREATE TABLE wisepops_contacts (contact_id TEXT PRIMARY KEY, collected_at TIMESTAMPTZ, wisepop_id BIGINT, event TEXT,
				form_session TEXT, ip TEXT, country_code TEXT, email TEXT, phone TEXT, fields JSONB NOT NULL)`,
			`CREATE INDEX by_ip ON wisepops_contacts (ip)`,
		},
		poison: append(append(poisoned(`"another":-1e200000`, `"number":1e200000`, nested(3000)), noContacts...),
			hugeID, lengthy(20_000), `{"collected_at":"0000-01-01T00:00:00Z","wisepop_id":1,"fields":{"email":"EMAILMARKER@example.com"}}`),
	},
	"MariaDB": {
		pipeline: "config/leads_to_mysql.yaml",
		open: func(t *testing.T, opts sandbox.Options) (*website, *sql.DB) {
			t.Helper()
			s, db := newMariaDB(t)
			w := newWebsite(t, opts)
			w.set("MYSQL_DSN=root@tcp(" + s.address + ")/leads")
			return w, db
		},
		own: []string{
			`CREATE TABLE wisepops_contacts (contact_id CHAR(32) PRIMARY KEY, collected_at DATETIME(3), wisepop_id BIGINT, event TEXT,
				form_session TEXT, ip VARCHAR(254), country_code TEXT, email TEXT, phone TEXT, fields JSON NOT NULL, KEY by_ip (ip))
				CHARACTER SET utf8mb4`,
		},
		poison: append(append(poisoned(nested(40), nested(400), nested(3000)), noContacts...), hugeID, lengthy(255), lengthy(70_000)),
	},
	"SQLite": {
		pipeline: "config/leads_to_sqlite.yaml",
		open: func(t *testing.T, opts sandbox.Options) (*website, *sql.DB) {
			t.Helper()
			w := newWebsite(t, opts)
			db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "leads.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			return w, db
		},
		own: []string{
			`CREATE TABLE wisepops_contacts (contact_id TEXT PRIMARY KEY, collected_at TEXT, wisepop_id INTEGER, event TEXT,
				form_session TEXT, ip TEXT CHECK (length(ip) < 255), country_code TEXT, email TEXT, phone TEXT,
				fields TEXT NOT NULL CHECK (json_valid(fields))) STRICT`,
		},
		poison: append(append(poisoned(nested(1001), nested(2000), nested(3000)), noContacts...), hugeID, lengthy(255), lengthy(70_000)),
	},
}

// A contact that can never become a row holds up no other of its page, and does not vanish.
func TestTenPoisonedContactsOfAThousandStandAside(t *testing.T) {
	for name, sink := range sqlSinks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, db := sink.open(t, sandbox.Options{Contacts: 990})
			require.Len(t, sink.poison, 10)
			for _, raw := range sink.poison {
				w.amid([]byte(raw))
			}
			for _, statement := range sink.own {
				_, err := db.ExecContext(t.Context(), statement)
				require.NoError(t, err)
			}
			log := w.start(sink.pipeline, resources("state_sqlite"), once).succeeds()
			w.requireAll(rows(t, db), 10)
			assert.Equal(t, 10, strings.Count(log, "goes to the table wisepops_dead_letters"))

			aside, err := db.QueryContext(t.Context(), "SELECT contact_id, reason, content FROM wisepops_dead_letters")
			require.NoError(t, err)
			defer func() { require.NoError(t, aside.Close()) }()
			known := 0
			for aside.Next() {
				var id, reason, content string
				require.NoError(t, aside.Scan(&id, &reason, &content))
				assert.Len(t, id, 32)
				assert.NotEmpty(t, content)
				assert.NotEmpty(t, reason)
				if strings.HasPrefix(reason, "NOT_A_CONTACT") {
					known++
				}
			}
			require.NoError(t, aside.Err())
			assert.Equal(t, len(noContacts), known, "what is no contact says so")

			log = w.start(sink.pipeline, resources("state_sqlite"), once).succeeds()
			assert.NotContains(t, log, "wisepops_dead_letters", "the watermark is behind all of them")

			// Read again from the start, all stays as it is.
			before := endState(t, db)
			w.start(sink.pipeline, resources("state_memory"), once).succeeds()
			require.Equal(t, before, endState(t, db))
		})
	}
}

// endState is what both tables hold.
func endState(t *testing.T, db *sql.DB) (lines []string) {
	t.Helper()
	for _, query := range []string{
		`SELECT contact_id, collected_at, wisepop_id, coalesce(event, '-'), coalesce(form_session, '-'), coalesce(ip, '-'),
			coalesce(country_code, '-'), coalesce(email, '-'), coalesce(phone, '-'), fields FROM wisepops_contacts ORDER BY contact_id`,
		`SELECT contact_id, reason, content, arrived_at, '', '', '', '', '', '' FROM wisepops_dead_letters ORDER BY contact_id`,
	} {
		found, err := db.QueryContext(t.Context(), query)
		require.NoError(t, err)
		for found.Next() {
			var values [10]sql.NullString
			var into [10]any
			for i := range values {
				into[i] = &values[i]
			}
			require.NoError(t, found.Scan(into[:]...))
			lines = append(lines, fmt.Sprint(values))
		}
		require.NoError(t, found.Err())
		require.NoError(t, found.Close())
	}
	return lines
}

// The kills come in the midst of pages, some of which go row by row.
func TestKilledWhileItWritesRowsLosesNone(t *testing.T) {
	const kills, pages, size = 5, 80, 100
	for name, sink := range sqlSinks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, db := sink.open(t, sandbox.Options{Contacts: pages * size})
			for i, raw := range noContacts {
				w.site.AddRaw(w.site.Contacts()[i*pages*size/len(noContacts)].CollectedAt, []byte(raw))
			}
			count := func() (n int) {
				if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM wisepops_contacts").Scan(&n); err != nil {
					return 0 // no table yet
				}
				return n
			}
			g := newGate(w)
			for range kills {
				began := count()
				r := w.start(sink.pipeline, resources("state_sqlite"), smallPages, "input.wisepops_contacts.checkpoint_limit=500")
				g.open(pages / (kills + 1))
				eventually(t, "contacts arrive", func() bool { return count() > began })
				r.kill()
			}
			require.Less(t, count(), pages*size, "the kills came too late to show anything")
			g.open(10 * pages)
			w.start(sink.pipeline, resources("state_sqlite"), once, smallPages).succeeds()
			w.requireAll(rows(t, db), len(noContacts))
			var aside int
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM wisepops_dead_letters").Scan(&aside))
			require.Equal(t, len(noContacts), aside)
		})
	}
}

// A contact twice in a batch is one row, which knows what either tells, and no later one
// that tells less takes anything away.
func TestNoRowForgetsWhatItKnew(t *testing.T) {
	const id = "00000000000000000000000000000001"
	for name, sink := range sqlSinks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, db := sink.open(t, sandbox.Options{})
			const less = `{"collected_at":"2026-01-02T03:04:05Z","wisepop_id":7,"fields":{"a":"b"}}`
			const more = `{"collected_at":"2026-01-02T03:04:05Z","wisepop_id":7,"ip":"192.0.2.1","form_session":"f","country_code":"FR",
				"event":"email","fields":{"email":"zoe@example.com","phone":"+33612345678","a":"b"}}`
			for _, batch := range []string{less + "," + more + "," + less, less, `{"fields":{"a":"b"}}`} {
				log := w.start(w.write(fed(t, sink.pipeline, id, batch)), resources("state_memory")).succeeds()
				require.NotContains(t, log, "level=error", "a contact twice in a batch fails no statement")
				var n int
				var at, event, session, ip, country, email, phone, fields string
				require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) OVER (), collected_at, event, form_session, ip, country_code,
					email, phone, fields FROM wisepops_contacts WHERE contact_id = '`+id+`' AND wisepop_id = 7`).
					Scan(&n, &at, &event, &session, &ip, &country, &email, &phone, &fields))
				assert.Equal(t, 1, n)
				assert.Contains(t, at, "2026-01-02")
				assert.Equal(t, []string{"email", "f", "192.0.2.1", "FR", "zoe@example.com", "+33612345678"},
					[]string{event, session, ip, country, email, phone})
				assert.JSONEq(t, `{"a":"b"}`, fields)
			}
		})
	}
}

// fed is a pipeline of config/ whose input is one batch, of contacts with one id.
func fed(t *testing.T, pipeline, id, batch string) string {
	t.Helper()
	whole, err := os.ReadFile(repository(pipeline))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(whole), "\npipeline:\n")
	require.True(t, found)
	return fmt.Sprintf(`
input:
  generate:
    count: 1
    interval: ""
    mapping: root = %q.parse_json()
  processors:
    - unarchive:
        format: json_array
    - mapping: |
        meta wisepops_contact_id = %q
        meta wisepops_event = this.event.or(deleted())
        root = this.without("event")

pipeline:
%s`, "["+batch+"]", id, rest)
}

// While somebody else writes to the file, contacts wait: they are no dead letters.
func TestLockedFileOfSQLiteIsWaitedFor(t *testing.T) {
	t.Parallel()
	sink := sqlSinks["SQLite"]
	w, db := sink.open(t, sandbox.Options{Contacts: 2000})
	g := newGate(w)
	r := w.start(sink.pipeline, resources("state_sqlite"), once, smallPages)
	g.open(2)
	eventually(t, "contacts arrive", func() bool {
		var n int
		return db.QueryRowContext(t.Context(), "SELECT count(*) FROM wisepops_contacts").Scan(&n) == nil && n > 0
	})
	failures := func() int { return strings.Count(r.log.String(), "Failed to send message to sql_raw") }
	var other *sql.Conn
	before := 0
	w.survives(g, func() int { return len(rows(t, db)) }, outage{
		begin: func() {
			var err error
			other, err = db.Conn(t.Context())
			require.NoError(t, err)
			_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
			require.NoError(t, err)
			before = failures()
		},
		noticed: func() bool { return failures() >= before+2 }, // what went row by row would go aside now
		end: func() {
			_, err := other.ExecContext(context.Background(), "ROLLBACK")
			require.NoError(t, err)
			require.NoError(t, other.Close())
		},
	})
	r.succeeds()
	w.requireAll(rows(t, db), 0)
	var aside int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM wisepops_dead_letters").Scan(&aside))
	require.Zero(t, aside)
}

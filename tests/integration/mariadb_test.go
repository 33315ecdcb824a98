package integration_test

import (
	"database/sql"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestMariaDBHasOneRowAContact(t *testing.T) {
	t.Parallel()
	needServices(t)
	s, db := newMariaDB(t)
	w := newWebsite(t, sandbox.Options{Contacts: 3000})
	w.site.AddRaw(time.Date(2030, time.January, 1, 10, 0, 0, 0, time.UTC), []byte(zoe))
	w.site.AddRaw(time.Date(2030, time.January, 2, 10, 0, 0, 0, time.UTC), []byte(
		`{"collected_at":"2030-01-02T10:00:00.001Z","wisepop_id":9007199254740993,"country_code":"jp","ip":"192.0.2.1",`+
			`"form_session":"a1","fields":{"Phone":"090-1234-5678","お名前":"佐藤 さくら"}}`))
	w.site.AddRaw(time.Date(2030, time.January, 3, 10, 0, 0, 0, time.UTC), []byte(
		`{"collected_at":"2030-01-03T10:00:00Z","wisepop_id":12345,"fields":{"email":"さくら.🌻@example.com"}}`))
	w.set("MYSQL_DSN=root@tcp(" + s.address + ")/leads")
	const pipeline = "config/leads_to_mysql.yaml"

	g := newGate(w)
	r := w.start(pipeline, resources("state_sqlite"), once, smallPages)
	count := func() (n int) {
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM wisepops_contacts").Scan(&n); err != nil {
			return 0 // no table yet
		}
		return n
	}
	w.survives(g, count, s.outage(r, syscall.SIGTERM), s.outage(r, syscall.SIGKILL))
	r.succeeds()
	w.requireAll(rows(t, db), 0)

	var email, name, fields string
	var at time.Time
	var noEvent, noIP, noCountry, noPhone bool
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT collected_at, email, JSON_VALUE(fields, '$.prenom'), fields, event IS NULL, ip IS NULL, country_code IS NULL, phone IS NULL
		FROM wisepops_contacts WHERE wisepop_id = 12345 AND collected_at > '2029-01-01'`).
		Scan(&at, &email, &name, &fields, &noEvent, &noIP, &noCountry, &noPhone))
	assert.Equal(t, "2030-01-01 10:00:00.5 +0000 UTC", at.String())
	assert.Equal(t, "zoë@example.com", email)
	assert.Equal(t, "Zoë 🌻", name)
	assert.JSONEq(t, `{"prenom":"Zoë 🌻","taille_cm":172,"avis":null,"o_hara":"'; --"}`, fields)
	assert.True(t, noEvent && noIP && noCountry && noPhone, "unknown is null")

	var phone, country, ip string
	var noEmail bool
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT email IS NULL, phone, country_code, ip, JSON_VALUE(fields, '$.お名前')
		FROM wisepops_contacts WHERE wisepop_id = 9007199254740993 AND collected_at = '2030-01-02 10:00:00.001'`).
		Scan(&noEmail, &phone, &country, &ip, &name))
	assert.True(t, noEmail, "no email is null")
	assert.Equal(t, []string{"+819012345678", "JP", "192.0.2.1", "佐藤 さくら"}, []string{phone, country, ip, name})

	// All of them again, into rows of which some lack what the contact tells.
	_, err := db.ExecContext(t.Context(), "UPDATE wisepops_contacts SET event = 'email', email = NULL, phone = NULL WHERE wisepop_id > 12345")
	require.NoError(t, err)
	w.site.Control(nil)
	w.start(pipeline, resources("state_memory"), once).succeeds()
	w.requireAll(rows(t, db), 0)
	var forgotten int
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT count(*) FROM wisepops_contacts WHERE wisepop_id > 12345 AND event IS NULL
			OR wisepop_id = 9007199254740993 AND phone IS NULL`).Scan(&forgotten))
	require.Zero(t, forgotten, "what the contact does not tell stays")
}

// Values that MariaDB takes for no JSON, since they are nested too deep, and numbers that
// no column holds, keep no other contact of their page from its row.
func TestMariaDBKeepsPoisonedContactsAside(t *testing.T) {
	t.Parallel()
	needServices(t)
	s, db := newMariaDB(t)
	w := newWebsite(t, sandbox.Options{Contacts: 996})
	for i, raw := range []string{
		`{"collected_at":"2024-01-01T00:00:00Z","wisepop_id":1,"fields":{"email":"deep@example.com","a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`,
		`{"collected_at":"2024-01-01T00:00:01Z","wisepop_id":123456789012345678901234567890,"fields":{"email":"id@example.com"}}`,
		`["array@example.com"]`,
		`{"collected_at":"2024-01-01T00:00:02Z","wisepop_id":1,"fields":{"email":"nul@example.com","a":"b\u0000c"}}`,
	} {
		w.site.AddRaw(sandbox.DefaultStart.Add(time.Duration(i)*time.Millisecond), []byte(raw))
	}
	w.set("MYSQL_DSN=root@tcp(" + s.address + ")/leads")
	w.start("config/leads_to_mysql.yaml", resources("state_sqlite"), once).succeeds()
	w.requireAll(rows(t, db), 3)
	var aside int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(DISTINCT contact_id) FROM wisepops_dead_letters").Scan(&aside))
	require.Equal(t, 3, aside)
}

// newMariaDB has a database named leads, of which nothing but the pipelines' tables
// says how text is kept.
func newMariaDB(t *testing.T) (*server, *sql.DB) {
	t.Helper()
	s := newServer(t)
	me, err := user.Current()
	require.NoError(t, err)
	data := filepath.Join(s.dir, "data")
	install := exec.CommandContext(t.Context(), program(t, "mariadb-install-db"), "--no-defaults", "--user="+me.Username,
		"--datadir="+data, "--skip-test-db", "--auth-root-authentication-method=normal")
	install.Env = append(os.Environ(), "TMPDIR="+s.dir) // two at a time take each other's temporary tables
	out, err := install.CombinedOutput()
	require.NoError(t, err, "%s", out)

	admin, err := sql.Open("mysql", "root@tcp("+s.address+")/")
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Close() })
	s.ready = func() bool { return admin.PingContext(t.Context()) == nil }
	s.runs("mariadbd", "--no-defaults", "--user="+me.Username, "--datadir="+data, "--bind-address=127.0.0.1",
		"--port="+s.port, "--socket="+filepath.Join(s.dir, "socket"))
	_, err = admin.ExecContext(t.Context(), "CREATE DATABASE leads CHARACTER SET latin1")
	require.NoError(t, err)
	db, err := sql.Open("mysql", "root@tcp("+s.address+")/leads?parseTime=true")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return s, db
}

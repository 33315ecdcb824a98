package e2e_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// marked is how many contacts of a markedAPI are of pop-up 77.
const marked = 100

// markedAPI holds contacts that no log may quote.
func markedAPI(t *testing.T, more int) *api {
	t.Helper()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: more})
	for i := range marked {
		a.Add(sandbox.Contact{
			CollectedAt: sandbox.DefaultStart.AddDate(0, 1, i),
			Raw: fmt.Appendf(nil, `{"collected_at":"%s","wisepop_id":77,"fields":{"email":"EMAILMARKER%d@example.com","phone":"+49PHONEMARKER%d"}}`,
				sandbox.DefaultStart.AddDate(0, 1, i).Format(time.RFC3339), i, i),
		})
	}
	return a
}

var trace = obj{"logger": obj{"level": "TRACE"}}

// A configuration at fault ends the process with one error that says what to do,
// before any call is made.
func TestConfigurationAtFaultIsAnErrorWithoutACall(t *testing.T) {
	for _, tc := range []struct {
		name     string
		settings obj
		says     []string
		cured    bool // look whether anything was lost
	}{
		{"missing key", obj{"api_key": nil}, []string{"api_key"}, true},
		{"empty key", obj{"api_key": ""}, []string{"api_key is empty", "environment variable"}, false},
		{"key of an unset variable", obj{"api_key": "${E2E_UNSET_KEY}"}, []string{"E2E_UNSET_KEY"}, false},
		{"key of a variable that defaults to nothing", obj{"api_key": "${E2E_UNSET_KEY:}"}, []string{"api_key is empty", "environment variable"}, false},
		{"key of spaces", obj{"api_key": "  "}, []string{"api_key is empty"}, false},
		{"page_size 0", obj{"page_size": 0}, []string{"page_size must be between 1 and 1000"}, true},
		{"page_size 1001", obj{"page_size": 1001}, []string{"page_size must be between 1 and 1000"}, false},
		{"page_size -1", obj{"page_size": -1}, []string{"page_size must be between 1 and 1000"}, false},
		{"unknown cache", obj{"checkpoint_cache": "nowhere"}, []string{"checkpoint_cache", "nowhere"}, true},
		{"missing cache", obj{"checkpoint_cache": nil}, []string{"checkpoint_cache"}, false},
		{"empty cache key", obj{"checkpoint_cache_key": ""}, []string{"checkpoint_cache_key"}, false},
		{"unknown rate limit", obj{"rate_limit": "nowhere"}, []string{"rate_limit", "nowhere"}, false},
		{"http to another host", obj{"base_url": "http://192.0.2.1/api2"}, []string{"base_url", "https"}, true},
		{"http to a name like loopback", obj{"base_url": "http://127.0.0.1.example.invalid/api2"}, []string{"base_url", "https"}, false},
		{"malformed collected_after", obj{"collected_after": "yesterday"}, []string{"collected_after"}, false},
		{"collected_before in front of collected_after", obj{"collected_after": "2026-02-01T00:00:00Z", "collected_before": "2026-01-01T00:00:00Z"}, []string{"collected_before"}, false},
		{"checkpoint_limit 0", obj{"checkpoint_limit": 0}, []string{"checkpoint_limit"}, false},
		{"poll_interval 0", obj{"poll_interval": "0s"}, []string{"poll_interval"}, false},
		{"negative overlap", obj{"overlap": "-1s"}, []string{"overlap"}, false},
		{"timeout 0", obj{"timeout": "0s"}, []string{"timeout"}, false},
		{"negative max_retries", obj{"max_retries": -1}, []string{"max_retries"}, false},
		{"negative wisepop_id", obj{"wisepop_id": -1}, []string{"wisepop_id"}, false},
		{"unknown field", obj{"page_sise": 10}, []string{"page_sise"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := markedAPI(t, 310)
			dir := t.TempDir()
			out, state := filepath.Join(dir, "out"), filepath.Join(dir, "state.db")
			conf := pipeline(a.contacts(tc.settings), fileOutput(out), state, trace)
			p := run(t, conf)
			requireCode(t, 1, p)
			for _, text := range tc.says {
				require.Contains(t, p.printed(), text)
			}
			require.NotContains(t, p.output.String(), "goroutine ", "a panic")
			if tc.name == "unknown field" {
				return // only linting knows of it
			}
			// Linting can be switched off.
			requireCode(t, 1, run(t, conf, "--chilled"))
			require.Zero(t, a.Calls().Total, "calls")
			require.Empty(t, readLines(t, out))
			if tc.cured {
				run(t, pipeline(a.contacts(nil), fileOutput(out), state)).succeeds()
				requireExactlyOnce(t, a, readLines(t, out))
			}
		})
	}
}

func TestTwoInputsOnOneCheckpointKeyAreAnError(t *testing.T) {
	t.Parallel()
	a := markedAPI(t, 310)
	dir := t.TempDir()
	out, state := filepath.Join(dir, "out"), filepath.Join(dir, "state.db")
	for name, labels := range map[string][2]string{"labelled": {"shop_de", "shop_fr"}, "unlabelled": {}} {
		t.Run(name, func(t *testing.T) {
			inputs := list{}
			for _, label := range labels {
				in := a.contacts(obj{"follow": true})
				if label != "" {
					in["label"] = label
				}
				inputs = append(inputs, in)
			}
			p := run(t, pipeline(obj{"broker": obj{"inputs": inputs}}, fileOutput(out), state, trace))
			p.prints("give each its own checkpoint_cache_key")
			for i, label := range labels {
				if label == "" {
					label = "broker.inputs." + strconv.Itoa(i)
				}
				p.prints(label)
			}
			p.terminate()
			p.succeeds()
			_, repeated, _ := compare(a, readLines(t, out))
			require.Zero(t, repeated, "one of them works")
		})
	}

	first, second := a.contacts(nil), a.contacts(obj{"checkpoint_cache_key": "another", "wisepop_id": 77})
	run(t, pipeline(obj{"broker": obj{"inputs": list{first, second}}}, fileOutput(out), state)).succeeds()
	lost, repeated, foreign := compare(a, readLines(t, out))
	require.Equal(t, [3]int{0, marked, 0}, [3]int{lost, repeated, foreign}, "each input reads on its own")
}

func TestCopiesOfOneInputAreAnError(t *testing.T) {
	t.Parallel()
	a := markedAPI(t, 310)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	p := run(t, pipeline(obj{"broker": obj{"copies": 2, "inputs": list{a.contacts(obj{"follow": true})}}}, fileOutput(out), filepath.Join(dir, "state.db"), trace))
	p.prints("checkpoint_cache_key")
	_, repeated, _ := compare(a, readLines(t, out))
	require.Zero(t, repeated)
}

func stored(t *testing.T, state string) *sql.DB {
	t.Helper()
	db := openSQLite(t, state)
	t.Cleanup(func() { _ = db.Close() })
	_, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
	require.NoError(t, err)
	return db
}

func execute(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func TestUnreadableWatermarkStopsReadingUntilItIsDeleted(t *testing.T) {
	for _, tc := range []struct{ name, watermark, says string }{
		{"empty", "", "empty"},
		{"cut", `{"version":1,"wisepop_id":0,"position":"2024-01-0`, "not the JSON"},
		{"another JSON", `[1]`, "not the JSON"},
		{"no version", `{}`, "not the JSON"},
		{"newer version", `{"version":3,"position":"2024-01-05T00:00:00Z"}`, "newer version"},
		{"another pop-up", `{"version":1,"wisepop_id":42,"position":"2024-01-05T00:00:00Z"}`, "wisepop_id 42"},
		{"no time", `{"version":1,"wisepop_id":0,"position":"EMAILMARKER"}`, "not a time"},
		{"no id", `{"version":1,"wisepop_id":0,"position":"2024-01-05T00:00:00Z","seen":{"2024-01-05T00:00:00Z":["EMAILMARKER"]}}`, "not one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := markedAPI(t, 310)
			dir := t.TempDir()
			out, state := filepath.Join(dir, "out"), filepath.Join(dir, "state.db")
			db := stored(t, state)
			execute(t, db, "INSERT INTO state VALUES ('wisepops_contacts', ?)", []byte(tc.watermark))

			p := run(t, pipeline(a.contacts(nil), fileOutput(out), state, trace))
			p.prints("to start over")
			for _, text := range []string{tc.says, `"wisepops_contacts"`, `"state"`} {
				require.Contains(t, p.printed(), text)
			}
			require.True(t, p.running(), "it waits for the cure")
			require.Zero(t, a.Calls().Total, "calls")
			require.Empty(t, readLines(t, out))

			execute(t, db, "DELETE FROM state")
			p.succeeds()
			requireExactlyOnce(t, a, readLines(t, out))
		})
	}
}

func TestWatermarkOfAnotherPopUpIsAnError(t *testing.T) {
	t.Parallel()
	a := markedAPI(t, 310)
	dir := t.TempDir()
	out, state := filepath.Join(dir, "out"), filepath.Join(dir, "state.db")
	run(t, pipeline(a.contacts(obj{"wisepop_id": 77}), fileOutput(out), state, trace)).succeeds()
	require.Len(t, readLines(t, out), marked)

	before := a.Calls().Total
	p := run(t, pipeline(a.contacts(nil), fileOutput(out), state, trace))
	p.prints("wisepop_id 77")
	require.Equal(t, before, a.Calls().Total, "calls")
	p.terminate()
	require.Less(t, p.waitAtMost(patience), 3*time.Second)

	run(t, pipeline(a.contacts(obj{"checkpoint_cache_key": "all"}), fileOutput(out), state)).succeeds()
	lost, repeated, _ := compare(a, readLines(t, out))
	require.Equal(t, [2]int{0, marked}, [2]int{lost, repeated})
}

// Answers that are no contacts are reported, and read again until they are.
func TestBrokenAnswersLoseNothing(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault sandbox.Fault
		says  string
	}{
		{"html", sandbox.Fault{Body: []byte(`<html><body>EMAILMARKER</body></html>`)}, "not JSON"},
		{"empty body", sandbox.Fault{Body: []byte{}, ContentType: "application/json"}, "not JSON"},
		{"object", sandbox.Fault{Body: []byte(`{"error":"EMAILMARKER"}`), ContentType: "application/json"}, "not an array"},
		{"null", sandbox.Fault{Body: []byte(`null`), ContentType: "application/json"}, "not an array"},
		{"array that breaks off", sandbox.Fault{Body: []byte(`[{"fields":{"email":"EMAILMARKER`), ContentType: "application/json"}, "not JSON"},
		{"cut body", sandbox.Fault{CutBody: true}, "unexpected EOF"},
		{"redirect", sandbox.Fault{Status: 302, Header: http.Header{"Location": {"http://192.0.2.1/?EMAILMARKER"}}}, "redirects are not followed"},
		{"status 400", sandbox.Fault{Status: 400, Body: []byte("EMAILMARKER")}, "status 400"},
		{"status 429", sandbox.Fault{Status: 429, RetryAfter: "1", Body: []byte("EMAILMARKER")}, "call budget is spent"},
	} {
		for page := 1; page <= 3; page += 2 {
			t.Run(fmt.Sprintf("%s instead of page %d", tc.name, page), func(t *testing.T) {
				t.Parallel()
				a := markedAPI(t, 310)
				var mu sync.Mutex
				calls := 0
				a.Control(func(*http.Request) *sandbox.Fault {
					mu.Lock()
					defer mu.Unlock()
					calls++
					if calls < page || calls >= page+3 {
						return nil
					}
					f := tc.fault
					return &f
				})
				dir := t.TempDir()
				out := filepath.Join(dir, "out")
				p := run(t, pipeline(a.contacts(obj{"page_size": 110, "poll_interval": "100ms", "max_retries": 1}), fileOutput(out), filepath.Join(dir, "state.db"), trace))
				p.succeeds()
				require.Contains(t, p.printed(), tc.says)
				requireExactlyOnce(t, a, readLines(t, out))
				requireCalls(t, a, 4+3+2)
			})
		}
	}
}

func TestContactsWithoutAReadableTimeArriveOnce(t *testing.T) {
	t.Parallel()
	a := markedAPI(t, 310)
	for i, collectedAt := range []string{`"EMAILMARKER"`, `""`, `null`, `12345`, `"2024-13-45T00:00:00Z"`, `{"EMAILMARKER":1}`, `"10/01/2024 10:00"`} {
		a.AddRaw(sandbox.DefaultStart.Add(time.Duration(i)*5*time.Hour),
			fmt.Appendf(nil, `{"collected_at":%s,"wisepop_id":77,"fields":{"email":"EMAILMARKERx%d@example.com"}}`, collectedAt, i))
	}
	// Those beside the newest contact are in the overlap, and come again.
	contacts := a.Contacts()
	for i := range 3 {
		a.AddRaw(contacts[len(contacts)-1].CollectedAt, fmt.Appendf(nil, `{"wisepop_id":77,"fields":{"email":"EMAILMARKERy%d@example.com"}}`, i))
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	conf := pipeline(a.contacts(obj{"page_size": 110}), fileOutput(out), filepath.Join(dir, "state.db"), trace)
	p := run(t, conf)
	p.succeeds()
	require.Contains(t, p.printed(), "no readable collected_at")
	run(t, conf).succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
}

func redisCache(address string) obj {
	return obj{"cache_resources": list{obj{"label": "state", "redis": obj{"url": "tcp://" + address}}}}
}

func TestCacheThatIsDownAtTheStartCostsNoCall(t *testing.T) {
	t.Parallel()
	a := markedAPI(t, 310)
	address := freeAddress(t)
	out := filepath.Join(t.TempDir(), "out")
	p := run(t, pipeline(a.contacts(nil), fileOutput(out), "", trace, redisCache(address)))
	p.prints("reading the watermark")
	require.Contains(t, p.printed(), `"state"`)
	require.True(t, p.running())
	require.Zero(t, a.Calls().Total, "calls")

	server := miniredis.NewMiniRedis()
	require.NoError(t, server.StartAddr(address))
	t.Cleanup(server.Close)
	p.succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
	require.Equal(t, []string{"wisepops_contacts"}, server.Keys())
}

func TestCacheThatFailsLaterPausesReading(t *testing.T) {
	t.Parallel()
	const pageSize, limit = 50, 200
	a := markedAPI(t, 1410)
	dir := t.TempDir()
	out, state := filepath.Join(dir, "out"), filepath.Join(dir, "state.db")
	db := stored(t, state)
	var breaking sync.Once
	a.Control(func(*http.Request) *sandbox.Fault {
		if a.Calls().Total == 5 {
			breaking.Do(func() { _, _ = db.ExecContext(t.Context(), "ALTER TABLE state RENAME TO gone") })
		}
		return nil
	})
	conf := pipeline(a.contacts(obj{"page_size": pageSize, "checkpoint_limit": limit}), fileOutput(out), state, trace)
	sql, _ := conf["cache_resources"].(list)[0].(obj)["sql"].(obj)
	delete(sql, "init_statement")

	p := run(t, conf)
	p.prints("storing the watermark")
	p.prints("reading pauses")
	<-time.After(time.Second) // for what is read although nothing can be stored
	most := 4*pageSize + limit
	require.LessOrEqual(t, len(readLines(t, out)), most, "contacts read although nothing can be stored")
	require.True(t, p.running())
	p.kill()
	require.LessOrEqual(t, len(repairLines(t, out)), most, "contacts read although nothing can be stored")

	execute(t, db, "ALTER TABLE gone RENAME TO state")
	before := a.Calls().Total
	a.Control(func(*http.Request) *sandbox.Fault {
		if a.Calls().Total == before+3 {
			_, _ = db.ExecContext(t.Context(), "ALTER TABLE state RENAME TO gone")
		}
		return nil
	})
	p = run(t, conf)
	p.prints("reading pauses")
	execute(t, db, "ALTER TABLE gone RENAME TO state")
	p.succeeds()
	lost, repeated, _ := compare(a, readLines(t, out))
	require.Zero(t, lost)
	require.LessOrEqual(t, repeated, limit+pageSize)
}

func TestCacheThatFailsInALongRunWithoutOrderDoesNotStallIt(t *testing.T) {
	t.Parallel()
	const limit = 10_000
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 120_000, Switches: sandbox.Switches{Order: sandbox.NewestFirst}})
	state := filepath.Join(t.TempDir(), "state.db")
	db := stored(t, state)
	s := newSink(t)
	first, others := make(chan struct{}), make(chan struct{})
	var posts atomic.Int64
	s.answer(func([]byte) int {
		switch n := posts.Add(1); {
		case n >= 98:
			<-others
		case n >= 95:
			<-first
		}
		return http.StatusOK
	})
	conf := pipeline(a.contacts(obj{"checkpoint_limit": limit}), s.output(obj{"max_in_flight": 16}), state)
	p := run(t, conf)
	waitFor(t, "pages ahead", func() bool { return posts.Load() >= 102 })
	execute(t, db, "ALTER TABLE state RENAME TO gone")
	close(first)
	p.prints("reading pauses")
	close(others)
	waitFor(t, "the contacts in flight", func() bool { return s.count() >= 100_000 })
	execute(t, db, "ALTER TABLE gone RENAME TO state")
	p.succeeds()
	requireExactlyOnce(t, a, s.received())
}

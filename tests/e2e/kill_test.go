package e2e_test

import (
	"database/sql"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// backfill is one that is killed again and again.
type backfill struct {
	api       *api
	conf      obj
	delivered func() []string // by all runs so far
	kills     int
	pageSize  int
	atMost    int  // repeats that one kill may cause
	again     bool // the API serves no order: each run begins with the first page
	retries   bool // the output may take a message and then refuse it
}

// slowness spreads a backfill over the moments at which it is killed.
const slowness = 3 * time.Millisecond

// survive kills the backfill at random moments, lets it end, and demands every
// contact.
func (b *backfill) survive(t *testing.T) {
	t.Helper()
	rng := newRand(t)
	known := map[string]bool{}
	read, worst, total, inTheMiddle := 0, 0, 0, 0
	account := func() {
		lines := b.delivered()
		repeats := 0
		inRun := map[string]bool{}
		for _, line := range lines[read:] {
			if known[line] {
				repeats++
			}
			if !b.retries {
				require.False(t, inRun[line], "a contact came twice without a crash")
			}
			inRun[line] = true
		}
		for line := range inRun {
			known[line] = true
		}
		read = len(lines)
		require.LessOrEqual(t, repeats, b.atMost, "repeats that one kill caused")
		worst, total = max(worst, repeats), total+repeats
	}

	pages := b.api.Len() / b.pageSize
	for k := range b.kills {
		left := pages - len(known)/b.pageSize
		calls := 1 + rng.IntN(max(1, 2*left/(b.kills-k+1)))
		if b.again {
			calls += len(known) / b.pageSize
		}
		b.killOnce(t, rng, calls)
		account()
		if len(known) > 0 && len(known) < b.api.Len() {
			inTheMiddle++
		}
	}
	b.api.slowly(nil)
	run(t, b.conf).succeeds()
	account()

	lost, _, foreign := compare(b.api, b.delivered())
	t.Logf("%d kills, %d of them in the middle of the contacts: %d contacts repeated, %d at most by one kill",
		b.kills, inTheMiddle, total, worst)
	require.Zero(t, lost, "contacts lost")
	require.Zero(t, foreign, "messages that are no contact")
	require.GreaterOrEqual(t, 3*inTheMiddle, b.kills, "kills that hit the backfill: otherwise this test proves little")
}

// killOnce kills a run at its calls-th call, a little later, or at a moment that
// no call decides.
func (b *backfill) killOnce(t *testing.T, rng *rand.Rand, calls int) {
	t.Helper()
	reached := make(chan struct{})
	var seen atomic.Int64
	b.api.slowly(func() {
		if seen.Add(1) == int64(calls) {
			close(reached)
		}
	})
	p := run(t, b.conf)
	var moment <-chan time.Time
	switch rng.IntN(4) {
	case 0:
		moment = time.After(time.Duration(rng.IntN(400))*time.Millisecond + time.Duration(calls)*slowness)
	case 1:
		<-orEnd(reached, p)
	default:
		<-orEnd(reached, p)
		moment = time.After(time.Duration(rng.IntN(40_000)) * time.Microsecond)
	}
	if moment != nil {
		<-moment
	}
	p.kill()
	require.Contains(t, []int{-1, 0}, p.code, "exit code")
}

func orEnd(reached <-chan struct{}, p *process) <-chan struct{} {
	either := make(chan struct{})
	go func() {
		defer close(either)
		select {
		case <-reached:
		case <-p.ended:
		}
	}()
	return either
}

// slowly delays each answer, and calls onCall first.
func (a *api) slowly(onCall func()) {
	if onCall == nil {
		a.Control(nil)
		return
	}
	a.Control(func(*http.Request) *sandbox.Fault {
		onCall()
		return &sandbox.Fault{Delay: slowness}
	})
}

func TestKilledBackfillLosesNothing(t *testing.T) {
	const pageSize, limit = 1000, 5000
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.NewestFirst, sandbox.Unsorted} {
		t.Run(order.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			n := kills(t, 8)
			a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 20_000 + 3000*n, Burst: 3 * pageSize, Switches: sandbox.Switches{Order: order, Anonymous: -1}})
			b := backfill{
				api: a, kills: n, pageSize: pageSize, atMost: limit + pageSize, again: order != sandbox.OldestFirst,
				conf:      pipeline(a.contacts(obj{"page_size": pageSize, "checkpoint_limit": limit}), fileOutput(out), filepath.Join(dir, "state.db")),
				delivered: func() []string { return repairLines(t, out) },
			}
			b.survive(t)
		})
	}
}

func TestKilledBackfillIntoATableLosesNothing(t *testing.T) {
	t.Parallel()
	const pageSize, limit = 1000, 2000
	dir := t.TempDir()
	file := filepath.Join(dir, "leads.db")
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 40_000, Switches: sandbox.Switches{Anonymous: -1}})
	output := obj{"sql_insert": obj{
		"driver": "sqlite", "dsn": sqliteDSN(file), "table": "leads",
		"columns":        list{"id", "raw"},
		"args_mapping":   `root = [ @wisepops_contact_id, content().string() ]`,
		"init_statement": "CREATE TABLE IF NOT EXISTS leads (n INTEGER PRIMARY KEY, id TEXT NOT NULL, raw TEXT NOT NULL)",
		"max_in_flight":  1,
	}}
	b := backfill{
		api: a, kills: kills(t, 6), pageSize: pageSize, atMost: limit + pageSize,
		conf:      pipeline(a.contacts(obj{"page_size": pageSize, "checkpoint_limit": limit}), output, filepath.Join(dir, "state.db")),
		delivered: func() []string { return column(t, file, "SELECT raw FROM leads ORDER BY n") },
	}
	b.survive(t)

	ids := column(t, file, "SELECT DISTINCT id FROM leads")
	require.Len(t, ids, a.Len(), "distinct contact ids")
}

func column(t *testing.T, file, query string) []string {
	t.Helper()
	db := openSQLite(t, file)
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		return nil // the table is not there yet
	}
	defer func() { _ = rows.Close() }()
	var values []string
	for rows.Next() {
		var v string
		require.NoError(t, rows.Scan(&v))
		values = append(values, v)
	}
	require.NoError(t, rows.Err())
	return values
}

func openSQLite(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqliteDSN(file))
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	return db
}

// Both bound what a kill repeats: messages in flight, and those acknowledged
// that a slow output piled up.
func TestKilledBackfillWithAFailingOutputLosesNothing(t *testing.T) {
	t.Parallel()
	const pageSize, limit = 100, 1000
	rng := newRand(t)
	var posts atomic.Int64
	period := int64(3 + rng.IntN(3))
	s := newSink(t)
	s.answer(func([]byte) int {
		if posts.Add(1)%period == 0 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 10_000, Switches: sandbox.Switches{Anonymous: -1}})
	b := backfill{
		// What is acknowledged close to a rejection is sent again.
		api: a, kills: kills(t, 6), pageSize: pageSize, atMost: a.Len(), retries: true,
		conf: pipeline(a.contacts(obj{"page_size": pageSize, "checkpoint_limit": limit}), s.output(obj{"max_in_flight": 4}),
			filepath.Join(t.TempDir(), "state.db")),
		delivered: func() []string { return s.settled(t) },
	}
	b.survive(t)
	require.Positive(t, s.rejections())
}

func TestKilledBackfillWithABlockingOutputLosesNothing(t *testing.T) {
	t.Parallel()
	const pageSize, limit = 100, 1000
	var posts atomic.Int64
	s := newSink(t)
	s.answer(func([]byte) int {
		if posts.Add(1)%7 == 0 {
			<-time.After(150 * time.Millisecond)
		}
		return http.StatusOK
	})
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 8_000, Switches: sandbox.Switches{Anonymous: -1}})
	b := backfill{
		api: a, kills: kills(t, 6), pageSize: pageSize, atMost: limit + pageSize,
		conf: pipeline(a.contacts(obj{"page_size": pageSize, "checkpoint_limit": limit}), s.output(obj{"max_in_flight": 4}),
			filepath.Join(t.TempDir(), "state.db")),
		delivered: func() []string { return s.settled(t) },
	}
	b.survive(t)
}

func TestKilledBackfillWithLargeBatchesLosesNothing(t *testing.T) {
	t.Parallel()
	const pageSize, limit = 1000, 10_000
	s := newSink(t)
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 60_000, Switches: sandbox.Switches{Anonymous: -1}})
	b := backfill{
		api: a, kills: min(kills(t, 5), 8), pageSize: pageSize, atMost: limit + pageSize,
		conf: pipeline(a.contacts(obj{"page_size": pageSize, "checkpoint_limit": limit}), s.largeBatches(),
			filepath.Join(t.TempDir(), "state.db")),
		delivered: func() []string { return s.settled(t) },
	}
	b.survive(t)
}

// largeBatches posts 5,000 contacts at a time, and what is left after a while.
func (s *sink) largeBatches() obj {
	out := s.output(obj{"batching": obj{
		"count": 5000, "period": "2s",
		"processors": list{obj{"archive": obj{"format": "lines"}}},
	}})
	delete(out, "processors")
	return out
}

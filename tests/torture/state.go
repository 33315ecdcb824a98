package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the torturer locks the state's own file
)

// state is where the binary keeps its watermark and its ledger of calls, and what can
// happen to it.
type state struct {
	kind   string
	caches list   // with the labels state and, where it differs, ledger
	ledger string // label of the cache for the ledger
	faults []fault

	// meanwhile runs beside the faults; nil where nothing does.
	meanwhile func(context.Context)

	// powerLoss forgets what was written last. It is called while the binary is dead.
	// Nil where nothing is ever lost.
	powerLoss func()

	close func()
}

// The kinds of state. What is written is lost only where the ledger is kept elsewhere,
// since a ledger that forgets calls overspends by right.
const (
	stateSQLite    = "sqlite"
	stateSmallDisk = "sqlite on a small disk"
	stateRedis     = "redis"
	stateForgetful = "redis that forgets"
)

// useState picks the state of the epoch, so that a run goes through all kinds in turn.
func (w *world) useState(forgetful bool) error {
	kinds := []string{stateSQLite, stateSmallDisk, stateRedis}
	if forgetful {
		kinds = append(kinds, stateForgetful)
	}
	kind := kinds[(int(w.opts.seed%1000)+w.number)%len(kinds)]
	var err error
	switch kind {
	case stateSQLite:
		w.state = w.sqliteState(filepath.Join(w.dir, "state.db"))
	case stateSmallDisk:
		w.state, err = w.smallDiskState()
	default:
		w.state, err = w.redisState(kind == stateForgetful)
	}
	return err
}

func (w *world) sqliteState(file string) *state {
	return &state{
		kind: stateSQLite, ledger: "state", caches: list{sqliteCache("state", file)},
		faults: []fault{{"locked", func(rng *rand.Rand) func() { return w.lock(file, pick(rng, "IMMEDIATE", "EXCLUSIVE")) }}},
		close:  func() {},
	}
}

// sqliteCache is that of resources/state_sqlite.yaml.
func sqliteCache(label, file string) obj {
	return obj{"label": label, "sql": obj{
		"driver":         "sqlite",
		"dsn":            sqliteDSN(file),
		"table":          "wisepops_state",
		"key_column":     "key",
		"value_column":   "value",
		"set_suffix":     "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
		"init_statement": "CREATE TABLE IF NOT EXISTS wisepops_state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
	}}
}

func sqliteDSN(file string) string {
	return "file:" + file + "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)"
}

// lock keeps the binary from writing: it waits as long as its busy_timeout, and then
// has an error.
func (w *world) lock(file, how string) (heal func()) {
	db, err := sql.Open("sqlite", sqliteDSN(file))
	if err != nil {
		w.problem("opening the state: %v", err)
		return func() {}
	}
	db.SetMaxOpenConns(1)
	// In the middle of a recovery, and where the disk is full, there is nothing to lock.
	if _, err := db.ExecContext(w.ctx, "BEGIN "+how); err != nil && w.opts.verbose {
		w.note("locking the state: %v", err)
	}
	return func() { _ = db.Close() }
}

// smallDiskState is SQLite on a file system that can be filled up.
func (w *world) smallDiskState() (*state, error) {
	if os.Geteuid() != 0 {
		return w.sqliteState(filepath.Join(w.dir, "state.db")), nil
	}
	disk := filepath.Join(w.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		return nil, err
	}
	// Large enough for what is written while nobody fills it up: a watermark of an API
	// that serves newest contacts first holds all ids of a run, up to some MiB, and the
	// log of SQLite several versions of it.
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=48m"); err != nil {
		w.note("no small disk could be mounted (%v): no disk fills up in this epoch", err)
		return w.sqliteState(filepath.Join(w.dir, "state.db")), nil
	}
	s := w.sqliteState(filepath.Join(disk, "state.db"))
	s.kind = stateSmallDisk
	s.close = func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			w.note("unmounting the small disk: %v", err)
		}
	}
	ballast := filepath.Join(disk, "ballast")
	full := fault{"disk full", func(*rand.Rand) func() {
		if err := fill(ballast); err != nil {
			w.problem("filling the disk: %v", err)
		}
		return func() {
			if err := os.Remove(ballast); err != nil {
				w.problem("freeing the disk: %v", err)
			}
		}
	}}
	s.faults = append(s.faults, full, full)
	return s, nil
}

// fill writes a file until the disk is full.
func fill(path string) error {
	f, err := os.Create(path) //nolint:gosec // in a folder of our own
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		n, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			if n == 0 {
				size /= 2
			}
		case err != nil:
			return err
		}
	}
	return nil
}

func (w *world) redisState(forgetful bool) (*state, error) {
	r, err := newRedis(w.ctx, w.rng("redis"))
	if err != nil {
		return nil, err
	}
	s := &state{
		kind: stateRedis, ledger: "state",
		caches: list{obj{"label": "state", "redis": obj{"url": "redis://" + r.address()}}},
		close:  r.close,
	}
	for _, kind := range redisFaults {
		s.faults = append(s.faults, fault{kind, func(*rand.Rand) func() { return r.misbehave(kind) }})
	}
	if !forgetful {
		return s, nil
	}
	s.kind, s.ledger = stateForgetful, "ledger"
	s.caches = append(s.caches, sqliteCache("ledger", filepath.Join(w.dir, "ledger.db")))
	// A dump is taken now and then; a crash of the server brings the last one back.
	rng := w.rng("dumps")
	dump := func() { w.sink.dumped(); r.dump() }
	dump()
	s.meanwhile = func(ctx context.Context) {
		for pause(ctx, between(rng, 500*time.Millisecond, 4*time.Second)) {
			dump()
		}
	}
	lose := func() {
		w.res.count(&w.res.stateLosses)
		w.sink.stateLost()
		if err := r.restore(); err != nil {
			w.problem("setting the state back: %v", err)
		}
	}
	s.powerLoss = lose
	// The server alone crashes: the binary goes on, with a state that is older.
	s.faults = append(s.faults, fault{"lost writes", func(*rand.Rand) func() { return lose }})
	return s, nil
}

// quotas are the rate limits of resources/budget.yaml, for the window of an epoch.
func (w *world) quotas(calls, reserve int) list {
	quota := func(label string, reserve int) obj {
		return obj{"label": label, "wisepops_quota": obj{
			"calls": calls, "window": budgetWindow.String(), "reserve": reserve, "cache": w.state.ledger,
		}}
	}
	return list{quota("budget", reserve), quota("budget_privacy", 0)}
}

// pipeline is a whole configuration.
func (w *world) pipeline(input, output obj, calls int, processors ...any) obj {
	conf := obj{
		"http":                 obj{"enabled": false},
		"logger":               obj{"level": w.logLevel()},
		"metrics":              obj{"none": obj{}},
		"shutdown_timeout":     "10s",
		"input":                input,
		"output":               output,
		"cache_resources":      w.state.caches,
		"rate_limit_resources": w.quotas(calls, calls/10),
	}
	if len(processors) > 0 {
		conf["pipeline"] = obj{"processors": processors}
	}
	return conf
}

func (w *world) logLevel() string {
	return []string{"INFO", "DEBUG", "TRACE"}[w.number%3]
}

// describe prints what the epoch is like.
func (w *world) describe(format string, args ...any) {
	w.note("%s, %s", strings.TrimSpace(fmt.Sprintf(format, args...)), w.state.kind)
}

// faultsFor ends the faults after the length of the epoch.
func (w *world) faultsFor() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.ctx, w.length)
}

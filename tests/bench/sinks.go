package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const benchPostgres = "postgres://postgres@127.0.0.1:5432/wisepops_bench?sslmode=disable"

// rowsFraction is the part of the contacts that a statement each is measured with, since it
// is slow.
const rowsFraction = 10

// sinkRival writes contacts into a table that is there, and empty.
type sinkRival struct {
	rival
	contacts int // how many it writes
}

// database is what the pipelines of config/ write to, beside the loader that comes with it.
type database struct {
	name, pipeline, loader string
	environment            []string
	sql                    func(statement string) *exec.Cmd
	export                 func(file string) *exec.Cmd // writes the rows of the table to a file
	load                   func(file string) *exec.Cmd // reads them into it
	empty                  string
}

// databases are PostgreSQL and MariaDB on their usual ports, where the user of this process
// may make databases, and an SQLite file in a folder.
func databases(ctx context.Context, dir string) []database {
	command := func(name string, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, name, args...) //nolint:gosec // the clients of databases
	}
	psql := func(statement string) *exec.Cmd {
		return command("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement, benchPostgres)
	}
	mariadb := func(args ...string) *exec.Cmd {
		return command("mariadb", append([]string{"--host=127.0.0.1", "--user=root", "--default-character-set=utf8mb4", "--local-infile=1", "--skip-column-names"}, args...)...)
	}
	file := filepath.Join(dir, "leads.db")
	sqlite := func(args ...string) *exec.Cmd { return command("sqlite3", append([]string{"-bail", file}, args...)...) }
	return []database{
		{
			name: "PostgreSQL", pipeline: "leads_to_postgres.yaml", loader: `\copy`,
			environment: []string{"POSTGRES_DSN=" + benchPostgres},
			sql:         psql,
			export:      func(file string) *exec.Cmd { return psql(`\copy wisepops_contacts TO '` + file + `'`) },
			load:        func(file string) *exec.Cmd { return psql(`\copy wisepops_contacts FROM '` + file + `'`) },
			empty:       "TRUNCATE wisepops_contacts",
		},
		{
			name: "MariaDB", pipeline: "leads_to_mysql.yaml", loader: "LOAD DATA LOCAL",
			environment: []string{"MYSQL_DSN=root@tcp(127.0.0.1:3306)/wisepops_bench"},
			sql:         func(statement string) *exec.Cmd { return mariadb("--execute="+statement, "wisepops_bench") },
			export: func(file string) *exec.Cmd {
				var columns []string
				for c := range strings.FieldsSeq("contact_id collected_at wisepop_id event form_session ip country_code email phone fields") {
					columns = append(columns, `IFNULL(REPLACE(`+c+`, '\\', '\\\\'), '\\N')`)
				}
				cmd := mariadb("--raw", "--execute=SELECT "+strings.Join(columns, ", ")+" FROM wisepops_contacts", "wisepops_bench")
				return command("sh", append([]string{"-c", `out=$1; shift; exec "$@" >"$out"`, "sh", file}, cmd.Args...)...)
			},
			load: func(file string) *exec.Cmd {
				return mariadb("--execute=LOAD DATA LOCAL INFILE '"+file+"' INTO TABLE wisepops_contacts CHARACTER SET utf8mb4", "wisepops_bench")
			},
			empty: "TRUNCATE wisepops_contacts",
		},
		{
			name: "SQLite", pipeline: "leads_to_sqlite.yaml", loader: ".import",
			environment: []string{"SQLITE_FILE=" + file},
			sql:         func(statement string) *exec.Cmd { return sqlite(statement) },
			export: func(to string) *exec.Cmd {
				return sqlite(".mode csv", ".output "+to, "SELECT * FROM wisepops_contacts")
			},
			load:  func(from string) *exec.Cmd { return sqlite(".mode csv", ".import "+from+" wisepops_contacts") },
			empty: "DELETE FROM wisepops_contacts",
		},
	}
}

// benchSinks measures pipelines of config/ beside what loads the same rows into the same
// table fastest, and beside a statement a contact.
func benchSinks(ctx context.Context, binary, configs string, contacts, rounds int) error {
	dir, err := os.MkdirTemp("", "sinks")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	many, stop, err := startSandbox(ctx, binary, contacts)
	if err != nil {
		return err
	}
	defer stop()
	few, stopFew, err := startSandbox(ctx, binary, contacts/rowsFraction)
	if err != nil {
		return err
	}
	defer stopFew()
	if err := createDatabases(ctx); err != nil {
		return err
	}
	fmt.Printf("%d contacts, medians of %d runs; a statement a contact: %d contacts\n\n", contacts, rounds, contacts/rowsFraction)
	fmt.Println("| | contacts/s | CPU seconds of the process | peak memory | time a contact against the pipeline |")
	fmt.Println("|---|---|---|---|---|")
	for _, db := range databases(ctx, dir) {
		pipeline := func(path, baseURL string) func(string) *exec.Cmd {
			return func(dir string) *exec.Cmd {
				cmd := exec.CommandContext(ctx, binary, "run", "-r", "resources/state_sqlite.yaml", "-r", "resources/budget.yaml", //nolint:gosec // the binary under test
					"--set", "input.wisepops_contacts.follow=false", "--set", "http.enabled=false", "--set", "logger.level=WARN", path)
				cmd.Env = append(append(os.Environ(), "WISEPOPS_API_KEY="+apiKey, "WISEPOPS_BASE_URL="+baseURL, "WISEPOPS_CALLS=1000000",
					"WISEPOPS_STATE="+filepath.Join(dir, "state.db")), db.environment...)
				return cmd
			}
		}
		file := filepath.Join(dir, db.name)
		ours := &sinkRival{contacts: contacts, rival: rival{name: "`" + strings.TrimSuffix(db.pipeline, ".yaml") + "`", command: pipeline(filepath.Join("config", db.pipeline), many)}}
		// Its first run makes the table, and the rows for the loader; it does not count.
		if _, err := measure(ours.command); err != nil {
			return fmt.Errorf("%s: %w", db.name, err)
		}
		if out, err := db.export(file).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: exporting the rows: %w: %s", db.name, err, out)
		}
		rivals := []*sinkRival{ours, {contacts: contacts, rival: rival{name: db.name + ": `" + db.loader + "`", command: func(string) *exec.Cmd { return db.load(file) }}}}
		if db.name == "PostgreSQL" {
			rivals = append(rivals, &sinkRival{contacts: contacts / rowsFraction, rival: rival{
				name: db.name + ": a statement a contact", command: pipeline(filepath.Join(configs, "rows_to_postgres.yaml"), few),
			}})
		}
		if err := db.turns(rivals, rounds); err != nil {
			return fmt.Errorf("%s: %w", db.name, err)
		}
		each := func(r *sinkRival) float64 { return median(r.runs).wall.Seconds() / float64(r.contacts) }
		for _, r := range rivals {
			m := median(r.runs)
			fmt.Printf("| %s | %.0f | %.2f | %d MiB | %.2f |\n", r.name, 1/each(r), m.cpu.Seconds(), m.memoryKiB/1024, each(r)/each(ours))
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

// createDatabases makes those that both benchmarks write to, empty.
func createDatabases(ctx context.Context) error {
	for _, server := range [][]string{
		{"psql", "-qX", "-c", "DROP DATABASE IF EXISTS wisepops_bench", "-c", "CREATE DATABASE wisepops_bench", "postgres://postgres@127.0.0.1:5432/postgres"},
		{"mariadb", "--host=127.0.0.1", "--user=root", "--execute=DROP DATABASE IF EXISTS wisepops_bench; CREATE DATABASE wisepops_bench"},
	} {
		if out, err := exec.CommandContext(ctx, server[0], server[1:]...).CombinedOutput(); err != nil { //nolint:gosec // the clients of databases
			return fmt.Errorf("creating the database: %w: %s", err, out)
		}
	}
	return nil
}

// upsert is what a delivery of one contact comes to.
const upsert = `\set n random(1, 1000)
INSERT INTO wisepops_contacts AS known (contact_id, collected_at, wisepop_id, event, country_code, email, phone, fields)
VALUES (md5(:n::text), now(), :n, 'email', 'FR', 'someone.' || :n || '@example.com', '+33612345678', '{"first_name": "Zoë", "consent": true}')
ON CONFLICT (contact_id) DO UPDATE SET event = COALESCE(EXCLUDED.event, known.event), country_code = COALESCE(EXCLUDED.country_code, known.country_code),
	email = COALESCE(EXCLUDED.email, known.email), phone = COALESCE(EXCLUDED.phone, known.phone), fields = EXCLUDED.fields;
`

// benchCommits measures deliveries that are answered once their row is committed, with and
// without a backfill beside them, and what pgbench commits with as many clients.
func benchCommits(ctx context.Context, binary string, contacts, rounds int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "commits")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	baseURL, stop, err := startSandbox(ctx, binary, contacts)
	if err != nil {
		return err
	}
	defer stop()
	if err := createDatabases(ctx); err != nil {
		return err
	}
	script := filepath.Join(dir, "upsert.sql")
	if err := os.WriteFile(script, []byte(upsert), 0o600); err != nil {
		return err
	}
	const seconds = 5
	var without, with, pgbench []loadResult
	for range rounds {
		for _, c := range []struct {
			results *[]loadResult
			after   string // whose contacts are there to read
		}{{&without, "2100-01-01T00:00:00Z"}, {&with, "2000-01-01T00:00:00Z"}} {
			if out, err := exec.CommandContext(ctx, "psql", "-qX", "-c", "DROP TABLE IF EXISTS wisepops_contacts", benchPostgres).CombinedOutput(); err != nil {
				return fmt.Errorf("emptying the table: %w: %s", err, out)
			}
			state, err := os.MkdirTemp(dir, "state")
			if err != nil {
				return err
			}
			res, err := measureServer(ctx, self, seconds*time.Second, func(address string) *exec.Cmd {
				server := exec.CommandContext(ctx, binary, "run", "-r", "resources/state_sqlite.yaml", "-r", "resources/budget.yaml", //nolint:gosec // the binary under test
					"--set", "input.broker.inputs.0.wisepops_webhook.register=false", "--set", "input.broker.inputs.1.wisepops_contacts.collected_after="+c.after,
					"--set", "http.enabled=false", "--set", "logger.level=WARN", "config/leads_realtime_to_postgres.yaml")
				server.Env = append(os.Environ(), "WISEPOPS_API_KEY="+apiKey, "WISEPOPS_BASE_URL="+baseURL, "WISEPOPS_CALLS=1000000", "WISEPOPS_STATE="+filepath.Join(state, "state.db"),
					"WEBHOOK_ADDRESS="+address, "WEBHOOK_PUBLIC_URL=http://"+address+"/wisepops", "POSTGRES_DSN="+benchPostgres)
				return server
			})
			if err != nil {
				return err
			}
			*c.results = append(*c.results, res)
		}
		out, err := exec.CommandContext(ctx, "pgbench", "-n", "-M", "prepared", "-c", strconv.Itoa(loadConnections), "-j", "2", "-T", strconv.Itoa(seconds), "-f", script, benchPostgres).Output() //nolint:gosec // the client of a database
		if err != nil {
			return fmt.Errorf("pgbench: %w", err)
		}
		_, rate, _ := strings.Cut(string(out), "\ntps = ")
		var res loadResult
		if _, err := fmt.Sscan(rate, &res.perSecond); err != nil {
			return fmt.Errorf("reading the result of pgbench: %w", err)
		}
		pgbench = append(pgbench, res)
	}
	fmt.Printf("Signed deliveries of one contact into PostgreSQL, %d connections, %d s, medians of %d runs\n\n", loadConnections, seconds, rounds)
	fmt.Println("| | committed/s | p50 | p99 | peak memory |")
	fmt.Println("|---|---|---|---|---|")
	for _, r := range []struct {
		name    string
		results []loadResult
	}{{"`leads_realtime_to_postgres`", without}, {"… during a backfill", with}} {
		m := medianLoad(r.results)
		fmt.Printf("| %s | %.0f | %s | %s | %d MiB |\n", r.name, m.perSecond, m.p50, m.p99, m.memoryKiB/1024)
	}
	fmt.Printf("| `pgbench`, the same upsert | %.0f | | | |\n\n", medianLoad(pgbench).perSecond)
	return nil
}

// turns has each of them fill the table, and counts its rows.
func (db database) turns(rivals []*sinkRival, rounds int) error {
	for round := range rounds {
		for i := range rivals {
			r := rivals[(round+i)%len(rivals)]
			if out, err := db.sql(db.empty).CombinedOutput(); err != nil {
				return fmt.Errorf("emptying the table: %w: %s", err, out)
			}
			m, err := measure(r.command)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			out, err := db.sql("SELECT count(*) FROM wisepops_contacts").Output()
			if err != nil {
				return err
			}
			if rows := strings.TrimSpace(string(out)); rows != strconv.Itoa(r.contacts) {
				return errors.New(r.name + ": the table has " + rows + " rows")
			}
			r.runs = append(r.runs, m)
			fmt.Fprintf(os.Stderr, "round %d: %s: %s\n", round+1, r.name, m.wall.Round(time.Millisecond))
		}
	}
	return nil
}

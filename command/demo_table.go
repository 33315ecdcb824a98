package command

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// demoTable reads the table that the pipeline fills.
type demoTable struct {
	db      *sql.DB
	created bool // the pipeline has created the table
}

// openDemoTable creates the file. WAL lets the pipeline write while others read,
// and cannot be switched to while somebody does.
func openDemoTable(ctx context.Context, file string) (*demoTable, error) {
	db, err := sql.Open("sqlite", "file:"+sqlitePath(file)+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err == nil {
		err = db.PingContext(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the SQLite file %s: %w", file, err)
	}
	return &demoTable{db: db}, nil
}

func (t *demoTable) close() error {
	return t.db.Close()
}

// demoCount is what stands in the table.
type demoCount struct {
	rows int
	read int // contacts that came, repeated ones as often as they did
}

// count is zero until the pipeline has created the table.
func (t *demoTable) count(ctx context.Context) (c demoCount, err error) {
	if !t.created {
		err = t.db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'contacts'`).Scan(&t.created)
	}
	if err == nil && t.created {
		err = t.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(times), 0) FROM contacts`).Scan(&c.rows, &c.read)
	}
	if err != nil {
		return c, fmt.Errorf("counting the rows of the table: %w", err)
	}
	return c, nil
}

// demoRow is what the verdict needs of a row.
type demoRow struct {
	contactID, email string
	times            int
}

func (t *demoTable) rows(ctx context.Context) (rows []demoRow, err error) {
	if !t.created {
		return nil, nil
	}
	found, err := t.db.QueryContext(ctx, `SELECT coalesce(contact_id, ''), coalesce(email, ''), times FROM contacts`)
	if err != nil {
		return nil, fmt.Errorf("reading the table: %w", err)
	}
	defer found.Close()
	for found.Next() {
		var r demoRow
		if err := found.Scan(&r.contactID, &r.email, &r.times); err != nil {
			return nil, fmt.Errorf("reading the table: %w", err)
		}
		rows = append(rows, r)
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("reading the table: %w", err)
	}
	return rows, nil
}

// demoVerdict compares the table with what the sandbox knows.
type demoVerdict struct {
	contacts int // of the sandbox
	rows     int
	lost     int // contacts without a row
	repeated int // times that contacts came after the first
	unknown  int // rows of no contact
}

// judgeDemo takes contacts for the same that have the same id and email address,
// which no two contacts of a sandbox share.
func judgeDemo(known []sandbox.Contact, rows []demoRow) (demoVerdict, error) {
	type identity struct{ id, email string }
	v := demoVerdict{contacts: len(known), rows: len(rows)}
	came := make(map[identity]int, len(known))
	for i := range known {
		id, err := wisepops.ContactID(known[i].Raw)
		if err != nil {
			return v, fmt.Errorf("reading a contact of the sandbox: %w", err)
		}
		came[identity{id, strings.ToLower(known[i].Email)}] = 0
	}
	for _, r := range rows {
		who := identity{r.contactID, r.email}
		if _, ok := came[who]; !ok {
			v.unknown++
			continue
		}
		came[who] += r.times
	}
	for _, times := range came {
		if times == 0 {
			v.lost++
		}
		v.repeated += max(times-1, 0)
	}
	return v, nil
}

func (v demoVerdict) good() bool {
	return v.lost == 0 && v.repeated == 0 && v.unknown == 0 && v.rows == v.contacts
}

// report lists the figures.
func (v demoVerdict) report(calls int) string {
	var b strings.Builder
	line := func(name string, n int, note string) {
		fmt.Fprintf(&b, "  %-10s %9s%s\n", name, thousands(n), note)
	}
	line("contacts", v.contacts, " known to the sandbox")
	line("rows", v.rows, " in the table")
	line("lost", v.lost, "")
	line("repeated", v.repeated, "")
	if v.unknown > 0 {
		line("unknown", v.unknown, " rows that are no contact of the sandbox")
	}
	line("API calls", calls, " of "+thousands(demoBudget))
	return b.String()
}

// complaint says what is wrong.
func (v demoVerdict) complaint(caughtUp bool) string {
	text := fmt.Sprintf("The table does not hold what the sandbox knows: %s lost, %s repeated, %s unknown.",
		thousands(v.lost), thousands(v.repeated), thousands(v.unknown))
	if v.lost > 0 && !caughtUp {
		text += fmt.Sprintf(" The pipeline had not caught up, and delivered nothing for %s.", demoPatience)
	}
	return text
}

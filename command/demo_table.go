package command

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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
	rows   int
	read   int // contacts that came by polling, repeated ones as often as they did
	hooked int // and by webhook
}

// count is zero until the pipeline has created the table.
func (t *demoTable) count(ctx context.Context) (c demoCount, err error) {
	if !t.created {
		err = t.db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'contacts'`).Scan(&t.created)
	}
	if err == nil && t.created {
		err = t.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(polled), 0), coalesce(sum(hooked), 0) FROM contacts`).Scan(&c.rows, &c.read, &c.hooked)
	}
	if err != nil {
		return c, fmt.Errorf("counting the rows of the table: %w", err)
	}
	return c, nil
}

// demoRow is what the verdict needs of a row.
type demoRow struct {
	contactID, email string
	polled, hooked   int
}

func (t *demoTable) rows(ctx context.Context) (rows []demoRow, err error) {
	if !t.created {
		return nil, nil
	}
	found, err := t.db.QueryContext(ctx, `SELECT coalesce(contact_id, ''), coalesce(email, ''), polled, hooked FROM contacts`)
	if err != nil {
		return nil, fmt.Errorf("reading the table: %w", err)
	}
	defer found.Close()
	for found.Next() {
		var r demoRow
		if err := found.Scan(&r.contactID, &r.email, &r.polled, &r.hooked); err != nil {
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
	repeated int // times that contacts came after the first, by either way
	hooked   int // contacts that came by webhook
	unproven int // deliveries that were acknowledged, and that no row shows
	unhooked int // contacts of live visitors whose delivery was not acknowledged
	unknown  int // rows of no contact
}

// judgeDemo takes contacts for the same that have the same id and email address; of
// those that nothing tells apart, each has an id of its own. All but the past ones must have come by
// webhook.
func judgeDemo(known []sandbox.Contact, rows []demoRow, past int, deliveries sandbox.Deliveries) (demoVerdict, error) {
	type identity struct{ id, email string }
	type count struct{ polled, hooked int }
	v := demoVerdict{contacts: len(known), rows: len(rows), unhooked: max(len(known)-past-deliveries.Delivered, 0)}
	came := make(map[identity]count, len(known))
	raws := make([][]byte, len(known))
	for i := range known {
		raws[i] = known[i].Raw
	}
	contacts, err := wisepops.ParseDelivery(slices.Concat([]byte("["), bytes.Join(raws, []byte(",")), []byte("]")))
	if err != nil {
		return v, fmt.Errorf("reading the contacts of the sandbox: %w", err)
	}
	if len(contacts) != len(known) {
		return v, errors.New("a contact of the sandbox is not one JSON object")
	}
	for i, c := range known {
		came[identity{contacts[i].ID.String(), strings.ToLower(c.Email)}] = count{}
	}
	for _, r := range rows {
		who := identity{r.contactID, r.email}
		c, ok := came[who]
		if !ok {
			v.unknown++
			continue
		}
		came[who] = count{c.polled + r.polled, c.hooked + r.hooked}
	}
	for _, c := range came {
		if c == (count{}) {
			v.lost++
		}
		if c.hooked > 0 {
			v.hooked++
		}
		v.repeated += max(c.polled-1, 0) + max(c.hooked-1, 0)
	}
	v.unproven = max(deliveries.Delivered-v.hooked, 0)
	return v, nil
}

func (v demoVerdict) good() bool {
	return v.lost == 0 && v.repeated == 0 && v.unknown == 0 && v.unproven == 0 && v.unhooked == 0 && v.rows == v.contacts
}

// report lists the figures.
func (v demoVerdict) report(calls int) string {
	var b strings.Builder
	line := func(name string, n int, note string) {
		fmt.Fprintf(&b, "  %-10s %9s%s\n", name, thousands(n), note)
	}
	line("contacts", v.contacts, " known to the sandbox")
	line("rows", v.rows, " in the table")
	line("by hook", v.hooked, " of them came as they were submitted")
	line("lost", v.lost, "")
	line("repeated", v.repeated, "")
	if v.unknown > 0 {
		line("unknown", v.unknown, " rows that are no contact of the sandbox")
	}
	if v.unproven > 0 {
		line("unproven", v.unproven, " deliveries were answered with 200 and are not in the table")
	}
	if v.unhooked > 0 {
		line("unhooked", v.unhooked, " contacts of visitors did not come by webhook")
	}
	line("API calls", calls, " of "+thousands(demoBudget))
	return b.String()
}

// complaint says what is wrong.
func (v demoVerdict) complaint(caughtUp bool) string {
	text := fmt.Sprintf("The table does not hold what the sandbox knows: %s lost, %s repeated, %s unknown.",
		thousands(v.lost), thousands(v.repeated), thousands(v.unknown))
	if v.unproven > 0 {
		text += fmt.Sprintf(" %s deliveries were acknowledged and are not in the table.", thousands(v.unproven))
	}
	if v.unhooked > 0 {
		text += fmt.Sprintf(" %s contacts of visitors did not come by webhook.", thousands(v.unhooked))
	}
	if !caughtUp {
		text += fmt.Sprintf(" The pipeline had not caught up, and delivered nothing for %s.", demoPatience)
	}
	return text
}

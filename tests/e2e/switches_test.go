package e2e_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// contactsFor is enough contacts for several pages, and for a burst of three of
// them in one millisecond.
var contactsFor = map[int]int{1: 40, 7: 160, 100: 1500, 1000: 7300}

var pageSizes = []int{1, 7, 100, 1000}

func TestEverySwitchAloneDeliversEveryContactOnce(t *testing.T) {
	for _, tc := range []struct {
		name     string
		switches sandbox.Switches
	}{
		{"none", sandbox.Switches{}},
		{"exclusive bound", sandbox.Switches{ExclusiveBound: true}},
		{"second bound", sandbox.Switches{SecondBound: true}},
		{"second times", sandbox.Switches{SecondTimes: true}},
		// Without an order, twins on two pages cannot be told from a contact that moved.
		{"newest first", sandbox.Switches{Order: sandbox.NewestFirst, Anonymous: -1}},
		{"unsorted", sandbox.Switches{Order: sandbox.Unsorted, Anonymous: -1}},
		{"page cap 100", sandbox.Switches{PageCap: 100}},
		{"page cap 250", sandbox.Switches{PageCap: 250}},
		{"page cap 500", sandbox.Switches{PageCap: 500}},
		{"page cap 250 that skips", sandbox.Switches{PageCap: 250, PageCapSkips: true}},
		{"failed calls free", sandbox.Switches{FailedCallsFree: true}},
		{"plain fields", sandbox.Switches{PlainFields: true}},
	} {
		for _, pageSize := range pageSizes {
			if pageSize <= tc.switches.PageCap {
				continue // nothing is cut
			}
			t.Run(fmt.Sprintf("%s, pages of %d", tc.name, pageSize), func(t *testing.T) {
				t.Parallel()
				n := contactsFor[pageSize]
				backfillOnce(t, pageSize, pageSize == 1000, sandbox.Options{
					Seed: seed, Contacts: n, Burst: 3 * pageSize, Switches: tc.switches,
				})
			})
		}
	}
}

func TestSwitchesTogetherDeliverEveryContactOnce(t *testing.T) {
	rng := newRand(t)
	for i := range 12 {
		pageSize := pageSizes[rng.IntN(len(pageSizes))]
		opts := sandbox.Options{
			Seed:     rng.Uint64(),
			Contacts: contactsFor[pageSize] - rng.IntN(pageSize+1),
			Burst:    3 * pageSize,
			Spacing:  []time.Duration{0, time.Millisecond, 40 * time.Millisecond, time.Second}[rng.IntN(4)],
			Switches: sandbox.Switches{
				ExclusiveBound:  rng.IntN(2) == 0,
				SecondBound:     rng.IntN(2) == 0,
				SecondTimes:     rng.IntN(2) == 0,
				Anonymous:       -1,
				Order:           sandbox.Order(rng.IntN(3)),
				PageCap:         []int{0, 100, 250, 500}[rng.IntN(4)],
				PageCapSkips:    rng.IntN(2) == 0,
				FailedCallsFree: rng.IntN(2) == 0,
				PlainFields:     rng.IntN(2) == 0,
			},
		}
		if rng.IntN(3) == 0 {
			// Every instant has a burst of its own.
			opts.Burst, opts.BurstEvery = 1+rng.IntN(3*pageSize), 1
		}
		t.Run(fmt.Sprintf("%d, pages of %d", i+1, pageSize), func(t *testing.T) {
			t.Parallel()
			t.Logf("%+v", opts)
			backfillOnce(t, pageSize, true, opts)
		})
	}
}

// backfillOnce reads everything; a second run finds nothing new.
func backfillOnce(t *testing.T, pageSize int, twice bool, opts sandbox.Options) {
	t.Helper()
	a := newAPI(t, opts)
	dir := t.TempDir()
	out, state := filepath.Join(dir, "out"), filepath.Join(dir, "state.db")
	conf := pipeline(a.contacts(obj{"page_size": pageSize}), fileOutput(out), state)
	run(t, conf).succeeds()
	requireExactlyOnce(t, a, readLines(t, out))

	served := pageSize
	if opts.PageCap > 0 {
		served = min(served, opts.PageCap)
	}
	// The overlap is read again at each page that is requested by time: at most a 64th of
	// the page.
	requireCalls(t, a, a.Len()*64/63/served+4)

	if !twice {
		return
	}
	first := a.Calls().Total
	run(t, conf).succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
	if opts.Order == sandbox.OldestFirst {
		// Whatever the overlap holds, and the switch of a cap, costs a few calls.
		require.LessOrEqual(t, a.Calls().Total-first, inLastSeconds(a)/served+3, "calls when nothing is new")
	}
}

// inLastSeconds is how many contacts a request that reaches back from the newest
// contact may return.
func inLastSeconds(a *api) int {
	contacts := a.Contacts()
	newest := contacts[len(contacts)-1].CollectedAt
	n := 0
	for _, c := range contacts {
		if newest.Sub(c.CollectedAt) <= 2*time.Second {
			n++
		}
	}
	return n
}

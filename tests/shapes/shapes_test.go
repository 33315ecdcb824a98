// Package shapes_test runs the polling inputs in front of pipelines of many shapes, with
// a sink that fails and crashes in between, and counts what never arrives.
//
// By default each shape meets one kind of failure and two crashes. WISEPOPS_SHAPES=all
// has each meet every kind and five crashes; WISEPOPS_SHAPES_SEED draws other failures.
package shapes_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	_ "github.com/wisepops-connect/wisepops-connect/input"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	contacts = 900
	popups   = 60
	pageSize = 100

	// patience is how long one run of a stream may take, and little that of a shape from
	// which nothing is expected.
	patience       = 2 * time.Minute
	littlePatience = 5 * time.Second

	// inParallel is how many cases run at once by default: they mostly wait.
	inParallel = 12
)

func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		if err := flag.Set("test.parallel", strconv.Itoa(inParallel)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestNoShapeOfAPipelineLosesContacts(t *testing.T) {
	service := sandbox.New(sandbox.Options{Contacts: contacts, Seed: 1})
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	sub := subject{
		input: fmt.Sprintf("wisepops_contacts: { api_key: demo, base_url: %q, page_size: %d, follow: false, checkpoint_cache: STATE }", server.URL+"/api2", pageSize),
		front: front(`@wisepops_contact_id.or("")`),
	}
	for _, c := range service.Contacts() {
		id, err := wisepops.ContactID(c.Raw)
		require.NoError(t, err)
		sub.items = append(sub.items, newItem(id))
	}
	require.Len(t, sub.items, contacts)
	sub.test(t)
}

func TestNoShapeOfAPipelineLosesPopups(t *testing.T) {
	service := sandbox.New(sandbox.Options{})
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	sub := subject{
		// What was delivered does not come again, as with emit: all it would.
		input: fmt.Sprintf("wisepops_performance: { api_key: demo, base_url: %q, follow: false, emit: changed, checkpoint_cache: STATE }", server.URL+"/api2"),
		front: front(`if @wisepops_wisepop_id == null { "" } else { "%032d".format(@wisepops_wisepop_id.number().int64()) }`),
	}
	var campaigns []sandbox.Campaign
	for i := range popups {
		campaigns = append(campaigns, sandbox.Campaign{ID: int64(1000 + i), Label: "A pop-up"})
		sub.items = append(sub.items, newItem(fmt.Sprintf("%032d", 1000+i)))
	}
	service.SetCampaigns(campaigns...)
	sub.test(t)
}

func (sub subject) test(t *testing.T) {
	all := os.Getenv("WISEPOPS_SHAPES") == "all"
	seed, _ := strconv.ParseUint(os.Getenv("WISEPOPS_SHAPES_SEED"), 10, 64)
	crashes := 2
	if all {
		crashes = 5
	}
	for i, s := range slices.Concat(shapes, merged, owned) {
		expected := i < len(shapes)+len(merged)
		for f := range faults {
			if !all && int(f) != i%int(faults) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", s.name, f), func(t *testing.T) {
				t.Parallel()
				r := sub.outcome(t, s, f, crashes, expected, seed+uint64(i))
				t.Logf("%s/%s: lost %d, sent x%.1f", s.name, f, len(r.lost), r.repeated)
				if expected {
					require.Empty(t, r.lost[:min(len(r.lost), 3)], "and others, %d in all", len(r.lost))
				}
			})
		}
	}
}

// outcome runs streams of a shape that crash one after the other, each on the state that
// the one before left, and then one to its end.
func (sub subject) outcome(t *testing.T, s shape, f fault, crashes int, expected bool, seed uint64) result {
	t.Helper()
	w := newWorld(s, f, seed)
	when := rand.New(rand.NewPCG(seed, 1<<32))
	most := littlePatience
	if expected {
		most = patience
	}
	for n := range crashes + 1 {
		crashAfter := 0
		if n < crashes {
			crashAfter = 1 + when.IntN(len(sub.items)/2)
		}
		ended := w.begin(crashAfter).run(t, sub, most)
		if expected {
			require.True(t, ended, "run %d has no end", n+1)
		}
	}
	return w.result(sub.items)
}

package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// durable are the resources whose state outlives the process.
var durable = []string{"state_sqlite", "state_postgres", "state_redis"}

func TestStateSurvivesARestart(t *testing.T) {
	for _, state := range durable {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, sandbox.Options{Contacts: 2500})
			p.runToEnd(state)
			p.requireAll(0)

			// What is written now, the second run has written.
			p.exec("TRUNCATE wisepops_contacts")
			calls := p.site.Calls().Total
			p.runToEnd(state)
			require.Zero(t, p.count("wisepops_contacts"), "the second run began anew")
			require.Equal(t, calls+1, p.site.Calls().Total)

			p.site.Add(sandbox.Contact{Email: "new@example.com"})
			p.runToEnd(state)
			require.Equal(t, 1, p.count("wisepops_contacts"), "the watermark was not written over")
			p.runToEnd(state)
			require.Equal(t, 1, p.count("wisepops_contacts"))
		})
	}
}

func TestStateInMemoryEndsWithTheProcess(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 100})
	p.runToEnd("state_memory")
	p.exec("TRUNCATE wisepops_contacts")
	p.runToEnd("state_memory")
	require.Equal(t, 100, p.count("wisepops_contacts"))
}

func TestKilledPipelinesLoseNothing(t *testing.T) {
	const kills, contacts = 3, 20_000
	for _, state := range durable {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, sandbox.Options{Contacts: contacts, Burst: 1200})
			began := 0
			for range kills {
				began = p.count("wisepops_contacts")
				r := p.start(state, "input.wisepops_contacts.page_size=100", "input.wisepops_contacts.checkpoint_limit=1000")
				eventually(t, "contacts arrive", func() bool { return p.count("wisepops_contacts") > began+contacts/8 })
				r.kill()
			}
			require.Less(t, p.count("wisepops_contacts"), contacts, "the kills came too late to show anything")

			before := p.site.Calls().Total
			p.runToEnd(state)
			p.requireAll(0)
			require.Less(t, p.site.Calls().Total-before, contacts/1000+1, "the last run began anew")
		})
	}
}

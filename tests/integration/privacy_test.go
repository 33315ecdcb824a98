package integration_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// Requests are answered in their rows, once each, though the worker is killed in
// between.
func TestDeletionRequestsOfATable(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 400, Seed: 3, Switches: sandbox.Switches{Anonymous: -1}})
	people := p.site.Contacts()[:200]
	p.set("RECEIPT_KEY=integration", "PRIVACY_INTERVAL=200ms")
	r := p.website.start("config/privacy_from_postgres.yaml", resources("state_postgres"))
	eventually(t, "the table is there", func() bool { return p.exists("privacy_requests") })
	for i, c := range people {
		p.exec(fmt.Sprintf("INSERT INTO privacy_requests (email) VALUES ('%s')", c.Email))
		if i == 100 {
			eventually(t, "deletions are under way", func() bool { return p.count("privacy_requests WHERE status = 'deleted'") > 0 })
			r.kill()
			// What it had taken is taken again after an hour.
			p.exec("UPDATE privacy_requests SET taken_at = taken_at - INTERVAL '1 hour'")
			r = p.website.start("config/privacy_from_postgres.yaml", resources("state_postgres"))
		}
	}
	p.exec("INSERT INTO privacy_requests (email, phone) VALUES ('nobody@example.com', NULL), ('EMAILMARKER', NULL), (NULL, NULL), (NULL, '06 12')")
	eventually(t, "every request is answered", func() bool { return p.count("privacy_requests WHERE status = 'new'") == 0 })
	r.terminate()

	assert.Equal(t, 3, p.count("privacy_requests WHERE status = 'failed' AND reason IS NOT NULL AND receipt IS NULL"))
	// One that was deleted before the kill, and not answered, is not found again.
	assert.Equal(t, 201, p.count("privacy_requests WHERE status IN ('deleted', 'not_found') AND reason IS NULL AND receipt->>'email_hmac' IS NOT NULL"))
	assert.Equal(t, 200, p.site.Len())
}

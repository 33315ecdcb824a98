package integration_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// Requests are answered in their rows, once each, though the worker is killed in
// between.
func TestDeletionRequestsOfATable(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 400, Seed: 3})
	people := p.site.Contacts()[:200]
	r := p.startPipeline("privacy_from_postgres", "state_postgres")
	require.Eventually(t, func() bool { return p.exists("privacy_requests") }, patience, 10*time.Millisecond)
	for i, c := range people {
		p.exec(fmt.Sprintf("INSERT INTO privacy_requests (email) VALUES ('%s')", c.Email))
		if i == 100 {
			require.Eventually(t, func() bool { return p.count("privacy_requests WHERE status = 'deleted'") > 0 }, patience, 10*time.Millisecond)
			require.NoError(t, r.cmd.Process.Kill())
			_ = r.cmd.Wait()
			// What it had taken is taken again after an hour.
			p.exec("UPDATE privacy_requests SET taken_at = taken_at - INTERVAL '1 hour'")
			r = p.startPipeline("privacy_from_postgres", "state_postgres")
		}
	}
	p.exec("INSERT INTO privacy_requests (email, phone) VALUES ('nobody@example.com', NULL), ('EMAILMARKER', NULL), (NULL, NULL), (NULL, '06 12')")
	require.Eventually(t, func() bool { return p.count("privacy_requests WHERE status = 'new'") == 0 }, patience, 10*time.Millisecond)
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, r.cmd.Wait(), "%s", &r.log)

	assert.Equal(t, 3, p.count("privacy_requests WHERE status = 'failed' AND reason IS NOT NULL AND receipt IS NULL"))
	// One that was deleted before the kill, and not answered, is not found again.
	assert.Equal(t, 201, p.count("privacy_requests WHERE status IN ('deleted', 'not_found') AND reason IS NULL AND receipt->>'email_hmac' IS NOT NULL"))
	assert.Equal(t, 200, p.site.Len())
	assert.NotContains(t, r.log.String(), "@example")
	assert.NotContains(t, r.log.String(), "EMAILMARKER")
}

func (p *place) exists(table string) (there bool) {
	p.t.Helper()
	require.NoError(p.t, p.db.QueryRowContext(p.t.Context(), "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there))
	return there
}

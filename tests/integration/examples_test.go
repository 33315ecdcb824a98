package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// exampleOf returns the pipeline of an example on the page of a component.
func exampleOf(t *testing.T, component, title string) string {
	t.Helper()
	page, err := os.ReadFile(repository("docs", "reference", component+".md"))
	require.NoError(t, err)
	_, example, found := strings.Cut(string(page), "### "+title+"\n")
	require.True(t, found)
	_, example, found = strings.Cut(example, "```yaml\n")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "```")
	return example
}

// Contacts that the table of the example rejects go aside, and hold up none of their
// page.
func TestExampleOfContactsSurvivesPoisonedOnes(t *testing.T) {
	p := newPlace(t, sandbox.Options{Contacts: 995})
	for i, raw := range []string{
		`{"collected_at":"2024-01-01T00:00:00Z","wisepop_id":1,"fields":{"email":"nul@example.com","a":"b\u0000c"}}`,
		`{"collected_at":"2024-01-01T00:00:01Z","wisepop_id":1,"fields":{"email":"half@example.com","a":"\ud83d"}}`,
		`{"collected_at":"2024-01-01T00:00:02Z","wisepop_id":1,"fields":{"email":"deep@example.com","a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`,
		`{"collected_at":"2024-01-01T00:00:03Z","wisepop_id":123456789012345678901234567890,"fields":{"email":"id@example.com"}}`,
		`["array@example.com"]`,
	} {
		p.site.AddRaw(sandbox.DefaultStart.Add(time.Duration(i)*time.Millisecond), []byte(raw))
	}
	p.exec(`CREATE TABLE contacts (contact_id TEXT PRIMARY KEY, collected_at TIMESTAMPTZ, wisepop_id BIGINT, email TEXT, phone TEXT, fields JSONB NOT NULL)`)
	pipeline := filepath.Join(p.dir, "pipeline.yaml")
	require.NoError(t, os.WriteFile(pipeline, []byte(`
input:
  wisepops_contacts:
    api_key: "${WISEPOPS_API_KEY}"
    base_url: ${WISEPOPS_BASE_URL}
    checkpoint_cache: state
`+exampleOf(t, "wisepops_contact", "Leads in a table")), 0o600))
	relative, err := filepath.Rel(repository(), pipeline)
	require.NoError(t, err)

	p.website.start(relative, resources("state_sqlite"), once).succeeds()

	require.Equal(t, 998, p.count("contacts"))
	aside, err := os.ReadFile(filepath.Join(p.dir, "contacts_aside.jsonl"))
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(aside), "\n"))
	require.Contains(t, string(aside), "id@example.com")
	require.Contains(t, string(aside), "array@example.com")
}

package ratelimit

import (
	"path/filepath"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	_ "github.com/redpanda-data/connect/v4/public/components/sql/base"
	_ "modernc.org/sqlite"
)

// What a call costs beside itself.
func BenchmarkAccess(b *testing.B) {
	for name, cache := range map[string]string{
		"memory": `{label: state, memory: {}}`,
		"sqlite": `
label: state
sql:
  driver: sqlite
  dsn: file:` + filepath.Join(b.TempDir(), "state.db") + `?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)
  init_statement: CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL)
  table: state
  key_column: key
  value_column: value
  set_suffix: ON CONFLICT (key) DO UPDATE SET value = excluded.value
`,
	} {
		b.Run(name, func(b *testing.B) {
			mgr, _ := resourcesOf(b, service.NewEnvironment(), cache)
			parsed, err := quotaSpec().ParseYAML("cache: state\ncalls: 1000000000", nil)
			require.NoError(b, err)
			q, err := newQuota(parsed, mgr)
			require.NoError(b, err)
			for b.Loop() {
				if wait, err := q.Access(b.Context()); wait > 0 || err != nil {
					b.Fatal(wait, err)
				}
			}
		})
	}
}

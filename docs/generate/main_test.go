package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPagesAreUpToDate(t *testing.T) {
	all, err := pages()
	require.NoError(t, err)
	paths, err := filepath.Glob("../reference/*.md")
	require.NoError(t, err)
	for _, path := range paths {
		assert.Contains(t, all, filepath.Base(path), "a page of no component: go generate ./docs/generate")
	}
	for name, want := range all {
		have, err := os.ReadFile(filepath.Join("..", "reference", name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "%s is stale: go generate ./docs/generate", name)
	}
}

// What users of Redpanda Connect expect of a component, whoever wrote it.
func TestComponentsConform(t *testing.T) {
	all, err := components()
	require.NoError(t, err)
	require.Len(t, all, 8)
	for _, c := range all {
		t.Run(c.Name+" "+c.Kind, func(t *testing.T) {
			require.NotEmpty(t, c.Summary)
			require.NotEmpty(t, c.Description)
			require.NotEmpty(t, c.Examples)
			require.NotEmpty(t, c.Version)
			require.Equal(t, "stable", c.Status)
			require.Contains(t, c.Footnotes, "== Errors")
			if c.Kind == "input" {
				require.Contains(t, c.Description, "== Metadata")
				require.Contains(t, c.Description, "== Metrics")
			}
			var names []string
			for _, f := range c.Fields {
				names = append(names, f.FullName)
				assert.NotContains(t, f.Description, "missing documentation", f.FullName)
				assert.Regexp(t, `^[a-z][a-z0-9_.\[\]]*$`, f.FullName)
				if isCredential(f.FullName) {
					assert.True(t, f.IsSecret, "%s is a credential", f.FullName)
				}
				if durationName.MatchString(f.FullName) {
					assert.Equal(t, "string", f.Type, "%s is a duration", f.FullName)
				}
			}
			for theirs, ours := range fleetNames {
				assert.NotContains(t, names, theirs, "the fleet calls it %s", ours)
			}
			if c.Name == "wisepops_contact" || c.Name == "wisepops_quota" {
				return // they call no API
			}
			require.Subset(t, names, []string{"api_key", "base_url", "timeout", "max_retries", "backoff", "rate_limit"})
			require.Equal(t, "api_key", names[0])
		})
	}
}

var durationName = regexp.MustCompile(`(interval|timeout|window|overlap|wait)$`)

// fleetNames are other names for what Redpanda Connect's components call otherwise.
var fleetNames = map[string]string{
	"cache_label": "checkpoint_cache", "state_cache": "checkpoint_cache", "checkpoint_key": "checkpoint_cache_key",
	"retries": "max_retries", "concurrency": "max_in_flight", "retry_nacks": "auto_replay_nacks", "url": "base_url",
	"ratelimit": "rate_limit", "retry": "backoff", "token": "api_key", "key": "api_key",
}

func isCredential(name string) bool {
	switch name {
	case "checkpoint_cache_key", "cache_key", "key_file": // the name of a place
		return false
	}
	return regexp.MustCompile(`key|token|secret|password`).MatchString(name)
}

// Whoever looks for a metric finds it.
func TestEveryMetricIsOnAPage(t *testing.T) {
	all, err := pages()
	require.NoError(t, err)
	var text strings.Builder
	for _, page := range all {
		text.Write(page)
	}
	metrics := metricsOf(t, "../..")
	require.Greater(t, len(metrics), 15)
	for _, name := range metrics {
		assert.Contains(t, text.String(), "`"+name+"`", "no page tells of this metric")
	}
}

// metricsOf returns the names of the metrics that the components register.
func metricsOf(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{"input", "output", "processor", "ratelimit", "internal"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				method, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || !slices.Contains([]string{"NewCounter", "NewGauge", "NewTimer"}, method.Sel.Name) {
					return true
				}
				if literal, ok := call.Args[0].(*ast.BasicLit); ok {
					name, err := strconv.Unquote(literal.Value)
					require.NoError(t, err)
					names = append(names, name)
				}
				return true
			})
			return nil
		}))
	}
	return names
}

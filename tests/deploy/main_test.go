// Package deploy_test holds deploy/ against the code, the pipelines and the manual: what a
// dashboard, an alert or a manifest names must be there.
package deploy_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const (
	root       = "../.."
	kubernetes = "deploy/kubernetes"
	manual     = "docs/operations.md"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(data)
}

// readYAML decodes the documents of a file.
func readYAML[T any](t *testing.T, path string) (docs []T) {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(read(t, path)))
	for {
		var doc T
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		require.NoError(t, err, path)
		docs = append(docs, doc)
	}
}

// files lists those that a pattern matches, below the root.
func files(t *testing.T, pattern string) (paths []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, found, pattern)
	for _, f := range found {
		rel, err := filepath.Rel(root, f)
		require.NoError(t, err)
		paths = append(paths, filepath.ToSlash(rel))
	}
	return paths
}

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// The file name that lint prints says which block of which page is wrong.
func TestEveryYAMLBlockOfTheDocsLints(t *testing.T) {
	root := filepath.Join("..", "..")
	pages := []string{filepath.Join(root, "README.md")}
	for _, pattern := range []string{"docs/*.md", "docs/reference/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		pages = append(pages, found...)
	}
	dir := t.TempDir()
	args := []string{"lint", "--skip-env-var-check"}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for i, block := range yamlBlock.FindAllSubmatch(text, -1) {
			path := filepath.Join(dir, fmt.Sprintf("%s-block-%d.yaml", filepath.Base(page), i+1))
			require.NoError(t, os.WriteFile(path, block[1], 0o600))
			args = append(args, path)
		}
	}
	require.Greater(t, len(args), 15)
	stdout(t, args...)
}

package deploy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestManualsNameFilesThatThereAre, and certification.md tests.
func TestManualsNameFilesThatThereAre(t *testing.T) {
	tests := testNames(t)
	path := regexp.MustCompile(`^\.?[\w-]+(/[\w.-]+)*(/|\.(md|go|yaml|json|yml|env))$|^\.ci/\w+$`)
	for _, doc := range []string{manual, "docs/certification.md"} {
		names := 0
		for _, code := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(read(t, doc), -1) {
			switch name := code[1]; {
			case regexp.MustCompile(`^(Test|Benchmark)\w+$`).MatchString(name):
				names++
				assert.True(t, tests[name], "%s: there is no test %s", doc, name)
			case strings.Contains(name, "/") && path.MatchString(name):
				names++
				_, err := os.Stat(filepath.Join(root, name))
				assert.NoError(t, err, doc)
			}
		}
		assert.NotZero(t, names, doc)
	}
}

// TestEveryCriterionHasALine: §§1.1 to 1.3, 3.1 and 3.2.
func TestEveryCriterionHasALine(t *testing.T) {
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\d\.\d\.\d) \|`).FindAllStringSubmatch(read(t, "docs/certification.md"), -1) {
		found = append(found, m[1])
	}
	assert.Equal(t, strings.Fields("1.1.1 1.1.2 1.1.3 1.2.1 1.2.2 1.2.3 1.2.4 1.3.1 1.3.2 1.3.3 1.3.4 1.3.5 1.3.6 3.1.1 3.1.2 3.1.3 3.1.4 3.1.5 3.1.6 3.1.7 3.1.8 3.2.1 3.2.2 3.2.3 3.2.4 3.2.5"), found)
}

func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git":
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		data, err := os.ReadFile(path)
		for _, m := range decl.FindAllSubmatch(data, -1) {
			names[string(m[1])] = true
		}
		return err
	}))
	return names
}

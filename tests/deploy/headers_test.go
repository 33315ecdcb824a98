package deploy_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	anyVariable   = regexp.MustCompile(`\$\{([A-Z][A-Z_]*)([:|}])`)
	commandLine   = regexp.MustCompile(`(?m)^#   wisepops-connect run (.*)$`)
	headerEntries = regexp.MustCompile(`(?m)^# ([A-Z][A-Z_]+(?:, [A-Z][A-Z_]+)*): `)
)

// fallbacks are variables that are another's where they are not set.
var fallbacks = map[string]string{"WISEPOPS_STATE_DSN": "POSTGRES_DSN"}

// variables are those of a file, and which of them have no default.
func variables(t *testing.T, path string) (all, required []string) {
	t.Helper()
	for line := range strings.Lines(read(t, path)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, found := range anyVariable.FindAllStringSubmatch(line, -1) {
			all = append(all, found[1])
			if found[2] != ":" {
				required = append(required, found[1])
			}
		}
	}
	return all, required
}

// Whoever sets what the header of a pipeline lists can run the command in it.
func TestHeadersOfPipelinesListTheirVariables(t *testing.T) {
	for _, path := range append(files(t, "config/*.yaml"), files(t, "deploy/kubernetes/pipelines/*.yaml")...) {
		t.Run(path, func(t *testing.T) {
			header := comments(read(t, path))
			var listed []string
			for _, entry := range headerEntries.FindAllStringSubmatch(header, -1) {
				listed = append(listed, strings.Split(entry[1], ", ")...)
			}
			command := commandLine.FindStringSubmatch(header)
			require.NotNil(t, command, "the header has no command")
			require.Contains(t, command[1], path)

			all, required := variables(t, path)
			for _, name := range listed {
				assert.Contains(t, all, name, "it is listed, and not used")
			}
			for word := range strings.FieldsSeq(command[1]) {
				if strings.HasPrefix(word, "resources/") {
					_, more := variables(t, word)
					required = append(required, more...)
				}
			}
			for _, name := range required {
				if !slices.Contains(listed, name) {
					assert.Contains(t, listed, fallbacks[name], "%s must be set, and is not listed", name)
				}
			}
			// Of those with a default, what stands in for the API is no matter of a pipeline's user.
			for _, name := range all {
				if name != "WISEPOPS_BASE_URL" && path != "config/demo.yaml" {
					assert.Contains(t, listed, name)
				}
			}
		})
	}
}

// comments are the lines at the top of a file that begin with #.
func comments(text string) string {
	var header strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		header.WriteString(line)
	}
	return header.String()
}

// A connection that lives on for ever sticks to a server that is none any more, such as
// one that a load balancer has taken out, or the former primary of a cluster.
func TestConnectionsOfSQLOutputsAreRenewed(t *testing.T) {
	found := 0
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch n := node.(type) {
		case map[string]any:
			for name, child := range n {
				if fields, ok := child.(map[string]any); ok && (name == "sql_raw" || name == "sql_insert") {
					found++
					assert.Equal(t, "5m", fields["conn_max_life_time"], path)
				}
				walk(path, child)
			}
		case []any:
			for _, child := range n {
				walk(path, child)
			}
		}
	}
	for _, path := range files(t, "config/*.yaml") {
		for _, doc := range readYAML[map[string]any](t, path) {
			walk(path, doc["output"])
		}
	}
	require.Positive(t, found)
}

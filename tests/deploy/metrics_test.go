package deploy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// metric is one that is counted, with its labels.
type metric struct {
	kind   string // counter, gauge or timer
	labels []string
}

// everywhere are the labels that Benthos and Prometheus put on each metric.
var everywhere = []string{"label", "path", "job", "instance", "namespace"}

// benthosMetrics are those of Benthos itself that may be used.
var benthosMetrics = map[string]metric{
	"input_received":  {kind: "counter"},
	"output_sent":     {kind: "counter"},
	"output_error":    {kind: "counter"},
	"processor_error": {kind: "counter"},
	"cache_error":     {kind: "counter", labels: []string{"operation"}},
}

// ourMetrics are those that the plugins register, and those of metric processors.
func ourMetrics(t *testing.T) map[string]metric {
	t.Helper()
	all := map[string]metric{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"tests", "distribution", "tools", "bin"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, m, ok := registration(call); ok {
					all[name] = m
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	for _, path := range files(t, "config/*.yaml") {
		for _, doc := range readYAML[any](t, path) {
			addMetricProcessors(all, doc)
		}
	}
	return all
}

// registration reads a call such as NewCounter("wisepops_deliveries", "event", "status").
func registration(call *ast.CallExpr) (name string, m metric, ok bool) {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", m, false
	}
	kinds := map[string]string{"NewCounter": "counter", "NewGauge": "gauge", "NewTimer": "timer"}
	if m.kind, ok = kinds[fun.Sel.Name]; !ok {
		return "", m, false
	}
	var texts []string
	for _, arg := range call.Args {
		lit, ok := arg.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return "", m, false // time.NewTimer
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			return "", m, false
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		return "", m, false
	}
	m.labels = texts[1:]
	return texts[0], m, true
}

func addMetricProcessors(all map[string]metric, node any) {
	switch n := node.(type) {
	case []any:
		for _, v := range n {
			addMetricProcessors(all, v)
		}
	case map[string]any:
		if m, ok := n["metric"].(map[string]any); ok {
			name, _ := m["name"].(string)
			kind, _ := m["type"].(string)
			labels, _ := m["labels"].(map[string]any)
			mm := metric{kind: strings.TrimSuffix(kind, "_by")}
			for l := range labels {
				mm.labels = append(mm.labels, l)
			}
			all[name] = mm
		}
		for _, v := range n {
			addMetricProcessors(all, v)
		}
	}
}

// use is a metric that an expression of PromQL names, with the labels that it selects.
type use struct {
	metric string
	labels []string
}

var (
	promToken   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[0-9][0-9a-zA-Z.]*|[a-zA-Z_:][a-zA-Z0-9_:]*|\$\w+|[^\s]`)
	promName    = regexp.MustCompile(`^[a-zA-Z_:]`)
	promGroup   = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	promKeyword = []string{"and", "or", "unless", "bool", "offset"}
)

// uses reads an expression. It also returns the labels that results are grouped by.
func uses(expr string) (found []use, grouped []string) {
	tokens := promToken.FindAllString(expr, -1)
	at := func(i int) string {
		if i < len(tokens) {
			return tokens[i]
		}
		return ""
	}
	for i := 0; i < len(tokens); i++ {
		tok := tokens[i]
		if !promName.MatchString(tok) {
			continue
		}
		switch {
		case slices.Contains(promGroup, tok):
			for i += 2; at(i) != ")" && i < len(tokens); i++ {
				if at(i) != "," {
					grouped = append(grouped, at(i))
				}
			}
		case slices.Contains(promKeyword, tok), at(i+1) == "(":
		case slices.Contains(promGroup, at(i+1)): // sum by (…)
		default:
			u := use{metric: tok}
			if at(i+1) == "{" {
				for i += 2; at(i) != "}" && i < len(tokens); i++ {
					if next := at(i + 1); promName.MatchString(at(i)) && (next == "=" || next == "!") {
						u.labels = append(u.labels, at(i))
					}
				}
			}
			found = append(found, u)
		}
	}
	return found, grouped
}

func TestExpressionsAreRead(t *testing.T) {
	found, grouped := uses(`sum by (namespace, job) (rate(a_b{x=~"y{}", z!="(w)"}[5m] offset 1h)) / 1e9 > on (path) time() - up unless 3 * c`)
	assert.Equal(t, []use{{"a_b", []string{"x", "z"}}, {"up", nil}, {"c", nil}}, found)
	assert.Equal(t, []string{"namespace", "job", "path"}, grouped)
}

// checkExpression holds an expression against what there is to ask for.
func checkExpression(t *testing.T, known map[string]metric, where, expr string) {
	t.Helper()
	found, grouped := uses(expr)
	assert.NotEmpty(t, found, "%s: %s", where, expr)
	labels := slices.Clone(everywhere)
	for _, u := range found {
		m, ok := known[u.metric]
		if !assert.True(t, ok, "%s: nothing emits the metric %s", where, u.metric) {
			continue
		}
		own := slices.Concat(everywhere, m.labels)
		if m.kind == "timer" {
			own = append(own, "quantile")
		}
		labels = append(labels, own...)
		for _, l := range u.labels {
			assert.Contains(t, own, l, "%s: label of %s", where, u.metric)
		}
	}
	for _, l := range grouped {
		assert.Contains(t, labels, l, "%s: %s", where, expr)
	}
}

func knownMetrics(t *testing.T) map[string]metric {
	t.Helper()
	known := ourMetrics(t)
	require.Contains(t, known, "wisepops_deliveries")
	require.Contains(t, known, "wisepops_found_by_poll")
	maps.Copy(known, benthosMetrics)
	return known
}

// TestManualListsTheMetrics: no fewer than there are, and no more.
func TestManualListsTheMetrics(t *testing.T) {
	ours := ourMetrics(t)
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(wisepops_\\w+)`(?: by [^|]+)? \\| (\\w+) \\|").FindAllStringSubmatch(read(t, manual), -1) {
		listed[row[1]] = row[2]
	}
	want := map[string]string{}
	for name, m := range ours {
		want[name] = m.kind
	}
	assert.Equal(t, want, listed, "the table of metrics in %s", manual)
}

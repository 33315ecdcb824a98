// Command generate writes the reference pages of the components, docs/reference, from
// their specs.
//
//go:generate go run . ../reference
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/redpanda-data/benthos/v4/public/service"

	_ "github.com/wisepops-connect/wisepops-connect/input"
	_ "github.com/wisepops-connect/wisepops-connect/output"
	_ "github.com/wisepops-connect/wisepops-connect/processor"
	_ "github.com/wisepops-connect/wisepops-connect/ratelimit"
)

const prefix = "wisepops_"

//go:embed page.md.tmpl
var pageTemplate string

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "generate: give the folder to write to")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	all, err := pages()
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if _, wanted := all[filepath.Base(path)]; !wanted {
			if err := os.Remove(path); err != nil { //nolint:gosec // a page in the folder that was named
				return err
			}
		}
	}
	for name, content := range all {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // a page that anybody may read
			return err
		}
	}
	return nil
}

// component is what a page is made of.
type component struct {
	service.TemplateDataPlugin
	Kind string // as people say it
}

// components returns ours, by kind and name.
func components() ([]component, error) {
	var all []component
	var failed error
	add := func(kind string) func(string, *service.ConfigView) {
		return func(name string, view *service.ConfigView) {
			if !strings.HasPrefix(name, prefix) {
				return
			}
			data, err := view.TemplateData()
			if err != nil {
				failed = fmt.Errorf("%s %s: %w", kind, name, err)
			}
			all = append(all, component{data, kind})
		}
	}
	env := service.GlobalEnvironment()
	env.WalkInputs(add("input"))
	env.WalkProcessors(add("processor"))
	env.WalkOutputs(add("output"))
	env.WalkRateLimits(add("rate limit"))
	return all, failed
}

// pages returns the pages by the names of their files.
func pages() (map[string][]byte, error) {
	all, err := components()
	if err != nil {
		return nil, err
	}
	kinds := map[string][]string{}
	for _, c := range all {
		kinds[c.Name] = append(kinds[c.Name], c.Kind)
	}
	page, err := template.New("page").Funcs(template.FuncMap{
		"markdown": markdown, "trim": strings.TrimSpace, "required": required, "heading": heading, "other": func(c component) []string {
			return slices.DeleteFunc(slices.Clone(kinds[c.Name]), func(kind string) bool { return kind == c.Kind })
		}, "file": func(c component, kind string) string { return fileName(c.Name, kind, len(kinds[c.Name]) > 1) },
	}).Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	rendered := map[string][]byte{}
	for _, c := range all {
		var buf bytes.Buffer
		if err := page.Execute(&buf, c); err != nil {
			return nil, err
		}
		rendered[fileName(c.Name, c.Kind, len(kinds[c.Name]) > 1)] = tidy(buf.Bytes())
	}
	rendered["README.md"] = index(all, kinds)
	return rendered, nil
}

func fileName(name, kind string, several bool) string {
	if several {
		name += "_" + strings.ReplaceAll(kind, " ", "_")
	}
	return name + ".md"
}

func index(all []component, kinds map[string][]string) []byte {
	lines := map[string]string{}
	for _, c := range all {
		file := fileName(c.Name, c.Kind, len(kinds[c.Name]) > 1)
		lines[file] = fmt.Sprintf("| [`%s`](%s) | %s | %s |\n", c.Name, file, c.Kind, markdown(c.Summary))
	}
	var buf bytes.Buffer
	buf.WriteString("# Reference\n\nGenerated from the components' own specs by `go generate ./docs/generate`.\n\n| component | kind | what it does |\n|---|---|---|\n")
	for _, file := range slices.Sorted(maps.Keys(lines)) {
		buf.WriteString(lines[file])
	}
	return buf.Bytes()
}

var (
	asciidocHeading = regexp.MustCompile(`(?m)^=(=+) `)
	asciidocLink    = regexp.MustCompile(`xref:[^\[\s]*\[([^\]]*)\]`)
	blankLines      = regexp.MustCompile(`\n{3,}`)
)

// markdown rewrites what Redpanda Connect's own pages have in AsciiDoc.
func markdown(text string) string {
	text = asciidocHeading.ReplaceAllStringFunc(text, func(mark string) string { return strings.Repeat("#", len(mark)-1) + " " })
	return strings.TrimSpace(asciidocLink.ReplaceAllString(text, "$1"))
}

func required(f service.TemplateDataPluginField) bool { return f.DefaultMarshalled == "" }

// heading is the depth of a field's heading below "Fields".
func heading(f service.TemplateDataPluginField) string {
	return "###" + strings.Repeat("#", min(strings.Count(f.FullName, "."), 2))
}

func tidy(page []byte) []byte {
	return append(bytes.TrimSpace(blankLines.ReplaceAll(page, []byte("\n\n"))), '\n')
}

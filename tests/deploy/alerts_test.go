package deploy_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const runbook = "https://github.com/wisepops-connect/wisepops-connect/blob/main/" + manual + "#"

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	type ruleFile struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	for _, f := range readYAML[ruleFile](t, "deploy/alerts.yaml") {
		for _, g := range f.Groups {
			all = append(all, g.Rules...)
		}
	}
	require.NotEmpty(t, all)
	return all
}

// anchors are those that GitHub gives to the headings of the manual.
func anchors(t *testing.T) (all []string) {
	t.Helper()
	dropped := regexp.MustCompile(`[^\w\- ]`)
	for _, h := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(read(t, manual), -1) {
		all = append(all, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return all
}

func TestAlertsLeadToTheirRunbook(t *testing.T) {
	there := anchors(t)
	tested := read(t, "deploy/alerts_test.yaml")
	names := map[string]bool{}
	for _, r := range rules(t) {
		assert.False(t, names[r.Alert], "%s is there twice", r.Alert)
		names[r.Alert] = true
		assert.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		assert.NotEmpty(t, r.Annotations["summary"], r.Alert)
		assert.NotEmpty(t, r.Annotations["description"], r.Alert)
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], runbook)
		assert.True(t, ok, "%s: runbook_url", r.Alert)
		assert.Equal(t, strings.ToLower(r.Alert), anchor)
		assert.Contains(t, there, anchor, "headings of %s", manual)
		assert.Contains(t, tested, `alertname="`+r.Alert+`"`, "deploy/alerts_test.yaml has no case of it")
	}
	// And nothing is left of an alert that is gone.
	for _, h := range regexp.MustCompile(`(?m)^### (Wisepops\w+)$`).FindAllStringSubmatch(read(t, manual), -1) {
		assert.True(t, names[h[1]], "%s has an entry for the alert %s, which there is not", manual, h[1])
	}
}

func TestAlertsAskForMetricsThatThereAre(t *testing.T) {
	known := knownMetrics(t)
	for _, r := range rules(t) {
		checkExpression(t, known, r.Alert, r.Expr)
	}
}

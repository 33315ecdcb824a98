package deploy_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type grid struct{ X, Y, W, H int }

func (g grid) overlaps(o grid) bool {
	return g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	GridPos     grid
	Datasource  struct{ UID string }
	Targets     []struct{ RefID, Expr string }
}

type dashboard struct {
	SchemaVersion int
	Panels        []panel
	Templating    struct{ List []struct{ Name string } }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(read(t, "deploy/grafana.json")), &d))
	require.NotEmpty(t, d.Panels)
	return d
}

func TestDashboardIsLaidOut(t *testing.T) {
	d := readDashboard(t)
	assert.GreaterOrEqual(t, d.SchemaVersion, 39)
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	assert.Equal(t, []string{"datasource", "namespace", "job"}, variables)
	ids := map[int]bool{}
	for i, p := range d.Panels {
		assert.False(t, ids[p.ID], "%s: the id %d is there twice", p.Title, p.ID)
		ids[p.ID] = true
		g := p.GridPos
		assert.True(t, g.X >= 0 && g.Y >= 0 && g.W > 0 && g.H > 0 && g.X+g.W <= 24, "%s lies outside of the grid", p.Title)
		for _, o := range d.Panels[:i] {
			assert.False(t, g.overlaps(o.GridPos), "%s lies over %s", p.Title, o.Title)
		}
		if p.Type == "row" {
			continue
		}
		assert.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		assert.NotEmpty(t, p.Description, p.Title)
		refs := map[string]bool{}
		for _, target := range p.Targets {
			assert.False(t, refs[target.RefID], "%s: %s is there twice", p.Title, target.RefID)
			refs[target.RefID] = true
		}
		assert.NotEmpty(t, refs, p.Title)
	}
}

func TestDashboardAsksForMetricsThatThereAre(t *testing.T) {
	known := knownMetrics(t)
	shown := map[string]bool{}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			checkExpression(t, known, p.Title, target.Expr)
			found, _ := uses(target.Expr)
			for _, u := range found {
				shown[u.metric] = true
				assert.Subset(t, u.labels, []string{"namespace", "job"}, "%s: the variables", p.Title)
			}
		}
	}
	for name := range ourMetrics(t) {
		assert.True(t, shown[name], "no panel shows %s", name)
	}
}

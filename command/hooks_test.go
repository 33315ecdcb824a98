package command

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// hooksRun runs the hooks command against a sandbox.
func hooksRun(t *testing.T, s *sandbox.Service, stdin string, args ...string) (out, errOut string, err error) {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	t.Setenv(hooksEnvBaseURL, server.URL+"/api2")
	t.Setenv(hooksEnvAPIKey, "demo")
	var outBuf, errBuf bytes.Buffer
	app := &cli.App{
		Name: "wisepops-connect", Reader: strings.NewReader(stdin), Writer: &outBuf, ErrWriter: &errBuf,
		Commands: []*cli.Command{Hooks()}, ExitErrHandler: func(*cli.Context, error) {},
	}
	err = app.RunContext(t.Context(), append([]string{"wisepops-connect", "hooks"}, args...))
	return outBuf.String(), errBuf.String(), err
}

func TestHooksFromTheTerminal(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	out, _, err := hooksRun(t, s, "", "list")
	require.NoError(t, err)
	assert.Equal(t, "The website has no hooks.\n", out)

	create := []string{"create", "--event", "email", "--target-url", "https://example.com/wisepops", "--wisepop-id", "7"}
	out, _, err = hooksRun(t, s, "", create...)
	require.NoError(t, err)
	assert.Equal(t, "Created hook 1.\n", out)
	out, _, err = hooksRun(t, s, "", create...)
	require.NoError(t, err)
	assert.Equal(t, "There is such a hook already: 1.\n", out)
	s.AddHook(sandbox.Hook{Event: "survey", TargetURL: "https://example.com/\x1b[2J"})

	calls := s.Calls().Total
	out, _, err = hooksRun(t, s, "", "list")
	require.NoError(t, err)
	assert.Equal(t, "ID  EVENT   POP-UP  TARGET\n"+
		"1   email   7       https://example.com/wisepops\n"+
		"2   survey  all     https://example.com/\uFFFD[2J\n", out)
	assert.Equal(t, calls+1, s.Calls().Total)

	out, _, err = hooksRun(t, s, "", "list", "--json")
	require.NoError(t, err)
	assert.JSONEq(t, `[{"id":1,"event":"email","target_url":"https://example.com/wisepops","wisepop_id":7},
		{"id":2,"event":"survey","target_url":"https://example.com/\u001b[2J"}]`, out)

	out, errOut, err := hooksRun(t, s, "\n", "delete", "1")
	require.NoError(t, err)
	assert.Empty(t, out)
	assert.Contains(t, errOut, "Delete hook 1 (1 of the website's calls)?")
	require.Len(t, s.Hooks(), 2)

	_, errOut, err = hooksRun(t, s, "y\n", "delete", "1")
	require.NoError(t, err)
	assert.NotContains(t, errOut, "Nothing was deleted")
	require.Len(t, s.Hooks(), 1)

	out, errOut, err = hooksRun(t, s, "", "delete", "--yes", "--json", "2")
	require.NoError(t, err)
	assert.JSONEq(t, `{"deleted":[2]}`, out)
	assert.Empty(t, errOut)
	require.Empty(t, s.Hooks())
}

func TestHooksMistakes(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	for want, args := range map[string][]string{
		"--event must be one of":                 {"create", "--event", "sms", "--target-url", "https://example.com/"},
		"--target-url must be a URL that begins": {"create", "--event", "email", "--target-url", "http://example.com/"},
		`"x" is not the id of a hook`:            {"delete", "--yes", "x"},
		"name the ids":                           {"delete", "--yes"},
		"takes flags only":                       {"list", "1"},
	} {
		_, _, err := hooksRun(t, s, "", args...)
		assert.ErrorContains(t, err, want)
	}
	require.Zero(t, s.Calls().Total)

	_, _, err := hooksRun(t, s, "", "delete", "--yes", "42")
	require.ErrorContains(t, err, "deleting hook 42: DELETE /hooks: status 404")
	require.Equal(t, 1, s.Calls().Total)

	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 401} })
	_, _, err = hooksRun(t, s, "", "list")
	require.ErrorContains(t, err, "check api_key")
	require.Equal(t, 2, s.Calls().Total)
}

func TestHooksWithoutAKey(t *testing.T) {
	t.Setenv(hooksEnvAPIKey, "")
	app := &cli.App{Name: "x", Commands: []*cli.Command{Hooks()}, ExitErrHandler: func(*cli.Context, error) {}}
	require.ErrorContains(t, app.RunContext(t.Context(), []string{"x", "hooks", "list"}), "WISEPOPS_API_KEY")
}

func TestHooksAreNotDeletedWhereNobodyCanBeAsked(t *testing.T) {
	t.Setenv(hooksEnvAPIKey, "demo")
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	app := &cli.App{Name: "x", Reader: null, Commands: []*cli.Command{Hooks()}, ExitErrHandler: func(*cli.Context, error) {}}
	require.ErrorContains(t, app.RunContext(t.Context(), []string{"x", "hooks", "delete", "1"}), "give --yes")
}

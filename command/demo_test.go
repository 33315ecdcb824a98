package command

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	_ "github.com/redpanda-data/connect/v4/public/components/sql/base"
	_ "modernc.org/sqlite"

	_ "github.com/wisepops-connect/wisepops-connect/input"
	_ "github.com/wisepops-connect/wisepops-connect/processor"
	_ "github.com/wisepops-connect/wisepops-connect/ratelimit"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// statusText is in each line of the progress.
const statusText = "s  read "

// demoRun is what a run of the command printed.
type demoRun struct {
	out, errOut string
	err         error
}

// exitCode is what the process would end with.
func (r demoRun) exitCode() int {
	if r.err == nil {
		return 0
	}
	if exit, ok := r.err.(cli.ExitCoder); ok { //nolint:errorlint // as cli.HandleExitCoder does
		return exit.ExitCode()
	}
	return 1
}

func runDemoCommand(ctx context.Context, pipelineYAML string, args ...string) demoRun {
	var out, errOut bytes.Buffer
	return runDemoWith(ctx, &out, &errOut, pipelineYAML, args...)
}

func runDemoWith(ctx context.Context, out, errOut interface {
	io.Writer
	String() string
}, pipelineYAML string, args ...string,
) demoRun {
	app := &cli.App{
		Name: "wisepops-connect", Writer: out, ErrWriter: errOut, Commands: []*cli.Command{Demo(pipelineYAML)},
		ExitErrHandler: func(*cli.Context, error) {}, // the default one exits
	}
	err := app.RunContext(ctx, append([]string{"wisepops-connect", "demo"}, args...))
	return demoRun{out: out.String(), errOut: errOut.String(), err: err}
}

// demoYAML is the pipeline that the binary embeds, with some text replaced.
func demoYAML(t *testing.T, replace ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "config", "demo.yaml"))
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(data), replace[i])
	}
	return strings.NewReplacer(replace...).Replace(string(data))
}

// Replacements for demoYAML that put processors before the others, or after them.
func first(processors string) []string {
	return []string{"  processors:\n", "  processors:\n" + processors}
}

func last(processors string) []string {
	return []string{"\n\noutput:\n", "\n" + processors + "\noutput:\n"}
}

// ownTemp has temporary directories made in one that the test looks into.
func ownTemp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

func requireEmptyDir(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func verifyNoLeak(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// figure reads a figure of the verdict.
func (r demoRun) figure(t *testing.T, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^  ` + name + ` +([0-9,]+)`).FindStringSubmatch(r.out)
	require.NotNil(t, found, "%s in:\n%s", name, r.out)
	return found[1]
}

func TestDemoBringsEveryContactIntoTheTableOnce(t *testing.T) {
	temp := ownTemp(t)
	verifyNoLeak(t)
	t.Setenv("WISEPOPS_API_KEY", "another") // must have no effect
	t.Setenv("DEMO_DB", filepath.Join(temp, "another.db"))

	setPatience(t, time.Minute)
	begun := time.Now()

	r := runDemoCommand(t.Context(), demoYAML(t), "--for", "2s", "--contacts", "2500", "--rate", "50/s", "--seed", "7")

	require.NoError(t, r.err, r.out)
	assert.Zero(t, r.exitCode())
	assert.Empty(t, r.errOut, "a healthy run logs nothing at WARN or above")
	assert.Equal(t, r.figure(t, "contacts"), r.figure(t, "rows"))
	assert.Greater(t, r.figure(t, "rows"), "2,5")
	assert.NotEqual(t, "2,500", r.figure(t, "rows"), "visitors came")
	assert.Equal(t, "0", r.figure(t, "lost"))
	assert.Equal(t, "0", r.figure(t, "repeated"))
	calls, err := strconv.Atoi(r.figure(t, "API calls"))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, calls, 3, "pages")
	assert.LessOrEqual(t, calls, 4+5+int(time.Since(begun)/(2*time.Second)), "one for each page, five for the hooks, and a poll every two seconds")
	assert.NotEqual(t, "0", r.figure(t, "by hook"))
	assert.Contains(t, r.out, " of 1,500\n")
	assert.Contains(t, r.out, "config/leads_to_stdout.yaml")
	assert.NotContains(t, r.out, "kept in")
	assert.NotContains(t, r.out, "@")
	requireEmptyDir(t, temp)
}

func TestDemoPrintsPlainLinesWhereThereIsNoTerminal(t *testing.T) {
	begun := time.Now()
	r := runDemoCommand(t.Context(), demoYAML(t), "--for", "1s", "--contacts", "10", "--rate", "0")
	require.NoError(t, r.err)
	assert.NotContains(t, r.out, "\r")
	assert.NotContains(t, r.out, "\x1b")
	assert.Regexp(t, `\n +[0-9]+s  read [0-9]+ of 10, by hook 0, rows [0-9]+, API calls [0-9]+ of 1,500\n`, r.out)
	assert.Regexp(t, `\n +[0-9]+s  read 10 of 10, by hook 0, rows 10, API calls [0-9]+ of 1,500\n`, r.out)
	assert.LessOrEqual(t, strings.Count(r.out, statusText), 4+int(time.Since(begun)/(3*time.Second)), r.out)
}

func TestDemoKeepsTheTableThatIsAskedFor(t *testing.T) {
	temp := ownTemp(t)
	db := filepath.Join(t.TempDir(), `it's 100% #1 ${X}.db`)
	args := []string{"--for", "0s", "--contacts", "3", "--rate", "0", "--db", db}

	r := runDemoCommand(t.Context(), demoYAML(t), args...)
	require.NoError(t, r.err, r.out)
	assert.Contains(t, r.out, "kept in "+db)
	requireEmptyDir(t, temp)
	files, err := os.ReadDir(filepath.Dir(db))
	require.NoError(t, err)
	require.Len(t, files, 1, "nothing but the file itself")
	assert.Equal(t, filepath.Base(db), files[0].Name())

	conn, err := sql.Open("sqlite", "file:"+sqlitePath(db)+"?mode=ro")
	require.NoError(t, err)
	defer conn.Close()
	var rows int
	require.NoError(t, conn.QueryRowContext(t.Context(), "SELECT count(*) FROM contacts").Scan(&rows))
	assert.Equal(t, 3, rows)

	r = runDemoCommand(t.Context(), demoYAML(t), args...)
	require.ErrorContains(t, r.err, "is there already")
	assert.Empty(t, r.out)
}

func TestDemoExitsWithOneUnlessTheTableIsRight(t *testing.T) {
	for name, test := range map[string]struct {
		replace []string
		figures map[string]string
	}{
		"a contact lost": {
			first("    - mapping: 'root = if batch_index() == 7 { deleted() }'\n"),
			map[string]string{"rows": "19", "lost": "1", "repeated": "0"},
		},
		"contacts repeated": {
			last("    - mapping: 'root = if batch_index() < 2 { [ this, this ] } else { [ this ] }'\n    - unarchive: { format: json_array }\n"),
			map[string]string{"rows": "20", "lost": "0", "repeated": "2"},
		},
		"a contact that is nobody's": {
			last("    - mutation: 'root.contact_id = if batch_index() == 7 { \"0\" }'\n"),
			map[string]string{"rows": "20", "lost": "1", "repeated": "0", "unknown": "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			temp := ownTemp(t)
			verifyNoLeak(t)
			setPatience(t, time.Second)
			r := runDemoCommand(t.Context(), demoYAML(t, test.replace...), "--for", "100ms", "--contacts", "20", "--rate", "0")
			require.ErrorContains(t, r.err, "does not hold what the sandbox knows")
			assert.Equal(t, 1, r.exitCode())
			assert.Equal(t, "20", r.figure(t, "contacts"))
			for figure, want := range test.figures {
				assert.Equal(t, want, r.figure(t, figure), figure)
			}
			requireEmptyDir(t, temp)
		})
	}
}

func setPatience(t *testing.T, patience time.Duration) {
	t.Helper()
	was := demoPatience
	demoPatience = patience
	t.Cleanup(func() { demoPatience = was })
}

func TestDemoGivesItsVerdictOnAPipelineThatIsStuck(t *testing.T) {
	setPatience(t, time.Second)
	r := runDemoCommand(t.Context(), demoYAML(t, "table: contacts", "table: nowhere"), "--for", "0s", "--contacts", "20", "--rate", "0")
	require.ErrorContains(t, r.err, "20 lost, 0 repeated, 0 unknown. The pipeline had not caught up")
	assert.Equal(t, 1, r.exitCode())
	assert.Contains(t, r.errOut, "level=ERROR")
	assert.Equal(t, "0", r.figure(t, "rows"))
}

func TestDemoFailsWhereNoWebhookComes(t *testing.T) {
	setPatience(t, time.Second)
	r := runDemoCommand(t.Context(), demoYAML(t, "public_url: http", "register: false\n          public_url: http"), "--for", "1s", "--contacts", "5", "--rate", "50/s")
	require.ErrorContains(t, r.err, "did not come by webhook")
	assert.Equal(t, "0", r.figure(t, "lost"))
	assert.NotEqual(t, "0", r.figure(t, "unhooked"))
}

func TestDemoReportsAPipelineThatCannotRun(t *testing.T) {
	for name, test := range map[string]struct {
		replace []string
		want    string
	}{
		"it does not lint":   {[]string{"poll_interval:", "poll_intervall:"}, "reading the pipeline"},
		"it does not build":  {[]string{"checkpoint_cache: demo_state", "checkpoint_cache: other"}, "the pipeline ended by itself"},
		"it knows no key":    {[]string{"${WISEPOPS_API_KEY:demo}", "${OTHER:}"}, "api_key"},
		"its cache is wrong": {[]string{"key_column: key", "key_column: 7up: 8"}, "reading the pipeline"},
	} {
		t.Run(name, func(t *testing.T) {
			temp := ownTemp(t)
			verifyNoLeak(t)
			r := runDemoCommand(t.Context(), demoYAML(t, test.replace...), "--contacts", "20")
			require.ErrorContains(t, r.err, test.want)
			assert.Equal(t, 1, r.exitCode())
			requireEmptyDir(t, temp)
		})
	}
}

func TestDemoShowsWarningsOfThePipeline(t *testing.T) {
	r := runDemoCommand(t.Context(), demoYAML(t, last("    - log: { level: INFO, message: quiet }\n    - log: { level: WARN, message: loud }\n")...),
		"--for", "0s", "--contacts", "1", "--rate", "0")
	require.NoError(t, r.err)
	assert.Contains(t, r.errOut, "level=WARN msg=loud")
	assert.NotContains(t, r.errOut, "quiet")
}

// watchedBuffer calls onLine when the status was printed for the n-th time, for
// each n of lines in their order.
type watchedBuffer struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	lines  []int
	onLine func()
}

func (b *watchedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.buf.Write(p)
	for len(b.lines) > 0 && strings.Count(b.buf.String(), statusText) >= b.lines[0] {
		b.lines = b.lines[1:]
		b.onLine()
	}
	return n, err
}

func (b *watchedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func interruptSelf(t *testing.T) {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(os.Interrupt))
}

func TestDemoGivesItsVerdictWhenInterrupted(t *testing.T) {
	temp := ownTemp(t)
	verifyNoLeak(t)
	setPatience(t, time.Minute)
	out := &watchedBuffer{lines: []int{1}, onLine: func() { interruptSelf(t) }}
	r := runDemoWith(t.Context(), out, &bytes.Buffer{}, demoYAML(t), "--for", "1h", "--contacts", "1500")
	require.NoError(t, r.err)
	assert.Equal(t, r.figure(t, "contacts"), r.figure(t, "rows"))
	requireEmptyDir(t, temp)
}

func TestDemoEndsUncheckedWhenInterruptedTwice(t *testing.T) {
	temp := ownTemp(t)
	verifyNoLeak(t)
	setPatience(t, time.Hour)
	// The second line ends the time of the visitors.
	out := &watchedBuffer{lines: []int{1, 3}, onLine: func() { interruptSelf(t) }}
	r := runDemoWith(t.Context(), out, &bytes.Buffer{}, demoYAML(t, first("    - mapping: root = deleted()\n")...), "--for", "1h", "--contacts", "20")
	require.ErrorContains(t, r.err, "Interrupted")
	assert.Equal(t, 130, r.exitCode())
	assert.NotContains(t, r.out, "lost")
	requireEmptyDir(t, temp)
}

func TestDemoRefusesFlagsItCannotRead(t *testing.T) {
	temp := ownTemp(t)
	for _, args := range [][]string{
		{"--for", "-1s"},
		{"--for", "soon"},
		{"--contacts", "-1"},
		{"--rate", "fast"},
		{"--db", os.TempDir()},
		{"--db", filepath.Join(t.TempDir(), "none", "demo.db")},
		{"flags", "config/demo.yaml"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			r := runDemoCommand(t.Context(), "", args...)
			require.ErrorContains(t, r.err, strings.TrimPrefix(args[0], "--"))
		})
	}
	requireEmptyDir(t, temp)
}

func TestVerdictFindsEveryDifference(t *testing.T) {
	known := sandbox.New(sandbox.Options{Contacts: 3}).Contacts()
	row := func(i int) demoRow {
		id, err := wisepops.ContactID(known[i].Raw)
		require.NoError(t, err)
		return demoRow{contactID: id, email: known[i].Email, polled: 1}
	}
	with := func(r demoRow, change func(*demoRow)) demoRow {
		change(&r)
		return r
	}
	for name, test := range map[string]struct {
		rows      []demoRow
		delivered int
		live      int
		want      demoVerdict
		good      bool
	}{
		"each once": {[]demoRow{row(2), row(0), row(1)}, 0, 0, demoVerdict{contacts: 3, rows: 3}, true},
		"by both ways": {
			[]demoRow{row(0), with(row(1), func(r *demoRow) { r.hooked = 1 }), row(2)}, 1, 0, demoVerdict{contacts: 3, rows: 3, hooked: 1}, true,
		},
		"twice by hook": {
			[]demoRow{row(0), with(row(1), func(r *demoRow) { r.hooked = 2 }), row(2)}, 1, 0, demoVerdict{contacts: 3, rows: 3, hooked: 1, repeated: 1}, false,
		},
		"acknowledged, and only polled": {
			[]demoRow{row(0), row(1), row(2)}, 2, 0, demoVerdict{contacts: 3, rows: 3, unproven: 2}, false,
		},
		"by poll only": {
			[]demoRow{row(0), row(1), row(2)}, 1, 2, demoVerdict{contacts: 3, rows: 3, unproven: 1, unhooked: 1}, false,
		},
		"none":                {nil, 0, 0, demoVerdict{contacts: 3, lost: 3}, false},
		"one missing":         {[]demoRow{row(0), row(2)}, 0, 0, demoVerdict{contacts: 3, rows: 2, lost: 1}, false},
		"one in two rows":     {[]demoRow{row(0), row(1), row(2), row(1)}, 0, 0, demoVerdict{contacts: 3, rows: 4, repeated: 1}, false},
		"one came four times": {[]demoRow{row(0), with(row(1), func(r *demoRow) { r.polled = 4 }), row(2)}, 0, 0, demoVerdict{contacts: 3, rows: 3, repeated: 3}, false},
		"one instead of another": {
			[]demoRow{row(0), row(1), row(1)}, 0, 0, demoVerdict{contacts: 3, rows: 3, lost: 1, repeated: 1}, false,
		},
		"one more": {
			[]demoRow{row(0), row(1), row(2), {contactID: "f", email: "f@example.com", polled: 1}}, 0, 0, demoVerdict{contacts: 3, rows: 4, unknown: 1}, false,
		},
		"another email": {
			[]demoRow{row(0), row(1), with(row(2), func(r *demoRow) { r.email = row(1).email })}, 0, 0, demoVerdict{contacts: 3, rows: 3, lost: 1, unknown: 1}, false,
		},
		"another id": {
			[]demoRow{row(0), row(1), with(row(2), func(r *demoRow) { r.contactID = row(1).contactID })}, 0, 0, demoVerdict{contacts: 3, rows: 3, lost: 1, unknown: 1}, false,
		},
		"a count of zero": {
			[]demoRow{row(0), row(1), with(row(2), func(r *demoRow) { r.polled = 0 })}, 0, 0, demoVerdict{contacts: 3, rows: 3, lost: 1}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := judgeDemo(known, test.rows, len(known)-test.live, sandbox.Deliveries{Delivered: test.delivered})
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.good, got.good())
		})
	}
}

func TestVerdictCountsVisitorsWhoGaveTheSameAnswer(t *testing.T) {
	raw := []byte(`{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"ip":"203.0.113.7","fields":{"Name":"Zo\u00eb","email":"a@example.com"}}`)
	known := []sandbox.Contact{{Raw: raw}, {Raw: raw}}
	// Those of the test vectors in wisepops.ContactID and wisepops.TwinID.
	rows := []demoRow{{contactID: "bcee0b16a0aeb5a5b49cca1dcb6fa71d", polled: 1}, {contactID: "869834b45997b2fa35747628980cf9da", polled: 1}}
	v, err := judgeDemo(known, rows, 2, sandbox.Deliveries{})
	require.NoError(t, err)
	assert.True(t, v.good())
	v, err = judgeDemo(known, rows[:1], 2, sandbox.Deliveries{})
	require.NoError(t, err)
	assert.Equal(t, 1, v.lost)
}

func TestVerdictOfAContactInNonsenseIsAnError(t *testing.T) {
	_, err := judgeDemo([]sandbox.Contact{{Raw: []byte("[EMAILMARKER")}}, nil, 1, sandbox.Deliveries{})
	require.ErrorContains(t, err, "contact")
	assert.NotContains(t, err.Error(), "EMAILMARKER")
}

func TestLiveLineIsRedrawnAndYieldsToLogs(t *testing.T) {
	var screen bytes.Buffer
	p := newDemoProgress(&screen, &screen)
	require.False(t, p.live)
	p.live = true
	status := demoStatus{read: 99_999, known: 99_999, hooked: 9_999, rows: 99_999, calls: 999, elapsed: 999 * time.Second}
	assert.Less(t, len(status.String()), 80)

	p.show(demoStatus{known: 5}, false)
	p.show(demoStatus{read: 5, known: 5, rows: 5, calls: 1, elapsed: 1500 * time.Millisecond}, true)
	_, err := p.logs().Write([]byte("level=WARN\n"))
	require.NoError(t, err)
	p.endLine() // nothing stands there
	p.show(demoStatus{known: 5}, false)
	p.endLine()
	assert.Equal(t, "\r\x1b[K  0s  read 0 of 5, by hook 0, rows 0, API calls 0 of 1,500"+
		"\r\x1b[K  1s  read 5 of 5, by hook 0, rows 5, API calls 1 of 1,500"+
		"\r\x1b[Klevel=WARN\n"+
		"\r\x1b[K  0s  read 0 of 5, by hook 0, rows 0, API calls 0 of 1,500\n", screen.String())
}

func TestPlainLinesComeEverySoOften(t *testing.T) {
	var out bytes.Buffer
	p := newDemoProgress(&out, io.Discard)
	for ms := 0; ms <= 10_000; ms += 100 {
		p.show(demoStatus{elapsed: time.Duration(ms) * time.Millisecond}, ms == 10_000)
	}
	var seconds []string
	for line := range strings.Lines(out.String()) {
		seconds = append(seconds, strings.Fields(line)[0])
	}
	assert.Equal(t, []string{"0s", "3s", "6s", "9s", "10s"}, seconds)
}

func TestNoFileIsATerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	assert.False(t, isTerminal(file))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	assert.False(t, isTerminal(null))
}

func TestThousandsAreGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 54321: "54,321", 1234567: "1,234,567"} {
		assert.Equal(t, want, thousands(n))
	}
}

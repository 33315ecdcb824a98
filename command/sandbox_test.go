package command

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// runSandboxCommand runs the command with arguments until ctx ends.
func runSandboxCommand(ctx context.Context, out io.Writer, args ...string) error {
	app := &cli.App{Name: "wisepops-connect", Writer: out, ErrWriter: io.Discard, Commands: []*cli.Command{Sandbox()}}
	return app.RunContext(ctx, append([]string{"wisepops-connect", "sandbox"}, args...))
}

// runningSandbox is a sandbox command that listens.
type runningSandbox struct {
	base string // its base_url
	curl string // the command it printed
	rest *bufio.Reader
	stop context.CancelFunc
	done chan error
}

func startSandboxCommand(t *testing.T, args ...string) *runningSandbox {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	r := &runningSandbox{rest: bufio.NewReader(reader), stop: stop, done: make(chan error, 1)}
	go func() {
		r.done <- runSandboxCommand(ctx, writer, append([]string{"--address", "127.0.0.1:0"}, args...)...)
		_ = writer.Close()
	}()
	t.Cleanup(func() {
		stop()
		_, _ = io.Copy(io.Discard, r.rest)
	})
	for r.curl == "" {
		line, err := r.rest.ReadString('\n')
		require.NoError(t, err, "before the command listens")
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "base_url: "); ok {
			r.base = value
		}
		if strings.HasPrefix(line, "curl ") {
			r.curl = strings.TrimSpace(line)
		}
	}
	return r
}

func TestSandboxServesUntilItsContextEnds(t *testing.T) {
	r := startSandboxCommand(t, "--contacts", "12", "--api-key", "it's", "--order", "newest-first", "--page-cap", "5")

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.base+"/contacts?page_size=100", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", `WISEPOPS-API key="it's"`)
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	var page []struct {
		CollectedAt time.Time `json:"collected_at"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&page))
	require.NoError(t, response.Body.Close())
	require.Len(t, page, 5)
	assert.False(t, page[0].CollectedAt.Before(page[4].CollectedAt))

	r.stop()
	rest, err := io.ReadAll(r.rest)
	require.NoError(t, err)
	assert.Equal(t, "\nSandbox stopped: 1 calls answered, 12 contacts, 0 deliveries acknowledged.\n", string(rest))
	require.NoError(t, <-r.done)
}

func TestSandboxPrintsACurlLineThatWorks(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	r := startSandboxCommand(t, "--api-key", "it's")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", r.curl+" --silent --noproxy '*'").Output()
	require.NoError(t, err)
	var page []any
	require.NoError(t, json.Unmarshal(out, &page), string(out))
	assert.Len(t, page, 2)
}

func TestSandboxLetsVisitorsIn(t *testing.T) {
	r := startSandboxCommand(t, "--contacts", "0", "--rate", "1000/s")
	assert.Eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.base+"/contacts", http.NoBody)
		if err != nil {
			return false
		}
		request.Header.Set("Authorization", `WISEPOPS-API key="demo"`)
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return err == nil && len(body) > len("[]")
	}, 10*time.Second, 5*time.Millisecond)
}

func TestSandboxStopsAlthoughAConnectionIsOpen(t *testing.T) {
	before := goleak.IgnoreCurrent()
	r := startSandboxCommand(t)
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(r.base, "http://"), "/api2"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET /contacts HTTP/1.1\r\n"))
	require.NoError(t, err)
	r.stop()
	_, err = io.Copy(io.Discard, r.rest)
	require.NoError(t, err)
	require.NoError(t, <-r.done)
	goleak.VerifyNone(t, before)
}

func TestSandboxReportsAnAddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	err = runSandboxCommand(t.Context(), io.Discard, "--address", listener.Addr().String())
	require.ErrorContains(t, err, listener.Addr().String()+" is in use")
	require.ErrorContains(t, err, "--address")
}

func TestSandboxRefusesFlagsItCannotRead(t *testing.T) {
	for _, args := range [][]string{
		{"--api-key", ""},
		{"--api-key", `a"b`},
		{"--api-key", "a b"},
		{"--contacts", "-1"},
		{"--burst", "-1"},
		{"--burst-every", "-1"},
		{"--page-cap", "-1"},
		{"--anonymous", "-1"},
		{"--anonymous", "101"},
		{"--blank-every", "1"},
		{"--delete-per-page", "-1"},
		{"--insert-per-page", "-1"},
		{"--clock-jump-after", "-1s"},
		{"--past-end", "404"},
		{"--retry-after", "soon"},
		{"--spacing", "0s"},
		{"--late", "-1s"},
		{"--budget", "-1"},
		{"--budget-window", "0s"},
		{"--order", "random"},
		{"--start", "yesterday"},
		{"--rate", "fast"},
		{"--address", "nowhere"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			err := runSandboxCommand(t.Context(), io.Discard, append([]string{"--address", "127.0.0.1:0"}, args...)...)
			require.ErrorContains(t, err, strings.TrimPrefix(args[0], "--"))
		})
	}
}

func TestSandboxFlagsReachTheService(t *testing.T) {
	var got sandbox.Options
	command := Sandbox()
	command.Action = func(c *cli.Context) (err error) {
		got, err = sandboxOptions(c)
		return err
	}
	run := func(args ...string) sandbox.Options {
		app := &cli.App{Writer: io.Discard, Commands: []*cli.Command{command}}
		require.NoError(t, app.Run(append([]string{"wisepops-connect", "sandbox"}, args...)))
		return got
	}
	assert.Equal(t, sandbox.Options{
		APIKey: "demo", Contacts: 5000, BudgetWindow: 720 * time.Hour,
		Switches: sandbox.Switches{Anonymous: sandbox.DefaultAnonymous, ClockJumpAfter: time.Minute},
	}, run())
	assert.Negative(t, run("--anonymous=0").Anonymous, "none, and not the default")
	assert.Equal(t, sandbox.Options{
		APIKey: "k", Contacts: 1, Seed: 2, Start: time.Date(2023, 1, 2, 3, 4, 5, 0, time.UTC), Spacing: 3 * time.Second,
		Burst: 4, BurstEvery: 5, Budget: 9, BudgetWindow: 8 * time.Hour,
		Switches: sandbox.Switches{
			ExclusiveBound: true, SecondBound: true, SecondTimes: true, Order: sandbox.Unsorted,
			PageCap: 6, PageCapSkips: true, FailedCallsFree: true, PlainFields: true, Late: 7 * time.Minute,
			RefuseTwinHooks: true, RespellDeliveries: true, Strict: true, SecondBoundUp: true, BoundIgnored: true,
			BoundOffset: -2 * time.Hour, PageIgnored: true, PastEnd: sandbox.PastEndLastPage, BlankEvery: 10, FilterAfterPaging: true,
			DeletePerPage: 11, InsertPerPage: 12, NullCountries: true, Anonymous: 13, ClockOffset: 14 * time.Second, ClockJump: -15 * time.Second,
			ClockJumpAfter: 16 * time.Second, DateOffset: 17 * time.Second, RetryAfter: sandbox.RetryAfterEpoch,
		},
	}, run("--api-key=k", "--contacts=1", "--seed=2", "--start=2023-01-02T03:04:05Z", "--spacing=3s", "--burst=4",
		"--burst-every=5", "--exclusive-bound", "--second-bound", "--second-times", "--order=unsorted", "--page-cap=6",
		"--page-cap-skips", "--failed-calls-free", "--plain-fields", "--late=7m", "--budget=9", "--budget-window=8h",
		"--refuse-twin-hooks", "--respell-deliveries", "--strict", "--second-bound-up", "--bound-ignored", "--bound-offset=-2h",
		"--page-ignored", "--past-end=last-page", "--blank-every=10", "--filter-after-paging", "--delete-per-page=11",
		"--insert-per-page=12", "--null-countries", "--anonymous=13", "--clock-offset=14s", "--clock-jump=-15s", "--clock-jump-after=16s",
		"--date-offset=17s", "--retry-after=epoch"))
}

func TestRateIsReadPerSecond(t *testing.T) {
	for rate, want := range map[string]float64{"0": 0, "5": 5, "5/s": 5, "0.5/s": 0.5, "30/m": 0.5, "36/h": 0.01, "0/m": 0} {
		got, err := parseRate(rate)
		require.NoError(t, err, rate)
		assert.InDelta(t, want, got, 1e-12, rate)
	}
	for _, rate := range []string{"", "/s", "5/", "5/d", "5/s/s", "-1/s", "NaN", "Inf", "five", "5 /s", "5s"} {
		_, err := parseRate(rate)
		require.ErrorContains(t, err, "write 5/s", rate)
	}
}

func TestReachableAddressReplacesTheUnspecifiedHost(t *testing.T) {
	for given, want := range map[string]string{
		"0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "127.0.0.1:80": "127.0.0.1:80", "[::1]:80": "[::1]:80",
	} {
		addr, err := net.ResolveTCPAddr("tcp", given)
		require.NoError(t, err)
		assert.Equal(t, want, reachableAddress(addr))
	}
}

func TestSandboxStopsWhenInterrupted(t *testing.T) {
	r := startSandboxCommand(t, "--contacts", "1")
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(os.Interrupt))
	_, err = io.Copy(io.Discard, r.rest)
	require.NoError(t, err)
	require.NoError(t, <-r.done)
}

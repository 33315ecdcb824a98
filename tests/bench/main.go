// Command bench measures wisepops_contacts beside its rivals: the recipe that
// plain Benthos offers, and a bare Go loop that fetches the same pages and only
// cuts them with encoding/json; wisepops_webhook beside Benthos' http_server; and
// wisepops_privacy_delete beside its http_client.
// Each runs as a process of its own, in turns, so that noise of the machine meets
// all of them.
//
//	go run ./tests/bench -binary bin/wisepops-connect
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	pageSize = 1000
	apiKey   = "bench"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "bare" {
		exitOn(bareLoop(context.Background(), os.Args[2]))
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "load" {
		exitOn(load(context.Background(), os.Args[2], os.Args[3]))
		return
	}
	only := flag.String("only", "", "contacts, webhook, privacy, start, backlog, latency, delivery, sinks or commits; all but the last two, which need PostgreSQL and MariaDB, where empty")
	most := flag.Int("backlog", 5_000_000, "the longest backlog, in contacts")
	duration := flag.Duration("load", 5*time.Second, "how long each rival receives deliveries")
	binary := flag.String("binary", "bin/wisepops-connect", "the binary to measure")
	configs := flag.String("configs", "tests/bench/config", "folder of the pipelines")
	contacts := flag.Int("contacts", 1_000_000, "contacts of the backfill")
	rounds := flag.Int("rounds", 5, "runs of each rival; the median is reported")
	flag.Parse()
	ctx := context.Background()
	needServers := []string{"sinks", "commits"}
	for _, b := range []struct {
		name string
		run  func() error
	}{
		{"contacts", func() error { return bench(ctx, *binary, *configs, *contacts, *rounds) }},
		{"webhook", func() error { return benchWebhook(ctx, *binary, *configs, *rounds, *duration) }},
		{"privacy", func() error { return benchPrivacy(ctx, *binary, *configs, *rounds) }},
		{"start", func() error { return benchStart(ctx, *binary, *configs, 2*(*rounds)+1) }},
		{"backlog", func() error {
			backlogs := slices.DeleteFunc([]int{20_000, 200_000, 2_000_000}, func(n int) bool { return n >= *most })
			return benchBacklog(ctx, *binary, *configs, append(backlogs, *most))
		}},
		{"latency", func() error { return benchLatency(ctx, *binary, *configs) }},
		{"delivery", func() error { return benchDelivery(ctx, *binary, *configs) }},
		{"sinks", func() error { return benchSinks(ctx, *binary, *configs, *contacts, *rounds) }},
		{"commits", func() error { return benchCommits(ctx, *binary, *contacts, *rounds) }},
	} {
		if *only == b.name || *only == "" && !slices.Contains(needServers, b.name) {
			exitOn(b.run())
		}
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type rival struct {
	name    string
	command func(dir string) *exec.Cmd
	runs    []measurement
}

type measurement struct {
	wall, cpu time.Duration
	memoryKiB int64
}

func bench(ctx context.Context, binary, configs string, contacts, rounds int) error {
	baseURL, stop, err := startSandbox(ctx, binary, contacts)
	if err != nil {
		return err
	}
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	pipeline := func(name string) func(string) *exec.Cmd {
		return func(dir string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, binary, "run", filepath.Join(configs, name)) //nolint:gosec // the binary under test
			cmd.Env = append(os.Environ(),
				"BASE_URL="+baseURL,
				"STATE_FILE="+filepath.Join(dir, "state.db"),
				// An inclusive bound repeats one contact a page.
				"PAGES="+strconv.Itoa(contacts/(pageSize-1)+1),
			)
			return cmd
		}
	}
	rivals := []*rival{
		{name: "wisepops_contacts", command: pipeline("input.yaml")},
		{name: "plain Benthos recipe", command: pipeline("recipe.yaml")},
		{name: "bare Go loop, encoding/json", command: func(string) *exec.Cmd {
			return exec.CommandContext(ctx, self, "bare", baseURL) //nolint:gosec // this program
		}},
	}
	for round := range rounds {
		for i := range rivals {
			r := rivals[(round+i)%len(rivals)]
			m, err := measure(r.command)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			r.runs = append(r.runs, m)
			fmt.Fprintf(os.Stderr, "round %d: %s: %s\n", round+1, r.name, m.wall.Round(time.Millisecond))
		}
	}
	report(rivals, contacts)
	return nil
}

func measure(command func(dir string) *exec.Cmd) (m measurement, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := command(dir)
	cmd.Stderr, cmd.Stdout = os.Stderr, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return m, err
	}
	m.wall = time.Since(start)
	m.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	m.memoryKiB, err = peakMemory(cmd)
	return m, err
}

// peakMemory is that of a process that has ended, in KiB.
func peakMemory(cmd *exec.Cmd) (int64, error) {
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, errors.New("this system does not tell a process's memory")
	}
	return usage.Maxrss, nil
}

func report(rivals []*rival, contacts int) {
	ours := median(rivals[0].runs)
	fmt.Printf("%d contacts, pages of %d, medians of %d runs\n\n", contacts, pageSize, len(rivals[0].runs))
	fmt.Println("| | contacts/s | CPU seconds | peak memory | time against wisepops_contacts |")
	fmt.Println("|---|---|---|---|---|")
	for _, r := range rivals {
		m := median(r.runs)
		fmt.Printf("| %s | %.0f | %.2f | %d MiB | %.2f |\n", r.name,
			float64(contacts)/m.wall.Seconds(), m.cpu.Seconds(), m.memoryKiB/1024, m.wall.Seconds()/ours.wall.Seconds())
	}
}

func median(runs []measurement) measurement {
	pick := func(of func(measurement) int64) int64 {
		values := make([]int64, len(runs))
		for i, r := range runs {
			values[i] = of(r)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return measurement{
		wall:      time.Duration(pick(func(m measurement) int64 { return int64(m.wall) })),
		cpu:       time.Duration(pick(func(m measurement) int64 { return int64(m.cpu) })),
		memoryKiB: pick(func(m measurement) int64 { return m.memoryKiB }),
	}
}

func startSandbox(ctx context.Context, binary string, contacts int) (baseURL string, stop func(), err error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "sandbox", "--address", address, //nolint:gosec // the binary under test
		"--contacts", strconv.Itoa(contacts), "--rate", "0", "--api-key", apiKey)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	baseURL = "http://" + address + "/api2"
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if _, err = fetch(ctx, baseURL+"/contacts?page_size=1"); err == nil {
			return baseURL, stop, nil
		}
		<-time.After(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("starting the sandbox: %w", err)
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// bareLoop is the least that a reader can do: no watermark, no ids, no state. It
// asks by page number, since it does not look into the contacts.
func bareLoop(ctx context.Context, baseURL string) error {
	total := 0
	for page := 1; ; page++ {
		body, err := fetch(ctx, fmt.Sprintf("%s/contacts?page_size=%d&page=%d", baseURL, pageSize, page))
		if err != nil {
			return err
		}
		var contacts []json.RawMessage
		if err := json.Unmarshal(body, &contacts); err != nil {
			return err
		}
		total += len(contacts)
		if len(contacts) < pageSize {
			fmt.Fprintf(os.Stderr, "bare loop: %d contacts\n", total)
			return nil
		}
	}
}

var client = &http.Client{Timeout: time.Minute}

func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", `WISEPOPS-API key="`+apiKey+`"`)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return io.ReadAll(res.Body)
}

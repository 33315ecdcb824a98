package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	idleTime         = 20 * time.Second
	latencyContacts  = 20_000
	sinkDeliveries   = 2000
	startUpAllowance = 10 * time.Second
)

// inputCommand runs wisepops_contacts into drop against an API.
func inputCommand(ctx context.Context, binary, configs, baseURL string) func(dir string) *exec.Cmd {
	return func(dir string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, "run", filepath.Join(configs, "input.yaml")) //nolint:gosec // the binary under test
		cmd.Env = append(os.Environ(), "BASE_URL="+baseURL, "STATE_FILE="+filepath.Join(dir, "state.db"))
		return cmd
	}
}

// benchStart measures how long it takes from the start of the process to its first
// request, and what it does while there is nothing to do.
func benchStart(ctx context.Context, binary, configs string, rounds int) error {
	arrived := make(chan time.Time, 1)
	site := sandbox.New(sandbox.Options{APIKey: apiKey})
	site.Control(func(*http.Request) *sandbox.Fault {
		select {
		case arrived <- time.Now():
		default:
		}
		return nil
	})
	server := httptest.NewServer(site)
	defer server.Close()
	command := inputCommand(ctx, binary, configs, server.URL+"/api2")

	var starts []time.Duration
	for range rounds {
		var begun time.Time
		if _, err := measure(func(dir string) *exec.Cmd {
			begun = time.Now()
			return command(dir)
		}); err != nil {
			return err
		}
		select {
		case at := <-arrived:
			starts = append(starts, at.Sub(begun))
		case <-time.After(startUpAllowance):
			return errors.New("no request was made")
		}
	}
	slices.Sort(starts)

	idle, err := measureIdle(ctx, binary, configs, server.URL+"/api2")
	if err != nil {
		return err
	}
	fmt.Printf("From the start to the first request, median of %d runs: %s. Idle, over %s: %.2f%% of a core.\n\n",
		rounds, starts[len(starts)/2].Round(time.Millisecond), idleTime, 100*idle.cpu.Seconds()/idle.wall.Seconds())
	return nil
}

// measureIdle watches a pipeline that waits for its next poll, once it has started.
func measureIdle(ctx context.Context, binary, configs, baseURL string) (idle measurement, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return idle, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := inputCommand(ctx, binary, configs, baseURL)(dir)
	cmd.Args = append(cmd.Args[:2], "--set", "input.wisepops_contacts.follow=true", cmd.Args[2])
	if err := cmd.Start(); err != nil {
		return idle, err
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	<-time.After(startUpAllowance)
	before, err := processCPU(cmd.Process.Pid)
	if err != nil {
		return idle, err
	}
	<-time.After(idleTime)
	after, err := processCPU(cmd.Process.Pid)
	return measurement{wall: idleTime, cpu: after - before}, err
}

// processCPU is the time that a running process has used so far, in steps of 10 ms.
func processCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name, in parentheses; times are the 14th and 15th.
	_, fields, _ := strings.Cut(string(stat), ") ")
	var ticks [2]int64
	for i := range ticks {
		list := strings.Fields(fields)
		if len(list) < 13 {
			return 0, errors.New("this system does not tell the time of a process")
		}
		if ticks[i], err = strconv.ParseInt(list[11+i], 10, 64); err != nil {
			return 0, err
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * 10 * time.Millisecond, nil
}

// benchBacklog measures the peak memory against the contacts that there are to read.
func benchBacklog(ctx context.Context, binary, configs string, backlogs []int) error {
	fmt.Println("| contacts to read | contacts/s | peak memory |")
	fmt.Println("|---|---|---|")
	for _, contacts := range backlogs {
		baseURL, stop, err := startSandbox(ctx, binary, contacts)
		if err != nil {
			return err
		}
		m, err := measure(inputCommand(ctx, binary, configs, baseURL))
		stop()
		if err != nil {
			return err
		}
		fmt.Printf("| %d | %.0f | %d MiB |\n", contacts, float64(contacts)/m.wall.Seconds(), m.memoryKiB/1024)
	}
	fmt.Println()
	return nil
}

// benchLatency measures a backfill against an API that takes its time, beside the
// bare loop.
func benchLatency(ctx context.Context, binary, configs string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	site := sandbox.New(sandbox.Options{APIKey: apiKey, Contacts: latencyContacts})
	server := httptest.NewServer(site)
	defer server.Close()
	fmt.Printf("| latency of the API | wisepops_contacts, %d contacts | bare loop | of it, waiting for %d answers |\n", latencyContacts, latencyContacts/pageSize+1)
	fmt.Println("|---|---|---|---|")
	for _, latency := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond} {
		site.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Delay: latency} })
		ours, err := measure(inputCommand(ctx, binary, configs, server.URL+"/api2"))
		if err != nil {
			return err
		}
		bare, err := measure(func(string) *exec.Cmd {
			return exec.CommandContext(ctx, self, "bare", server.URL+"/api2") //nolint:gosec // this program
		})
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %s | %s | %s |\n", latency, ours.wall.Round(10*time.Millisecond), bare.wall.Round(10*time.Millisecond),
			time.Duration(latencyContacts/pageSize+1)*latency)
	}
	fmt.Println()
	return nil
}

// benchDelivery measures how long it takes from the first byte of a delivery until an
// HTTP sink has its contact, one at a time.
func benchDelivery(ctx context.Context, binary, configs string) error {
	var mu sync.Mutex
	arrivals := map[string]time.Time{}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		at := time.Now()
		body, _ := io.ReadAll(r.Body)
		var contact struct {
			IP string `json:"ip"`
		}
		_ = json.Unmarshal(body, &contact) // what is no contact is missed below
		mu.Lock()
		defer mu.Unlock()
		arrivals[contact.IP] = at
	}))
	defer sink.Close()
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binary, "run", filepath.Join(configs, "webhook_to_http.yaml")) //nolint:gosec // the binary under test
	cmd.Env = append(os.Environ(), "ADDRESS="+address, "SINK="+sink.URL)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	if err := awaitHealth(ctx, "http://"+address+"/wisepops/healthz"); err != nil {
		return err
	}
	var took []time.Duration
	for i := range sinkDeliveries {
		name := fmt.Sprintf("marker-%d", i)
		body := fmt.Sprintf(`[{"collected_at":"2026-01-31T10:00:00.000Z","wisepop_id":1,"ip":%q,"fields":{"email":"a@example.com"}}]`, name)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/wisepops/email", strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set(wisepops.SignatureHeader, wisepops.Sign(apiKey, []byte(body)))
		begun := time.Now()
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		mu.Lock()
		at, arrived := arrivals[name]
		mu.Unlock()
		if res.StatusCode != http.StatusOK || !arrived {
			return fmt.Errorf("a delivery was answered %d, and is missing in the sink: %t", res.StatusCode, !arrived)
		}
		took = append(took, at.Sub(begun))
	}
	slices.Sort(took)
	fmt.Printf("From a delivery to an HTTP sink, %d one by one: median %s, 99th percentile %s.\n\n", len(took),
		took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond))
	return nil
}

func awaitHealth(ctx context.Context, url string) (err error) {
	for deadline := time.Now().Add(startUpAllowance); time.Now().Before(deadline); {
		if _, err = fetch(ctx, url); err == nil {
			return nil
		}
		<-time.After(20 * time.Millisecond)
	}
	return err
}

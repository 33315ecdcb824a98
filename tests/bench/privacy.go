package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	privacyRequests = 10_000
	privacyInFlight = 64
	privacyLatency  = 50 * time.Millisecond
)

// benchPrivacy measures wisepops_privacy_delete beside Benthos' http_client, in
// turns, against an API that takes a while.
func benchPrivacy(ctx context.Context, binary, configs string, rounds int) error {
	site := sandbox.New(sandbox.Options{APIKey: apiKey})
	site.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Delay: privacyLatency} })
	server := httptest.NewServer(site)
	defer server.Close()
	rivals := []*rival{{name: "wisepops_privacy_delete"}, {name: "http_client"}}
	for i, config := range []string{"privacy.yaml", "http_client.yaml"} {
		rivals[i].command = func(string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, binary, "run", filepath.Join(configs, config)) //nolint:gosec // the binary under test
			cmd.Env = append(os.Environ(), "BASE_URL="+server.URL+"/api2", "REQUESTS="+strconv.Itoa(privacyRequests))
			return cmd
		}
	}
	for round := range rounds {
		for i := range rivals {
			r := rivals[(round+i)%len(rivals)]
			before := site.Calls().Total
			m, err := measure(r.command)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if n := site.Calls().Total - before; n != privacyRequests {
				return fmt.Errorf("%s: %d calls were made, and %d wanted", r.name, n, privacyRequests)
			}
			r.runs = append(r.runs, m)
			fmt.Fprintf(os.Stderr, "round %d: %s: %s\n", round+1, r.name, m.wall.Round(time.Millisecond))
		}
	}
	ideal := privacyInFlight / privacyLatency.Seconds()
	fmt.Printf("%d deletions, %d at a time, %s a call, whole processes, medians of %d runs\n\n", privacyRequests, privacyInFlight, privacyLatency, rounds)
	fmt.Printf("| | deletions/s | CPU seconds | peak memory | of the ideal %.0f/s |\n", ideal)
	fmt.Println("|---|---|---|---|---|")
	for _, r := range rivals {
		m := median(r.runs)
		rate := privacyRequests / m.wall.Seconds()
		fmt.Printf("| %s | %.0f | %.2f | %d MiB | %.0f%% |\n", r.name, rate, m.cpu.Seconds(), m.memoryKiB/1024, 100*rate/ideal)
	}
	return nil
}

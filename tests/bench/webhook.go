package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	loadConnections = 32
	loadBodies      = 1000
	loadWarmUp      = time.Second
)

// loadResult is what one run of the load tells.
type loadResult struct {
	perSecond float64
	p50, p99  time.Duration
	memoryKiB int64
}

// benchWebhook measures wisepops_webhook beside Benthos' http_server, each as a
// process of its own, under load from another process, in turns.
func benchWebhook(ctx context.Context, binary, configs string, rounds int, duration time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	rivals := []struct{ name, config string }{
		{"wisepops_webhook, verifying", "webhook.yaml"},
		{"http_server, bare", "http_server.yaml"},
		{"http_server, verified in YAML", "http_server_verified.yaml"},
	}
	results := make([][]loadResult, len(rivals))
	for round := range rounds {
		for i := range rivals {
			n := (round + i) % len(rivals)
			res, err := measureLoad(ctx, self, binary, filepath.Join(configs, rivals[n].config), duration)
			if err != nil {
				return fmt.Errorf("%s: %w", rivals[n].name, err)
			}
			results[n] = append(results[n], res)
			fmt.Fprintf(os.Stderr, "round %d: %s: %.0f/s, p99 %s\n", round+1, rivals[n].name, res.perSecond, res.p99)
		}
	}
	fmt.Printf("Signed deliveries of one contact, %d connections, %s, medians of %d runs\n\n", loadConnections, duration, rounds)
	fmt.Println("| | deliveries/s | p50 | p99 | peak memory | rate against bare http_server | p99 against it |")
	fmt.Println("|---|---|---|---|---|---|---|")
	bare := medianLoad(results[1])
	for i, r := range rivals {
		m := medianLoad(results[i])
		fmt.Printf("| %s | %.0f | %s | %s | %d MiB | %.2f | %.2f |\n", r.name, m.perSecond, m.p50, m.p99, m.memoryKiB/1024,
			m.perSecond/bare.perSecond, m.p99.Seconds()/bare.p99.Seconds())
	}
	return nil
}

func medianLoad(runs []loadResult) loadResult {
	middle := func(less func(a, b loadResult) int) loadResult {
		sorted := slices.SortedFunc(slices.Values(runs), less)
		return sorted[len(sorted)/2]
	}
	return loadResult{
		perSecond: middle(func(a, b loadResult) int { return cmp.Compare(a.perSecond, b.perSecond) }).perSecond,
		p50:       middle(func(a, b loadResult) int { return cmp.Compare(a.p50, b.p50) }).p50,
		p99:       middle(func(a, b loadResult) int { return cmp.Compare(a.p99, b.p99) }).p99,
		memoryKiB: middle(func(a, b loadResult) int { return cmp.Compare(a.memoryKiB, b.memoryKiB) }).memoryKiB,
	}
}

func measureLoad(ctx context.Context, self, binary, config string, duration time.Duration) (loadResult, error) {
	return measureServer(ctx, self, duration, func(address string) *exec.Cmd {
		server := exec.CommandContext(ctx, binary, "run", config) //nolint:gosec // the binary under test
		server.Env = append(os.Environ(), "ADDRESS="+address)
		return server
	})
}

// measureServer has a server of an address take the load.
func measureServer(ctx context.Context, self string, duration time.Duration, command func(address string) *exec.Cmd) (res loadResult, err error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return res, err
	}
	server := command(address)
	server.Stdout, server.Stderr = os.Stderr, os.Stderr
	if err := server.Start(); err != nil {
		return res, err
	}
	stop := sync.OnceValue(func() error {
		return errors.Join(server.Process.Signal(os.Interrupt), server.Wait())
	})
	defer func() { _ = stop() }()
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			return res, err
		}
		<-time.After(20 * time.Millisecond)
	}
	load := exec.CommandContext(ctx, self, "load", address, duration.String()) //nolint:gosec // this program
	load.Stderr = os.Stderr
	out, err := load.Output()
	if err != nil {
		return res, err
	}
	if _, err := fmt.Sscan(string(out), &res.perSecond, &res.p50, &res.p99); err != nil {
		return res, fmt.Errorf("reading the result of the load: %w", err)
	}
	if err := stop(); err != nil {
		return res, err
	}
	if res.memoryKiB, err = peakMemory(server); err != nil {
		return res, err
	}
	return res, nil
}

// load posts deliveries over connections that are kept, one at a time on each, and
// prints deliveries a second, the median and the 99th percentile.
func load(ctx context.Context, address, duration string) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	var requests [][]byte
	site := sandbox.New(sandbox.Options{Contacts: loadBodies})
	for _, c := range site.Contacts() {
		body := "[" + string(c.Raw) + "]"
		requests = append(requests, []byte("POST /wisepops HTTP/1.1\r\nHost: "+address+"\r\nContent-Type: application/json\r\n"+
			"X-Wisepops-Signature: "+wisepops.Sign(apiKey, []byte(body))+"\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body))
	}
	begin := time.Now().Add(loadWarmUp)
	end := begin.Add(d)
	var (
		mu      sync.Mutex
		all     []time.Duration
		failure error
		clients sync.WaitGroup
	)
	for i := range loadConnections {
		clients.Go(func() {
			took, err := loadConnection(ctx, address, requests, i*loadBodies/loadConnections, begin, end)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			failure = errors.Join(failure, err)
		})
	}
	clients.Wait()
	if failure != nil || len(all) == 0 {
		return errors.Join(failure, errors.New("the load failed"))
	}
	slices.Sort(all)
	fmt.Println(float64(len(all))/d.Seconds(), int64(all[len(all)/2]), int64(all[len(all)*99/100]))
	return nil
}

func loadConnection(ctx context.Context, address string, requests [][]byte, next int, begin, end time.Time) (took []time.Duration, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	answers := bufio.NewReader(conn)
	for {
		start := time.Now()
		if start.After(end) {
			return took, nil
		}
		if _, err := conn.Write(requests[next%len(requests)]); err != nil {
			return took, err
		}
		next++
		if err := readAnswer(answers); err != nil {
			return took, err
		}
		if start.After(begin) {
			took = append(took, time.Since(start))
		}
	}
}

// readAnswer reads an answer with as little work as it can, as wrk does, so that
// the server has the machine for itself.
func readAnswer(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("the answer is %q", line)
	}
	length := -1
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("the answer has no length")
	}
	_, err = r.Discard(length)
	return err
}

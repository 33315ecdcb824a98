package integration_test

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// The watermark and the ledger of calls are in Redis: the pipeline waits for it, and
// nothing is forgotten.
func TestRedisStoppedInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	needServices(t)
	s := newRedis(t)
	w := newWebsite(t, sandbox.Options{Contacts: 2000})
	w.set("WISEPOPS_STATE_REDIS=redis://" + s.address)
	prepare := func(fields ...string) (*run, *buffer) {
		r := w.prepare("config/leads_to_stdout.yaml", resources("state_redis"), append(fields, once)...)
		out := &buffer{}
		r.cmd.Stdout = out
		require.NoError(t, r.cmd.Start())
		return r, out
	}

	g := newGate(w)
	r, out := prepare(smallPages)
	count := func() int { return bytes.Count([]byte(out.String()), []byte("\n")) }
	w.survives(g, count, s.outage(r, syscall.SIGKILL))
	r.succeeds()
	arrived := arrivals{}
	for line := range bytes.Lines([]byte(out.String())) {
		arrived.read(t, line)
	}
	w.requireAll(arrived, 0)
	require.Equal(t, w.site.Len(), count(), "lines: nothing is read again")

	// What it acknowledged, it has.
	s.stop(syscall.SIGTERM)
	s.start()
	calls := w.site.Calls().Total
	r, out = prepare()
	r.succeeds()
	require.Empty(t, out.String(), "the second run began anew")
	require.Equal(t, calls+1, w.site.Calls().Total)
}

// Two processes that share a limit make as many calls as one of them could.
func TestCallsOfTwoProcessesStayWithinASharedLimit(t *testing.T) {
	t.Parallel()
	needServices(t)
	const calls, window = 10, time.Second
	s := newRedis(t)
	w := newWebsite(t, sandbox.Options{Contacts: 2000})
	w.set("REDIS_URL=redis://"+s.address, fmt.Sprintf("WISEPOPS_CALLS=%d", calls), "WISEPOPS_WINDOW="+window.String())
	var mu sync.Mutex
	var made []time.Time
	w.site.Control(func(*http.Request) *sandbox.Fault {
		mu.Lock()
		defer mu.Unlock()
		made = append(made, time.Now())
		return nil
	})

	begun := time.Now()
	runs := make([]*run, 2)
	outs := make([]buffer, 2)
	for i := range runs {
		runs[i] = w.prepare("config/leads_to_stdout.yaml", []string{"resources/state_memory.yaml", "tests/integration/config/budget_redis.yaml"},
			once, smallPages)
		runs[i].cmd.Stdout = &outs[i]
		require.NoError(t, runs[i].cmd.Start())
	}
	for i, r := range runs {
		r.succeeds()
		arrived := arrivals{}
		for line := range bytes.Lines([]byte(outs[i].String())) {
			arrived.read(t, line)
		}
		w.requireAll(arrived, 0)
	}

	// Redis counts in windows that begin with a call. One call or more of the first was
	// after the start, and the next window is a window later.
	require.GreaterOrEqual(t, len(made), 2*(w.site.Len()/pageSize))
	for i, at := range made {
		earliest := begun.Add(time.Duration(i/calls) * window)
		require.False(t, at.Before(earliest), "call %d came %s before its window", i+1, earliest.Sub(at))
	}
}

func newRedis(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	return s.runs("redis-server", "--bind", "127.0.0.1", "--port", s.port, "--dir", s.dir,
		"--appendonly", "yes", "--appendfsync", "always")
}

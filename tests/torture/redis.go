package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
)

// redis speaks as much of the protocol of Redis as a cache needs, and fails on demand.
// Its data can be set back to a dump, as a server's that crashed without an append-only
// file.
type redis struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu     sync.Mutex
	rng    *rand.Rand
	data   map[string]string
	dumped map[string]string
	conns  map[net.Conn]bool
	kind   string
	healed chan struct{} // closed when the fault ends
	closed bool
}

// redisFaults are the ways in which it fails. What "ambiguous" writes is stored, and
// the answer is lost.
var redisFaults = []string{"errors", "hang", "drop", "ambiguous"}

func newRedis(ctx context.Context, rng *rand.Rand) (*redis, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &redis{listener: l, rng: rng, data: map[string]string{}, conns: map[net.Conn]bool{}, healed: make(chan struct{})}
	r.serving.Go(r.accept)
	return r, nil
}

func (r *redis) address() string { return r.listener.Addr().String() }

func (r *redis) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.mu.Lock()
		if r.closed {
			_ = conn.Close()
		} else {
			r.conns[conn] = true
		}
		r.mu.Unlock()
		r.serving.Go(func() { r.serve(conn) })
	}
}

func (r *redis) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, conn)
	}()
	in := bufio.NewReader(conn)
	for {
		args, err := readCommand(in)
		if err != nil {
			return
		}
		reply, wait, drop := r.answer(args)
		if wait != nil {
			<-wait
			return // as long as it hung, its client has gone
		}
		if drop {
			return
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// readCommand reads an array of bulk strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readLength(in, '*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(in, '$')
		if err != nil {
			return nil, err
		}
		data := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, data); err != nil {
			return nil, err
		}
		args[i] = string(data[:size])
	}
	return args, nil
}

func readLength(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%q instead of %q", line[0], kind)
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("reading a length: %w", err)
	}
	return n, nil
}

func (r *redis) answer(args []string) (reply string, wait <-chan struct{}, drop bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch some := r.rng.IntN(100); {
	case r.kind == "errors" && some < 80:
		return "-LOADING Redis is loading the dataset in memory\r\n", nil, false
	case r.kind == "hang":
		return "", r.healed, false
	case r.kind == "drop" && some < 70:
		return "", nil, true
	case r.kind == "ambiguous" && some < 70:
		r.apply(args)
		return "", nil, true
	}
	return r.apply(args), nil, false
}

// apply is called with r.mu held.
func (r *redis) apply(args []string) string {
	if len(args) == 0 {
		return "-ERR no command\r\n"
	}
	switch name := strings.ToUpper(args[0]); {
	case name == "GET" && len(args) == 2:
		value, ok := r.data[args[1]]
		if !ok {
			return "$-1\r\n"
		}
		return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	case name == "SET" && len(args) >= 3:
		for _, option := range args[3:] {
			if _, there := r.data[args[1]]; there && strings.EqualFold(option, "NX") {
				return "$-1\r\n"
			}
		}
		r.data[args[1]] = args[2]
		return "+OK\r\n"
	case name == "SETNX" && len(args) == 3:
		if _, there := r.data[args[1]]; there {
			return ":0\r\n"
		}
		r.data[args[1]] = args[2]
		return ":1\r\n"
	case name == "DEL" && len(args) == 2:
		delete(r.data, args[1])
		return ":1\r\n"
	case name == "CLIENT":
		return "+OK\r\n"
	case name == "PING":
		return "+PONG\r\n"
	}
	// Clients greet in ways that older servers do not know, and bear it.
	return "-ERR unknown command\r\n"
}

// misbehave fails in one way until the function returned is called.
func (r *redis) misbehave(kind string) (heal func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind = kind
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.kind = ""
		close(r.healed)
		r.healed = make(chan struct{})
	}
}

func (r *redis) dump() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dumped = maps.Clone(r.data)
}

// restore sets the data back to the dump, and ends all connections.
func (r *redis) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = maps.Clone(r.dumped)
	for conn := range r.conns {
		_ = conn.Close()
	}
}

func (r *redis) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for conn := range r.conns {
		_ = conn.Close()
	}
	close(r.healed)
	r.healed = make(chan struct{})
	r.mu.Unlock()
	r.serving.Wait()
}

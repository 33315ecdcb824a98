package main

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"github.com/wisepops-connect/wisepops-connect/tests/freeport"
)

// redis fails on demand. Its data can be set back to a dump, as a server's that crashed
// without an append-only file.
type redis struct {
	server *miniredis.Miniredis

	mu     sync.Mutex
	rng    *rand.Rand
	dumped map[string]value
	kind   string
	healed chan struct{} // closed when the fault ends
}

type value struct {
	data string
	ttl  time.Duration // 0: for ever
}

// redisFaults are the ways in which it fails. What "ambiguous" writes is stored, and
// the answer is lost.
var redisFaults = []string{"errors", "hang", "drop", "ambiguous"}

// unheard is the name of a client that nobody reads the answers of.
const unheard = "unheard"

func newRedis(ctx context.Context, rng *rand.Rand) (*redis, error) {
	r := &redis{server: miniredis.NewMiniRedis(), rng: rng, healed: make(chan struct{})}
	address, err := freeport.Address(ctx)
	if err != nil {
		return nil, err
	}
	r.server.ClockTTL(true)
	if err := r.server.StartAddr(address); err != nil {
		return nil, err
	}
	r.server.Server().SetPreHook(r.fail(r.server.Server()))
	return r, nil
}

func (r *redis) address() string { return r.server.Addr() }

// fail returns what decides over the commands that a server is sent, and tells of each
// whether that was all that becomes of it.
func (r *redis) fail(s *server.Server) server.Hook {
	return func(c *server.Peer, name string, args ...string) (done bool) {
		if c.ClientName == unheard {
			return false
		}
		r.mu.Lock()
		kind, healed, some := r.kind, r.healed, r.rng.IntN(100)
		r.mu.Unlock()
		switch {
		case kind == "errors" && some < 80:
			c.WriteError("LOADING Redis is loading the dataset in memory")
		case kind == "hang":
			<-healed
			c.Close() // as long as it hung, its client has gone
		case kind == "drop" && some < 70:
			c.Close()
		case kind == "ambiguous" && some < 70:
			apart := server.NewPeer(bufio.NewWriter(io.Discard))
			apart.ClientName = unheard
			s.Dispatch(apart, append([]string{name}, args...))
			c.Close()
		default:
			return false
		}
		return true
	}
}

// misbehave fails in one way until the function returned is called.
func (r *redis) misbehave(kind string) (heal func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind = kind
	return r.heal
}

func (r *redis) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind = ""
	close(r.healed)
	r.healed = make(chan struct{})
}

func (r *redis) dump() {
	dumped := map[string]value{}
	for _, key := range r.server.Keys() {
		data, err := r.server.Get(key)
		if err == nil { // else it has expired meanwhile
			dumped[key] = value{data, r.server.TTL(key)}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dumped = dumped
}

// restore sets the data back to the dump, and ends all connections.
func (r *redis) restore() error {
	r.close()
	r.server.FlushAll()
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, v := range r.dumped {
		if err := r.server.Set(key, v.data); err != nil {
			return err
		}
		if v.ttl > 0 {
			r.server.SetTTL(key, v.ttl)
		}
	}
	if err := r.server.Restart(); err != nil {
		return err
	}
	r.server.Server().SetPreHook(r.fail(r.server.Server()))
	return nil
}

func (r *redis) close() {
	r.heal() // else the server waits for what hangs
	r.server.Close()
}

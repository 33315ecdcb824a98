// Package freeport gives tests ports that stay theirs while nobody listens: a server
// that is stopped and started again must find its port as it left it.
package freeport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Below those that the system gives to connections, which would take a port while its
// server is away.
const (
	first = 20_000
	count = 12_000
)

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Get returns a port of 127.0.0.1 that is free, and that it never returns again in this
// process.
func Get(ctx context.Context) (string, error) {
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		port := first + rand.IntN(count) //nolint:gosec // no secret
		if given[port] {
			continue
		}
		text := strconv.Itoa(port)
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", text))
		if err != nil {
			continue
		}
		given[port] = true
		return text, l.Close()
	}
	return "", errors.New("no port is free")
}

// Address is 127.0.0.1 with a port of [Get].
func Address(ctx context.Context) (string, error) {
	port, err := Get(ctx)
	return net.JoinHostPort("127.0.0.1", port), err
}

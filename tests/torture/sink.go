package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wisepops-connect/wisepops-connect/tests/freeport"
)

// sinkTimeout is how long the binary waits for the sink.
const sinkTimeout = 4 * time.Second

// sinkFaults are the ways in which a sink fails that listens. With "amnesia" it stores
// what comes, and some of its answers are lost.
var sinkFaults = []string{"refuse", "hang", "amnesia", "slow"}

// sink is an HTTP server that keeps what the binary writes, and remembers enough of
// each message to say why it came again.
type sink struct {
	// identify names a message by its path and its bytes. It is set before the first.
	identify func(path string, line []byte) (id string, ok bool)

	// arrived, where set, is told of each message that was stored.
	arrived func(path string, line []byte)

	address string
	server  *http.Server
	serving sync.WaitGroup
	busy    atomic.Int64 // requests under way

	requests atomic.Int64 // ever

	mu        sync.Mutex
	rng       *rand.Rand // of what is forgotten, and whose answer is lost
	forget    int
	forgotten int
	kind      string
	healed    chan struct{} // closed when the fault ends

	stored    int // messages, ever
	foreign   int // messages that are none of ours
	ambiguous int // messages stored whose answer may not have come
	refused   int // requests
	times     map[string][]arrival
	ends      map[int]ending // of runs
	dump      int            // stored when the state was dumped
	losses    []stateLoss
	troubles  []trouble // in which requests may have been rejected
}

// trouble is a span of time in which the sink failed; it goes on where it has no end.
type trouble struct{ from, to time.Time }

// arrival is one time that a message was stored.
type arrival struct {
	run       int
	seq       int
	at        time.Time
	ambiguous bool
}

// stateLoss is when the state was set back.
type stateLoss struct{ dump, at int }

func newSink(ctx context.Context, rng *rand.Rand, forget int) (*sink, error) {
	s := &sink{
		rng: rng, forget: forget,
		healed: make(chan struct{}), times: map[string][]arrival{}, ends: map[int]ending{},
	}
	address, err := freeport.Address(ctx)
	if err != nil {
		return nil, err
	}
	s.address = address
	return s, s.listen(ctx)
}

// listen opens the sink, at the address that it had before.
func (s *sink) listen(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(ctx), "tcp", s.address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	s.server = server
	s.serving.Go(func() { _ = server.Serve(l) }) // until it is closed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healthy()
	return nil
}

// failing records that requests may be rejected from now on, and healthy that they are not
// any more; both under the lock.
func (s *sink) failing() { s.troubles = append(s.troubles, trouble{from: time.Now()}) }

func (s *sink) healthy() {
	for i := range s.troubles {
		if s.troubles[i].to.IsZero() {
			s.troubles[i].to = time.Now()
		}
	}
}

// nearTrouble reports whether a request at that time may have been in flight beside one
// that was rejected: what is acknowledged close to a rejection is sent again.
func (s *sink) nearTrouble(at time.Time) bool {
	const reach = 2 * sinkTimeout
	return slices.ContainsFunc(s.troubles, func(t trouble) bool {
		return at.After(t.from.Add(-reach)) && (t.to.IsZero() || at.Before(t.to.Add(reach)))
	})
}

// stop closes the sink: connections are refused, and those that are there end.
func (s *sink) stop() {
	s.mu.Lock()
	s.failing()
	s.mu.Unlock()
	_ = s.server.Close()
	s.serving.Wait()
}

func (s *sink) close() {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.healed)
	s.healed = make(chan struct{})
}

func (s *sink) misbehave(kind string) (heal func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind = kind
	s.failing()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.healthy()
		s.kind = ""
		close(s.healed)
		s.healed = make(chan struct{})
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	s.busy.Add(1)
	s.requests.Add(1)
	defer s.busy.Add(-1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut by a crash
	}
	run, err := strconv.Atoi(r.Header.Get("X-Run"))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	kind, healed, amnesia := s.kind, s.healed, s.kind == "amnesia" && s.rng.IntN(3) == 0
	s.mu.Unlock()
	switch kind {
	case "refuse":
		s.mu.Lock()
		s.refused++
		s.mu.Unlock()
		w.WriteHeader([]int{500, 503, 429, 404}[len(body)%4])
		return
	case "hang":
		select {
		case <-healed:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case "slow":
		pause(r.Context(), sinkTimeout/10)
	default:
		// Not so fast that nothing is ever in flight.
		pause(r.Context(), time.Duration(len(body)%10)*time.Millisecond)
	}
	stored := s.store(r.URL.Path, run, body)
	if amnesia {
		s.doubt(stored)
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusOK)
	// Where the client may have gone meanwhile, it may come again.
	if err := http.NewResponseController(w).Flush(); err != nil || r.Context().Err() != nil || time.Since(begun) > sinkTimeout*3/4 {
		s.doubt(stored)
	}
}

// store keeps the messages of a request.
func (s *sink) store(path string, run int, body []byte) (stored []storedMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(body) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if s.forget > 0 && s.rng.IntN(s.forget) == 0 {
			s.forgotten++
			continue
		}
		id, ok := s.identify(path, line)
		if !ok {
			s.foreign++
			continue
		}
		s.stored++
		s.times[id] = append(s.times[id], arrival{run: run, seq: s.stored, at: time.Now()})
		stored = append(stored, storedMessage{id, len(s.times[id]) - 1})
		if s.arrived != nil {
			s.arrived(path, line)
		}
	}
	return stored
}

// storedMessage is the message id for the n-th time, from 0.
type storedMessage struct {
	id string
	n  int
}

// doubt takes note that the answer may not have come.
func (s *sink) doubt(stored []storedMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range stored {
		s.times[m.id][m.n].ambiguous = true
		s.ambiguous++
	}
}

func (s *sink) endOf(run int, e ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[run] = e
}

// dumped takes note that the state was dumped.
func (s *sink) dumped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dump = s.stored
}

// stateLost takes note that the state was set back to the dump.
func (s *sink) stateLost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = append(s.losses, stateLoss{s.dump, s.stored})
}

// settle waits until each request of a dead binary was handled.
func (s *sink) settle(w *world) {
	w.await("the sink to finish", func() bool { return s.busy.Load() == 0 })
}

// count is how often a message came.
func (s *sink) count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times[id])
}

// repeats says why messages came again.
type repeats struct {
	all, ambiguous, lost int // lost: what the state forgot
	beside               int // close to a rejection

	byEnd       map[int]int // by the run whose end was to blame
	unexplained []string
}

// explain finds what was to blame for each message that came again. inFlight is how
// many may be stored of which the state knows nothing yet.
func (s *sink) explain(inFlight int) repeats {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := repeats{byEnd: map[int]int{}}
	for id, times := range s.times {
		// A request of a dead run may be handled after one of the next.
		times = slices.SortedStableFunc(slices.Values(times), func(a, b arrival) int { return cmp.Compare(a.run, b.run) })
		for i := 1; i < len(times); i++ {
			before, again := times[i-1], times[i]
			r.all++
			switch end, known := s.ends[before.run]; {
			case before.ambiguous, again.ambiguous && again.run == before.run:
				// The latter where a request that was given up is handled after the one
				// that replaced it.
				r.ambiguous++
			case s.forgot(before, again, inFlight):
				r.lost++
			case again.run > before.run && known && end != ended:
				r.byEnd[before.run]++
			case s.nearTrouble(before.at):
				// Also at the end of a run: what was delivered behind a page of which a
				// part waits to be sent again is not committed.
				r.beside++
			default:
				r.unexplained = append(r.unexplained, id)
			}
		}
	}
	return r
}

func (s *sink) forgot(before, again arrival, inFlight int) bool {
	for _, l := range s.losses {
		if before.seq > l.dump-inFlight && before.seq <= l.at && again.seq > l.at {
			return true
		}
	}
	return false
}

// output posts each batch as lines, whole or not at all.
func (s *sink) output(path string, run, inFlight int) obj {
	return obj{
		"http_client": obj{
			"url":           "http://" + s.address + path,
			"verb":          "POST",
			"headers":       obj{"X-Run": strconv.Itoa(run)},
			"timeout":       sinkTimeout.String(),
			"retries":       0,
			"retry_period":  "1ms",
			"max_in_flight": inFlight,
		},
		"processors": list{obj{"archive": obj{"format": "lines"}}},
	}
}

// distinct is how many messages there are.
func (s *sink) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

// history tells when a message came, and how those runs ended.
func (s *sink) history(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, a := range s.times[id] {
		end, known := s.ends[a.run]
		fmt.Fprintf(&b, "run %d (ended %t, %d) message %d ambiguous %t; ", a.run, known, end, a.seq, a.ambiguous)
	}
	return b.String()
}

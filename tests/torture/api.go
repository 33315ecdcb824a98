package main

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// api is the service's stand-in on a loopback address, with a clock that can be set
// and faults of its own.
type api struct {
	*sandbox.Service
	url    string
	server *httptest.Server

	ahead  atomic.Int64 // nanoseconds by which the service's clock is ahead
	newest atomic.Int64 // the most that it ever was

	mu    sync.Mutex
	rng   *rand.Rand
	kind  string // of the faults at present
	calls []time.Time
	hit   int // calls that met a fault
}

func newAPI(opts sandbox.Options, rng *rand.Rand) *api {
	a := &api{rng: rng}
	opts.APIKey = apiKey
	opts.Clock = func() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) }
	a.Service = sandbox.New(opts)
	a.Control(a.fault)
	a.server = httptest.NewServer(a.Service)
	a.url = a.server.URL + "/api2"
	return a
}

func (a *api) close() {
	a.Release()
	a.server.CloseClientConnections()
	a.server.Close()
}

// apiFaults are the ways in which the API fails.
var apiFaults = []string{"errors", "key refused", "nonsense", "cut", "hang", "drop", "slow", "date"}

// misbehave has calls fail in one way until the function returned is called.
func (a *api) misbehave(kind string) (heal func()) {
	a.mu.Lock()
	a.kind = kind
	a.mu.Unlock()
	return func() {
		a.mu.Lock()
		a.kind = ""
		a.mu.Unlock()
		a.Release()
	}
}

// fault takes note of a call, and decides what becomes of it.
func (a *api) fault(r *http.Request) *sandbox.Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, time.Now())
	f := a.draw(r)
	if f != nil {
		a.hit++
	}
	return f
}

func (a *api) draw(r *http.Request) *sandbox.Fault {
	some := a.rng.IntN(100)
	// A call may have taken effect although its answer is lost.
	effective := r.Method != http.MethodGet && a.rng.IntN(2) == 0
	switch a.kind {
	case "errors":
		status := pick(a.rng, 500, 502, 503, 504, 429, 400, 404)
		f := &sandbox.Fault{Status: status, Effective: effective && status >= 500}
		if (status == 503 || status == 429) && some%2 == 0 {
			f.RetryAfter = "1"
		}
		if some < 70 {
			return f
		}
	case "key refused":
		return &sandbox.Fault{Status: pick(a.rng, 401, 403)}
	case "nonsense":
		body := pick(a.rng, "<html>maintenance</html>", `{"contacts": "later"}`, `[{"wisepop_id": 1,`, "null", "", "0")
		f := &sandbox.Fault{Body: []byte(body), Effective: effective, ContentType: pick(a.rng, "", "application/json")}
		if some < 5 {
			f.Status, f.Header = http.StatusFound, http.Header{"Location": {"/api2/elsewhere"}}
		}
		if some < 70 {
			return f
		}
	case "cut":
		if some < 60 {
			return &sandbox.Fault{CutBody: true}
		}
	case "hang":
		if some < 60 {
			return &sandbox.Fault{Hang: true, DropConnection: some < 20, Effective: effective && some < 20}
		}
	case "drop":
		if some < 70 {
			return &sandbox.Fault{DropConnection: true, Effective: effective}
		}
	case "slow":
		return &sandbox.Fault{Delay: time.Duration(some) * 10 * time.Millisecond}
	case "date":
		// A Date that is missing, or of less than an hour ago: beyond that the clock
		// counts as set back, and contacts repeat by right.
		f := &sandbox.Fault{Header: http.Header{"Date": nil}}
		if some < 60 {
			at := time.Now().Add(time.Duration(a.ahead.Load()) - time.Duration(some)*20*time.Second)
			f.Header["Date"] = []string{at.UTC().Format(http.TimeFormat)}
		}
		return f
	}
	return nil
}

// jump sets the service's clock forth, or back. It is never further behind the newest
// instant that it showed than back, and never further ahead of ours than an hour,
// since what is dated further behind than the overlap reaches is lost by right.
func (a *api) jump(rng *rand.Rand, back time.Duration) {
	const most = 40 * time.Minute
	ahead, newest := time.Duration(a.ahead.Load()), time.Duration(a.newest.Load())
	if rng.IntN(2) == 0 {
		ahead = newest - between(rng, 0, back)
	} else {
		ahead = min(ahead+between(rng, time.Second, 10*time.Minute), most)
	}
	a.newest.Store(int64(max(ahead, newest)))
	a.ahead.Store(int64(ahead))
}

// callTimes returns when calls arrived.
func (a *api) callTimes() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// arrivalJitter is how much later than another a call may arrive that was made at the
// same moment: a window seen from here may look that much shorter than it was.
const arrivalJitter = time.Second

// busiestWindow is the most calls that arrived within a window.
func busiestWindow(times []time.Time, window time.Duration) int {
	slices.SortFunc(times, time.Time.Compare)
	most, first := 0, 0
	for i, at := range times {
		for at.Sub(times[first]) >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// auditCalls compares the calls with the budget.
func (w *world) auditCalls(budget int) {
	times := w.api.callTimes()
	busiest := busiestWindow(times, budgetWindow-arrivalJitter)
	w.res.calls += len(times)
	w.res.failedCalls += w.api.hit
	w.res.busiest, w.res.budget = max(w.res.busiest, busiest), budget
	if busiest > budget {
		w.problem("%d calls within %s, and the budget is %d", busiest, budgetWindow, budget)
	}
}

package destinations_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// limit is how many requests a vendor takes in a time, whenever it begins.
type limit struct {
	requests int
	in       time.Duration
}

// vendor is what the fakes share: a server that takes note of each breach of its rules.
type vendor struct {
	t      *testing.T
	url    string
	limits []limit
	kind   func(*http.Request) string // limits are for each kind of request

	mu       sync.Mutex
	count    int
	arrivals map[string][]time.Time // by kind
	open     int                    // requests that are not answered yet
	mostOpen int
	heldTo   time.Time // no request before, so it was answered
	faults   map[int]fault
	breaches []string
}

// fault is what the vendor answers in place of its answer.
type fault struct {
	status int // 0 closes the connection
	hold   int // Retry-After, in seconds
	date   int // the same, as a date
	body   string
}

// serve answers requests with the handler, but for those that faults names by their
// number, from 1 on.
func serve(t *testing.T, handler http.Handler, limits ...limit) *vendor {
	t.Helper()
	v := &vendor{
		t: t, limits: limits, faults: map[int]fault{}, arrivals: map[string][]time.Time{},
		kind: func(*http.Request) string { return "" },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, faulty := v.arrive(v.kind(r))
		defer v.leave()
		switch {
		case !faulty:
			handler.ServeHTTP(w, r)
		case f.status == 0:
			panic(http.ErrAbortHandler)
		default:
			if f.hold > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(f.hold))
				v.hold(time.Now().Add(time.Duration(f.hold) * time.Second))
			}
			if f.date > 0 {
				date := time.Now().Add(time.Duration(f.date) * time.Second).UTC().Truncate(time.Second)
				w.Header().Set("Retry-After", date.Format(http.TimeFormat))
				v.hold(date)
			}
			w.WriteHeader(f.status)
			_, _ = w.Write([]byte(f.body))
		}
	}))
	v.url = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		assert.Empty(t, v.breaches, "breaches of the vendor's rules")
	})
	return v
}

func (v *vendor) arrive(kind string) (fault, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.count++
	v.arrivals[kind] = append(v.arrivals[kind], now)
	v.open++
	v.mostOpen = max(v.mostOpen, v.open)
	n, arrivals := v.count, v.arrivals[kind]
	for _, l := range v.limits {
		// A request may be late on its way, and the next one not.
		const late = 10 * time.Millisecond
		if past := len(arrivals) - 1 - l.requests; past >= 0 && now.Sub(arrivals[past]) < l.in-late {
			v.breach("request %d %s is one more than %d in %v", n, kind, l.requests, l.in)
		}
	}
	if now.Before(v.heldTo) {
		v.breach("request %d comes %v before Retry-After has passed", n, v.heldTo.Sub(now))
	}
	f, faulty := v.faults[n]
	return f, faulty
}

func (v *vendor) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open--
}

// hold has no request come before that time.
func (v *vendor) hold(to time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heldTo = to
}

// breach must be called with the lock held, or by [vendor.demand].
func (v *vendor) breach(format string, args ...any) {
	if len(v.breaches) < 10 {
		v.breaches = append(v.breaches, fmt.Sprintf(format, args...))
	}
}

// demand takes note of a breach unless the condition holds.
func (v *vendor) demand(holds bool, format string, args ...any) {
	if !holds {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.breach(format, args...)
	}
}

// fail has requests fail, by their numbers.
func (v *vendor) fail(faults map[int]fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.faults = faults
}

// requests returns how many requests there were.
func (v *vendor) requests() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.count
}

// troubles are what a vendor answers while it is away, busy, or does not know its client,
// each quoting what no log may hold. The request that each one hits is sent again.
func troubles(numbers ...int) map[int]fault {
	const quoting = `{"message":"EMAILMARKER@example.com cannot be served"}`
	all := []fault{
		{status: http.StatusTooManyRequests, hold: 3, body: quoting},
		{status: http.StatusServiceUnavailable, date: 5, body: quoting},
		{status: 0},
		{status: http.StatusInternalServerError, body: quoting},
		{status: http.StatusUnauthorized, body: quoting},
		{status: http.StatusNotFound, body: quoting},
		{status: http.StatusBadGateway, body: "<html>EMAILMARKER"},
	}
	faults := map[int]fault{}
	for i, n := range numbers {
		faults[n] = all[i%len(all)]
	}
	return faults
}

// answer writes a JSON document.
func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

// deadLetter is what a pipeline puts aside.
type deadLetter struct {
	ContactID string          `json:"contact_id"`
	Reason    string          `json:"reason"`
	Contact   json.RawMessage `json:"contact"`
}

// deadLetters reads what is aside, by the names of the files.
func (w *website) deadLetters() map[string]deadLetter {
	w.t.Helper()
	letters := map[string]deadLetter{}
	files, err := filepath.Glob(filepath.Join(w.dir, "dead_letters", "*.json"))
	require.NoError(w.t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(w.t, err)
		var letter deadLetter
		require.NoError(w.t, json.Unmarshal(content, &letter), "%s", file)
		require.Equal(w.t, letter.ContactID+".json", filepath.Base(file))
		require.NotEmpty(w.t, letter.Reason)
		require.NotEmpty(w.t, letter.Contact)
		letters[letter.ContactID] = letter
	}
	return letters
}

// reasons counts the dead letters whose reason holds each of the texts.
func reasons(letters map[string]deadLetter, texts ...string) map[string]int {
	counts := map[string]int{}
	for _, letter := range letters {
		found := "another reason: " + letter.Reason
		for _, text := range texts {
			if strings.Contains(letter.Reason, text) {
				found = text
			}
		}
		counts[found]++
	}
	return counts
}

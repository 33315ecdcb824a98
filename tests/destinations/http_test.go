package destinations_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// plainAPI is an API that takes a contact a request.
type plainAPI struct {
	*vendor

	mu       sync.Mutex
	contacts map[string]string // documents by contact id
}

const httpInterval = 2 * time.Millisecond

func newPlainAPI(t *testing.T) *plainAPI {
	t.Helper()
	a := &plainAPI{contacts: map[string]string{}}
	a.vendor = serve(t, http.HandlerFunc(a.take), limit{100, 100 * httpInterval})
	return a
}

func (a *plainAPI) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	a.demand(err == nil && r.Method == http.MethodPost && r.URL.Path == "/leads", "%s %s", r.Method, r.URL.Path)
	a.demand(r.Header.Get("Content-Type") == "application/json", "Content-Type %s", r.Header.Get("Content-Type"))
	a.demand(r.Header.Get("Authorization") == "Bearer "+token, "no authorization")
	var contact struct {
		ContactID string `json:"contact_id"`
		Email     string `json:"email"`
	}
	a.demand(json.Unmarshal(body, &contact) == nil, "no JSON object")
	a.demand(r.Header.Get("Idempotency-Key") == `"`+contact.ContactID+`"`, "Idempotency-Key %s", r.Header.Get("Idempotency-Key"))
	switch {
	case len(body) > 1<<16:
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "too large"})
	case strings.Contains(string(body), `\u0001`):
		answer(w, http.StatusBadRequest, map[string]string{"error": "control character in a text"})
	case strings.HasSuffix(contact.Email, refused):
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": contact.Email + " is no email address"})
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		before, again := a.contacts[contact.ContactID]
		a.demand(!again || before == string(body), "another contact with one Idempotency-Key")
		a.contacts[contact.ContactID] = string(body)
		w.WriteHeader(http.StatusCreated)
	}
}

func (a *plainAPI) state() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.contacts)
}

func (a *plainAPI) website(t *testing.T, opts sandbox.Options) *website {
	t.Helper()
	return newWebsite(t, "leads_to_http", opts,
		"HTTP_URL="+a.url+"/leads", "HTTP_AUTHORIZATION=Bearer "+token, "HTTP_INTERVAL="+httpInterval.String())
}

func TestHTTPTakesAllButPoisonedContacts(t *testing.T) {
	t.Parallel()
	a := newPlainAPI(t)
	w := a.website(t, sandbox.Options{Contacts: goodContacts})
	w.add(poisoned(`{"email":"poison2`+refused+`"}`, `{"email":"poison3`+refused+`"}`)...)
	w.run("first")
	require.Len(t, a.state(), goodContacts)
	letters := w.deadLetters()
	require.Equal(t, map[string]int{"HTTP 413": 2, "HTTP 400": 2, "HTTP 422": 4, "not a JSON object": 2},
		reasons(letters, "HTTP 413", "HTTP 400", "HTTP 422", "not a JSON object"))

	t.Run("the watermark is past them", func(t *testing.T) {
		requests, calls := a.requests(), w.Calls().Total
		w.run("first")
		require.Equal(t, requests, a.requests(), "requests of a run after the watermark")
		require.Equal(t, calls+1, w.Calls().Total)
	})
	t.Run("a run from the start leaves the same", func(t *testing.T) {
		before := a.state()
		w.run("second")
		require.Equal(t, before, a.state())
		require.Equal(t, letters, w.deadLetters())
	})
}

func TestHTTPWaitsForAnAPIThatIsAway(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"false", "true"} {
		t.Run("strict error handling "+strict, func(t *testing.T) {
			t.Parallel()
			a := newPlainAPI(t)
			a.fail(troubles(1, 20, 40, 41, 60, 80, 150))
			w := a.website(t, sandbox.Options{Contacts: 150})
			log := w.run("first", "error_handling.strict="+strict)
			require.Len(t, a.state(), 150)
			require.Equal(t, 150+7, a.requests(), "each trouble costs its request, and no other")
			require.Empty(t, w.deadLetters())
			require.Contains(t, log, "The API takes no contact for now (status [429]), and gets it again in 3 s.")
		})
	}
}

// A wait that no one would sit out holds up no shutdown, and loses nothing.
func TestHTTPStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	a := newPlainAPI(t)
	a.fail(map[int]fault{30: {status: http.StatusTooManyRequests, hold: 3600}})
	w := a.website(t, sandbox.Options{Contacts: 100})
	w.stopWhileWaiting(a.vendor)
	w.run("first")
	require.Len(t, a.state(), 100)
	require.Empty(t, w.deadLetters())
}

// stopWhileWaiting runs the pipeline until it waits for an hour, and stops it.
func (w *website) stopWhileWaiting(v *vendor) {
	w.t.Helper()
	cmd, log := w.prepare(w.t.Context(), "first", "shutdown_timeout=1s")
	require.NoError(w.t, cmd.Start())
	require.Eventually(w.t, func() bool { return strings.Contains(log.String(), "in 3600 s") }, patience, 10*time.Millisecond)
	require.NoError(w.t, cmd.Process.Signal(syscall.SIGTERM))
	stopped := time.Now()
	_ = cmd.Wait() // with an error: what was in flight was not delivered
	require.Less(w.t, time.Since(stopped), 10*time.Second)
	w.requireNothingPrivate(log.String())
	v.hold(time.Time{})
}

package destinations_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// brevo is the contacts of Brevo's API v3.
type brevo struct {
	*vendor

	mu       sync.Mutex
	contacts map[string]*brevoContact // by email
	busy     map[int]bool             // creations that are answered 429, by their number
	created  int
}

type brevoContact struct {
	Email      string            `json:"email"`
	Attributes map[string]string `json:"attributes"`
	Lists      []int             `json:"listIds,omitempty"`
	Update     bool              `json:"updateEnabled"`
}

// 10 requests in a second. The tests run twenty times as fast.
const brevoInterval = "5.5ms"

func newBrevo(t *testing.T) *brevo {
	t.Helper()
	b := &brevo{contacts: map[string]*brevoContact{}, busy: map[int]bool{}}
	b.vendor = serve(t, http.HandlerFunc(b.create), limit{10, 50 * time.Millisecond}, limit{100, 500 * time.Millisecond})
	return b
}

func (b *brevo) create(w http.ResponseWriter, r *http.Request) {
	b.demand(r.Method == http.MethodPost && r.URL.Path == "/v3/contacts", "%s %s", r.Method, r.URL.Path)
	b.demand(r.Header.Get("api-key") == token, "no api-key")
	var contact brevoContact
	err := json.NewDecoder(r.Body).Decode(&contact)
	b.demand(err == nil && contact.Email != "" && contact.Update, "no contact to create or update: %v", err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.created++
	if b.busy[b.created] {
		w.Header().Set("x-sib-ratelimit-reset", "3")
		b.hold(time.Now().Add(3 * time.Second))
		answer(w, http.StatusTooManyRequests, map[string]string{"code": "too_many_requests", "message": "EMAILMARKER"})
		return
	}
	reject := func(code, message string) {
		answer(w, http.StatusBadRequest, map[string]string{"code": code, "message": message})
	}
	if strings.HasSuffix(contact.Email, refused) {
		reject("invalid_parameter", "Invalid email address "+contact.Email)
		return
	}
	for name, value := range contact.Attributes {
		switch {
		case len(value) > 5000:
			reject("out_of_range", name+" is too long")
			return
		case strings.Contains(value, "\x01"):
			reject("invalid_parameter", name+" holds a control character")
			return
		}
	}
	existing := b.contacts[contact.Email]
	if existing == nil {
		b.contacts[contact.Email] = &contact
		answer(w, http.StatusCreated, map[string]int{"id": len(b.contacts)})
		return
	}
	if existing.Attributes == nil {
		existing.Attributes = map[string]string{}
	}
	maps.Copy(existing.Attributes, contact.Attributes)
	for _, list := range contact.Lists {
		if !slices.Contains(existing.Lists, list) {
			existing.Lists = append(existing.Lists, list)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (b *brevo) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	state, err := json.Marshal(b.contacts)
	require.NoError(b.t, err)
	return string(state)
}

func (b *brevo) website(t *testing.T, opts sandbox.Options) *website {
	t.Helper()
	return newWebsite(t, "leads_to_brevo", opts, "BREVO_URL="+b.url, "BREVO_KEY="+token, "BREVO_LIST=7", "BREVO_INTERVAL="+brevoInterval)
}

func TestBrevoTakesAllButPoisonedContacts(t *testing.T) {
	t.Parallel()
	b := newBrevo(t)
	w := b.website(t, named(goodContacts-2))
	all := poisoned(`{"email":"poison2`+refused+`","consent":true}`, `{"email":"poison3`+refused+`"}`)
	for i := range all { // Brevo is sent no city
		all[i] = strings.ReplaceAll(all[i], `"city"`, `"first_name"`)
	}
	w.add(all...)
	w.addTwice()
	consented := map[string]bool{}
	for _, c := range w.Contacts() {
		var read struct{ Fields map[string]any }
		if json.Unmarshal(c.Raw, &read) == nil && read.Fields["consent"] == true && !strings.HasSuffix(c.Email, refused) {
			consented[strings.ToLower(strings.TrimSpace(c.Email))] = true
		}
	}
	require.Greater(t, len(consented), 10)

	w.run("first")
	require.Equal(t, goodContacts-1, len(b.contacts), "people of 990 contacts") //nolint:testifylint // Len prints them all
	require.Equal(t, "Zoé", b.contacts["twice@example.com"].Attributes["FIRSTNAME"])
	for email, contact := range b.contacts {
		require.Equal(t, consented[email], slices.Contains(contact.Lists, 7), "on the list, or not, against what somebody chose")
	}
	letters := w.deadLetters()
	texts := []string{"not a JSON object", "too long", "control character", "Invalid email"}
	require.Equal(t, map[string]int{texts[0]: 2, texts[1]: 2, texts[2]: 2, texts[3]: 4}, reasons(letters, texts...))
	for _, letter := range letters {
		require.NotContains(t, string(letter.Contact), "updateEnabled", "the record, not what Brevo is sent")
	}

	requests := b.requests()
	w.run("first")
	require.Equal(t, requests, b.requests(), "requests of a run after the watermark")

	before := b.state()
	w.run("second")
	require.Equal(t, before, b.state(), "a run from the start leaves the same")
	require.Equal(t, letters, w.deadLetters())
}

func TestBrevoIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"false", "true"} {
		t.Run("strict error handling "+strict, func(t *testing.T) {
			t.Parallel()
			b := newBrevo(t)
			b.busy[50] = true
			noList := fault{status: http.StatusBadRequest, body: `{"code":"invalid_parameter","message":"List ID is invalid"}`}
			faults := troubles(1, 20, 40, 60)
			faults[80] = noList
			b.fail(faults)
			w := b.website(t, named(150))
			log := w.run("first", "error_handling.strict="+strict)
			require.Equal(t, 150, len(b.contacts)) //nolint:testifylint // Len prints them all
			require.Equal(t, 150+6, b.requests(), "each trouble costs its request, and no other")
			require.Empty(t, w.deadLetters())
			require.Equal(t, 2, strings.Count(log, "Brevo takes no contact for now (status [429]), and gets it again in 3 s."), strconv.Itoa(len(log)))
		})
	}
}

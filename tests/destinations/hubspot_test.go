package destinations_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// hubspot is HubSpot's batch upsert of contacts, version 2026-03.
type hubspot struct {
	*vendor

	// names has a batch with a bad contact answered by 207, which names it. Otherwise the
	// whole batch is rejected with 400, as the endpoints without multi-status errors do.
	names bool

	mu       sync.Mutex
	contacts map[string]map[string]string // properties by email
	writes   int
}

// The smallest plan takes 100 requests in 10 s. The tests run fifty times as fast.
const (
	hubspotWindow   = 200 * time.Millisecond
	hubspotRequests = 100
	hubspotInterval = "2.2ms"
)

func newHubspot(t *testing.T, names bool) *hubspot {
	t.Helper()
	h := &hubspot{names: names, contacts: map[string]map[string]string{}}
	h.vendor = serve(t, http.HandlerFunc(h.upsert), limit{hubspotRequests, hubspotWindow})
	return h
}

type hubspotError struct {
	Status   string              `json:"status"`
	Category string              `json:"category"`
	Message  string              `json:"message"`
	Context  map[string][]string `json:"context,omitempty"`
	Errors   []map[string]string `json:"errors,omitempty"`
}

func hubspotRejection(code, message string) *hubspotError {
	return &hubspotError{
		Status: "error", Category: "VALIDATION_ERROR",
		Message: fmt.Sprintf("Property values were not valid: [{\"isValid\":false,\"message\":%q,\"error\":%q}]", message, code),
		Errors:  []map[string]string{{"message": message, "code": code}},
	}
}

// judge is what HubSpot finds wrong with a contact.
func (h *hubspot) judge(properties map[string]string) *hubspotError {
	for name, value := range properties {
		switch name {
		case "email", "phone", "firstname", "lastname", "city", "country":
		default:
			return hubspotRejection("PROPERTY_DOESNT_EXIST", fmt.Sprintf("Property %q does not exist", name))
		}
		if len(value) > 65_536 {
			return hubspotRejection("PROPERTY_TOO_LONG", name+" is too long")
		}
		if strings.Contains(value, "\x01") {
			return hubspotRejection("INVALID_STRING", name+" holds a control character")
		}
	}
	if strings.HasSuffix(properties["email"], refused) {
		return hubspotRejection("INVALID_EMAIL", "Email address "+properties["email"]+" is invalid")
	}
	return nil
}

func (h *hubspot) upsert(w http.ResponseWriter, r *http.Request) {
	h.demand(r.Method == http.MethodPost && r.URL.Path == "/crm/objects/2026-03/contacts/batch/upsert", "%s %s", r.Method, r.URL.Path)
	h.demand(r.Header.Get("Authorization") == "Bearer "+token, "no authorization")
	var batch struct {
		Inputs []struct {
			ID         string            `json:"id"`
			IDProperty string            `json:"idProperty"`
			TraceID    string            `json:"objectWriteTraceId"`
			Properties map[string]string `json:"properties"`
		} `json:"inputs"`
	}
	err := json.NewDecoder(r.Body).Decode(&batch)
	h.demand(err == nil, "no document of text properties: %v", err)
	h.demand(len(batch.Inputs) > 0 && len(batch.Inputs) <= 100, "a batch of %d", len(batch.Inputs))

	h.mu.Lock()
	defer h.mu.Unlock()
	results, errs := []map[string]any{}, []*hubspotError{}
	seen := map[string]bool{}
	type write struct {
		email      string
		properties map[string]string
	}
	var writes []write
	for _, input := range batch.Inputs {
		h.demand(input.IDProperty == "email" && input.ID != "" && input.ID == input.Properties["email"], "a contact without its email")
		h.demand(!seen[input.ID], "a contact twice in a batch")
		seen[input.ID] = true
		if rejection := h.judge(input.Properties); rejection != nil {
			rejection.Context = map[string][]string{"objectWriteTraceId": {input.TraceID}}
			errs = append(errs, rejection)
			continue
		}
		writes = append(writes, write{input.ID, input.Properties})
		results = append(results, map[string]any{"id": strconv.Itoa(len(h.contacts)), "objectWriteTraceId": input.TraceID, "properties": input.Properties})
	}
	if len(errs) > 0 && !h.names {
		errs[0].Context = nil
		answer(w, http.StatusBadRequest, errs[0])
		return
	}
	for _, write := range writes {
		if h.contacts[write.email] == nil {
			h.contacts[write.email] = map[string]string{}
		}
		maps.Copy(h.contacts[write.email], write.properties)
		h.writes++
	}
	status := http.StatusOK
	if len(errs) > 0 {
		status = http.StatusMultiStatus
	}
	answer(w, status, map[string]any{"status": "COMPLETE", "results": results, "numErrors": len(errs), "errors": errs})
}

func (h *hubspot) state() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	state, err := json.Marshal(h.contacts)
	require.NoError(h.t, err)
	return string(state)
}

func (h *hubspot) website(t *testing.T, opts sandbox.Options) *website {
	t.Helper()
	return newWebsite(t, "leads_to_hubspot", opts, "HUBSPOT_URL="+h.url, "HUBSPOT_TOKEN="+token, "HUBSPOT_INTERVAL="+hubspotInterval)
}

func TestHubspotTakesAllButPoisonedContacts(t *testing.T) {
	t.Parallel()
	for _, names := range []bool{true, false} {
		t.Run(fmt.Sprintf("errors name contacts %v", names), func(t *testing.T) {
			t.Parallel()
			h := newHubspot(t, names)
			w := h.website(t, named(goodContacts-2))
			w.add(poisoned(`{"email":"poison2`+refused+`"}`, `{"email":"poison3`+refused+`"}`)...)
			w.add(`{"collected_at":"2024-01-01T12:30:00.000Z","wisepop_id":7,"fields":{"choice":"A"}}`) // left out
			w.addTwice()
			w.run("first")
			require.Equal(t, goodContacts-1, len(h.contacts), "people of 990 contacts") //nolint:testifylint // Len prints them all
			require.Equal(t, goodContacts, h.writes)
			require.Equal(t, "Paris", h.contacts["twice@example.com"]["city"])
			require.Equal(t, "Zoé", h.contacts["twice@example.com"]["firstname"])
			letters := w.deadLetters()
			texts := []string{"not a JSON object", "PROPERTY_TOO_LONG", "INVALID_STRING", "INVALID_EMAIL"}
			require.Equal(t, map[string]int{texts[0]: 2, texts[1]: 2, texts[2]: 2, texts[3]: 4}, reasons(letters, texts...))

			requests, calls := h.requests(), w.Calls().Total
			if names {
				require.LessOrEqual(t, requests, 12)
			}
			w.run("first")
			require.Equal(t, requests, h.requests(), "requests of a run after the watermark")
			require.Equal(t, calls+1, w.Calls().Total)

			before := h.state()
			w.run("second")
			require.Equal(t, before, h.state(), "a run from the start leaves the same")
			require.Equal(t, letters, w.deadLetters())
		})
	}
}

func TestHubspotIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"false", "true"} {
		t.Run("strict error handling "+strict, func(t *testing.T) {
			t.Parallel()
			h := newHubspot(t, true)
			h.fail(troubles(1, 3, 5, 7, 9, 11, 13))
			w := h.website(t, named(1500))
			log := w.run("first", "error_handling.strict="+strict)
			require.Equal(t, 1500, len(h.contacts)) //nolint:testifylint // Len prints them all
			require.Equal(t, 15+7, h.requests(), "each trouble costs its request, and no other")
			require.Empty(t, w.deadLetters())
			require.Contains(t, log, "HubSpot takes no contact for now (status 429 )")
		})
	}
}

// A property that does not exist is a mistake of the pipeline, not of its contacts.
func TestHubspotPropertyThatDoesNotExistPutsNothingAside(t *testing.T) {
	t.Parallel()
	missing, err := json.Marshal(hubspotRejection("PROPERTY_DOESNT_EXIST", `Property "city" does not exist`))
	require.NoError(t, err)
	h := newHubspot(t, true)
	h.fail(map[int]fault{2: {status: http.StatusBadRequest, body: string(missing)}, 3: {status: http.StatusBadRequest, body: string(missing)}})
	w := h.website(t, named(300))
	log := w.run("first")
	require.Equal(t, 300, len(h.contacts)) //nolint:testifylint // Len prints them all
	require.Empty(t, w.deadLetters())
	require.Contains(t, log, "(status 400 PROPERTY_DOESNT_EXIST)")
}

func TestHubspotStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	h := newHubspot(t, true)
	h.fail(map[int]fault{3: {status: http.StatusTooManyRequests, hold: 3600}})
	w := h.website(t, named(1500))
	w.stopWhileWaiting(h.vendor)
	w.run("first")
	require.Equal(t, 1500, len(h.contacts)) //nolint:testifylint // Len prints them all
	require.Empty(t, w.deadLetters())
}

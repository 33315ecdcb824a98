package destinations_test

import (
	"encoding/json"
	"fmt"
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

// klaviyo is Klaviyo's API of revision 2026-07-15: bulk imports of profiles, and
// subscriptions.
type klaviyo struct {
	*vendor

	// anonymous has import errors that quote no profile.
	anonymous bool

	mu            sync.Mutex
	profiles      map[string]map[string]any // attributes by email
	consent       map[string]string         // by email
	subscriptions int
	jobs          []*klaviyoJob
}

type klaviyoJob struct {
	polls    int
	profiles []map[string]any
	failed   []map[string]any
	emails   []string
}

// Each endpoint takes 10 requests in a second and 150 in a minute. The tests run a hundred
// times as fast.
const klaviyoInterval = "4.2ms"

func newKlaviyo(t *testing.T) *klaviyo {
	t.Helper()
	k := &klaviyo{profiles: map[string]map[string]any{}, consent: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/profile-bulk-import-jobs", k.create)
	mux.HandleFunc("GET /api/profile-bulk-import-jobs/{id}", k.job)
	mux.HandleFunc("GET /api/profile-bulk-import-jobs/{id}/import-errors", k.errors)
	mux.HandleFunc("GET /api/profile-bulk-import-jobs/{id}/profiles", k.imported)
	mux.HandleFunc("POST /api/profile-subscription-bulk-create-jobs", k.subscribe)
	k.vendor = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.demand(r.Header.Get("Authorization") == "Klaviyo-API-Key "+token, "no authorization")
		k.demand(r.Header.Get("revision") == "2026-07-15", "revision %q", r.Header.Get("revision"))
		k.mu.Lock()
		defer k.mu.Unlock()
		mux.ServeHTTP(w, r)
	}), limit{10, 10 * time.Millisecond}, limit{150, 600 * time.Millisecond})
	k.kind = func(r *http.Request) string {
		_, pattern := mux.Handler(r)
		return pattern
	}
	return k
}

type klaviyoDocument struct {
	Data struct {
		Type       string `json:"type"`
		Attributes struct {
			Profiles struct {
				Data []struct {
					Type       string         `json:"type"`
					Attributes map[string]any `json:"attributes"`
				} `json:"data"`
			} `json:"profiles"`
		} `json:"attributes"`
		Relationships map[string]any `json:"relationships"`
	} `json:"data"`
}

func (k *klaviyo) read(r *http.Request, kind string) klaviyoDocument {
	k.demand(r.Header.Get("Content-Type") == "application/vnd.api+json", "Content-Type %s", r.Header.Get("Content-Type"))
	var document klaviyoDocument
	err := json.NewDecoder(r.Body).Decode(&document)
	k.demand(err == nil && document.Data.Type == kind, "no document of a %s: %v", kind, err)
	n := len(document.Data.Attributes.Profiles.Data)
	k.demand(n > 0 && n <= 1000, "a job of %d profiles", n)
	return document
}

func klaviyoError(code, detail, pointer string) map[string]any {
	return map[string]any{"id": "1", "code": code, "title": "Invalid input.", "detail": detail, "source": map[string]string{"pointer": pointer}}
}

// create takes jobs. A control character has it reject all of a job at once.
func (k *klaviyo) create(w http.ResponseWriter, r *http.Request) {
	document := k.read(r, "profile-bulk-import-job")
	job := &klaviyoJob{}
	for i, profile := range document.Data.Attributes.Profiles.Data {
		raw, _ := json.Marshal(profile.Attributes)
		email, _ := profile.Attributes["email"].(string)
		k.demand(!slices.Contains(job.emails, email), "a profile twice in a job")
		job.emails = append(job.emails, email)
		switch {
		case strings.Contains(string(raw), `\u0001`):
			answer(w, http.StatusBadRequest, map[string]any{"errors": []any{klaviyoError("invalid", "control character in a text",
				fmt.Sprintf("/data/attributes/profiles/data/%d/attributes/location/city", i))}})
			return
		case strings.HasSuffix(email, refused):
			job.fail(profile.Attributes, "Invalid email address "+email, k.anonymous)
		case len(raw) > 65_536:
			job.fail(profile.Attributes, "The profile is too large", k.anonymous)
		default:
			job.profiles = append(job.profiles, profile.Attributes)
		}
	}
	k.jobs = append(k.jobs, job)
	answer(w, http.StatusAccepted, map[string]any{"data": map[string]any{
		"type": "profile-bulk-import-job", "id": "job" + strconv.Itoa(len(k.jobs)-1),
		"attributes": map[string]any{"status": "queued", "total_count": len(job.emails)},
	}})
}

func (j *klaviyoJob) fail(attributes map[string]any, detail string, anonymous bool) {
	e := klaviyoError("invalid", detail, "/data")
	if !anonymous {
		e["original_payload"] = attributes
	}
	j.failed = append(j.failed, map[string]any{"type": "import-error", "id": "1", "attributes": e})
}

func (k *klaviyo) find(r *http.Request) *klaviyoJob {
	n, err := strconv.Atoi(strings.TrimPrefix(r.PathValue("id"), "job"))
	k.demand(err == nil && n < len(k.jobs), "no job %s", r.PathValue("id"))
	return k.jobs[n]
}

// job is complete when it is looked at for the third time, and stores profiles then.
func (k *klaviyo) job(w http.ResponseWriter, r *http.Request) {
	job := k.find(r)
	job.polls++
	status := []string{"queued", "processing", "complete"}[min(job.polls, 3)-1]
	if job.polls == 3 {
		for _, attributes := range job.profiles {
			email := attributes["email"].(string)
			if k.profiles[email] == nil {
				k.profiles[email] = map[string]any{}
			}
			maps.Copy(k.profiles[email], attributes)
		}
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"attributes": map[string]any{
		"status": status, "total_count": len(job.emails), "completed_count": len(job.profiles), "failed_count": len(job.failed),
	}}})
}

func (k *klaviyo) errors(w http.ResponseWriter, r *http.Request) {
	job := k.find(r)
	k.demand(r.URL.Query().Get("page[size]") == "100", "pages of %q", r.URL.Query().Get("page[size]"))
	answer(w, http.StatusOK, map[string]any{"data": job.failed[:min(100, len(job.failed))]})
}

func (k *klaviyo) imported(w http.ResponseWriter, r *http.Request) {
	job := k.find(r)
	k.demand(r.URL.Query().Get("page[size]") == "100" && r.URL.Query().Get("additional-fields[profile]") == "subscriptions", "no subscriptions")
	data := []any{}
	for _, attributes := range job.profiles[:min(100, len(job.profiles))] {
		email := attributes["email"].(string)
		consent := k.consent[email]
		if consent == "" {
			consent = "NEVER_SUBSCRIBED"
		}
		data = append(data, map[string]any{"type": "profile", "attributes": map[string]any{
			"email": email, "subscriptions": map[string]any{"email": map[string]any{"marketing": map[string]any{"consent": consent}}},
		}})
	}
	answer(w, http.StatusOK, map[string]any{"data": data})
}

// subscribe subscribes even who is unsubscribed: it is for the client not to ask.
func (k *klaviyo) subscribe(w http.ResponseWriter, r *http.Request) {
	document := k.read(r, "profile-subscription-bulk-create-job")
	raw, _ := json.Marshal(document.Data.Relationships)
	k.demand(string(raw) == `{"list":{"data":{"id":"LIST","type":"list"}}}`, "relationships %s", raw)
	for _, profile := range document.Data.Attributes.Profiles.Data {
		raw, _ := json.Marshal(profile.Attributes["subscriptions"])
		k.demand(string(raw) == `{"email":{"marketing":{"consent":"SUBSCRIBED"}}}`, "subscriptions %s", raw)
		k.consent[profile.Attributes["email"].(string)] = "SUBSCRIBED"
		k.subscriptions++
	}
	w.WriteHeader(http.StatusAccepted)
}

func (k *klaviyo) state() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	state, err := json.Marshal([]any{k.profiles, k.consent, k.subscriptions})
	require.NoError(k.t, err)
	return string(state)
}

func (k *klaviyo) website(t *testing.T, opts sandbox.Options) *website {
	t.Helper()
	return newWebsite(t, "leads_to_klaviyo", opts, "KLAVIYO_URL="+k.url, "KLAVIYO_KEY="+token, "KLAVIYO_LIST=LIST", "KLAVIYO_INTERVAL="+klaviyoInterval)
}

func TestKlaviyoTakesAllButPoisonedContacts(t *testing.T) {
	t.Parallel()
	for _, anonymous := range []bool{false, true} {
		t.Run(fmt.Sprintf("import errors quote no profile %v", anonymous), func(t *testing.T) {
			t.Parallel()
			k := newKlaviyo(t)
			k.anonymous = anonymous
			w := k.website(t, named(goodContacts-4))
			w.add(poisoned(`{"email":"poison2`+refused+`","consent":true}`, `{"email":"poison3`+refused+`"}`)...)
			w.addTwice()
			at := w.Contacts()[w.Len()-1].CollectedAt.Add(time.Minute)
			for _, fields := range []string{`{"email":"yes@example.com","consent":true}`, `{"email":"left@example.com","consent":true}`} {
				w.addAt(at, fields)
			}
			k.consent["left@example.com"] = "UNSUBSCRIBED"
			consented := map[string]bool{}
			for _, c := range w.Contacts() {
				var read struct{ Fields map[string]any }
				if json.Unmarshal(c.Raw, &read) == nil && read.Fields["consent"] == true && !strings.HasSuffix(c.Email, refused) {
					consented[strings.ToLower(strings.TrimSpace(c.Email))] = true
				}
			}
			delete(consented, "left@example.com")

			w.run("first")
			require.Equal(t, goodContacts-1, len(k.profiles), "people of 990 contacts") //nolint:testifylint // Len prints them all
			require.Equal(t, map[string]any{"city": "Paris"}, k.profiles["twice@example.com"]["location"])
			require.Equal(t, "Zoé", k.profiles["twice@example.com"]["first_name"])
			letters := w.deadLetters()
			texts := []string{"not a JSON object", "too large", "control character", "Invalid email"}
			require.Equal(t, map[string]int{texts[0]: 2, texts[1]: 2, texts[2]: 2, texts[3]: 4}, reasons(letters, texts...))

			require.Equal(t, "UNSUBSCRIBED", k.consent["left@example.com"])
			for email, consent := range k.consent {
				require.True(t, consented[email] || consent == "UNSUBSCRIBED", "somebody who did not consent is subscribed")
			}
			require.Equal(t, len(consented), k.subscriptions)

			requests := k.requests()
			w.run("first")
			require.Equal(t, requests, k.requests(), "requests of a run after the watermark")

			before := k.state()
			w.run("second")
			require.Equal(t, before, k.state(), "a run from the start leaves the same")
			require.Equal(t, letters, w.deadLetters())
		})
	}
}

func TestKlaviyoIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"false", "true"} {
		t.Run("strict error handling "+strict, func(t *testing.T) {
			t.Parallel()
			k := newKlaviyo(t)
			k.fail(troubles(1, 3, 6, 12, 19, 23, 27))
			w := k.website(t, named(600))
			log := w.run("first", "error_handling.strict="+strict)
			require.Equal(t, 600, len(k.profiles)) //nolint:testifylint // Len prints them all
			require.Len(t, k.jobs, 6)
			require.Empty(t, w.deadLetters())
			require.Contains(t, log, "Klaviyo takes no contact for now (import, status 429)")
		})
	}
}

package destinations_test

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// mailchimp is an audience of Mailchimp's Marketing API 3.0.
type mailchimp struct {
	*vendor

	mu      sync.Mutex
	members map[string]*mailchimpMember // by hash
}

type mailchimpMember struct {
	Email       string            `json:"email_address"`
	Status      string            `json:"status,omitempty"`
	StatusIfNew string            `json:"status_if_new,omitempty"`
	Fields      map[string]string `json:"merge_fields,omitempty"`
	IP          string            `json:"ip_signup,omitempty"`
	Time        string            `json:"timestamp_signup,omitempty"`
}

func newMailchimp(t *testing.T) *mailchimp {
	t.Helper()
	m := &mailchimp{members: map[string]*mailchimpMember{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /3.0/lists/LIST", m.create)
	mux.HandleFunc("PUT /3.0/lists/LIST/members/{hash}", m.put)
	mux.HandleFunc("PATCH /3.0/lists/LIST/members/{hash}", m.patch)
	m.vendor = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, ok := r.BasicAuth()
		m.demand(ok && password == token, "no authorization")
		m.mu.Lock()
		defer m.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { m.demand(m.mostOpen <= 10, "%d simultaneous connections", m.mostOpen) })
	return m
}

// memberHash is how Mailchimp names a member.
func memberHash(email string) string {
	sum := md5.Sum([]byte(strings.ToLower(email)))
	return hex.EncodeToString(sum[:])
}

// judge is what Mailchimp finds wrong with a member.
func (*mailchimp) judge(member mailchimpMember) (field, message string) {
	if strings.HasSuffix(member.Email, refused) {
		return "email_address", member.Email + " looks fake or invalid, please enter a real email address."
	}
	for name, value := range member.Fields {
		if len(value) > 255 {
			return name, "This value should be of 255 characters at most."
		}
		if strings.Contains(value, "\x01") {
			return name, "This value holds a control character."
		}
	}
	return "", ""
}

func (m *mailchimp) create(w http.ResponseWriter, r *http.Request) {
	var batch struct {
		Members        []mailchimpMember `json:"members"`
		UpdateExisting *bool             `json:"update_existing"`
	}
	err := json.NewDecoder(r.Body).Decode(&batch)
	m.demand(err == nil && len(batch.Members) > 0 && len(batch.Members) <= 500, "a batch of %d: %v", len(batch.Members), err)
	m.demand(batch.UpdateExisting != nil && !*batch.UpdateExisting, "statuses of existing members change")
	created, errs := []*mailchimpMember{}, []map[string]string{}
	for _, member := range batch.Members {
		m.demand(member.Status == "pending" || member.Status == "transactional", "status %q", member.Status)
		hash := memberHash(member.Email)
		field, message := m.judge(member)
		switch {
		case m.members[hash] != nil:
			errs = append(errs, map[string]string{"email_address": member.Email, "error": member.Email + " is already a list member", "error_code": "ERROR_CONTACT_EXISTS"})
		case message != "":
			errs = append(errs, map[string]string{"email_address": member.Email, "error": message, "error_code": "ERROR_GENERIC", "field": field})
		default:
			m.members[hash] = &member
			created = append(created, &member)
		}
	}
	answer(w, http.StatusOK, map[string]any{"new_members": created, "updated_members": []any{}, "errors": errs, "total_created": len(created), "error_count": len(errs)})
}

func (m *mailchimp) put(w http.ResponseWriter, r *http.Request) {
	var member mailchimpMember
	err := json.NewDecoder(r.Body).Decode(&member)
	m.demand(err == nil && r.PathValue("hash") == memberHash(member.Email), "a hash of another email: %v", err)
	m.demand(member.Status == "" && member.StatusIfNew != "", "the status of an existing member changes")
	if field, message := m.judge(member); message != "" {
		answer(w, http.StatusBadRequest, map[string]any{
			"type": "https://mailchimp.com/developer/marketing/docs/errors/", "title": "Invalid Resource", "status": 400,
			"detail": message, "errors": []map[string]string{{"field": field, "message": message}},
		})
		return
	}
	existing := m.members[r.PathValue("hash")]
	if existing == nil {
		member.Status, member.StatusIfNew = member.StatusIfNew, ""
		existing = &member
		m.members[r.PathValue("hash")] = existing
	}
	for name, value := range member.Fields {
		if existing.Fields == nil {
			existing.Fields = map[string]string{}
		}
		existing.Fields[name] = value
	}
	existing.IP, existing.Time = member.IP, member.Time
	answer(w, http.StatusOK, existing)
}

func (m *mailchimp) patch(w http.ResponseWriter, r *http.Request) {
	var change map[string]string
	err := json.NewDecoder(r.Body).Decode(&change)
	existing := m.members[r.PathValue("hash")]
	m.demand(err == nil && existing != nil && len(change) == 1, "not a change of the status of a member")
	m.demand(existing.Status == "transactional", "the status %s, which somebody chose, changes", existing.Status)
	existing.Status = change["status"]
	answer(w, http.StatusOK, existing)
}

func (m *mailchimp) state() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	state, err := json.Marshal(m.members)
	require.NoError(m.t, err)
	return string(state)
}

func (m *mailchimp) website(t *testing.T, opts sandbox.Options) *website {
	t.Helper()
	return newWebsite(t, "leads_to_mailchimp", opts, "MAILCHIMP_URL="+m.url, "MAILCHIMP_KEY="+token, "MAILCHIMP_LIST=LIST")
}

func TestMailchimpTakesAllButPoisonedContacts(t *testing.T) {
	t.Parallel()
	m := newMailchimp(t)
	w := m.website(t, named(goodContacts-5))
	long := fmt.Sprintf(`{"email":"name%%d@example.com","first_name":%q}`, strings.Repeat("x", 300))
	all := poisoned(fmt.Sprintf(long, 1), fmt.Sprintf(long, 2))
	for i := range all { // the audience has no city
		all[i] = strings.ReplaceAll(all[i], `"city"`, `"first_name"`)
	}
	w.add(all...)
	w.addTwice()
	at := w.Contacts()[w.Len()-1].CollectedAt.Add(time.Minute)
	for i, fields := range []string{
		`{"email":"left@example.com","consent":true,"first_name":"Left"}`, `{"email":"later@example.com"}`, `{"email":"later@example.com","consent":true}`,
	} {
		at = at.Add(time.Duration(i) * time.Second)
		w.addAt(at, fields)
	}
	m.members[memberHash("left@example.com")] = &mailchimpMember{Email: "left@example.com", Status: "unsubscribed"}

	w.run("first")
	require.Equal(t, goodContacts-2, len(m.members), "people of 990 contacts") //nolint:testifylint // Len prints them all
	require.Equal(t, "Zoé", m.members[memberHash("twice@example.com")].Fields["FNAME"])
	require.Equal(t, "unsubscribed", m.members[memberHash("left@example.com")].Status)
	require.Equal(t, "Left", m.members[memberHash("left@example.com")].Fields["FNAME"])
	require.Equal(t, "pending", m.members[memberHash("later@example.com")].Status)
	consented := map[string]bool{}
	for _, c := range w.Contacts() {
		var read struct{ Fields map[string]any }
		if json.Unmarshal(c.Raw, &read) == nil && read.Fields["consent"] == true {
			consented[memberHash(strings.TrimSpace(c.Email))] = true
		}
	}
	pending := 0
	for hash, member := range m.members {
		if member.Status == "pending" {
			require.True(t, consented[hash], "somebody who did not consent is subscribed")
			pending++
		}
	}
	require.Equal(t, len(consented)-1, pending)
	require.Greater(t, pending, 10)
	letters := w.deadLetters()
	texts := []string{"not a JSON object", "255 characters", "control character", "looks fake"}
	require.Equal(t, map[string]int{texts[0]: 2, texts[1]: 4, texts[2]: 2, texts[3]: 2}, reasons(letters, texts...))

	requests := m.requests()
	require.Less(t, requests, 30)
	w.run("first")
	require.Equal(t, requests, m.requests(), "requests of a run after the watermark")

	before := m.state()
	w.run("second")
	require.Equal(t, before, m.state(), "a run from the start leaves the same")
	require.Equal(t, letters, w.deadLetters())
}

func TestMailchimpIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"false", "true"} {
		t.Run("strict error handling "+strict, func(t *testing.T) {
			t.Parallel()
			m := newMailchimp(t)
			m.fail(troubles(1, 3, 4, 7, 8, 9, 12))
			for i := range 10 { // existing members are updated one by one
				email := fmt.Sprintf("there%d@example.com", i)
				m.members[memberHash(email)] = &mailchimpMember{Email: email, Status: "subscribed"}
			}
			w := m.website(t, named(1000))
			first := w.Contacts()[0].CollectedAt
			for i := range 10 {
				w.addAt(first, fmt.Sprintf(`{"email":"there%d@example.com"}`, i))
			}
			log := w.run("first", "error_handling.strict="+strict)
			require.Equal(t, 1010, len(m.members)) //nolint:testifylint // Len prints them all
			require.Empty(t, w.deadLetters())
			require.Contains(t, log, "Mailchimp takes no contact for now (create, status 429)")
		})
	}
}

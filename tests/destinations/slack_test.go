package destinations_test

import (
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

// slack is Slack's method chat.postMessage.
type slack struct {
	*vendor

	mu       sync.Mutex
	messages []string
	answers  map[int]string // errors that are answered with 200, by the number of the message
	asked    int
}

// One message in a second. The tests run five hundred times as fast.
const slackInterval = "2.2ms"

func newSlack(t *testing.T) *slack {
	t.Helper()
	s := &slack{answers: map[int]string{}}
	s.vendor = serve(t, http.HandlerFunc(s.post), limit{100, 200 * time.Millisecond})
	return s
}

func (s *slack) post(w http.ResponseWriter, r *http.Request) {
	s.demand(r.Method == http.MethodPost && r.URL.Path == "/api/chat.postMessage", "%s %s", r.Method, r.URL.Path)
	s.demand(r.Header.Get("Authorization") == "Bearer "+token, "no authorization")
	s.demand(r.Header.Get("Content-Type") == "application/json; charset=utf-8", "Content-Type %s", r.Header.Get("Content-Type"))
	var message struct{ Channel, Text string }
	err := json.NewDecoder(r.Body).Decode(&message)
	s.demand(err == nil && message.Channel == "C1" && message.Text != "", "no message to the channel: %v", err)
	s.demand(!strings.ContainsAny(message.Text, "<>"), "markup that a visitor typed")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	reject := func(code string) { answer(w, http.StatusOK, map[string]any{"ok": false, "error": code}) }
	switch {
	case s.answers[s.asked] != "":
		reject(s.answers[s.asked])
	case len(message.Text) > 40_000:
		reject("msg_too_long")
	default:
		s.messages = append(s.messages, message.Text)
		answer(w, http.StatusOK, map[string]any{"ok": true, "channel": "C1", "ts": "1"})
	}
}

func (s *slack) website(t *testing.T, opts sandbox.Options) *website {
	t.Helper()
	return newWebsite(t, "leads_to_slack", opts, "SLACK_URL="+s.url, "SLACK_TOKEN="+token, "SLACK_CHANNEL=C1",
		"SLACK_INTERVAL="+slackInterval, "FROM=2023-01-01T00:00:00Z")
}

func TestSlackIsToldOfAllButPoisonedContacts(t *testing.T) {
	t.Parallel()
	s := newSlack(t)
	w := s.website(t, sandbox.Options{Contacts: goodContacts - 1})
	var all []string
	for i := range 5 {
		all = append(all,
			fmt.Sprintf(`["EMAILMARKER", %d]`, i),
			fmt.Sprintf(`{"collected_at":"2024-01-01T12:00:00Z","wisepop_id":7,"fields":{"email":"long%d@example.com","essay":%q}}`, i, strings.Repeat("x", 50_000)))
	}
	w.add(append(all, `{"collected_at":"2024-01-01T12:00:00Z","wisepop_id":7,"fields":{"email":"eve@example.com","name":"<!channel> & <https://example.com|all>"}}`)...)
	w.run("first")
	require.Equal(t, goodContacts, len(s.messages)) //nolint:testifylint // Len prints them all
	require.Contains(t, strings.Join(s.messages, "\n"), "New lead eve@example.com\nname: &lt;!channel&gt; &amp; &lt;https://example.com|all&gt;")
	letters := w.deadLetters()
	require.Equal(t, map[string]int{"not a JSON object": 5, "msg_too_long": 5}, reasons(letters, "not a JSON object", "msg_too_long"))

	requests := s.requests()
	w.run("first")
	require.Equal(t, requests, s.requests(), "requests of a run after the watermark")

	w.run("first", "input.wisepops_contacts.checkpoint_cache_key=another")
	require.Equal(t, goodContacts, len(s.messages), "a run from the start tells nobody twice") //nolint:testifylint // Len prints them all
	require.Equal(t, letters, w.deadLetters())
}

func TestSlackIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"false", "true"} {
		t.Run("strict error handling "+strict, func(t *testing.T) {
			t.Parallel()
			s := newSlack(t)
			s.fail(troubles(1, 20, 40))
			s.answers[50], s.answers[60] = "not_in_channel", "internal_error"
			w := s.website(t, sandbox.Options{Contacts: 150})
			log := w.run("first", "error_handling.strict="+strict)
			require.Equal(t, 150, len(s.messages)) //nolint:testifylint // Len prints them all
			require.Equal(t, 150+5, s.requests(), "each trouble costs its request, and no other")
			require.Empty(t, w.deadLetters())
			require.Contains(t, log, "Slack takes no message for now (status 200, not_in_channel)")
		})
	}
}

package processor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func erase(t *testing.T, s *sandbox.Service, conf string, messages ...string) service.MessageBatch {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	parsed, err := privacyDeleteSpec().ParseYAML("api_key: demo\nbase_url: "+server.URL+"/api2\n"+conf, nil)
	require.NoError(t, err)
	p, err := newPrivacyDelete(parsed, service.MockResources())
	require.NoError(t, err)
	var batch service.MessageBatch
	for i, m := range messages {
		msg := service.NewMessage([]byte(m))
		msg.MetaSet("n", strconv.Itoa(i))
		batch = append(batch, msg)
	}
	out, err := p.ProcessBatch(t.Context(), batch)
	require.NoError(t, err)
	require.NoError(t, p.Close(t.Context()))
	require.Len(t, out, 1)
	require.Len(t, out[0], len(messages))
	return out[0]
}

func content(t *testing.T, m *service.Message) map[string]any {
	t.Helper()
	raw, err := m.AsBytes()
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(raw, &v))
	return v
}

// The hashes are of `printf %s zoe@example.com | openssl dgst -sha256 -hmac KEY`.
func TestReceipt(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Add(sandbox.Contact{Email: "Zoe@Example.com"}, sandbox.Contact{Email: "zoe@example.com"})
	begun := time.Now().Add(-time.Second)
	batch := erase(t, s, "", `{"email":" ZOE@example.com "}`, `{"phone":"+33 6 12 34 56 78"}`)

	receipt := content(t, batch[0])
	for _, field := range []string{"requested_at", "completed_at"} {
		text, ok := receipt[field].(string)
		require.True(t, ok)
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		assert.WithinRange(t, at, begun, time.Now().Add(time.Second))
		delete(receipt, field)
	}
	assert.Equal(t, map[string]any{
		"email_hmac": "5cfa278b16bdd7110ad77e01ed9009633f23b16a44ea79dc31772ace12132fc5", "phone_hmac": nil, "deleted": 2.0, "status": "deleted",
	}, receipt)
	receipt = content(t, batch[1])
	assert.Equal(t, "e52ded191d41234aee3fb488278c98d4399d3707c7aad3de4f00cfb32ba7616e", receipt["phone_hmac"])
	assert.Nil(t, receipt["email_hmac"])
	assert.Equal(t, "not_found", receipt["status"])
	for i, m := range batch {
		require.NoError(t, m.GetError())
		n, _ := m.MetaGet("n")
		assert.Equal(t, strconv.Itoa(i), n)
		raw, err := m.AsBytes()
		require.NoError(t, err)
		assert.NotContains(t, strings.ToLower(string(raw)), "zoe")
		assert.NotContains(t, string(raw), "612345678")
	}
	require.Zero(t, s.Len())
}

func TestDeletionsAreCountedByMessage(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	server := httptest.NewServer(s)
	defer server.Close()
	counts := countsOf(t, "wisepops_privacy_delete: { api_key: demo, base_url: "+server.URL+"/api2 }",
		`{"email":"zoe@example.com"}`, `{"email":"ZOE@example.com"}`, `{"email":"zoe@example.com "}`, `{"email":"ada@example.com"}`, `{"email":"?"}`, `?`)
	require.Equal(t, 2, s.Calls().Total)
	assert.EqualValues(t, 4, counts["wisepops_privacy_deletions deleted"])
	assert.EqualValues(t, 2, counts["wisepops_privacy_deletions unreadable"])

	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: http.StatusForbidden} })
	counts = countsOf(t, "wisepops_privacy_delete: { api_key: demo, base_url: "+server.URL+"/api2 }", `{"email":"zoe@example.com"}`, `{"email":"zoe@example.com"}`)
	assert.EqualValues(t, 2, counts["wisepops_privacy_deletions error"])
	counts = countsOf(t, "wisepops_privacy_delete: { api_key: demo, dry_run: true }", `{"email":"zoe@example.com"}`, `{"email":"zoe@example.com"}`)
	assert.EqualValues(t, 2, counts["wisepops_privacy_deletions dry_run"])
}

// Receipts of requests that share a call have each their own time.
func TestReceiptsTellWhenTheRequestWasMade(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	begun := time.Now().UTC().Truncate(time.Millisecond)
	batch := erase(t, s, "", `{"email":"zoe@example.com","requested_at":"2026-01-31T11:00:00+01:00"}`,
		`{"email":"zoe@example.com","requested_at":"2026-01-30 10:00:00"}`,
		`{"email":"zoe@example.com","requested_at":"soon"}`, `{"email":"zoe@example.com","requested_at":null}`, `{"email":"zoe@example.com"}`)
	require.Equal(t, 1, s.Calls().Total)
	assert.Equal(t, "2026-01-31T10:00:00.000Z", content(t, batch[0])["requested_at"])
	assert.Equal(t, "2026-01-30T10:00:00.000Z", content(t, batch[1])["requested_at"])
	assert.Nil(t, content(t, batch[2])["requested_at"])
	for _, msg := range batch[3:] {
		text, ok := content(t, msg)["requested_at"].(string)
		require.True(t, ok)
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		assert.WithinRange(t, at, begun, time.Now())
	}
	receipt := content(t, erase(t, s, `requested_at: ${! meta("n") }-01-01T00:00:00Z`, `{"email":"zoe@example.com"}`)[0])
	assert.Nil(t, receipt["requested_at"])
	receipt = content(t, erase(t, s, `requested_at: 202${! meta("n") }-01-01T00:00:00Z`, `{"email":"zoe@example.com"}`)[0])
	assert.Equal(t, "2020-01-01T00:00:00.000Z", receipt["requested_at"])
}

func TestMessageThatIsNoObjectSaysSo(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	for i, msg := range erase(t, s, "", `zoe@example.com`, `"zoe@example.com"`, `["zoe@example.com"]`, `42`, `null`, ``) {
		require.EqualError(t, msg.GetError(), "the message is not a JSON object", i)
	}
	for _, field := range []string{"email", "phone"} {
		conf := field + ": ${! this.who.uppercase() }"
		require.EqualError(t, erase(t, s, conf, `zoe@example.com`)[0].GetError(), "the message is not a JSON object")
		require.EqualError(t, erase(t, s, conf, `{}`)[0].GetError(), field+" cannot be read from the message")
	}
	require.ErrorContains(t, erase(t, s, "", `{}`)[0].GetError(), "names nobody")
	require.Zero(t, s.Calls().Total)
	// A mapping may make do with other messages.
	require.NoError(t, erase(t, s, `email: ${! content() }`+"\nphone: ''", `zoe@example.com`)[0].GetError())
}

func TestReceiptKeyAndIdentity(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	receipt := content(t, erase(t, s, "receipt_key: audit\ninclude_identity: true\ndry_run: true", `{"email":"zoe@example.com"}`)[0])
	assert.Equal(t, "88c4e87a629f60ca062c7400b29939a69eed57c8edd70c5ca31559c3756d5cf3", receipt["email_hmac"])
	assert.Equal(t, "zoe@example.com", receipt["email"])
	assert.Nil(t, receipt["phone"])
	assert.Equal(t, "dry_run", receipt["status"])
	require.Zero(t, s.Calls().Total)
}

func TestFailedDeletionsKeepTheirMessage(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	batch := erase(t, s, "", `{"email":"a@example.com"}`, `{"email":"EMAILMARKER"}`, `not JSON`, `{}`)
	require.NoError(t, batch[0].GetError())
	for i, raw := range []string{`{"email":"EMAILMARKER"}`, `not JSON`, `{}`} {
		err := batch[i+1].GetError()
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "EMAILMARKER")
		got, err := batch[i+1].AsBytes()
		require.NoError(t, err)
		assert.Equal(t, raw, string(got))
	}
	require.Equal(t, 1, s.Calls().Total)

	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 403} })
	require.ErrorContains(t, erase(t, s, "", `{"email":"a@example.com"}`)[0].GetError(), "check api_key")
}

func TestPrivacyDeleteConfigErrors(t *testing.T) {
	for conf, want := range map[string]string{
		`api_key: ""`:                                     "api_key is empty",
		"api_key: k\nmax_in_flight: 0":                    "max_in_flight must be at least 1",
		"api_key: k\ndefault_country: France":             "default_country",
		"api_key: k\nbase_url: http://example.com":        "plain http",
		"api_key: k\nrate_limit: nowhere":                 `rate_limit names "nowhere"`,
		"api_key: \"\"\nreceipt_key: set":                 "api_key is empty",
		"api_key: k\ndefault_country: FR\nmax_retries: 1": "",
	} {
		parsed, err := privacyDeleteSpec().ParseYAML(conf, nil)
		require.NoError(t, err)
		_, err = newPrivacyDelete(parsed, service.MockResources())
		if want == "" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, want, conf)
	}
}

// The client waits no longer than a second here, and the API wants two.
func TestLongRetryAfterIsWaitedFor(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Add(sandbox.Contact{Email: "zoe@example.com"})
	var calls atomic.Int32
	s.Control(func(*http.Request) *sandbox.Fault {
		if calls.Add(1) == 1 {
			return &sandbox.Fault{Status: http.StatusTooManyRequests, RetryAfter: "2"}
		}
		return nil
	})
	begun := time.Now()
	batch := erase(t, s, "backoff: { max_elapsed_time: 1s }", `{"email":"zoe@example.com"}`)
	require.NoError(t, batch[0].GetError())
	require.Equal(t, "deleted", content(t, batch[0])["status"])
	require.GreaterOrEqual(t, time.Since(begun), 2*time.Second)
	require.EqualValues(t, 2, calls.Load())
}

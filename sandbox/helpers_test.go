package sandbox_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const authorization = `WISEPOPS-API key="demo"`

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// call makes one call with the right key. The target may leave /api2 out.
func call(s http.Handler, method, target string) *httptest.ResponseRecorder {
	return callPath(s, method, "/api2"+strings.TrimPrefix(target, "/api2"))
}

// callPath makes one call to exactly that path.
func callPath(s http.Handler, method, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, http.NoBody)
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// emails calls GET /contacts and returns the email addresses in the answer.
func emails(t *testing.T, s http.Handler, query string) []string {
	t.Helper()
	w := call(s, http.MethodGet, "/contacts?"+query)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var page []struct {
		Fields map[string]any `json:"fields"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page), w.Body)
	found := []string{}
	for _, contact := range page {
		found = append(found, emailOf(contact.Fields))
	}
	return found
}

// emailOf finds the email address under any of the keys that hold it.
func emailOf(fields map[string]any) string {
	for _, key := range []string{"email", "Email", "E-Mail", "E-mail address"} {
		if email, ok := fields[key].(string); ok {
			return email
		}
	}
	return ""
}

// instant returns a time on the day the tests use, such as 10:00:00.250.
func instant(t *testing.T, clock string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, "2024-05-06T"+clock+"Z")
	require.NoError(t, err)
	return at
}

// at is a contact to add, told from others by its mailbox.
func at(t *testing.T, clock, mailbox string, wisepopID int64) sandbox.Contact {
	t.Helper()
	return sandbox.Contact{CollectedAt: instant(t, clock), Email: mailbox + "@example.com", WisepopID: wisepopID}
}

// mailboxes returns addresses of example.com as at takes them.
func mailboxes(names ...string) []string {
	list := []string{}
	for _, name := range names {
		list = append(list, name+"@example.com")
	}
	return list
}

package sandbox_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// listen serves s on loopback and returns a function that makes one call.
func listen(t *testing.T, s *sandbox.Service) func(context.Context) (*http.Response, error) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client := server.Client()
	return func(ctx context.Context) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api2/contacts", http.NoBody)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", authorization)
		return client.Do(r)
	}
}

func TestFaultReplacesTheAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  *sandbox.Fault
		status int
		body   string
		header map[string]string
	}{
		{"none", nil, 200, `[{"collected_at"`, map[string]string{"Content-Type": "application/json"}},
		{"zero", &sandbox.Fault{}, 200, `[{"collected_at"`, map[string]string{"Content-Type": "application/json"}},
		{"status", &sandbox.Fault{Status: 503, RetryAfter: "120"}, 503, `{"error":"Service Unavailable"}`, map[string]string{"Retry-After": "120", "Content-Type": "application/json"}},
		{"page for people", &sandbox.Fault{Body: []byte("<html>")}, 200, "<html>", map[string]string{"Content-Type": "text/html; charset=utf-8", "Content-Length": "6"}},
		{"garbage", &sandbox.Fault{Status: 502, Body: []byte("[{"), ContentType: "application/json"}, 502, "[{", map[string]string{"Content-Type": "application/json"}},
		{"empty body", &sandbox.Fault{Body: []byte{}}, 200, "", map[string]string{"Content-Length": "0"}},
		{"redirect", &sandbox.Fault{Status: 302, Header: http.Header{"location": {"/elsewhere"}}}, 302, `{"error":"Found"}`, map[string]string{"Location": "/elsewhere"}},
		{"wrong date", &sandbox.Fault{Header: http.Header{"Date": {"tomorrow"}}}, 200, `[{"collected_at"`, map[string]string{"Date": "tomorrow"}},
		{"no date", &sandbox.Fault{Header: http.Header{"Date": nil}}, 200, `[{"collected_at"`, map[string]string{"Date": ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sandbox.New(sandbox.Options{Contacts: 2})
			s.Control(func(*http.Request) *sandbox.Fault { return test.fault })
			w := call(s, http.MethodGet, "/contacts")
			assert.Equal(t, test.status, w.Code)
			assert.Equal(t, test.body, w.Body.String()[:min(w.Body.Len(), max(len(test.body), 1))])
			for name, want := range test.header {
				assert.Equal(t, want, w.Header().Get(name), name)
			}
			assert.Equal(t, map[int]int{test.status: 1}, s.Calls().ByStatus)

			s.Control(nil)
			assert.Equal(t, 200, call(s, http.MethodGet, "/contacts").Code)
		})
	}
}

func TestControlSeesEachRequestAndMayAddBetweenPages(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	var asked atomic.Int64
	s.Control(func(r *http.Request) *sandbox.Fault {
		asked.Add(1)
		if r.URL.Query().Get("page") == "2" {
			s.Add(at(t, "10:00:00", "late", 1))
		}
		return nil
	})
	assert.Empty(t, emails(t, s, "page=1"))
	assert.Empty(t, emails(t, s, "page=2"))
	assert.Equal(t, mailboxes("late"), emails(t, s, "page=1"))
	call(s, http.MethodPost, "/nowhere")
	assert.EqualValues(t, 4, asked.Load())
}

func TestCutBodyDeclaresItsLengthAndSendsHalf(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 50})
	whole := call(s, http.MethodGet, "/contacts").Body.Len()
	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{CutBody: true} })
	response, err := listen(t, s)(t.Context())
	require.NoError(t, err)
	defer response.Body.Close()
	assert.EqualValues(t, whole, response.ContentLength)
	body, err := io.ReadAll(response.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Len(t, body, whole/2)
}

func TestDroppedConnectionHasNoAnswer(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{DropConnection: true, Status: 500} })
	response, err := listen(t, s)(t.Context())
	if err == nil {
		response.Body.Close()
	}
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 1, s.Calls().Total)
}

func TestHangingRequestGoesOnWhenReleased(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Control(func(*http.Request) *sandbox.Fault {
		s.Release() // the earliest moment at which anybody knows of the request
		s.Add(at(t, "10:00:00", "a", 1))
		return &sandbox.Fault{Hang: true}
	})
	assert.Equal(t, mailboxes("a"), emails(t, s, ""))
}

func TestHangingRequestEndsWhenTheClientGoesAway(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	s.Control(func(*http.Request) *sandbox.Fault {
		s.Release() // concerns this request only
		return nil
	})
	request := listen(t, s)
	response, err := request(t.Context())
	require.NoError(t, err)
	response.Body.Close()

	s.Control(func(*http.Request) *sandbox.Fault {
		cancel()
		return &sandbox.Fault{Hang: true}
	})
	response, err = request(ctx)
	if err == nil {
		response.Body.Close()
	}
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return s.Calls().ByStatus[0] == 1 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, 2, s.Calls().Total)
}

func TestDelayIsWaitedOutBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Delay: 90 * time.Second, Status: 500} })
		begun := time.Now()
		assert.Equal(t, 500, call(s, http.MethodGet, "/contacts").Code)
		assert.Equal(t, 90*time.Second, time.Since(begun))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api2/contacts", http.NoBody))
		assert.Equal(t, 91*time.Second, time.Since(begun))
		assert.Equal(t, map[int]int{500: 1, 0: 1}, s.Calls().ByStatus)
	})
}

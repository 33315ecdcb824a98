package apiconfig

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// warnings collects what is logged at WARN and above.
type warnings struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *warnings) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.buf.Reset()
	return strings.Split(strings.TrimSpace(w.buf.String()), "\n")
}

func TestLongRetryAfterIsLoggedOnceForDeletionsToo(t *testing.T) {
	retryAfter := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(srv.Close)
	logged := &warnings{}
	mgr := service.MockResources(service.MockResourcesOptUseLogger(service.NewLoggerFromSlog(
		slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelWarn})))))
	conf, err := service.NewConfigSpec().Field(KeyField()).Fields(TransportFields()...).
		ParseYAML("api_key: k3y\nmax_retries: 0\nbase_url: "+srv.URL, nil)
	require.NoError(t, err)
	client, err := NewClient(conf, mgr, nil)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	who := wisepops.Identity{Email: "marker@example.com"}

	for _, wait := range []string{"", "1800", "1800.0"} {
		retryAfter = wait
		_, err = client.DeleteData(t.Context(), who)
		require.Error(t, err)
		require.Equal(t, []string{""}, logged.lines(), wait)
	}

	retryAfter = "7200, 7200"
	for range 3 {
		_, err = client.DeleteData(t.Context(), who)
		require.Error(t, err)
	}
	lines := logged.lines()
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "level=WARN")
	require.Contains(t, lines[0], "DELETE /data-privacy: status 429, and the API asks to make no call for 2h0m0s: waiting until ")
	require.NotContains(t, lines[0], "marker")
	require.NotContains(t, lines[0], "k3y")

	// Another end of the wait is news.
	retryAfter = "99999999"
	_, err = client.Contacts(t.Context(), wisepops.ContactsRequest{})
	require.Error(t, err)
	require.Contains(t, logged.lines()[0], "GET /contacts: status 429, and the API asks to make no call for 720h0m0s")
}

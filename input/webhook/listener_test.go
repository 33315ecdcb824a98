package webhook

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// Inputs that end one after another, and one that takes the place of another, must
// not tell the sender in between that the hook is wrong.
func TestPathOfAnInputThatEnded(t *testing.T) {
	shared := service.MockResources()
	address := "127.0.0.1:0"
	listen := func(path string) *input {
		conf, err := spec().ParseYAML(fmt.Sprintf(`{ api_key: demo, address: "%s", path: %s, register: false, verify_signature: false }`, address, path), nil)
		require.NoError(t, err)
		in, err := newInput(conf, shared)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, in.Close(t.Context())) })
		require.NoError(t, in.Connect(t.Context()))
		return in
	}
	keeper := listen("/keeper")
	client := &http.Client{Timeout: 20 * time.Second}
	request := func(method, path string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+keeper.listener.address.String()+path, strings.NewReader("[]"))
		require.NoError(t, err)
		res, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res
	}
	ended := listen("/ended")
	require.Same(t, keeper.listener, ended.listener)
	require.Equal(t, 200, request("POST", "/ended/email").StatusCode)

	require.NoError(t, ended.Close(t.Context()))
	for _, res := range []*http.Response{request("POST", "/ended/email"), request("GET", "/ended/healthz")} {
		require.Equal(t, 503, res.StatusCode)
		require.True(t, res.Close)
	}
	require.Equal(t, 200, request("POST", "/keeper").StatusCode)

	// Its place is free, also for a path that would overlap.
	successor := listen("/ended/email")
	require.Equal(t, 200, request("POST", "/ended/email").StatusCode)
	require.Equal(t, 404, request("POST", "/ended").StatusCode)
	keeper.listener.forget(ended)
	require.Equal(t, 200, request("POST", "/ended/email").StatusCode)

	require.NoError(t, successor.Close(t.Context()))
	require.Equal(t, 503, request("POST", "/ended/email").StatusCode)
	last := listen("/ended/email")
	keeper.listener.forget(successor)
	require.Equal(t, 200, request("POST", "/ended/email").StatusCode)
	require.NoError(t, last.Close(t.Context()))
	keeper.listener.forget(last)
	require.Equal(t, 404, request("POST", "/ended/email").StatusCode)
}

// A delivery that meets a bug must be answered so that it comes again.
func TestPanicIsAnsweredWith500(t *testing.T) {
	broken := &listener{routes: map[string]*input{"/wisepops": {}}, log: service.MockResources().Logger()}
	w := httptest.NewRecorder()
	broken.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/wisepops", strings.NewReader("[]")))
	require.Equal(t, http.StatusInternalServerError, w.Code)
}

package sandbox_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// post makes one call with a body.
func post(s http.Handler, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api2"+strings.TrimPrefix(target, "/api2"), strings.NewReader(body))
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestHooksAreListedCreatedAndDeleted(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	require.JSONEq(t, `[]`, call(s, http.MethodGet, "/hooks").Body.String())

	require.JSONEq(t, `{"id":1}`, post(s, "/api2/hooks", `{"event":"email","target_url":"https://example.com/a"}`).Body.String())
	require.JSONEq(t, `{"id":2}`, post(s, "/hooks", `{"event":"phone","target_url":"http://127.0.0.1/","wisepop_id":123}`).Body.String())
	require.JSONEq(t, `[{"id":1,"event":"email","target_url":"https://example.com/a"},
		{"id":2,"event":"phone","target_url":"http://127.0.0.1/","wisepop_id":123}]`, call(s, http.MethodGet, "/hooks").Body.String())

	require.Equal(t, http.StatusOK, call(s, http.MethodDelete, "/hooks?hook_id=1").Code)
	require.Equal(t, http.StatusNotFound, call(s, http.MethodDelete, "/hooks?hook_id=1").Code)
	require.Equal(t, []sandbox.Hook{{ID: 2, Event: "phone", TargetURL: "http://127.0.0.1/", WisepopID: 123}}, s.Hooks())
}

func TestTwinHooks(t *testing.T) {
	const twin = `{"event":"email","target_url":"https://example.com/"}`
	s := sandbox.New(sandbox.Options{})
	post(s, "/hooks", twin)
	require.JSONEq(t, `{"id":2}`, post(s, "/hooks", twin).Body.String())

	s = sandbox.New(sandbox.Options{Switches: sandbox.Switches{RefuseTwinHooks: true}})
	post(s, "/hooks", twin)
	require.Equal(t, http.StatusConflict, post(s, "/hooks", twin).Code)
	require.Equal(t, http.StatusOK, post(s, "/hooks", `{"event":"phone","target_url":"https://example.com/"}`).Code)
	require.Len(t, s.Hooks(), 2)
}

func TestHooksAreTakenAsClientsSendThem(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	for _, id := range []string{`"12345"`, `12345`} {
		require.Equal(t, 200, post(s, "/hooks/?source=x", `{"event":"email","target_url":"https://example.com/","wisepop_id":`+id+`,"more":1}`).Code)
	}
	for _, id := range []string{`""`, `null`} {
		require.Equal(t, 200, post(s, "/hooks", `{"event":"email","target_url":"https://example.com/","wisepop_id":`+id+`}`).Code)
	}
	for i, want := range []int64{12345, 12345, 0, 0} {
		require.Equal(t, want, s.Hooks()[i].WisepopID)
	}
	require.Equal(t, 200, call(s, http.MethodGet, "/hooks?page=1").Code)
	require.Equal(t, 200, call(s, http.MethodDelete, "/hooks?hook_id=1&page=1").Code)
	for _, id := range []string{`"x"`, `"0"`, `"1.5"`, `[1]`, `{}`, `true`, `1.5`} {
		require.Equal(t, 400, post(s, "/hooks", `{"event":"email","target_url":"https://example.com/","wisepop_id":`+id+`}`).Code, id)
	}
}

func TestMistakesWithHooksAreRefused(t *testing.T) {
	s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{Strict: true}})
	for _, body := range []string{
		``, `[]`, `{}`, `{"event":"sms","target_url":"https://example.com/"}`, `{"event":"email"}`,
		`{"event":"email","target_url":"example.com"}`, `{"event":"email","target_url":"ftp://example.com/"}`,
		`{"event":"email","target_url":"https://example.com/","wisepop_id":0}`,
		`{"event":"email","target_url":"https://example.com/","wisepop_id":"1"}`,
		`{"event":"email","target_url":"https://example.com/","more":1}`,
	} {
		assert.Equal(t, http.StatusBadRequest, post(s, "/hooks", body).Code, body)
	}
	assert.Equal(t, http.StatusBadRequest, call(s, http.MethodDelete, "/hooks").Code)
	assert.Equal(t, http.StatusBadRequest, call(s, http.MethodDelete, "/hooks?hook_id=x").Code)
	assert.Equal(t, http.StatusBadRequest, call(s, http.MethodGet, "/hooks?page=1").Code)
	assert.Equal(t, http.StatusMethodNotAllowed, call(s, http.MethodPut, "/hooks").Code)
	assert.Empty(t, s.Hooks())
}

func TestEffectiveFaultCreatesTheHookAllTheSame(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Effective: true, Status: 500} })
	w := post(s, "/hooks", `{"event":"email","target_url":"https://example.com/"}`)
	require.Equal(t, 500, w.Code)
	_, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	require.Len(t, s.Hooks(), 1)
}

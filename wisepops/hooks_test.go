package wisepops

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answering returns a client of a server that always answers the same, and what
// it was asked.
func answering(t *testing.T, status int, body string) (*Client, *[]string) {
	var asked []string
	srv := newTestServer(t, func(w http.ResponseWriter, r *http.Request) {
		sent, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		line := r.Method + " " + r.URL.RequestURI()
		if len(sent) > 0 {
			assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
			assert.EqualValues(t, len(sent), r.ContentLength)
			line += " " + string(sent)
		}
		asked = append(asked, line)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	return newTestClient(t, srv.URL, Options{MaxRetries: 2}), &asked
}

func TestHooks(t *testing.T) {
	c, asked := answering(t, 200, `[
		{"id":42,"event":"email","target_url":"https://example.com/a?b=c","wisepop_id":123},
		{"id":"43","event":"new","target_url":"","wisepop_id":null,"more":1},
		{"id":44,"event":"phone","target_url":"https://example.com/","wisepop_id":"7"},
		{"id":45,"event":"phone","target_url":"","wisepop_id":""}]`)
	hooks, err := c.Hooks(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Hook{
		{ID: 42, Event: "email", TargetURL: "https://example.com/a?b=c", WisepopID: 123},
		{ID: 43, Event: "new"},
		{ID: 44, Event: "phone", TargetURL: "https://example.com/", WisepopID: 7},
		{ID: 45, Event: "phone"},
	}, hooks)
	require.Equal(t, []string{"GET /hooks"}, *asked)
}

func TestHooksOfNoneIsAnEmptyList(t *testing.T) {
	c, _ := answering(t, 200, `[]`)
	hooks, err := c.Hooks(t.Context())
	require.NoError(t, err)
	require.Empty(t, hooks)
}

// Taking such an answer for an empty list would create every hook again.
func TestHooksThatAreNotAList(t *testing.T) {
	for _, body := range []string{
		``, `null`, `{}`, `{"hooks":[]}`, `<html>secret@example.com`, `[null]`, `[1]`, `[{}]`, `[{"id":null}]`,
		`[{"id":1.5}]`, `[{"id":99999999999999999999}]`, `[{"id":1,"wisepop_id":"x"}]`, `[{"id":1}`,
	} {
		c, _ := answering(t, 200, body)
		_, err := c.Hooks(t.Context())
		var formatErr *FormatError
		if assert.ErrorAs(t, err, &formatErr, body) {
			assert.NotContains(t, err.Error(), "secret")
		}
	}
}

func TestHooksAttempts(t *testing.T) {
	c, asked := answering(t, 500, ``)
	_, err := c.Hooks(t.Context())
	require.ErrorContains(t, err, "GET /hooks: status 500")
	require.Len(t, *asked, 3)
	_, err = c.WithMaxRetries(0).Hooks(t.Context())
	require.Error(t, err)
	require.Len(t, *asked, 4)
}

func TestCreateHook(t *testing.T) {
	c, asked := answering(t, 201, `{"id":42}`)
	id, err := c.CreateHook(t.Context(), Hook{ID: 1, Event: EventEmail, TargetURL: "https://example.com/é&", WisepopID: 123})
	require.NoError(t, err)
	require.EqualValues(t, 42, id)
	_, err = c.CreateHook(t.Context(), Hook{Event: EventSurvey, TargetURL: "https://example.com/"})
	require.NoError(t, err)
	require.Equal(t, []string{
		`POST /hooks {"event":"email","target_url":"https://example.com/é\u0026","wisepop_id":123}`,
		`POST /hooks {"event":"survey","target_url":"https://example.com/"}`,
	}, *asked)
}

func TestCreateHookMakesOneAttempt(t *testing.T) {
	c, asked := answering(t, 503, ``)
	_, err := c.CreateHook(t.Context(), Hook{Event: EventEmail})
	var apiErr *APIError
	require.ErrorAs(t, err, &apiErr)
	require.Len(t, *asked, 1)
}

func TestCreateHookWithoutAnID(t *testing.T) {
	for _, body := range []string{``, `{}`, `null`, `[]`, `{"id":null}`, `{"id":"x"}`} {
		c, _ := answering(t, 200, body)
		_, err := c.CreateHook(t.Context(), Hook{Event: EventEmail})
		var formatErr *FormatError
		assert.ErrorAs(t, err, &formatErr, body)
	}
}

func TestDeleteHook(t *testing.T) {
	c, asked := answering(t, 204, ``)
	require.NoError(t, c.DeleteHook(t.Context(), 42))
	require.Equal(t, []string{"DELETE /hooks?hook_id=42"}, *asked)

	c, asked = answering(t, 404, ``)
	var apiErr *APIError
	require.ErrorAs(t, c.DeleteHook(t.Context(), 42), &apiErr)
	require.Equal(t, 404, apiErr.Status)
	require.Len(t, *asked, 1)
}

func TestHookSame(t *testing.T) {
	h := Hook{ID: 1, Event: EventEmail, TargetURL: "https://example.com/", WisepopID: 5}
	other := h
	other.ID = 2
	require.True(t, h.Same(other))
	other.WisepopID = 0
	require.False(t, h.Same(other))
}

package sandbox_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// erase calls DELETE /data-privacy.
func erase(s http.Handler, body string) *httptest.ResponseRecorder {
	return eraseAt(s, "/api2/data-privacy", body)
}

func eraseAt(s http.Handler, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodDelete, target, strings.NewReader(body))
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestDeletedPeopleAreGoneAndStaySo(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Add(at(t, "10:00:00", "a", 1), at(t, "10:00:01", "b", 1), at(t, "10:00:02", "A", 2))
	require.JSONEq(t, `{"deleted":2}`, erase(s, `{"email":"A@EXAMPLE.com"}`).Body.String())
	require.JSONEq(t, `{"deleted":0}`, erase(s, `{"email":"a@example.com"}`).Body.String())
	require.Equal(t, mailboxes("b"), emails(t, s, ""))
	s.Add(at(t, "10:00:03", "a", 1))
	require.Equal(t, mailboxes("b"), emails(t, s, ""))
}

func TestPeopleAreFoundByTheirPhone(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 2000})
	phones := map[string]int{}
	for _, c := range s.Contacts() {
		if c.Phone != "" {
			phones[c.Phone]++
		}
	}
	require.Greater(t, len(phones), 100)
	for phone, n := range phones {
		require.Equal(t, n, s.Suppress("", phone), phone)
	}
	for _, c := range s.Contacts() {
		require.Empty(t, c.Phone)
	}
}

func TestSuppressedPeopleAreNotDelivered(t *testing.T) {
	rec := newReceiver(t)
	s := sandbox.New(sandbox.Options{Seed: 5})
	twin := sandbox.New(sandbox.Options{Seed: 5}) // whose first visitor is the same
	hookAll(s, rec.URL)
	s.Suppress(twin.Submit()[0].Email, "")
	before := s.Len()
	submitted := s.Submit()
	require.Equal(t, before+len(submitted), s.Len())
	require.Equal(t, len(submitted), deliver(t, s, sandbox.DeliveryOptions{}).Delivered)
	for _, c := range submitted {
		require.NotEqual(t, twin.Contacts()[0].Email, c.Email)
	}
}

func TestMistakesWithDeletionsAreRefused(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	for _, body := range []string{
		``, `[]`, `{}`, `{"email":""}`, `{"email":"nobody"}`, `{"email":" a@example.com"}`, `{"email":7}`,
		`{"phone":"123"}`, `{"phone":"+1 23"}`, `{"phone":"0033612345678"}`, `{"email":"a@example.com","phone":"x"}`,
	} {
		assert.Equal(t, http.StatusBadRequest, erase(s, body).Code, body)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, call(s, http.MethodGet, "/data-privacy").Code)
}

func TestBudgetIsEnforcedOverARollingWindow(t *testing.T) {
	now := instant(t, "10:00:00")
	s := sandbox.New(sandbox.Options{Budget: 3, BudgetWindow: time.Hour, Clock: func() time.Time { return now }})
	status := func() (int, string) {
		w := call(s, http.MethodGet, "/contacts")
		return w.Code, w.Header().Get("Retry-After")
	}
	for range 3 {
		code, _ := status()
		require.Equal(t, 200, code)
		now = now.Add(10 * time.Minute)
	}
	code, wait := status() // 10:30; the first leaves at 11:00
	require.Equal(t, 429, code)
	require.Equal(t, "1801", wait)
	now = now.Add(30 * time.Minute)
	code, _ = status()
	require.Equal(t, 200, code)
	code, _ = status()
	require.Equal(t, 429, code)
	require.Equal(t, 6, s.Calls().Total)
}

package sandbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestOnlyTheExactKeyIsLetIn(t *testing.T) {
	s := sandbox.New(sandbox.Options{APIKey: "s3cret", Contacts: 1})
	for _, test := range []struct {
		headers []string
		status  int
	}{
		{[]string{`WISEPOPS-API key="s3cret"`}, 200},
		{nil, 401},
		{[]string{""}, 401},
		{[]string{`WISEPOPS-API key="demo"`}, 401},
		{[]string{`WISEPOPS-API key="s3cret" `}, 401},
		{[]string{`wisepops-api key="s3cret"`}, 401},
		{[]string{`WISEPOPS-API key=s3cret`}, 401},
		{[]string{`Bearer s3cret`}, 401},
		{[]string{`WISEPOPS-API key="s3cret"`, `WISEPOPS-API key="s3cret"`}, 401},
	} {
		t.Run(fmt.Sprint(test.headers), func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/api2/contacts", http.NoBody)
			r.Header["Authorization"] = test.headers
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			assert.Equal(t, test.status, w.Code)
			if test.status == 401 {
				assert.JSONEq(t, `{"error":"the API key is missing or wrong"}`, w.Body.String())
			}
		})
	}
}

func TestRoutesKnowPathsAndMethods(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 1})
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/contacts", 404},
		{"GET", "/api1/hooks", 404},
		{"GET", "/api2/contacts/", 200},
		{"GET", "/api2/contacts//", 404},
		{"DELETE", "/api2/hooks/?hook_id=1", 404},
		{"GET", "/api2/contacts", 200},
		{"GET", "/api2/api2/contacts", 404},
		{"GET", "/api/contacts", 404},
		{"GET", "/api2contacts", 404},
		{"GET", "/api2/", 404},
		{"GET", "/", 404},
		{"GET", "/api2", 404},
		{"POST", "/api2/contacts", 405},
		{"HEAD", "/api2/contacts", 405},
		{"DELETE", "/api2/contacts", 405},
	} {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			w := callPath(s, test.method, test.target)
			assert.Equal(t, test.status, w.Code)
			if test.status == 405 {
				assert.Equal(t, "GET", w.Header().Get("Allow"))
			}
		})
	}
}

func TestStrictRoutesHaveNoSlashBehindThem(t *testing.T) {
	s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{Strict: true}})
	assert.Equal(t, 404, callPath(s, "GET", "/api2/contacts/").Code)
	assert.Equal(t, 200, callPath(s, "GET", "/api2/contacts").Code)
}

func TestAnswerCarriesLengthTypeAndTheClocksDate(t *testing.T) {
	clock := time.Date(2024, 5, 6, 12, 0, 0, 0, time.FixedZone("", 2*60*60))
	s := sandbox.New(sandbox.Options{Contacts: 20, Clock: func() time.Time { return clock }})
	w := call(s, http.MethodGet, "/contacts")
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, "Mon, 06 May 2024 10:00:00 GMT", w.Header().Get("Date"))
	assert.Equal(t, strconv.Itoa(w.Body.Len()), w.Header().Get("Content-Length"))
}

func TestCallsAreCountedExactly(t *testing.T) {
	for _, free := range []bool{false, true} {
		t.Run(fmt.Sprint("failed calls free: ", free), func(t *testing.T) {
			s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{FailedCallsFree: free}})
			assert.Zero(t, s.Calls().Total)

			call(s, "GET", "/contacts")
			call(s, "GET", "/api2/contacts")
			call(s, "GET", "/contacts?page=0")
			call(s, "POST", "/contacts")
			call(s, "GET", "/elsewhere")
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api2/contacts", http.NoBody))
			s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{DropConnection: true} })
			require.Panics(t, func() { call(s, "GET", "/contacts") })

			want := sandbox.Calls{
				Total:      7,
				Charged:    7,
				ByEndpoint: map[string]int{"GET /contacts": 5, "POST /contacts": 1, "other": 1},
				ByStatus:   map[int]int{0: 1, 200: 2, 400: 1, 401: 1, 404: 1, 405: 1},
			}
			if free {
				want.Charged = 2
			}
			assert.Equal(t, want, s.Calls())
		})
	}
}

func TestOrderNamesAreReadBack(t *testing.T) {
	for name, want := range map[string]sandbox.Order{
		"oldest-first": sandbox.OldestFirst,
		"newest-first": sandbox.NewestFirst,
		"unsorted":     sandbox.Unsorted,
		"by-arrival":   sandbox.ByArrival,
	} {
		order, err := sandbox.ParseOrder(name)
		require.NoError(t, err)
		assert.Equal(t, want, order)
		assert.Equal(t, name, order.String())
	}
	_, err := sandbox.ParseOrder("newest")
	require.ErrorContains(t, err, "oldest-first")
	assert.Equal(t, "Order(4)", sandbox.Order(4).String())
}

func BenchmarkPage(b *testing.B) {
	const contacts, pageSize = 100_000, 1000
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.NewestFirst, sandbox.Unsorted, sandbox.ByArrival} {
		b.Run(order.String(), func(b *testing.B) {
			s := sandbox.New(sandbox.Options{Contacts: contacts, Switches: sandbox.Switches{Order: order}})
			page := 0
			for b.Loop() {
				page = page%(contacts/pageSize) + 1
				w := call(s, http.MethodGet, fmt.Sprintf("/contacts?page_size=%d&page=%d", pageSize, page))
				b.SetBytes(int64(w.Body.Len()))
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		sandbox.New(sandbox.Options{Contacts: 100_000})
	}
}

package wisepops

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContactsPage(t *testing.T) {
	const body = `[{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"fields":{"email":"example@example.com"}}, {}]`
	srv := newTestServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", "Thu, 10 Oct 2019 10:11:00 GMT")
		_, _ = w.Write([]byte(body))
	})
	page, err := newTestClient(t, srv.URL, Options{}).Contacts(t.Context(), ContactsRequest{})
	require.NoError(t, err)
	require.Equal(t, time.Date(2019, 10, 10, 10, 11, 0, 0, time.UTC), page.Date)
	require.Equal(t, len(body), page.Size)
	require.Len(t, page.Contacts, 2)
	require.Equal(t, body, "["+string(page.Contacts[0].Raw)+", "+string(page.Contacts[1].Raw)+"]")
	require.Equal(t, time.Date(2019, 10, 10, 10, 10, 58, 389e6, time.UTC), page.Contacts[0].CollectedAt)
	require.Equal(t, "12345", page.Contacts[0].WisepopID)
}

func TestByteOrderMarkIsSkipped(t *testing.T) {
	s := &script{lines: []line{{status: 200, body: "\ufeff" + ` [{"a":1}]`}}}
	page, err := s.client(t, Options{}).Contacts(t.Context(), ContactsRequest{})
	require.NoError(t, err)
	require.Len(t, page.Contacts, 1)
	require.Equal(t, `{"a":1}`, string(page.Contacts[0].Raw))

	s = &script{lines: []line{{status: 200, body: "\ufeff" + `[{"id":42,"event":"email"}]`}}}
	hooks, err := s.client(t, Options{}).Hooks(t.Context())
	require.NoError(t, err)
	require.Len(t, hooks, 1)
}

func TestDeliveries(t *testing.T) {
	const answer = `{"collected_at":"2019-10-10T10:10:58Z","wisepop_id":12345,"fields":{"How?":"Friends"}}`
	id, err := ContactID([]byte(answer))
	require.NoError(t, err)
	for body, want := range map[string]int{
		answer: 1, " \n" + answer + "\t": 1, "[" + answer + "]": 1, "\ufeff[" + answer + "]": 1, "\ufeff" + answer: 1,
		"[" + answer + "," + answer + "]": 2, "[]": 0, "{}": 1,
	} {
		contacts, err := ParseDelivery([]byte(body))
		require.NoError(t, err, body)
		require.Len(t, contacts, want, body)
		if want > 0 && body != "{}" {
			assert.Equal(t, answer, string(contacts[0].Raw), body)
			assert.Equal(t, id, contacts[0].ID.String(), body)
		}
		if want == 2 {
			assert.Equal(t, TwinID(contacts[0].ID, 2), contacts[1].ID)
		}
	}
	for _, body := range []string{"", "null", "7", `"x"`, "[7]", "[{},null]", answer + answer, answer + ",", "{", `{"a"}`, "{}\ufeff", "[[]]"} {
		_, err := ParseDelivery([]byte(body))
		require.Error(t, err, body)
	}
}

func TestContactsPageWithoutDate(t *testing.T) {
	for _, date := range []string{"", "yesterday"} {
		s := &script{lines: []line{{status: 200, body: "[]", date: date}}}
		page, err := s.client(t, Options{}).Contacts(t.Context(), ContactsRequest{})
		require.NoError(t, err)
		require.Zero(t, page.Date)
		require.Empty(t, page.Contacts)
	}
}

func TestContactsRefusesWhatIsNotAnArray(t *testing.T) {
	const (
		notJSON  = "the answer is not JSON"
		notArray = "the answer is JSON, but not an array of contacts"
	)
	for body, reason := range map[string]string{
		"":                          notJSON,
		" \r\n":                     notJSON,
		"<!DOCTYPE html><html>":     notJSON,
		"OK":                        notJSON,
		"[":                         notJSON,
		"[{}":                       notJSON,
		"[{}}":                      notJSON,
		"[{},]":                     notJSON,
		"[,{}]":                     notJSON,
		"[]]":                       notJSON,
		"[] <html>":                 notJSON,
		"[][]":                      notJSON,
		"[]\x00":                    notJSON,
		"\ufeff":                    notJSON,
		"[]\ufeff":                  notJSON,
		"\ufeff{}":                  notArray,
		"{}{}":                      notJSON,
		"[{\"a\":\"\n\"}]":          notJSON,
		"[{'a':1}]":                 notJSON,
		"null":                      notArray,
		"{}":                        notArray,
		`{"error":"x@example.com"}`: notArray,
		`"[]"`:                      notArray,
		"0":                         notArray,
		" true\n":                   notArray,
		strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000):           notJSON,
		strings.Repeat("[", 5_000_000):                                      notJSON,
		strings.Repeat("[", 5_000_000) + strings.Repeat("]", 5_000_000):     notJSON,
		strings.Repeat(`{"a":`, 5_000_000) + "1" + strings.Repeat("}", 5e6): notJSON,
		`[{"fields":` + strings.Repeat(`[{"a":`, 2_500_000):                 notJSON,
	} {
		for _, status := range []int{200, 201} {
			s := &script{lines: []line{{status: status, body: body}}}
			_, err := s.client(t, Options{MaxRetries: 3}).Contacts(t.Context(), ContactsRequest{})
			formatErr, ok := errors.AsType[*FormatError](err)
			require.True(t, ok, "%.40q: %v", body, err)
			assert.Equal(t, FormatError{Endpoint: "GET /contacts", Reason: reason}, *formatErr, "%.40q", body)
			assert.Len(t, s.asks, 1)
		}
		_, err := ContactID([]byte(body))
		if body != "{}" && body != `{"error":"x@example.com"}` {
			require.Error(t, err)
		}
	}
}

func TestParseContactsKeepsWhatIsNotAnObject(t *testing.T) {
	contacts, err := ParseContacts([]byte(` [ null , 7,"x\/y" ,"x/y",[ ],[[]],{} ] `))
	require.NoError(t, err)
	var raws []string
	ids := map[ID]int{}
	for _, c := range contacts {
		raws = append(raws, string(c.Raw))
		ids[c.ID]++
		require.Zero(t, c.CollectedAt)
		require.Empty(t, c.WisepopID)
	}
	require.Equal(t, []string{`null`, `7`, `"x\/y"`, `"x/y"`, `[ ]`, `[[]]`, `{}`}, raws)
	require.Len(t, ids, 6) // two spell one string
}

func TestParseContactsNestsAsDeepAsEncodingJSON(t *testing.T) {
	for depth := maxDepth - 2; depth <= maxDepth+2; depth++ {
		for _, body := range []string{
			strings.Repeat("[", depth) + strings.Repeat("]", depth),
			"[" + strings.Repeat(`{"fields":`, depth-1) + "{}" + strings.Repeat("}", depth-1) + "]",
		} {
			items, ok := elements([]byte(body))
			contacts, err := ParseContacts([]byte(body))
			require.Equal(t, ok, err == nil, depth)
			require.Len(t, contacts, len(items))
			if len(items) == 1 {
				require.Equal(t, string(items[0]), string(contacts[0].Raw))
			}

			object := strings.Repeat(`{"fields":`, depth) + "1" + strings.Repeat("}", depth)
			_, err = ContactID([]byte(object))
			require.Equal(t, json.Valid([]byte(object)), err == nil, depth)
		}
	}
}

// A short first contact must not make the parser set aside room for a body full
// of contacts as short: 60 MB of them would be 2 GB.
func TestParseContactsSetsAsideLittle(t *testing.T) {
	body := []byte("[{}," + `"` + strings.Repeat("x", 10<<20) + `"]`)
	contacts, err := ParseContacts(body)
	require.NoError(t, err)
	require.Len(t, contacts, 2)
	require.LessOrEqual(t, cap(contacts), MaxPageSize)
}

func TestParseContactsTakesMoreThanAPage(t *testing.T) {
	contacts, err := ParseContacts([]byte("[" + strings.Repeat("{},", 3*MaxPageSize) + "{}]"))
	require.NoError(t, err)
	require.Len(t, contacts, 3*MaxPageSize+1)
}

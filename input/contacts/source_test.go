package contacts

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func openSource(t *testing.T, handler http.Handler, conf string) *source {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	parsed, err := spec().ParseYAML("api_key: demo\ncheckpoint_cache: ''\nbase_url: "+server.URL+"/api2\n"+conf, nil)
	require.NoError(t, err)
	in, err := newInput(parsed, service.MockResources())
	require.NoError(t, err)
	s := newSource(in.conf, in.client, nil, service.MockResources())
	require.NoError(t, s.Load(nil, false))
	t.Cleanup(func() { require.NoError(t, in.Close(t.Context())) })
	return s
}

// Without a Date the API's clock is taken to be ours: the watermark moves.
func TestAnswersWithoutADateMoveTheWatermark(t *testing.T) {
	api := sandbox.New(sandbox.Options{Contacts: 30})
	s := openSource(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		api.ServeHTTP(w, r)
	}), "")
	page, err := s.Next(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, 30, page.Len)
	require.True(t, page.CaughtUp)
	page.Commit()
	all := api.Contacts()
	require.Equal(t, all[len(all)-1].CollectedAt.UnixMilli(), s.committed.position)
	s.Report(time.Time{})
}

// Two visitors who give the same answer in the same instant are two contacts, and the same
// two in the next answer.
func TestTwinsOfAnAnswerAreTwoContacts(t *testing.T) {
	api := sandbox.New(sandbox.Options{})
	at := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	for range 3 {
		api.AddRaw(at, []byte(`{"collected_at":"2026-01-31T10:00:00.000Z","wisepop_id":1,"ip":"10.0.0.1","fields":{"choice":"yes"}}`))
	}
	s := openSource(t, api, "")
	page, err := s.Next(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, 3, page.Len)
	page, err = s.Next(t.Context(), false)
	require.NoError(t, err)
	require.Zero(t, page.Len)
}

// Twins on two pages of one sweep are two contacts as well, where the order is known.
func TestTwinsOnTwoPagesAreTwoContacts(t *testing.T) {
	id := wisepops.ID{7}
	page := func() []wisepops.Contact { return []wisepops.Contact{{ID: id}} }
	var sweep twins
	first, second, third := page(), page(), page()
	sweep.number(first, question{after: 5, page: 1, size: 1}, true)
	sweep.number(second, question{after: 5, page: 2, size: 1}, true)
	sweep.number(third, question{after: 5, page: 3, size: 1}, true)
	require.Equal(t, id, first[0].ID)
	require.Equal(t, wisepops.TwinID(id, 2), second[0].ID)
	require.Equal(t, wisepops.TwinID(id, 3), third[0].ID)

	again := page()
	sweep.number(again, question{after: 5, page: 1, size: 1}, true)
	require.Equal(t, id, again[0].ID, "another sweep")
	named := []wisepops.Contact{{ID: id, Raw: []byte(`{"fields":{"email":"a@example.com"}}`)}}
	sweep.number(named, question{after: 5, page: 2, size: 1}, true)
	require.Equal(t, id, named[0].ID, "a contact that names somebody moved to the next page")
	moved := page()
	sweep.number(moved, question{after: 5, page: 3, size: 1}, false)
	require.Equal(t, id, moved[0].ID, "a contact that moved to the next page is no twin")
}

// Contacts that are a small share of their page do not keep it.
func TestFewContactsDoNotKeepTheirPage(t *testing.T) {
	body := make([]byte, 10_000)
	few := []wisepops.Contact{{Raw: body[100:200]}}
	require.NotSame(t, &body[100], &release(few, len(body))[0].Raw[0])
	require.Equal(t, 400, heldBytes(few, len(body)))
	many := []wisepops.Contact{{Raw: body[100:9000]}}
	require.Same(t, &body[100], &release(many, len(body))[0].Raw[0])
	require.Equal(t, len(body), heldBytes(many, len(body)))
	require.Zero(t, heldBytes(release(nil, len(body)), len(body)))
}

// In a run that has no position yet, ids beyond a bound are not stored.
func TestIDsStoredInTheMiddleOfARunAreBounded(t *testing.T) {
	s := openSource(t, sandbox.New(sandbox.Options{}), "")
	for i := range maxStoredMidRun + 1 {
		s.committed.seen[wisepops.ID{byte(i), byte(i >> 8), byte(i >> 16)}] = int64(i)
	}
	data, err := s.Encode()
	require.NoError(t, err)
	require.NotNil(t, data)
	s.midRun = true
	data, err = s.Encode()
	require.NoError(t, err)
	require.Nil(t, data)
}

func TestOverlapIsAutoOrADuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"auto": 5 * time.Minute, "1s": time.Second, "0s": 0, "24h": 24 * time.Hour} {
		parsed, err := spec().ParseYAML("api_key: demo\ncheckpoint_cache: ''\noverlap: "+text, nil)
		require.NoError(t, err)
		c, err := parseConfig(parsed)
		require.NoError(t, err)
		require.Equal(t, want, c.overlap)
		require.Equal(t, text == "auto", c.autoOverlap)
	}
	for _, text := range []string{"-1s", "soon", "''", "1"} {
		parsed, err := spec().ParseYAML("api_key: demo\ncheckpoint_cache: ''\noverlap: "+text, nil)
		require.NoError(t, err)
		_, err = parseConfig(parsed)
		require.ErrorContains(t, err, "overlap must be auto or a duration", text)
	}
}

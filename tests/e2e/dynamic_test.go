package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// An input that is replaced while it runs, by itself or under another name, hands its
// watermark over.
func TestDynamicInputIsReplacedWithoutLossOrRepetition(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 700})
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	address := freeAddress(t)
	p := run(t, pipeline(obj{"dynamic": obj{}}, fileOutput(out), filepath.Join(dir, "state.db"),
		obj{"http": obj{"enabled": true, "address": address}}))
	p.prints("Launching")
	request := func(method, name string) int {
		body, err := json.Marshal(a.contacts(obj{"follow": true, "poll_interval": "100ms", "page_size": 100}))
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+"/inputs/"+name, bytes.NewReader(body))
		require.NoError(t, err)
		client := &http.Client{}
		defer client.CloseIdleConnections()
		res, err := client.Do(req)
		if err != nil {
			return 0
		}
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	waitFor(t, "the API of the pipeline", func() bool { return request(http.MethodGet, "none") != 0 })
	for range 4 {
		require.Equal(t, http.StatusOK, request(http.MethodPost, "shop"))
		waitFor(t, "the contacts", func() bool { return len(readLines(t, out)) >= a.Len() })
		a.Add(sandbox.Contact{})
	}
	require.Equal(t, http.StatusOK, request(http.MethodDelete, "shop"))
	require.Equal(t, http.StatusOK, request(http.MethodPost, "another"))
	waitFor(t, "the contacts", func() bool { return len(readLines(t, out)) >= a.Len() })
	p.terminate()
	p.succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
}

// A run whose watermark cannot be stored says so and fails, since the next one repeats it.
func TestRunThatCannotStoreItsWatermarkFails(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 10})
	dir := t.TempDir()
	out, state := filepath.Join(dir, "out"), filepath.Join(dir, "state.db")
	db := stored(t, state)
	execute(t, db, "CREATE TRIGGER full BEFORE INSERT ON state BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")
	p := run(t, pipeline(a.contacts(nil), fileOutput(out), state))
	require.Equal(t, 1, p.wait())
	require.Contains(t, p.printed(), "the next one delivers again what this one delivered last")
	require.Contains(t, p.printed(), "disk is full")
	execute(t, db, "DROP TRIGGER full")
	run(t, pipeline(a.contacts(nil), fileOutput(out), state)).succeeds()
	lost, repeated, _ := compare(a, readLines(t, out))
	require.Equal(t, [2]int{0, 10}, [2]int{lost, repeated})
}

package e2e_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/tests/freeport"
)

func TestQuietPollIsOneCall(t *testing.T) {
	t.Parallel()
	const interval = 200 * time.Millisecond
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 2500, Burst: 1})
	out := filepath.Join(t.TempDir(), "out")
	p := run(t, pipeline(a.contacts(obj{"follow": true, "poll_interval": interval.String()}), fileOutput(out), filepath.Join(t.TempDir(), "state.db")))
	waitFor(t, "the backfill", func() bool { return len(readLines(t, out)) == a.Len() })

	begun, before := time.Now(), a.Calls().Total
	waitFor(t, "quiet polls", func() bool { return a.Calls().Total >= before+8 })
	// Eight calls cannot come sooner than in seven intervals, were they one a poll.
	require.GreaterOrEqual(t, time.Since(begun), 7*interval)

	a.Add(sandbox.Contact{}, sandbox.Contact{})
	waitFor(t, "the new contacts", func() bool { return len(readLines(t, out)) == a.Len() })
	p.terminate()
	p.succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
}

func TestBackfillOf200000ContactsIs205CallsAtMost(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 200_000})
	s := newSink(t)
	run(t, pipeline(a.contacts(nil), s.output(nil), filepath.Join(t.TempDir(), "state.db"))).succeeds()
	requireExactlyOnce(t, a, s.received())
	requireCalls(t, a, 205)
}

// A day is 48 poll intervals of 30 minutes. Scaled down, the interval is 100 ms
// and the day 4.8 s; the time-out of 30 s would be 1.7 ms, at which calls fail
// that are only slow, so it is 20 ms: that is a longer hang than a real one, in
// proportion, but the waits between calls grow as they do in a real outage.
const (
	scaledInterval = 100 * time.Millisecond
	scaledDay      = 48 * scaledInterval
)

func TestOutageOfADayIs100CallsAtMostAndLosesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		fault   sandbox.Fault
		says    string
		timeout string
		once    bool
	}{
		{name: "status 500", fault: sandbox.Fault{Status: 500}, says: "status 500"},
		{name: "status 503", fault: sandbox.Fault{Status: 503}, says: "status 503", once: true},
		{name: "status 401", fault: sandbox.Fault{Status: 401}, says: "check api_key"},
		{name: "hang", fault: sandbox.Fault{Hang: true}, says: "deadline exceeded", timeout: "20ms"},
		{name: "dropped connections", fault: sandbox.Fault{DropConnection: true}, says: "GET /contacts", once: true},
		{name: "cut bodies", fault: sandbox.Fault{CutBody: true}, says: "unexpected EOF", once: true},
		{name: "html", fault: sandbox.Fault{Body: []byte("<html>EMAILMARKER</html>")}, says: "not JSON", once: true},
	} {
		for _, when := range []string{"from the start", "in between"} {
			if when == "in between" && tc.once {
				continue
			}
			t.Run(tc.name+" "+when, func(t *testing.T) {
				t.Parallel()
				a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 730})
				out := filepath.Join(t.TempDir(), "out")
				outage := func(*http.Request) *sandbox.Fault { f := tc.fault; return &f }
				settings := obj{"follow": true, "page_size": 300, "poll_interval": scaledInterval.String()}
				if tc.timeout != "" {
					settings["timeout"] = tc.timeout
				}
				if when == "from the start" {
					a.Control(outage)
				}
				p := run(t, pipeline(a.contacts(settings), fileOutput(out), filepath.Join(t.TempDir(), "state.db"), obj{"logger": obj{"level": "TRACE"}}))
				if when == "in between" {
					waitFor(t, "the backfill", func() bool { return len(readLines(t, out)) == a.Len() })
					a.Control(outage)
					a.Add(make([]sandbox.Contact, 420)...)
				} else {
					waitFor(t, "the first call", func() bool { return a.Calls().Total > 0 })
				}

				before := a.Calls().Total
				<-time.After(scaledDay)
				calls := a.Calls().Total - before
				require.LessOrEqual(t, calls, 100, "calls of a day")
				require.Greater(t, calls, 10, "calls of a day")
				p.prints(tc.says)

				a.Control(nil)
				a.Release()
				waitFor(t, "the rest", func() bool { return len(readLines(t, out)) >= a.Len() })
				p.terminate()
				p.succeeds()
				requireExactlyOnce(t, a, readLines(t, out))
			})
		}
	}
}

func TestRefusedConnectionsLoseNothing(t *testing.T) {
	t.Parallel()
	service := sandbox.New(sandbox.Options{APIKey: apiKey, Seed: seed, Contacts: 2300})
	address := freeAddress(t)
	a := &api{Service: service, url: "http://" + address + "/api2"}
	out := filepath.Join(t.TempDir(), "out")
	p := run(t, pipeline(a.contacts(obj{"poll_interval": scaledInterval.String()}), fileOutput(out), filepath.Join(t.TempDir(), "state.db"), obj{"logger": obj{"level": "TRACE"}}))
	p.prints("connection refused")
	require.True(t, p.running())

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: service, ReadHeaderTimeout: time.Second}}
	server.Start()
	t.Cleanup(server.Close)
	p.succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
}

// freeAddress is where nobody listens, and nobody else will.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address(t.Context())
	require.NoError(t, err)
	return address
}

func TestContactsThatAppearLateArriveOnce(t *testing.T) {
	t.Parallel()
	// The server's clock runs ten minutes ahead of the past contacts' end, so
	// that late ones fall between them and the newest.
	rng := newRand(t)
	// Without anonymous answers: of two that nothing tells apart, one that comes late is
	// not told from one that moved to another page.
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 3000, Start: time.Now().Add(-2 * time.Hour), Spacing: 2 * time.Second, Switches: sandbox.Switches{Anonymous: -1}})
	out := filepath.Join(t.TempDir(), "out")
	a.Control(func(*http.Request) *sandbox.Fault {
		// Between two pages: one now, and one up to five seconds ago.
		a.Add(sandbox.Contact{}, sandbox.Contact{CollectedAt: time.Now().Add(-time.Duration(rng.IntN(5000)) * time.Millisecond)})
		return nil
	})
	p := run(t, pipeline(a.contacts(obj{"follow": true, "poll_interval": "30ms", "overlap": "10s", "page_size": 100}),
		fileOutput(out), filepath.Join(t.TempDir(), "state.db")))
	waitFor(t, "polls with late contacts", func() bool { return a.Calls().Total >= 90 })
	a.Control(nil)
	waitFor(t, "all of them", func() bool { return len(readLines(t, out)) >= a.Len() })
	p.terminate()
	p.succeeds()
	requireExactlyOnce(t, a, readLines(t, out))
}

func TestContactDatedInTheFutureHidesNone(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 230})
	a.Add(sandbox.Contact{CollectedAt: time.Now().AddDate(1, 0, 0)}, sandbox.Contact{CollectedAt: time.Now().Add(time.Hour)})
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	conf := pipeline(a.contacts(obj{"page_size": 100}), fileOutput(out), filepath.Join(dir, "state.db"))
	for range 3 {
		run(t, conf).succeeds()
		requireExactlyOnce(t, a, readLines(t, out))
		a.Add(sandbox.Contact{}, sandbox.Contact{CollectedAt: time.Now().Add(time.Minute)})
	}
}

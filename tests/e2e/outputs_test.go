package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// The input does not end before everything that it delivered is settled.
func TestBackfillEndsOnlyWhenAnOutputThatFailedHasTakenEverything(t *testing.T) {
	for _, name := range []string{"all at first", "the last page for a while", "now and then"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 2000})
			all := a.Contacts()
			last := all[len(all)-1].Raw
			var posts atomic.Int64
			s := newSink(t)
			s.answer(func(body []byte) int {
				n := posts.Add(1)
				fails := map[string]bool{
					"all at first":              n <= 10,
					"the last page for a while": bytes.Contains(body, last) && s.rejections() < 4,
					"now and then":              n%4 == 0,
				}[name]
				if fails {
					return http.StatusServiceUnavailable
				}
				return http.StatusOK
			})
			conf := pipeline(a.contacts(obj{"page_size": 150, "poll_interval": "100ms"}),
				s.output(obj{"max_in_flight": 2}), filepath.Join(t.TempDir(), "state.db"))
			run(t, conf).succeeds()
			require.Positive(t, s.rejections())
			lost, repeated, _ := compare(a, s.received())
			require.Zero(t, lost)
			require.LessOrEqual(t, repeated, a.Len(), "what is acknowledged close to a rejection is sent again")

			calls := a.Calls().Total
			run(t, conf).succeeds()
			_, after, _ := compare(a, s.received())
			require.Equal(t, repeated, after)
			require.LessOrEqual(t, a.Calls().Total-calls, 2, "the watermark was stored")
		})
	}
}

// Single messages are rejected, not whole pages: their page comes again in parts.
func TestRejectedMessagesArriveWithFewRepetitionsOfTheirPage(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 300, Spacing: 5 * time.Second})
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	s := newSink(t)
	var asked atomic.Int64
	s.answer(func([]byte) int {
		if n := asked.Add(1); n%7 == 0 && n < 500 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	// The HTTP processor marks single messages, reject_errored nacks those.
	conf := pipeline(a.contacts(obj{"page_size": 50, "poll_interval": "50ms"}),
		obj{"reject_errored": fileOutput(out)}, filepath.Join(dir, "state.db"),
		obj{"pipeline": obj{"processors": list{obj{"branch": obj{
			"processors":  list{obj{"http": obj{"url": s.url, "verb": "POST", "retries": 0, "parallel": false}}},
			"request_map": "root = content()",
			"result_map":  "",
		}}}}})
	run(t, conf).succeeds()
	require.Positive(t, s.rejections())
	lost, repeated, _ := compare(a, readLines(t, out))
	require.Zero(t, lost)
	require.LessOrEqual(t, repeated, 3*a.Len())
}

func TestOutputThatRejectsForLongCostsFewCalls(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 10})
	s := newSink(t)
	s.answer(func([]byte) int { return http.StatusServiceUnavailable })
	p := run(t, pipeline(a.contacts(obj{"follow": true}), s.output(nil), filepath.Join(t.TempDir(), "state.db")))
	waitFor(t, "rejections", func() bool { return s.rejections() >= 10 })
	s.answer(nil)
	waitFor(t, "the contacts", func() bool { return s.count() >= a.Len() })
	require.LessOrEqual(t, a.Calls().Total, 1)
	p.terminate()
	p.succeeds()
	requireExactlyOnce(t, a, s.received())
}

func TestKillRepeatsNoMoreThanTheLimitWhileTheCacheIsSlow(t *testing.T) {
	t.Parallel()
	const pageSize, limit = 100, 1000
	state := filepath.Join(t.TempDir(), "state.db")
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 10_000})
	s := newSink(t)
	first, second := make(chan struct{}), make(chan struct{})
	var posts atomic.Int64
	s.answer(func([]byte) int {
		if posts.Add(1) <= limit/pageSize {
			<-first
		} else {
			<-second
		}
		return http.StatusOK
	})
	conf := pipeline(a.contacts(obj{"page_size": pageSize, "checkpoint_limit": limit}), s.output(obj{"max_in_flight": 64}), state)
	p := run(t, conf)
	waitFor(t, "the limit", func() bool { return posts.Load() >= limit/pageSize })
	db := openSQLite(t, state)
	t.Cleanup(func() { _ = db.Close() })
	execute(t, db, "BEGIN IMMEDIATE") // the watermark cannot be stored
	close(first)
	waitFor(t, "acknowledgements", func() bool { return s.count() >= limit-2*pageSize })
	<-time.After(time.Second) // for what is read although nothing can be stored
	inHand := int(posts.Load()) * pageSize
	p.kill()
	execute(t, db, "ROLLBACK")
	close(second)
	require.LessOrEqual(t, inHand, limit+pageSize, "contacts in flight or not yet stored")

	run(t, conf).succeeds()
	lost, repeated, _ := compare(a, s.settled(t))
	require.Zero(t, lost)
	require.LessOrEqual(t, repeated, limit+pageSize)
}

func TestLargeBatchesDoNotStall(t *testing.T) {
	t.Parallel()
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.Unsorted} {
		a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 12_345, Switches: sandbox.Switches{Order: order}})
		s := newSink(t)
		run(t, pipeline(a.contacts(nil), s.largeBatches(), filepath.Join(t.TempDir(), "state.db"))).succeeds()
		requireExactlyOnce(t, a, s.received())
		require.Greater(t, s.longest, 1000, "a batch holds several pages")
	}
}

// While a sink rejects everything, from the first contact on, the lag grows from the oldest
// contact that was read.
func TestLagCountsWhatASinkRejects(t *testing.T) {
	t.Parallel()
	a := newAPI(t, sandbox.Options{Seed: seed, Contacts: 30, Start: time.Now().Add(-48 * time.Hour), Spacing: time.Minute})
	s := newSink(t)
	s.answer(func([]byte) int { return http.StatusServiceUnavailable })
	address := freeAddress(t)
	conf := pipeline(a.contacts(obj{"follow": true}), s.output(nil), filepath.Join(t.TempDir(), "state.db"),
		obj{"http": obj{"enabled": true, "address": address}})
	conf["metrics"] = obj{"prometheus": obj{}}
	p := run(t, conf)
	lag := func() float64 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		require.NoError(t, err)
		client := &http.Client{}
		defer client.CloseIdleConnections()
		res, err := client.Do(req)
		if err != nil {
			return -1
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		found := regexp.MustCompile(`(?m)^wisepops_watermark_lag_seconds\{.*\} (\S+)$`).FindSubmatch(body)
		if found == nil {
			return -1
		}
		seconds, err := strconv.ParseFloat(string(found[1]), 64)
		require.NoError(t, err)
		return seconds
	}
	waitFor(t, "rejections", func() bool { return s.rejections() > 2 })
	waitFor(t, "the lag", func() bool { return lag() > 47*3600 })
	s.answer(nil)
	waitFor(t, "no lag", func() bool { return s.count() >= a.Len() && lag() < 60 })
	p.terminate()
	p.succeeds()
}

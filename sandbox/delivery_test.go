package sandbox_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// receiver is a server that hooks point to.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	statuses []int // to answer with, then 200
	bodies   []string
	bad      int // requests with a wrong signature, or cut
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	rec := &receiver{statuses: statuses}
	rec.Server = httptest.NewServer(rec)
	t.Cleanup(rec.Close)
	return rec
}

func (rec *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	mac := hmac.New(sha256.New, []byte("demo"))
	mac.Write(body)
	if err != nil || r.Header.Get("X-Wisepops-Signature") != hex.EncodeToString(mac.Sum(nil)) {
		rec.bad++
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if len(rec.statuses) > 0 {
		w.WriteHeader(rec.statuses[0])
		rec.statuses = rec.statuses[1:]
		return
	}
	rec.bodies = append(rec.bodies, string(body))
}

func (rec *receiver) received() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]string(nil), rec.bodies...)
}

// deliver runs the deliveries until none is pending.
func deliver(t *testing.T, s *sandbox.Service, opts sandbox.DeliveryOptions) sandbox.Deliveries {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var delivering sync.WaitGroup
	delivering.Go(func() { s.Deliver(ctx, opts) })
	assert.Eventually(t, func() bool { return s.Deliveries().Pending == 0 }, 10*time.Second, time.Millisecond)
	cancel()
	delivering.Wait()
	return s.Deliveries()
}

func hookAll(s *sandbox.Service, url string) {
	for _, event := range []string{sandbox.EventEmail, sandbox.EventPhone, sandbox.EventSurvey} {
		s.AddHook(sandbox.Hook{Event: event, TargetURL: url})
	}
}

func TestEverySubmissionIsDeliveredSignedAndOnce(t *testing.T) {
	rec := newReceiver(t)
	s := sandbox.New(sandbox.Options{Seed: 1})
	hookAll(s, rec.URL)
	var want []string
	for range 50 {
		for _, c := range s.Submit() {
			want = append(want, "["+string(c.Raw)+"]")
		}
	}
	counts := deliver(t, s, sandbox.DeliveryOptions{})
	require.ElementsMatch(t, want, rec.received())
	require.Equal(t, len(want), counts.Delivered)
	require.Equal(t, map[int]int{200: len(want)}, counts.ByStatus)
	require.Zero(t, rec.bad)
}

func TestDeliveriesGoToTheHooksOfTheirEventAndPopup(t *testing.T) {
	all, one := newReceiver(t), newReceiver(t)
	s := sandbox.New(sandbox.Options{Seed: 1})
	s.AddHook(sandbox.Hook{Event: sandbox.EventPhone, TargetURL: all.URL})
	s.AddHook(sandbox.Hook{Event: sandbox.EventEmail, TargetURL: one.URL, WisepopID: 20418})
	contacts, ofPopup := 0, 0
	for range 100 {
		submission := s.Submit()
		contacts += len(submission)
		if submission[0].WisepopID == 20418 {
			ofPopup++
		}
	}
	deliver(t, s, sandbox.DeliveryOptions{})
	require.NotEmpty(t, all.received())
	require.Less(t, len(all.received()), contacts)
	require.Len(t, one.received(), ofPopup)
	require.NotZero(t, ofPopup)
}

func TestFailedDeliveriesAreRetriedAndThenGivenUp(t *testing.T) {
	rec := newReceiver(t, 503, 500)
	s := sandbox.New(sandbox.Options{})
	s.AddHook(sandbox.Hook{Event: sandbox.EventEmail, TargetURL: rec.URL})
	s.Submit()
	counts := deliver(t, s, sandbox.DeliveryOptions{Retry: time.Millisecond})
	require.Equal(t, sandbox.Deliveries{Delivered: 1, Attempts: 3, ByStatus: map[int]int{503: 1, 500: 1, 200: 1}}, counts)

	rec = newReceiver(t, 500, 500, 500)
	s = sandbox.New(sandbox.Options{})
	s.AddHook(sandbox.Hook{Event: sandbox.EventEmail, TargetURL: rec.URL})
	s.Submit()
	counts = deliver(t, s, sandbox.DeliveryOptions{Retry: time.Millisecond, Attempts: 3})
	require.Equal(t, sandbox.Deliveries{GivenUp: 1, Attempts: 3, ByStatus: map[int]int{500: 3}}, counts)
}

func TestDeliveryFaults(t *testing.T) {
	first := func(fault sandbox.DeliveryFault) func(sandbox.Delivery) *sandbox.DeliveryFault {
		return func(d sandbox.Delivery) *sandbox.DeliveryFault {
			if d.Attempt > 1 {
				return nil
			}
			return &fault
		}
	}
	for _, test := range []struct {
		name     string
		fault    sandbox.DeliveryFault
		received int
		bad      int
	}{
		{"slow", sandbox.DeliveryFault{SlowBody: 20 * time.Millisecond, Delay: time.Millisecond}, 1, 0},
		{"reset", sandbox.DeliveryFault{Reset: true}, 1, 1},
		{"twice", sandbox.DeliveryFault{Twice: true}, 2, 0},
		{"unsigned", sandbox.DeliveryFault{Signature: []string{}}, 1, 1},
		{"signed wrongly", sandbox.DeliveryFault{Signature: []string{"00"}}, 1, 1},
		{"other body", sandbox.DeliveryFault{Body: []byte("null")}, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			rec := newReceiver(t)
			s := sandbox.New(sandbox.Options{})
			s.AddHook(sandbox.Hook{Event: sandbox.EventEmail, TargetURL: rec.URL})
			s.ControlDeliveries(first(test.fault))
			s.Submit()
			deliver(t, s, sandbox.DeliveryOptions{Retry: time.Millisecond})
			assert.Len(t, rec.received(), test.received)
			assert.Equal(t, test.bad, rec.bad)
		})
	}
}

func TestDeliveriesWaitForSomebodyToDeliverThem(t *testing.T) {
	rec := newReceiver(t)
	s := sandbox.New(sandbox.Options{})
	s.AddHook(sandbox.Hook{Event: sandbox.EventEmail, TargetURL: rec.URL})
	s.Submit()
	require.Equal(t, 1, s.Deliveries().Pending)

	// Cut short by its own end, a delivery is not lost.
	ctx, cancel := context.WithCancel(t.Context())
	s.ControlDeliveries(func(sandbox.Delivery) *sandbox.DeliveryFault {
		cancel()
		return &sandbox.DeliveryFault{Delay: time.Hour}
	})
	s.Deliver(ctx, sandbox.DeliveryOptions{})
	require.Equal(t, 1, s.Deliveries().Pending)
	s.ControlDeliveries(nil)
	require.Equal(t, 1, deliver(t, s, sandbox.DeliveryOptions{}).Delivered)
}

func TestRespelledDeliveriesAreTheSameContactInOtherBytes(t *testing.T) {
	rec := newReceiver(t)
	s := sandbox.New(sandbox.Options{Seed: 3, Switches: sandbox.Switches{RespellDeliveries: true, Anonymous: -1, NullCountries: true}})
	hookAll(s, rec.URL)
	want := map[string]map[string]any{}
	for range 200 {
		for _, c := range s.Submit() {
			want[c.Email] = decode(t, string(c.Raw))
		}
	}
	deliver(t, s, sandbox.DeliveryOptions{})
	got := rec.received()
	require.Len(t, got, len(want))
	same := 0
	for _, body := range got {
		c := decode(t, body[1:len(body)-1])
		fields, ok := c["fields"].(map[string]any)
		require.True(t, ok)
		original := want[emailOf(fields)]
		require.NotNil(t, original)
		require.Equal(t, original["fields"], c["fields"])
		require.Equal(t, original["wisepop_id"], c["wisepop_id"])
		require.True(t, timeOf(t, original["collected_at"]).Equal(timeOf(t, c["collected_at"])))
		if raw, err := json.Marshal(original); err == nil && string(raw) == body[1:len(body)-1] {
			same++
		}
	}
	require.Zero(t, same)
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v map[string]any
	require.NoError(t, dec.Decode(&v), text)
	return v
}

func timeOf(t *testing.T, v any) time.Time {
	t.Helper()
	text, ok := v.(string)
	require.True(t, ok)
	when, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return when
}

package output_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	_ "github.com/wisepops-connect/wisepops-connect/output"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failed are the messages that a fallback took, with their reasons.
type failed struct {
	mu      sync.Mutex
	reasons map[string]string
}

// write runs messages through the output, in batches, with a fallback that takes
// what fails.
func write(t *testing.T, s *sandbox.Service, conf string, batch int, messages ...string) (*failed, string) {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	defer server.CloseClientConnections()
	f := &failed{reasons: map[string]string{}}
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterOutput("collect", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.Output, int, error) { return f, 1, nil }))
	b := env.NewStreamBuilder()
	var logs strings.Builder
	var logMu sync.Mutex
	b.SetPrintLogger(&printer{&logs, &logMu})
	require.NoError(t, b.SetLoggerYAML("level: TRACE"))
	require.NoError(t, b.AddOutputYAML(fmt.Sprintf(`
fallback:
  - wisepops_privacy_delete:
      api_key: demo
      base_url: %s
      backoff: { initial_interval: 1ms, max_interval: 1ms }
      %s
  - collect: {}
`, server.URL+"/api2", strings.ReplaceAll(conf, "\n", "\n      "))))
	push, err := b.AddBatchProducerFunc()
	require.NoError(t, err)
	stream, err := b.Build()
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- stream.Run(context.Background()) }()
	for len(messages) > 0 {
		n := min(batch, len(messages))
		var out service.MessageBatch
		for _, m := range messages[:n] {
			out = append(out, service.NewMessage([]byte(m)))
		}
		messages = messages[n:]
		require.NoError(t, push(t.Context(), out))
	}
	require.NoError(t, stream.StopWithin(10*time.Second))
	<-done
	logMu.Lock()
	defer logMu.Unlock()
	return f, logs.String()
}

type printer struct {
	out *strings.Builder
	mu  *sync.Mutex
}

func (p *printer) Printf(format string, v ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, v...)
}

func (p *printer) Println(v ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, v...)
}

func (*failed) Connect(context.Context) error { return nil }
func (*failed) Close(context.Context) error   { return nil }
func (f *failed) Write(_ context.Context, m *service.Message) error {
	raw, err := m.AsBytes()
	if err != nil {
		return err
	}
	reason, _ := m.MetaGet("fallback_error")
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, twice := f.reasons[string(raw)]; twice {
		return errors.New("twice")
	}
	f.reasons[string(raw)] = reason
	return nil
}

func TestBatchFailsAsAWholeAndIsDeletedButForWhatFails(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 2000, Switches: sandbox.Switches{Anonymous: -1}})
	before := s.Len()
	var messages []string
	for i, c := range s.Contacts()[:1000] {
		if i%59 == 0 { // 17 of them
			messages = append(messages, fmt.Sprintf(`{"email":"SECRETMARKER %d"}`, i))
			continue
		}
		messages = append(messages, fmt.Sprintf(`{"email":%q}`, c.Email))
	}
	f, logs := write(t, s, "", 1000, messages...)
	require.Len(t, f.reasons, 1000)
	for _, reason := range f.reasons {
		require.Contains(t, reason, "17 of 1000 messages failed")
		require.Contains(t, reason, "email is not one email address")
	}
	require.Equal(t, 983, s.Calls().Total)
	require.Equal(t, before-983, s.Len())
	require.NotContains(t, logs, "SECRETMARKER")
	require.NotContains(t, logs, "@")
	require.NotContains(t, logs, "demo")

	// Alone, each has its own fate.
	s = sandbox.New(sandbox.Options{})
	f, _ = write(t, s, "", 1, messages...)
	require.Len(t, f.reasons, 17)
	require.Equal(t, 983, s.Calls().Total)
}

// topic is read like one of Kafka: in batches, which are done with once they are
// acknowledged, and come again, or what an error says of them, when they are not.
type topic struct {
	batches []service.MessageBatch
}

func (*topic) Connect(context.Context) error { return nil }
func (*topic) Close(context.Context) error   { return nil }
func (i *topic) ReadBatch(context.Context) (service.MessageBatch, service.AckFunc, error) {
	if len(i.batches) == 0 {
		return nil, nil, service.ErrEndOfInput
	}
	batch := i.batches[0]
	i.batches = i.batches[1:]
	return batch, func(context.Context, error) error { return nil }, nil
}

// An input that retries sends what an error of a part names, and loses the rest when a
// part of that fails again.
func TestInputThatRetriesPartsLosesNoRequest(t *testing.T) {
	const people, size = 100, 25
	s := sandbox.New(sandbox.Options{Contacts: people, Switches: sandbox.Switches{Anonymous: -1}})
	server := httptest.NewServer(s)
	defer server.Close()
	defer server.CloseClientConnections()
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	failures := 0
	s.Control(func(*http.Request) *sandbox.Fault {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(3) > 0 {
			return nil
		}
		failures++
		return &sandbox.Fault{Status: http.StatusConflict} // not retried, and no outage
	})
	requests := &topic{}
	for batch := range slices.Chunk(s.Contacts(), size) {
		var messages service.MessageBatch
		for _, c := range batch {
			messages = append(messages, service.NewMessage(fmt.Appendf(nil, `{"email":%q}`, c.Email)))
		}
		requests.batches = append(requests.batches, messages)
	}
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterBatchInput("topic", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
			return service.AutoRetryNacksBatched(requests), nil
		}))
	b := env.NewStreamBuilder()
	require.NoError(t, b.SetYAML(fmt.Sprintf(`
logger: { level: OFF }
input: { topic: {} }
output: { wisepops_privacy_delete: { api_key: demo, base_url: %q } }
`, server.URL+"/api2")))
	stream, err := b.Build()
	require.NoError(t, err)
	require.NoError(t, stream.Run(t.Context()))
	require.Zero(t, s.Len(), "people who are not deleted, though their requests are acknowledged")
	require.Equal(t, people+failures, s.Calls().Total, "calls for who was deleted")
	require.Greater(t, failures, people/5)
}

func TestFaultsAreRetriedAndThenReported(t *testing.T) {
	for name, fault := range map[string]*sandbox.Fault{
		"server error": {Status: 500},
		"cut":          {CutBody: true},
		"dropped":      {DropConnection: true},
		"done, unsaid": {DropConnection: true, Effective: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := sandbox.New(sandbox.Options{Contacts: 1, Switches: sandbox.Switches{Anonymous: -1}})
			who := s.Contacts()[0].Email
			s.Control(func(*http.Request) *sandbox.Fault {
				if s.Calls().Total == 1 {
					return fault
				}
				return nil
			})
			f, _ := write(t, s, "", 1, fmt.Sprintf(`{"email":%q}`, who))
			require.Empty(t, f.reasons)
			require.Equal(t, 2, s.Calls().Total)
			require.Zero(t, s.Len())
		})
	}

	s := sandbox.New(sandbox.Options{})
	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 401} })
	f, _ := write(t, s, "max_in_flight: 1", 3, `{"email":"a@example.com"}`, `{"email":"b@example.com"}`, `{"phone":"+33612345678"}`)
	require.Len(t, f.reasons, 3)
	for _, reason := range f.reasons {
		assert.Contains(t, reason, "the API key was refused")
	}
	require.Equal(t, 1, s.Calls().Total)
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, value := range []func() string{
		func() string { return "1" },
		func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) }, // cut to seconds
	} {
		s := sandbox.New(sandbox.Options{})
		var mu sync.Mutex
		var at []time.Time
		s.Control(func(*http.Request) *sandbox.Fault {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			if len(at) == 1 {
				return &sandbox.Fault{Status: 429, RetryAfter: value()}
			}
			return nil
		})
		f, _ := write(t, s, "", 1, `{"email":"a@example.com"}`)
		require.Empty(t, f.reasons)
		require.Len(t, at, 2)
		require.GreaterOrEqual(t, at[1].Sub(at[0]), 900*time.Millisecond)
	}
}

func TestDryRunCallsNothing(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 1, Switches: sandbox.Switches{Anonymous: -1}})
	f, _ := write(t, s, "dry_run: true", 1, fmt.Sprintf(`{"email":%q}`, s.Contacts()[0].Email), `{}`)
	require.Len(t, f.reasons, 1)
	require.Zero(t, s.Calls().Total)
	require.Equal(t, 1, s.Len())
}

func TestPhonesAreReadWithTheCountry(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	var mu sync.Mutex
	bodies := 0
	s.Control(func(*http.Request) *sandbox.Fault {
		mu.Lock()
		defer mu.Unlock()
		bodies++
		return nil
	})
	f, _ := write(t, s, "default_country: FR\nphone: ${! this.tel }", 1,
		`{"tel":"06 12 34 56 78"}`, `{"tel":612345678}`, `{"tel":"0033 6 12 34 56 78"}`, `{"tel":"call me"}`)
	require.Len(t, f.reasons, 1)
	require.Equal(t, 1, bodies, "the same person")
}

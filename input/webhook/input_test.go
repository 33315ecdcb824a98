package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	_ "github.com/wisepops-connect/wisepops-connect/input/webhook"
	"github.com/wisepops-connect/wisepops-connect/internal/inputtest"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const lead = `{"collected_at":"2019-10-10T12:10:58.389+02:00","wisepop_id":12345,"ip":"203.0.113.7","fields":{"Name":"Zo\u00eb","email":"a@example.com"}}`

// sign is the signature of a delivery, by code of its own.
func sign(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// hookHarness runs a stream with a wisepops_webhook.
type hookHarness struct {
	*inputtest.Harness
	address string
}

func newHookHarness(t *testing.T, o sandbox.Options) *hookHarness {
	h := &hookHarness{Harness: inputtest.New(t, o), address: freeAddress(t)}
	return h
}

func (h *hookHarness) buildHook(extra string) (*service.Stream, error) {
	b := h.Env.NewStreamBuilder()
	b.SetPrintLogger(h.Logger())
	err := errors.Join(
		b.SetLoggerYAML(`{level: TRACE}`),
		b.AddCacheYAML(`{label: state, flaky: {}}`),
		b.AddInputYAML(fmt.Sprintf(`
wisepops_webhook:
  api_key: demo
  base_url: %s
  address: %s
  public_url: http://%[2]s/wisepops
  backoff: { initial_interval: 1ms, max_interval: 1ms }
  %s
`, h.URL, h.address, strings.ReplaceAll(extra, "\n", "\n  "))),
	)
	if err != nil {
		return nil, err
	}
	if err := b.AddBatchConsumerFunc(func(ctx context.Context, batch service.MessageBatch) error { return h.Sink(ctx, batch) }); err != nil {
		return nil, err
	}
	return b.Build()
}

// receive runs a stream until the function returned is called, and waits until it
// listens.
func (h *hookHarness) receive(extra string) (stop func()) {
	h.T.Helper()
	s, err := h.buildHook(extra)
	require.NoError(h.T, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			assert.NoError(h.T, s.StopWithin(20*time.Second))
			<-done
		})
	}
	h.T.Cleanup(stop)
	require.Eventually(h.T, func() bool {
		conn, err := (&net.Dialer{}).DialContext(h.T.Context(), "tcp", h.address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 10*time.Second, time.Millisecond)
	return stop
}

// send makes one request on a connection of its own. Headers are given as lines.
func (h *hookHarness) send(method, path, body string, headers ...string) *http.Response {
	h.T.Helper()
	var req bytes.Buffer
	fmt.Fprintf(&req, "%s %s HTTP/1.1\r\nHost: x\r\n", method, path)
	length := true
	for _, line := range headers {
		length = length && !strings.HasPrefix(line, "Content-Length:") && !strings.HasPrefix(line, "Transfer-Encoding:")
		req.WriteString(line + "\r\n")
	}
	if length {
		fmt.Fprintf(&req, "Content-Length: %d\r\n", len(body))
	}
	req.WriteString("\r\n" + body)
	return h.exchange(req.Bytes())
}

func (h *hookHarness) exchange(raw []byte) *http.Response {
	h.T.Helper()
	conn, err := (&net.Dialer{}).DialContext(h.T.Context(), "tcp", h.address)
	require.NoError(h.T, err)
	defer conn.Close()
	require.NoError(h.T, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, _ = conn.Write(raw) // the server may answer, and close, before it has read all
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(h.T, err)
	_, _ = io.Copy(io.Discard, res.Body)
	return res
}

func (h *hookHarness) deliver(path, body string) *http.Response {
	h.T.Helper()
	return h.send("POST", path, body, "X-Wisepops-Signature: "+sign("demo", body))
}

func TestMessages(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	var batches []service.MessageBatch
	h.Sink = func(_ context.Context, b service.MessageBatch) error {
		batches = append(batches, b.Copy())
		return nil
	}
	h.receive(`register: false`)
	huge := `{"n":12345678901234567890,  "fields":[] }`
	require.Equal(t, 200, h.deliver("/wisepops/phone?wisepops_event=x", "[ "+lead+",\n"+huge+"]").StatusCode)
	require.Equal(t, 200, h.send("POST", "/wisepops", "["+lead+"]", "X-Wisepops-Signature: "+sign("demo", "["+lead+"]"), "Wisepops_source: x", "Cookie: a=b").StatusCode)

	require.Len(t, batches, 2)
	require.Len(t, batches[0], 2)
	meta := func(m *service.Message) map[string]string {
		found := map[string]string{}
		require.NoError(t, m.MetaWalk(func(k, v string) error { found[k] = v; return nil }))
		return found
	}
	raw, err := batches[0][1].AsBytes()
	require.NoError(t, err)
	require.Equal(t, huge, string(raw))
	// The id of the test vector in wisepops.ContactID.
	want := map[string]string{
		"wisepops_contact_id": "bcee0b16a0aeb5a5b49cca1dcb6fa71d", "wisepops_collected_at": "2019-10-10T10:10:58.389Z",
		"wisepops_wisepop_id": "12345", "wisepops_source": "webhook", "wisepops_event": "phone",
	}
	require.Equal(t, want, meta(batches[0][0]))
	delete(want, "wisepops_event")
	require.Equal(t, want, meta(batches[1][0]))
}

func TestEventOfTheQuery(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	var events []string
	h.Sink = func(_ context.Context, b service.MessageBatch) error {
		event, _ := b[0].MetaGet("wisepops_event")
		events = append(events, event)
		return nil
	}
	h.receive(`register: false`)
	for target, want := range map[string]string{
		"/wisepops?event=phone":       "phone",
		"/wisepops?a=b&event=Survey":  "survey",
		"/wisepops/email?event=phone": "email",
		"/wisepops?event=sms":         "",
		"/wisepops?event=":            "",
		"/wisepops?event=%zz":         "",
		"/wisepops?Event=phone":       "",
		"/wisepops":                   "",
	} {
		events = nil
		require.Equal(t, 200, h.deliver(target, "["+lead+"]").StatusCode)
		assert.Equal(t, []string{want}, events, target)
	}
}

func TestTwinsOfADeliveryHaveIDsOfTheirOwn(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	var ids []string
	h.Sink = func(_ context.Context, b service.MessageBatch) error {
		for _, m := range b {
			id, _ := m.MetaGet("wisepops_contact_id")
			ids = append(ids, id)
		}
		return nil
	}
	h.receive(`register: false`)
	require.Equal(t, 200, h.deliver("/wisepops", "["+lead+",{},"+lead+"]").StatusCode)
	require.Len(t, ids, 3)
	// Those of the test vectors in wisepops.ContactID and wisepops.TwinID.
	require.Equal(t, "bcee0b16a0aeb5a5b49cca1dcb6fa71d", ids[0])
	require.Equal(t, "869834b45997b2fa35747628980cf9da", ids[2])
}

// Ten visitors a second, in whole seconds, answer a survey without leaving a name, half
// of them without a form_session: both ways must tell them apart alike.
func TestAnonymousAnswersHaveTheSameIDByPollAndByHook(t *testing.T) {
	const answers, aSecond = 10_000, 10
	now := time.Date(2024, 5, 6, 10, 0, 0, 0, time.UTC)
	h := newHookHarness(t, sandbox.Options{
		Clock:    func() time.Time { return now },
		Switches: sandbox.Switches{Anonymous: 100, SecondTimes: true, RespellDeliveries: true, NullCountries: true},
	})
	var mu sync.Mutex
	byHook := map[string]int{}
	h.Sink = func(_ context.Context, b service.MessageBatch) error {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range b {
			id, _ := m.MetaGet("wisepops_contact_id")
			byHook[id]++
		}
		return nil
	}
	h.receive(`register: false`)
	h.Sandbox.AddHook(sandbox.Hook{Event: sandbox.EventSurvey, TargetURL: "http://" + h.address + "/wisepops/survey"})
	for i := range answers {
		now = now.Add(time.Second * time.Duration(i%aSecond/(aSecond-1)))
		h.Sandbox.Submit()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var delivering sync.WaitGroup
	delivering.Go(func() { h.Sandbox.Deliver(ctx, sandbox.DeliveryOptions{}) })
	inputtest.Eventually(t, func() bool { return h.Sandbox.Deliveries().Pending == 0 })
	cancel()
	delivering.Wait()
	require.Equal(t, answers, h.Sandbox.Deliveries().Delivered)

	client, err := wisepops.New(wisepops.Options{APIKey: "demo", BaseURL: h.URL})
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	byPoll, all := map[string]int{}, 0
	for page := 1; all < answers; page++ {
		p, err := client.Contacts(t.Context(), wisepops.ContactsRequest{PageSize: wisepops.MaxPageSize, Page: page})
		require.NoError(t, err)
		require.NotEmpty(t, p.Contacts)
		for _, c := range p.Contacts {
			byPoll[c.ID.String()]++
		}
		all += len(p.Contacts)
	}
	require.Equal(t, byPoll, byHook)
	require.Greater(t, len(byPoll), answers*999/1000, "and hardly any two are the same")
}

func TestStatuses(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	h.receive("register: false\nmax_body_bytes: 1000\nprevious_api_keys: [old]")
	list := "[" + lead + "]"
	ok := "X-Wisepops-Signature: " + sign("demo", list)
	at := "[" + strings.Repeat(" ", 998) + "]"
	over := "[" + strings.Repeat(" ", 999) + "]"
	chunked := func(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }
	signed := func(body string) string { return "X-Wisepops-Signature: " + sign("demo", body) }
	for _, test := range []struct {
		name, method, path, body string
		headers                  []string
		want, messages           int
	}{
		{"good", "POST", "/wisepops", list, []string{ok}, 200, 1},
		{"event", "POST", "/wisepops/survey", list, []string{ok}, 200, 1},
		{"odd content type", "POST", "/wisepops", list, []string{ok, "Content-Type: text/html"}, 200, 1},
		{"former key", "POST", "/wisepops", list, []string{"X-Wisepops-Signature: " + sign("old", list)}, 200, 1},
		{"upper case", "POST", "/wisepops", list, []string{"X-Wisepops-Signature: " + strings.ToUpper(sign("demo", list))}, 200, 1},
		{"identity coding", "POST", "/wisepops", list, []string{ok, "Content-Encoding: identity"}, 200, 1},
		{"chunked", "POST", "/wisepops", chunked(list), []string{ok, "Transfer-Encoding: chunked"}, 200, 1},
		{"two contacts", "POST", "/wisepops", "[" + lead + "," + lead + "]", []string{signed("[" + lead + "," + lead + "]")}, 200, 2},
		{"object", "POST", "/wisepops", " " + lead, []string{signed(" " + lead)}, 200, 1},
		{"byte order mark", "POST", "/wisepops", "\ufeff" + list, []string{signed("\ufeff" + list)}, 200, 1},
		{"byte order mark and object", "POST", "/wisepops", "\ufeff" + lead, []string{signed("\ufeff" + lead)}, 200, 1},
		{"event in the query", "POST", "/wisepops?event=survey", list, []string{ok}, 200, 1},
		{"empty list", "POST", "/wisepops", "[]", []string{signed("[]")}, 200, 0},
		{"at the limit", "POST", "/wisepops", at, []string{signed(at)}, 200, 0},
		{"at the limit, chunked", "POST", "/wisepops", chunked(at), []string{signed(at), "Transfer-Encoding: chunked"}, 200, 0},

		{"over the limit", "POST", "/wisepops", over, []string{signed(over)}, 413, 0},
		{"over the limit, chunked", "POST", "/wisepops", chunked(over), []string{signed(over), "Transfer-Encoding: chunked"}, 413, 0},
		{"unsigned", "POST", "/wisepops", list, nil, 401, 0},
		{"empty signature", "POST", "/wisepops", list, []string{"X-Wisepops-Signature:"}, 401, 0},
		{"doubled signature", "POST", "/wisepops", list, []string{ok, ok}, 401, 0},
		{"signatures in one header", "POST", "/wisepops", list, []string{ok + ", " + sign("demo", list)}, 401, 0},
		{"cut signature", "POST", "/wisepops", list, []string{ok[:len(ok)-1]}, 401, 0},
		{"other key", "POST", "/wisepops", list, []string{"X-Wisepops-Signature: " + sign("other", list)}, 401, 0},
		{"other body", "POST", "/wisepops", list, []string{signed("[ " + lead + "]")}, 401, 0},
		{"unsigned garbage", "POST", "/wisepops", "garbage", nil, 401, 0},
		{"gzip", "POST", "/wisepops", list, []string{ok, "Content-Encoding: gzip"}, 415, 0},
		{"no body", "POST", "/wisepops", "", []string{signed("")}, 400, 0},
		{"cut", "POST", "/wisepops", list[:50], []string{signed(list[:50])}, 400, 0},
		{"null", "POST", "/wisepops", "null", []string{signed("null")}, 400, 0},
		{"objects in a row", "POST", "/wisepops", "{}{}", []string{signed("{}{}")}, 400, 0},
		{"unsigned object", "POST", "/wisepops", lead, nil, 401, 0},
		{"number in it", "POST", "/wisepops", "[1]", []string{signed("[1]")}, 400, 0},
		{"object and null", "POST", "/wisepops", "[{},null]", []string{signed("[{},null]")}, 400, 0},
		{"signature without the byte order mark", "POST", "/wisepops", "\ufeff" + list, []string{ok}, 401, 0},
		{"two lists", "POST", "/wisepops", "[][]", []string{signed("[][]")}, 400, 0},
		{"GET", "GET", "/wisepops", "", nil, 405, 0},
		{"PUT", "PUT", "/wisepops/email", list, []string{ok}, 405, 0},
		{"other path", "POST", "/wisepops/", list, []string{ok}, 404, 0},
		{"unclean path", "POST", "//wisepops", list, []string{ok}, 404, 0},
		{"other event", "POST", "/wisepops/sms", list, []string{ok}, 404, 0},
		{"root", "POST", "/", list, []string{ok}, 404, 0},
		{"health", "GET", "/wisepops/healthz", "", nil, 200, 0},
		{"health by POST", "POST", "/wisepops/healthz", "", nil, 405, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := 0
			h.Sink = func(_ context.Context, b service.MessageBatch) error { got += len(b); return nil }
			res := h.send(test.method, test.path, test.body, test.headers...)
			assert.Equal(t, test.want, res.StatusCode)
			assert.Equal(t, test.messages, got)
			if test.want == 405 {
				assert.NotEmpty(t, res.Header.Get("Allow"))
			}
		})
	}
	assert.NotContains(t, h.Logged(), "a@example.com")
	assert.NotContains(t, h.Logged(), "demo")
}

func TestRefusesDeepNesting(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	h.receive(`register: false`)
	deep := `[{"fields":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}]`
	require.Equal(t, 400, h.deliver("/wisepops", deep).StatusCode)
}

func TestAnswersAfterTheSink(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	let := make(chan error)
	h.Sink = func(context.Context, service.MessageBatch) error { return <-let }
	h.receive("register: false\nack_timeout: 300ms")

	answer := make(chan int, 1)
	post := func() { answer <- h.deliver("/wisepops", "["+lead+"]").StatusCode }
	go post()
	select {
	case status := <-answer:
		t.Fatalf("answered %d before the sink", status)
	case let <- nil:
	}
	require.Equal(t, 200, <-answer)

	go post()
	let <- errors.New("refused")
	require.Equal(t, 503, <-answer)

	go post()
	require.Equal(t, 504, <-answer) // in the sink, which does not answer
	go post()
	require.Equal(t, 504, <-answer)
	let <- nil
	go func() { let <- nil }()
}

func TestMaxInFlight(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	let := make(chan error)
	entered := make(chan struct{}, 1)
	h.Sink = func(context.Context, service.MessageBatch) error { entered <- struct{}{}; return <-let }
	h.receive("register: false\nmax_in_flight: 1")
	answer := make(chan int, 1)
	go func() { answer <- h.deliver("/wisepops", "["+lead+"]").StatusCode }()
	<-entered
	res := h.deliver("/wisepops", "["+lead+"]")
	require.Equal(t, 503, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	let <- nil
	require.Equal(t, 200, <-answer)
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	h := newHookHarness(t, sandbox.Options{})
	h.receive(`register: false`)
	res := h.send("POST", "/wisepops", "[", "Content-Length: 100", "X-Wisepops-Signature: "+sign("demo", "["))
	require.Equal(t, 408, res.StatusCode)
}

func TestClientThatClosesItsHalf(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	let := make(chan error)
	h.Sink = func(context.Context, service.MessageBatch) error { return <-let }
	h.receive(`register: false`)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", h.address)
	require.NoError(t, err)
	defer conn.Close()
	body := "[" + lead + "]"
	_, err = fmt.Fprintf(conn, "POST /wisepops HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Wisepops-Signature: %s\r\n\r\n%s", len(body), sign("demo", body), body)
	require.NoError(t, err)
	half, ok := conn.(*net.TCPConn)
	require.True(t, ok)
	require.NoError(t, half.CloseWrite())
	let <- errors.New("refused")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, 503, res.StatusCode)
}

func TestShutdownAnswersWhatIsInFlightAndRefusesTheRest(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	let := make(chan error)
	entered := make(chan struct{})
	h.Sink = func(context.Context, service.MessageBatch) error { close(entered); return <-let }
	stop := h.receive(`register: false`)
	first := make(chan int, 1)
	go func() { first <- h.deliver("/wisepops", "["+lead+"]").StatusCode }()
	<-entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	require.Eventually(t, func() bool {
		return h.send("GET", "/wisepops/healthz", "").StatusCode == 503
	}, 5*time.Second, 5*time.Millisecond)
	res := h.deliver("/wisepops", "["+lead+"]")
	require.Equal(t, 503, res.StatusCode)
	require.True(t, res.Close)
	let <- nil
	require.Equal(t, 200, <-first)
	<-stopped
}

func TestInputsShareAListener(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	b := h.Env.NewStreamBuilder()
	b.SetPrintLogger(h.Logger())
	one := func(key, path string) string {
		return fmt.Sprintf(`wisepops_webhook: { api_key: %s, address: %q, path: %s, register: false }`, key, h.address, path)
	}
	require.NoError(t, errors.Join(b.AddInputYAML(one("demo", "/a")), b.AddInputYAML(one("other", "/b/"))))
	require.NoError(t, b.AddBatchConsumerFunc(h.Consume))
	s, err := b.Build()
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	defer func() {
		assert.NoError(t, s.StopWithin(10*time.Second))
		<-done
	}()
	require.Eventually(t, func() bool {
		a, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", h.address)
		if err != nil {
			return false
		}
		_ = a.Close()
		return h.deliver("/a", "[]").StatusCode == 200 && h.send("POST", "/b", "[]", "X-Wisepops-Signature: "+sign("other", "[]")).StatusCode == 200
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, 401, h.deliver("/b", "[]").StatusCode)
}

func TestConfigErrors(t *testing.T) {
	h := newHookHarness(t, sandbox.Options{})
	for extra, want := range map[string]string{
		`public_url: ""`:                                "public_url is empty",
		`public_url: http://leads.example.com`:          "public_url must begin with https://",
		`public_url: https://leads.example.com/?a=b`:    "public_url must not hold",
		`events: []`:                                    "events is empty",
		`events: [sms]`:                                 "events[0] must be one of",
		`events: [email, email]`:                        "events names email twice",
		`wisepop_ids: [0]`:                              "wisepop_ids[0] must be a positive number",
		`previous_api_keys: [" "]`:                      "previous_api_keys[0] is empty",
		`path: wisepops`:                                "path must begin with a slash",
		`max_in_flight: 0`:                              "max_in_flight must be at least 1",
		`max_body_bytes: 0`:                             "max_body_bytes must be at least 1",
		`ack_timeout: 0s`:                               "ack_timeout must be longer than zero",
		`register_interval: 0s`:                         "register_interval must be longer than zero",
		`cert_file: a.pem`:                              "cert_file and key_file must be set together",
		`checkpoint_cache: nowhere`:                     `checkpoint_cache names "nowhere"`,
		"register: false\nrate_limit: nowhere":          `rate_limit names "nowhere"`,
		"register: false\npublic_url: \"\"\nevents: []": "",
	} {
		// Overridden fields must not stand twice.
		s, err := h.buildHookOnly(extra)
		if err == nil {
			// Constructors run with the stream.
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			err = s.Run(ctx)
			cancel()
			_ = s.StopWithin(5 * time.Second)
		}
		if want == "" {
			continue
		}
		assert.ErrorContains(t, err, want, extra)
	}
}

// buildHookOnly is buildHook with just the address, and a public URL unless one
// is given.
func (h *hookHarness) buildHookOnly(extra string) (*service.Stream, error) {
	b := h.Env.NewStreamBuilder()
	b.SetPrintLogger(h.Logger())
	conf := "wisepops_webhook:\n  api_key: demo\n  base_url: " + h.URL + "\n  address: " + h.address + "\n  " + strings.ReplaceAll(extra, "\n", "\n  ") + "\n"
	if !strings.Contains(extra, "public_url") {
		conf += "  public_url: https://leads.example.com/wisepops\n"
	}
	if err := b.AddInputYAML(conf); err != nil {
		return nil, err
	}
	if err := b.AddBatchConsumerFunc(h.Consume); err != nil {
		return nil, err
	}
	return b.Build()
}

func TestAnswersThoughTheBodyNeverComes(t *testing.T) {
	t.Parallel()
	h := newHookHarness(t, sandbox.Options{})
	h.receive(`register: false`)
	require.Equal(t, 401, h.send("POST", "/wisepops", "[", "Content-Length: 100").StatusCode)
	require.Equal(t, 404, h.send("POST", "/elsewhere", "[", "Content-Length: 100").StatusCode)
}

package wisepops

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func newTestClient(t *testing.T, baseURL string, opts Options) *Client {
	opts.APIKey, opts.BaseURL = "key", baseURL
	if opts.BackOff.InitialInterval == 0 {
		opts.BackOff.InitialInterval = time.Microsecond
	}
	c, err := New(opts)
	require.NoError(t, err)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestNewAPIKey(t *testing.T) {
	for _, key := range []string{"", " ", "\n", "\t \r\n"} {
		_, err := New(Options{APIKey: key})
		require.ErrorContains(t, err, "api_key is empty")
	}
	for _, key := range []string{"a b", "a\nb", "a\x00b", `a"b`, "a\x7fb", "aéb", "a\xffb", "a\u00a0b"} {
		_, err := New(Options{APIKey: key})
		require.ErrorContains(t, err, "api_key holds a character that no API key has")
		require.NotContains(t, err.Error(), key)
	}
}

func TestNewBaseURL(t *testing.T) {
	for given, want := range map[string]string{
		"":                               "https://app.wisepops.com/api2",
		"https://app.wisepops.com/api2":  "https://app.wisepops.com/api2",
		"https://app.wisepops.com/api2/": "https://app.wisepops.com/api2",
		" https://app.wisepops.com/\n":   "https://app.wisepops.com",
		"HTTPS://example.com:8443/a/b//": "https://example.com:8443/a/b",
		"http://localhost":               "http://localhost",
		"http://LocalHost:8080/api2":     "http://LocalHost:8080/api2",
		"http://127.0.0.1:8080":          "http://127.0.0.1:8080",
		"http://127.9.9.9":               "http://127.9.9.9",
		"http://[::1]:8080/":             "http://[::1]:8080",
		"http://[::ffff:127.0.0.1]":      "http://[::ffff:127.0.0.1]",
	} {
		c, err := New(Options{APIKey: "key", BaseURL: given})
		if assert.NoError(t, err, given) {
			assert.Equal(t, want, c.base, given)
		}
	}
	for given, problem := range map[string]string{
		"http://app.wisepops.com/api2":      "plain http to app.wisepops.com",
		"http://localhost.example.com":      "plain http",
		"http://example.com#localhost":      "fragment",
		"http://127.0.0.1.example.com":      "plain http",
		"http://10.0.0.1":                   "plain http",
		"http://0.0.0.0":                    "plain http",
		"http://[::]":                       "plain http",
		"http://[2001:db8::1]":              "plain http",
		"http://2130706433":                 "plain http",
		"http://localhost@example.com":      "credentials",
		"https://user:secret@example.com":   "credentials",
		"https://example.com?":              "query string",
		"https://example.com/api2?key=x":    "query string",
		"https://example.com/#x":            "fragment",
		"https://":                          "is not a URL",
		"https://:443/api2":                 "is not a URL",
		"https:example.com":                 "is not a URL",
		"https:///api2":                     "is not a URL",
		"app.wisepops.com/api2":             "is not a URL",
		"localhost:8080":                    "is not a URL",
		"/api2":                             "is not a URL",
		" ":                                 "is not a URL",
		"https://example.com\nX: y":         "is not a URL",
		"https://exa mple.com":              "is not a URL",
		"https://example.com:port":          "is not a URL",
		"ftp://example.com":                 "must begin with https://",
		"file://localhost/etc/passwd":       "must begin with https://",
		"unix://localhost/var/run/x.socket": "must begin with https://",
	} {
		_, err := New(Options{APIKey: "key", BaseURL: given})
		if assert.ErrorContains(t, err, "base_url", given) {
			assert.ErrorContains(t, err, problem, given)
			assert.NotContains(t, err.Error(), "secret", given)
		}
	}
}

func TestNewNumbers(t *testing.T) {
	_, err := New(Options{APIKey: "key", Timeout: -1})
	require.ErrorContains(t, err, "timeout")
	_, err = New(Options{APIKey: "key", MaxRetries: -1})
	require.ErrorContains(t, err, "max_retries")
}

func TestRequest(t *testing.T) {
	var got *http.Request
	srv := newTestServer(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		_, _ = w.Write([]byte(`[]`))
	})
	c, err := New(Options{APIKey: " \tk3y\n", BaseURL: srv.URL + "/api2/"})
	require.NoError(t, err)
	defer c.CloseIdleConnections()

	at := time.Date(2024, 5, 1, 10, 0, 0, 120_999_999, time.FixedZone("", 2*60*60))
	_, err = c.Contacts(t.Context(), ContactsRequest{CollectedAfter: at, WisepopID: 7, PageSize: 1000, Page: 2})
	require.NoError(t, err)
	require.Equal(t, "GET", got.Method)
	require.Equal(t, "/api2/contacts", got.URL.Path)
	require.Equal(t, "collected_after=2024-05-01T08%3A00%3A00.120Z&page=2&page_size=1000&wisepop_id=7", got.URL.RawQuery)
	require.Equal(t, `WISEPOPS-API key="k3y"`, got.Header.Get("Authorization"))
	require.Equal(t, "application/json", got.Header.Get("Accept"))
	require.Zero(t, got.ContentLength)
	require.Empty(t, got.TransferEncoding)

	for _, r := range []ContactsRequest{{}, {Page: 1}} {
		_, err = c.Contacts(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, "/api2/contacts", got.RequestURI)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "2" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write(make([]byte, 60<<10))
			return
		}
		_, _ = w.Write([]byte(`[]`))
	}))
	var conns atomic.Int32
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	c := newTestClient(t, srv.URL, Options{})
	for page := range 10 {
		_, err := c.Contacts(t.Context(), ContactsRequest{Page: page})
		require.Equal(t, page == 2, err != nil)
	}
	require.EqualValues(t, 1, conns.Load())
}

// net/http sends a GET again by itself when a kept-alive connection breaks
// before the answer; the API counts that call, so the limiter must know of it.
func TestNoRequestIsSentBehindTheLimiter(t *testing.T) {
	var served atomic.Int32
	srv := newTestServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1)%2 == 0 {
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				_ = conn.Close()
			}
			return
		}
		_, _ = w.Write([]byte(`[]`))
	})
	l := &limiter{}
	c := newTestClient(t, srv.URL, Options{Limiter: l, MaxRetries: 1})
	_, err := c.Contacts(t.Context(), ContactsRequest{})
	require.NoError(t, err)
	_, err = c.Contacts(t.Context(), ContactsRequest{NoRetry: true})
	require.Error(t, err)
	require.EqualValues(t, 2, served.Load())
	require.Equal(t, 2, l.asks)

	for range 3 {
		_, err = c.Contacts(t.Context(), ContactsRequest{})
		require.NoError(t, err)
	}
	require.EqualValues(t, l.asks, served.Load())
}

func TestHTTP1IsSpokenOverTLS(t *testing.T) {
	var got *http.Request
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		_, _ = w.Write([]byte(`[]`))
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	tr, ok := newTransport().(*http.Transport)
	require.True(t, ok)
	certs, ok := srv.Client().Transport.(*http.Transport)
	require.True(t, ok)
	tr.TLSClientConfig = certs.TLSClientConfig.Clone()
	_, err := newTestClient(t, srv.URL, Options{Transport: tr}).Contacts(t.Context(), ContactsRequest{})
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1", got.Proto)
	require.Empty(t, got.TransferEncoding)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := newTestServer(t, func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		_, _ = w.Write([]byte(`[]`))
	})
	for _, location := range []string{other.URL + "/contacts", "/contacts", "", "http://[::broken", "%zz", "javascript:x"} {
		for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
			var served int
			srv := newTestServer(t, func(w http.ResponseWriter, _ *http.Request) {
				served++
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			})
			_, err := newTestClient(t, srv.URL, Options{MaxRetries: 3}).Contacts(t.Context(), ContactsRequest{})
			require.EqualError(t, err, fmt.Sprintf("GET /contacts: status %d %s: redirects are not followed: check base_url", status, http.StatusText(status)))
			require.Equal(t, 1, served)
		}
	}
	require.Zero(t, elsewhere.Load())
}

func TestTimeoutCoversTheBody(t *testing.T) {
	release := make(chan struct{})
	srv := newTestServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[`))
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	defer close(release)
	_, err := newTestClient(t, srv.URL, Options{Timeout: 20 * time.Millisecond}).Contacts(t.Context(), ContactsRequest{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// bigPage is an answer of so many bytes, an empty array made while it is read.
type bigPage struct {
	size      int64
	announced bool
	attempts  int
}

func (p *bigPage) RoundTrip(*http.Request) (*http.Response, error) {
	p.attempts++
	res := &http.Response{StatusCode: 200, Body: io.NopCloser(p.body()), ContentLength: -1}
	if p.announced {
		res.ContentLength = p.size
	}
	return res, nil
}

func (p *bigPage) body() io.Reader {
	return io.MultiReader(strings.NewReader("["), io.LimitReader(spaces{}, p.size-2), strings.NewReader("]"))
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for n := copy(b, "        "); n > 0 && n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
	return len(b), nil
}

func TestResponseCap(t *testing.T) {
	for _, size := range []int64{maxResponseBytes, maxResponseBytes + 1, 1 << 50} {
		for _, announced := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, announced %t", size, announced), func(t *testing.T) {
				p := &bigPage{size: size, announced: announced}
				c := newTestClient(t, "", Options{MaxRetries: 3, Timeout: time.Hour, Transport: p})
				res, err := c.Contacts(t.Context(), ContactsRequest{})
				require.Equal(t, 1, p.attempts)
				if size <= maxResponseBytes {
					require.NoError(t, err)
					require.EqualValues(t, size, res.Size)
					return
				}
				require.ErrorIs(t, err, ErrResponseTooLarge)
			})
		}
	}
}

func TestResponseCapCountsWhatIsUnpacked(t *testing.T) {
	var served atomic.Int32
	srv := newTestServer(t, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.Copy(z, (&bigPage{size: maxResponseBytes + 1}).body())
		_ = z.Close()
	})
	_, err := newTestClient(t, srv.URL, Options{MaxRetries: 3, Timeout: time.Hour}).Contacts(t.Context(), ContactsRequest{})
	require.ErrorIs(t, err, ErrResponseTooLarge)
	require.EqualValues(t, 1, served.Load())
}

// announced is an answer that announces a length, and cannot be read.
type announced int64

func (a announced) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(iotest.ErrReader(io.EOF)), ContentLength: int64(a)}, nil
}

func TestResponseAnnouncedAsTooLargeIsNotRead(t *testing.T) {
	_, err := newTestClient(t, "", Options{Transport: announced(maxResponseBytes + 1)}).Contacts(t.Context(), ContactsRequest{})
	require.ErrorIs(t, err, ErrResponseTooLarge)
	_, err = newTestClient(t, "", Options{Transport: announced(maxResponseBytes)}).Contacts(t.Context(), ContactsRequest{})
	require.NotErrorIs(t, err, ErrResponseTooLarge)
}

func TestResponseOfAnyLengthIsReadWhole(t *testing.T) {
	for _, size := range []int{2, 511, 512, 513, 1 << 20} {
		for _, hint := range []int{-1 << 40, -1, 0, 1, size - 1, size, size + 1, 1 << 40} {
			for _, announced := range []bool{true, false} {
				srv := newTestServer(t, func(w http.ResponseWriter, _ *http.Request) {
					if announced {
						w.Header().Set("Content-Length", strconv.Itoa(size))
					}
					_, _ = io.WriteString(w, "["+strings.Repeat(" ", size-2)+"]")
				})
				res, err := newTestClient(t, srv.URL, Options{}).Contacts(t.Context(), ContactsRequest{SizeHint: hint})
				require.NoError(t, err)
				require.Equal(t, size, res.Size)
			}
		}
	}
}

// newRawServer answers each connection with the same bytes, and closes it.
func newRawServer(t *testing.T, answer string) (baseURL string, served *atomic.Int32) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			served.Add(1)
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = conn.Read(make([]byte, 64<<10))
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return "http://" + ln.Addr().String(), served
}

func TestBodyCutInTheMiddleIsRetried(t *testing.T) {
	for name, answer := range map[string]string{
		"announced": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[{}",
		"chunked":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[{}\r\n",
	} {
		baseURL, served := newRawServer(t, answer)
		var statuses []int
		c := newTestClient(t, baseURL, Options{MaxRetries: 2, OnAttempt: func(a Attempt) { statuses = append(statuses, a.Status) }})
		_, err := c.Contacts(t.Context(), ContactsRequest{})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, name)
		require.EqualError(t, err, "GET /contacts: the answer broke off in the middle (unexpected EOF)", name)
		require.EqualValues(t, 3, served.Load(), name)
		require.Equal(t, []int{0, 0, 0}, statuses)
	}
}

package wisepops

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPIErrorText(t *testing.T) {
	for _, test := range []struct {
		err  APIError
		text string
	}{
		{APIError{Endpoint: "GET /contacts", Status: 401}, "GET /contacts: status 401 Unauthorized: the API key was refused: check api_key, which must be the key of this website"},
		{APIError{Endpoint: "GET /contacts", Status: 403}, "GET /contacts: status 403 Forbidden: the API key was refused: check api_key, which must be the key of this website"},
		{APIError{Endpoint: "GET /contacts", Status: 403, Blocked: true}, "GET /contacts: status 403 Forbidden: something in front of the API, such as a firewall or a proxy, blocks the call: the API key is not at fault; have what stands there allow this machine"},
		{APIError{Endpoint: "GET /hooks", Status: 429, RetryAfter: time.Hour}, "GET /hooks: status 429 Too Many Requests: the call budget is spent (retry after 1h0m0s)"},
		{APIError{Endpoint: "GET /contacts", Status: 503, RetryAfter: 1}, "GET /contacts: status 503 Service Unavailable (retry after 1ns)"},
		{APIError{Endpoint: "GET /contacts", Status: 302}, "GET /contacts: status 302 Found: redirects are not followed: check base_url"},
		{APIError{Endpoint: "GET /contacts", Status: 599}, "GET /contacts: status 599"},
	} {
		require.EqualError(t, &test.err, test.text)
		require.Equal(t, test.err.Blocked, errors.Is(&test.err, ErrBlocked))
		require.Equal(t, (test.err.Status == 401 || test.err.Status == 403) && !test.err.Blocked, errors.Is(&test.err, ErrUnauthorized))
	}
}

// A firewall in front of the API says nothing about the key.
func TestForbiddenByAnythingElseThanTheAPI(t *testing.T) {
	for body, blocked := range map[string]bool{
		"<!DOCTYPE html><html>s3cret": true, "Forbidden": true, "error code: 1020": true, "\ufeff<html>": true, `{"error":`: true, "{} <html>": true,
		strings.Repeat("<p>", 100_000): true,

		"": false, " \n": false, `{"error":"forbidden"}`: false, "\ufeff {}": false, "[]": false, `"forbidden"`: false, "null": false,
		`{"error":"` + strings.Repeat("x", 100_000) + `"}`: false,
	} {
		for _, status := range []int{401, 403} {
			s := &script{lines: []line{{status: status, body: body, retryAfter: "60"}}}
			_, err := s.client(t, Options{MaxRetries: 3}).Contacts(t.Context(), ContactsRequest{})
			require.Len(t, s.asks, 1)
			require.Equal(t, blocked && status == 403, errors.Is(err, ErrBlocked), "%d %.40q", status, body)
			require.Equal(t, !blocked || status == 401, errors.Is(err, ErrUnauthorized), "%d %.40q", status, body)
			require.NotContains(t, err.Error(), "s3cret")
			require.Zero(t, s.open)
			apiErr, ok := errors.AsType[*APIError](err)
			require.True(t, ok)
			require.Equal(t, time.Minute, apiErr.RetryAfter)
		}
	}
}

func TestTransportErrorCauses(t *testing.T) {
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	plain, _ := newRawServer(t, "HTTP/1.0 200 OK\r\n\r\n[]")

	for baseURL, check := range map[string]func(error){
		closed.URL: func(err error) {
			_, ok := errors.AsType[*net.OpError](err)
			require.True(t, ok)
		},
		untrusted.URL: func(err error) {
			_, ok := errors.AsType[x509.UnknownAuthorityError](err)
			require.True(t, ok)
		},
		strings.Replace(plain, "http:", "https:", 1): func(err error) {
			require.EqualError(t, err, "GET /contacts: first record does not look like a TLS handshake")
		},
	} {
		_, err := newTestClient(t, baseURL, Options{}).Contacts(t.Context(), ContactsRequest{})
		trErr, ok := errors.AsType[*TransportError](err)
		require.True(t, ok)
		require.Equal(t, "GET /contacts", trErr.Endpoint)
		check(err)
	}
}

type slowHandshake struct{}

func (slowHandshake) Error() string   { return "net/http: TLS handshake timeout" }
func (slowHandshake) Timeout() bool   { return true }
func (slowHandshake) Temporary() bool { return true }

func TestTransportErrorKeepsTimeouts(t *testing.T) {
	require.ErrorIs(t, newTransportError("x", slowHandshake{}), os.ErrDeadlineExceeded)
	require.ErrorIs(t, newTransportError("x", fmt.Errorf("x: %w", context.DeadlineExceeded)), context.DeadlineExceeded)
}

// texts returns what can be printed of an error and of all that it wraps.
func texts(err error) string {
	if err == nil {
		return ""
	}
	all := fmt.Sprintf("%v\n%+v\n%s\n%q\n", err, err, err, err)
	switch u := err.(type) { //nolint:errorlint // the chain is walked by hand
	case interface{ Unwrap() error }:
		all += texts(u.Unwrap())
	case interface{ Unwrap() []error }:
		var allSb91 strings.Builder
		for _, err := range u.Unwrap() {
			allSb91.WriteString(texts(err))
		}
		all += allSb91.String()
	}
	return all
}

func TestErrorsHoldNoSecret(t *testing.T) {
	const marker = "s3cret@example.com"
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	answers := map[string]string{
		"body":                      "HTTP/1.1 200 OK\r\n\r\n[\"" + marker + "\"",
		"JSON body":                 "HTTP/1.1 200 OK\r\n\r\n{\"error\":\"" + marker + "\"}",
		"body of an error":          "HTTP/1.1 400 Bad Request\r\n\r\n" + marker,
		"reason of an error":        "HTTP/1.1 400 " + marker + "\r\n\r\n",
		"refused key":               "HTTP/1.1 401 " + marker + "\r\nWWW-Authenticate: " + marker + "\r\n\r\n" + marker,
		"body cut":                  "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[\"" + marker,
		"gzip":                      "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + marker,
		"not HTTP":                  marker + "\r\n\r\n",
		"status":                    "HTTP/1.1 " + marker + " OK\r\n\r\n",
		"status code":               "HTTP/1.1 2x0" + marker + "\r\n\r\n",
		"version":                   "HTTP/" + marker + " 200 OK\r\n\r\n",
		"header line":               "HTTP/1.1 200 OK\r\n" + marker + "\r\n\r\n[]",
		"header name":               "HTTP/1.1 200 OK\r\n" + marker + " : x\r\n\r\n[]",
		"header value":              "HTTP/1.1 200 OK\r\nX: " + marker + "\x00\r\n\r\n[]",
		"first header line":         "HTTP/1.1 200 OK\r\n " + marker + ": x\r\n\r\n[]",
		"long header":               "HTTP/1.1 200 OK\r\nX: " + strings.Repeat(marker, 600_000) + "\r\n\r\n[]",
		"Content-Length":            "HTTP/1.1 200 OK\r\nContent-Length: " + marker + "\r\n\r\n[]",
		"two Content-Lengths":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3" + marker + "\r\n\r\n[]",
		"Transfer-Encoding":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + marker + "\r\n\r\n[]",
		"chunk length":              chunked + "\r\n" + marker + "\r\n[]\r\n0\r\n\r\n",
		"chunk":                     chunked + "\r\n2\r\n[]" + marker + "\r\n0\r\n\r\n",
		"trailer":                   chunked + "\r\n2\r\n[]\r\n0\r\n" + marker + "\r\n\r\n",
		"Location":                  "HTTP/1.1 302 Found\r\nLocation: https://" + marker + "/?key=" + marker + "\r\n\r\n",
		"broken Location":           "HTTP/1.1 302 Found\r\nLocation: http://[" + marker + "%zz\r\n\r\n",
		"broken permanent Location": "HTTP/1.1 308 Found\r\nLocation: :" + marker + "\r\n\r\n",
		"Retry-After":               "HTTP/1.1 429 Too Many\r\nRetry-After: " + marker + "\r\n\r\n",
		"Date":                      "HTTP/1.1 503 X\r\nDate: " + marker + "\r\n\r\n",
		"switching protocols":       "HTTP/1.1 101 " + marker + "\r\nUpgrade: " + marker + "\r\n\r\n" + marker,
		"nothing":                   "",
	}
	check := func(t *testing.T, baseURL string, transport http.RoundTripper) {
		c, err := New(Options{APIKey: marker + "key", BaseURL: baseURL, MaxRetries: 1, Timeout: 10 * time.Second, Transport: transport})
		require.NoError(t, err)
		c.opts.BackOff.InitialInterval = time.Microsecond
		defer c.CloseIdleConnections()
		req := &request{method: "GET", path: "/contacts", query: url.Values{"email": {marker}}, maxRetries: 1}
		res, err := c.do(t.Context(), req)
		if err == nil {
			_, err = ParseContacts(res.body)
		}
		require.Error(t, err)
		all := texts(err)
		assert.NotContains(t, all, "s3cret")
		assert.NotContains(t, all, "email")
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			baseURL, served := newRawServer(t, answer)
			check(t, baseURL, nil)
			require.Positive(t, served.Load())
		})
		t.Run(name+" over TLS", func(t *testing.T) {
			baseURL, _ := newRawServer(t, answer)
			check(t, strings.Replace(baseURL, "http:", "https:", 1), nil)
		})
		t.Run(name+" of a proxy", func(t *testing.T) {
			proxy, served := newRawServer(t, answer)
			u, err := url.Parse(proxy)
			require.NoError(t, err)
			u.User = url.UserPassword("user", marker)
			tr := &http.Transport{Proxy: http.ProxyURL(u)}
			check(t, "https://app.wisepops.invalid", tr)
			require.Positive(t, served.Load())
		})
	}
	t.Run("no server", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		srv.Close()
		check(t, srv.URL, nil)
	})
	t.Run("transport that quotes", func(t *testing.T) {
		s := &script{lines: []line{{err: fmt.Errorf("x: %w", &url.Error{Op: "Get", URL: "https://x/?email=" + marker, Err: errors.New(marker)})}}}
		check(t, "", s)
	})
}

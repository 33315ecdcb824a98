package wisepops

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

var (
	// ErrUnauthorized is matched (errors.Is) by an [APIError] with status 401 or
	// 403 whose body is the API's: it refuses the key. It is never retried.
	ErrUnauthorized = errors.New("the API key was refused")

	// ErrBlocked is matched (errors.Is) by an [APIError] with status 403 and a body that
	// is not JSON: something in front of the API, such as a firewall, does not let the
	// call through. It is not retried by the client, and may pass by itself.
	ErrBlocked = errors.New("something in front of the API, such as a firewall or a proxy, blocks the call")

	// ErrNoAPIKey is returned by [New] where there is no API key.
	ErrNoAPIKey = errors.New("api_key is empty: set it to the API key of the website, or set the environment variable that it is read from")

	// ErrResponseTooLarge says that a response was longer than 64 MiB. It is
	// never retried.
	ErrResponseTooLarge = errors.New("the response is longer than 64 MiB: a smaller page_size makes it shorter")

	errBrokenResponse = errors.New("broken HTTP response")
)

// APIError is an answer of the API with a status other than 2xx.
type APIError struct {
	Endpoint string // method and path below the base URL, such as "GET /contacts"
	Status   int    // HTTP status
	Blocked  bool   // see [ErrBlocked]

	// RetryAfter is how long the API asked to wait, by the Retry-After of any form,
	// counted from its own Date header where it is an instant; 0 where it did not ask,
	// and at most [MaxRetryAfter]. The next call must not come sooner.
	RetryAfter time.Duration
}

// Error says the endpoint, the status and what to do.
func (e *APIError) Error() string {
	msg := strings.TrimSpace(fmt.Sprintf("%s: status %d %s", e.Endpoint, e.Status, http.StatusText(e.Status)))
	switch {
	case e.Blocked:
		msg += ": " + ErrBlocked.Error() + ": the API key is not at fault; have what stands there allow this machine"
	case e.unauthorized():
		msg += ": " + ErrUnauthorized.Error() + ": check api_key, which must be the key of this website"
	case e.Status == http.StatusTooManyRequests:
		msg += ": the call budget is spent"
	case e.Status >= 300 && e.Status < 400:
		msg += ": redirects are not followed: check base_url"
	}
	if e.RetryAfter > 0 {
		msg += fmt.Sprintf(" (retry after %s)", e.RetryAfter)
	}
	return msg
}

// Is matches [ErrUnauthorized] and [ErrBlocked].
func (e *APIError) Is(target error) bool {
	return target == ErrUnauthorized && e.unauthorized() || target == ErrBlocked && e.Blocked
}

func (e *APIError) unauthorized() bool {
	return !e.Blocked && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

func (e *APIError) temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= 500
}

// TransportError is a call that got no whole answer: no connection, a time-out,
// a connection or a body cut in the middle.
type TransportError struct {
	Endpoint string
	Err      error // holds neither the URL nor anything that the server sent
}

// Error says the endpoint and the cause.
func (e *TransportError) Error() string {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) {
		return e.Endpoint + ": the answer broke off in the middle (" + e.Err.Error() + ")"
	}
	return e.Endpoint + ": " + e.Err.Error()
}

// Unwrap returns the cause, such as [context.DeadlineExceeded] or a
// [*net.OpError].
func (e *TransportError) Unwrap() error { return e.Err }

// FormatError is an answer with a status of 2xx whose body is not what the API
// documents, such as a proxy's HTML page.
type FormatError struct {
	Endpoint string
	Reason   string // never quotes the body
}

// Error says the endpoint and the reason.
func (e *FormatError) Error() string {
	return e.Endpoint + ": " + e.Reason + ": check base_url, and any proxy on the way"
}

// newTransportError keeps of err what is known to be free of the URL and of
// bytes that the server sent: net/http quotes a malformed response in its
// errors.
func newTransportError(endpoint string, err error) *TransportError {
	return &TransportError{Endpoint: endpoint, Err: withoutContent(err)}
}

func withoutContent(err error) error {
	var (
		op      *net.OpError
		dns     *net.DNSError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
		timeout net.Error
	)
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &op):
		return op
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &record):
		return errors.New(record.Msg)
	case errors.As(err, &verify):
		return verify
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, ErrResponseTooLarge):
		return ErrResponseTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return os.ErrDeadlineExceeded
	}
	return errBrokenResponse
}

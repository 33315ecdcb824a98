package wisepops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// DefaultBaseURL is where Wisepops serves its API.
	DefaultBaseURL = "https://app.wisepops.com/api2"

	// DefaultTimeout bounds one attempt, from the dial to the last byte.
	DefaultTimeout = 30 * time.Second

	// DefaultMaxRetries is how many attempts follow a failed first one.
	DefaultMaxRetries = 3

	maxResponseBytes = 64 << 20
	maxErrorBytes    = 64 << 10 // of the body of an error
)

// Limiter is asked before every attempt. It returns zero where the call may be
// made, and otherwise how long to wait before asking again, which may be days.
// A Benthos rate limit has this shape.
type Limiter interface {
	Access(ctx context.Context) (time.Duration, error)
}

// Attempt describes one HTTP exchange, for metrics and logs.
type Attempt struct {
	Endpoint string // such as "GET /contacts"
	Status   int    // 0 where no answer came
	Latency  time.Duration

	RetryAfter time.Duration // what the API asked to wait, as in [APIError]; 0 where it did not
}

// Options configure a [Client]. The zero value of each field but APIKey means
// its default; a MaxRetries of 0 means no retry.
type Options struct {
	APIKey     string        // required
	BaseURL    string        // [DefaultBaseURL]; plain http only on loopback
	Timeout    time.Duration // of one attempt; [DefaultTimeout]
	MaxRetries int           // attempts after a failed first one

	// BackOff spaces the retries, with jitter. Where MaxElapsedTime is set, a
	// wait that would end later, such as a long Retry-After, is not begun: the
	// error is returned, and RetryAfter in it says how long to wait. That time
	// runs from the moment at which the Limiter allowed the first attempt.
	BackOff backoff.ExponentialBackOff

	Limiter   Limiter             // none
	Transport http.RoundTripper   // a pool of kept-alive connections
	OnAttempt func(Attempt)       // none; called after each exchange
	OnWait    func(time.Duration) // none; called before each wait for the Limiter
}

// Client calls the API of one website. It is safe for concurrent use.
type Client struct {
	opts   Options
	base   string
	header string
}

// New returns a client, or an error that names the option at fault (by its name
// in configuration files: api_key, base_url, timeout, max_retries). It makes no
// call.
func New(opts Options) (*Client, error) {
	opts.APIKey = strings.TrimSpace(opts.APIKey)
	if opts.APIKey == "" {
		return nil, ErrNoAPIKey
	}
	if strings.ContainsFunc(opts.APIKey, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' }) {
		return nil, errors.New("api_key holds a character that no API key has (a quote, white space or a control character)")
	}
	base, err := parseBaseURL(opts.BaseURL)
	if err != nil {
		return nil, err
	}
	if opts.Timeout < 0 {
		return nil, errors.New("timeout must not be negative")
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.MaxRetries < 0 {
		return nil, errors.New("max_retries must not be negative")
	}
	opts.BackOff = withBackOffDefaults(opts.BackOff)
	if opts.Transport == nil {
		opts.Transport = newTransport()
	}
	return &Client{
		opts:   opts,
		base:   base,
		header: `WISEPOPS-API key="` + opts.APIKey + `"`,
	}, nil
}

// WithMaxRetries returns a client that differs from c in its MaxRetries only, and
// shares its connections.
func (c *Client) WithMaxRetries(n int) *Client {
	other := *c
	other.opts.MaxRetries = n
	return &other
}

// CloseIdleConnections releases the kept-alive connections.
func (c *Client) CloseIdleConnections() {
	if t, ok := c.opts.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

func parseBaseURL(s string) (string, error) {
	if s == "" {
		s = DefaultBaseURL
	}
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Hostname() == "" {
		return "", errors.New("base_url is not a URL: it looks like " + DefaultBaseURL)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", errors.New("base_url must not hold credentials, a query string or a fragment")
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !IsLoopback(u.Hostname()) {
			return "", fmt.Errorf("base_url is plain http to %s, which would send the key in the clear: use https (plain http is for loopback addresses)", u.Hostname())
		}
	default:
		return "", errors.New("base_url must begin with https://")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// IsLoopback tells whether a host, without its port, is this machine for sure: only
// to such a host may the key travel, or a contact come, in the clear.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func withBackOffDefaults(b backoff.ExponentialBackOff) backoff.ExponentialBackOff {
	d := backoff.NewExponentialBackOff()
	if b.InitialInterval > 0 {
		d.InitialInterval = b.InitialInterval
	}
	if b.MaxInterval > 0 {
		d.MaxInterval = b.MaxInterval
	}
	if b.Multiplier > 0 {
		d.Multiplier = b.Multiplier
	}
	if b.RandomizationFactor > 0 {
		d.RandomizationFactor = b.RandomizationFactor
	}
	d.MaxElapsedTime = b.MaxElapsedTime
	return *d
}

func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 64
	// HTTP/2 would send the body that [Client.attempt] sets as an empty frame,
	// and a GET with a body is what some gateways refuse.
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	return t
}

type request struct {
	method, path string
	query        url.Values
	body         []byte // JSON; none where nil
	maxRetries   int
	sizeHint     int // of the response body, in bytes
}

func (r *request) endpoint() string { return r.method + " " + r.path }

type response struct {
	body []byte
	date time.Time // the server's clock, in whole seconds; zero where unknown
}

// do makes attempts until one succeeds, fails for good, or the retries are used
// up.
func (c *Client) do(ctx context.Context, req *request) (*response, error) {
	boff := c.opts.BackOff
	for attempt := 0; ; attempt++ {
		if err := c.awaitPermission(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", req.endpoint(), err)
		}
		if attempt == 0 {
			boff.Reset()
		}
		res, err := c.attempt(ctx, req)
		if err == nil || attempt >= req.maxRetries || !isTemporary(err) || ctx.Err() != nil {
			return res, err
		}
		wait := boff.NextBackOff()
		if wait == backoff.Stop {
			return nil, err
		}
		if apiErr, ok := errors.AsType[*APIError](err); ok && apiErr.RetryAfter > wait {
			wait = apiErr.RetryAfter
			if limit := boff.MaxElapsedTime; limit > 0 && wait > limit-boff.GetElapsedTime() {
				return nil, err
			}
		}
		if ctxErr := sleep(ctx, wait); ctxErr != nil {
			return nil, fmt.Errorf("%w, and the wait to retry was cut short: %w", err, ctxErr)
		}
	}
}

func (c *Client) awaitPermission(ctx context.Context) error {
	// A call that will not be made must not be charged.
	for ctx.Err() == nil && c.opts.Limiter != nil {
		wait, err := c.opts.Limiter.Access(ctx)
		if err != nil {
			return fmt.Errorf("asking the rate limit: %w", err)
		}
		if wait <= 0 {
			break
		}
		if c.opts.OnWait != nil {
			c.opts.OnWait(wait)
		}
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("waiting for the rate limit: %w", err)
		}
	}
	return ctx.Err()
}

func (c *Client) attempt(ctx context.Context, req *request) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()

	target := c.base + req.path
	if len(req.query) > 0 {
		target += "?" + req.query.Encode()
	}
	// A body that cannot be rewound, even where it is empty: net/http sends other
	// requests again by itself, unseen by the Limiter, when a kept-alive connection
	// breaks.
	hreq, err := http.NewRequestWithContext(ctx, req.method, target, io.MultiReader(bytes.NewReader(req.body)))
	if err != nil {
		return nil, newTransportError(req.endpoint(), err)
	}
	if req.body != nil {
		hreq.ContentLength = int64(len(req.body))
		hreq.Header.Set("Content-Type", "application/json")
	}
	hreq.Header.Set("Authorization", c.header)
	hreq.Header.Set("Accept", "application/json")
	hreq.Header.Set("User-Agent", "wisepops-connect")

	start := time.Now()
	res, status, err := c.exchange(hreq, req)
	if c.opts.OnAttempt != nil {
		a := Attempt{Endpoint: req.endpoint(), Status: status, Latency: time.Since(start)}
		if apiErr, ok := errors.AsType[*APIError](err); ok {
			a.RetryAfter = apiErr.RetryAfter
		}
		c.opts.OnAttempt(a)
	}
	return res, err
}

func (c *Client) exchange(hreq *http.Request, req *request) (*response, int, error) {
	// Not http.Client: it follows redirects, and parses (and quotes) a Location
	// even when told not to.
	hres, err := c.opts.Transport.RoundTrip(hreq)
	if err != nil {
		return nil, 0, newTransportError(req.endpoint(), err)
	}
	defer func() { _ = hres.Body.Close() }()

	date, _ := http.ParseTime(hres.Header.Get("Date"))
	if hres.StatusCode < 200 || hres.StatusCode > 299 {
		// A short error body is read so that the connection can be used again.
		body, _ := io.ReadAll(io.LimitReader(hres.Body, maxErrorBytes))
		return nil, hres.StatusCode, &APIError{
			Endpoint:   req.endpoint(),
			Status:     hres.StatusCode,
			Blocked:    hres.StatusCode == http.StatusForbidden && !mayBeJSON(body),
			RetryAfter: retryAfter(strings.Join(hres.Header.Values("Retry-After"), ","), date),
		}
	}
	body, err := readBody(hres, req.sizeHint)
	if err != nil {
		return nil, 0, newTransportError(req.endpoint(), err)
	}
	return &response{body: withoutBOM(body), date: date}, hres.StatusCode, nil
}

// withoutBOM skips the byte order mark that some programs put in front of a text.
func withoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// mayBeJSON reports whether the body of an error can be the API's: JSON, the beginning of
// a long one, or nothing.
func mayBeJSON(body []byte) bool {
	body = bytes.TrimSpace(withoutBOM(body))
	if len(body) == 0 || json.Valid(body) {
		return true
	}
	return len(body) > maxErrorBytes/2 && (body[0] == '{' || body[0] == '[')
}

func readBody(hres *http.Response, sizeHint int) ([]byte, error) {
	if hres.ContentLength > maxResponseBytes {
		return nil, ErrResponseTooLarge
	}
	size := int64(min(max(sizeHint, 0), maxResponseBytes))
	if hres.ContentLength >= 0 {
		size = hres.ContentLength
	}
	// bytes.Buffer grows before it learns of the end of the body, unless there
	// is room for one more read.
	buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	n, err := buf.ReadFrom(io.LimitReader(hres.Body, maxResponseBytes+1))
	if err != nil {
		return nil, err
	}
	if n > maxResponseBytes {
		return nil, ErrResponseTooLarge
	}
	return buf.Bytes(), nil
}

func isTemporary(err error) bool {
	if apiErr, ok := errors.AsType[*APIError](err); ok {
		return apiErr.temporary()
	}
	if trErr, ok := errors.AsType[*TransportError](err); ok {
		return !errors.Is(trErr, ErrResponseTooLarge)
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wisepops-connect/wisepops-connect/internal/metadata"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	healthPath = "healthz"

	// A body's room is not taken before its bytes come, but for this much.
	firstRead = 16 << 10

	// openPerPlace is how many requests may be open for each that may wait for the
	// pipeline: the others are being read, or are a stranger's.
	openPerPlace = 8
	openAtLeast  = 256 // so that a stranger does not take the only place with a few

	retryAfter = "1" // seconds

	// refusalLogInterval is how often refused deliveries are logged: a stranger who
	// knocks must not fill the logs.
	refusalLogInterval = 10 * time.Minute

	eventUnknown = "none"
)

// bodyTimeout is how long a body may take. Tests shorten it.
var bodyTimeout = 10 * time.Second

// isSubpath tells what is served below the path of an input. All events
// are, whichever are registered: hooks may be older than the configuration.
func isSubpath(name string) bool {
	return name == healthPath || slices.Contains(wisepops.Events(), name)
}

func (rec *receiver) serveHealth(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		respond(w, http.StatusMethodNotAllowed)
		return
	}
	if stopped, _ := rec.ending(); stopped {
		w.Header().Set("Connection", "close")
		respond(w, http.StatusServiceUnavailable)
		return
	}
	respond(w, http.StatusOK)
}

func (rec *receiver) serveDelivery(w http.ResponseWriter, r *http.Request, event string) {
	start := time.Now()
	if event == "" {
		event = queriedEvent(r.URL)
	}
	status := rec.handle(w, r, event)
	if event == "" {
		event = eventUnknown
	}
	rec.counts.Incr(1, event, strconv.Itoa(status))
	rec.latency.Timing(time.Since(start).Nanoseconds())
}

// queriedEvent returns what a target such as https://…/wisepops?event=email says of a
// delivery; empty where that is no event.
func queriedEvent(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	event := strings.ToLower(u.Query().Get("event"))
	if !slices.Contains(wisepops.Events(), event) {
		return ""
	}
	return event
}

// handle answers a request, and returns the status.
func (rec *receiver) handle(w http.ResponseWriter, r *http.Request, event string) int {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return respond(w, http.StatusMethodNotAllowed)
	}
	entered, crowded := rec.enter()
	if !entered {
		w.Header().Set("Connection", "close")
		return respond(w, http.StatusServiceUnavailable)
	}
	defer rec.leave()

	status := http.StatusServiceUnavailable
	if !crowded {
		status = rec.receive(w, r, event)
	}
	rec.warn(status)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	stopped, closed := rec.ending()
	if stopped {
		w.Header().Set("Connection", "close")
	}
	if stopped || status != http.StatusOK {
		respond(w, status)
	} // else net/http says the same, without a copy of the headers
	if closed {
		// Close waits for this handler, and what it wrote would still be on its way.
		_ = http.NewResponseController(w).Flush()
	}
	return status
}

// receive reads a delivery, hands it to the pipeline, and returns the status of
// the answer.
func (rec *receiver) receive(w http.ResponseWriter, r *http.Request, event string) int {
	for _, coding := range r.Header["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return http.StatusUnsupportedMediaType
		}
	}
	if r.ContentLength > rec.maxBody {
		return http.StatusRequestEntityTooLarge
	}
	signatures := r.Header[wisepops.SignatureHeader]
	if rec.keys != nil && len(signatures) != 1 {
		return http.StatusUnauthorized
	}
	body, status := rec.readBody(w, r)
	if status != http.StatusOK {
		return status
	}
	if rec.keys != nil && !wisepops.Verify(signatures[0], body, rec.keys...) {
		return http.StatusUnauthorized
	}
	contacts, err := wisepops.ParseDelivery(body)
	if err != nil {
		return http.StatusBadRequest
	}
	if len(contacts) == 0 {
		return http.StatusOK
	}
	return rec.deliver(newDelivery(metadata.Contacts(contacts, metadata.SourceWebhook, event)))
}

func (rec *receiver) readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int) {
	var err error
	if n := r.ContentLength; n >= 0 && n <= firstRead {
		body = make([]byte, n)
		_, err = io.ReadFull(r.Body, body)
	} else {
		buf := bytes.NewBuffer(make([]byte, 0, firstRead))
		_, err = buf.ReadFrom(io.LimitReader(r.Body, rec.maxBody+1))
		body = buf.Bytes()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, http.StatusRequestTimeout
	case err != nil:
		return nil, http.StatusBadRequest
	case int64(len(body)) > rec.maxBody:
		return nil, http.StatusRequestEntityTooLarge
	}
	// The pipeline may take longer than the body.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, http.StatusOK
}

// warn logs that deliveries are refused, now and then.
func (rec *receiver) warn(status int) {
	var hint string
	switch status {
	case http.StatusUnauthorized:
		hint = "the signature is missing or of another key: check api_key, and previous_api_keys while a key is rotated"
	case http.StatusBadRequest:
		hint = "the body is not JSON of contacts: check what stands in front of the input"
	case http.StatusRequestEntityTooLarge:
		hint = fmt.Sprintf("the body is longer than %s (%d): raise it", fieldMaxBodyBytes, rec.maxBody)
	case http.StatusUnsupportedMediaType:
		hint = "the body is compressed: turn that off in what stands in front of the input"
	default:
		return
	}
	now := time.Now().Unix()
	warnedAt := &rec.warnedAt[status]
	last := warnedAt.Load()
	if now-last < int64(refusalLogInterval.Seconds()) || !warnedAt.CompareAndSwap(last, now) {
		return
	}
	rec.log.Warnf("A delivery was refused with status %d: %s (further ones are counted in wisepops_deliveries, and not logged for %s)", status, hint, refusalLogInterval)
}

var noLength = []string{"0"}

// respond answers with a status and its name, and returns the status.
func respond(w http.ResponseWriter, status int) int {
	if status == http.StatusOK {
		w.Header()["Content-Length"] = noLength
		w.WriteHeader(status)
		return status
	}
	http.Error(w, http.StatusText(status), status)
	return status
}

package sandbox

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"time"
)

// Fault is what a control function does to one request, see [Service.Control].
// Its parts combine: first Delay and Hang, then DropConnection or an answer.
// The zero Fault is the normal answer.
type Fault struct {
	// Delay is waited out before anything else.
	Delay time.Duration

	// Hang holds the request until the client goes away or [Service.Release]
	// lets it go on.
	Hang bool

	// Effective has the call take effect although its answer is lost to
	// DropConnection, Status or Body: a hook is created, and the client does not
	// learn of it.
	Effective bool

	// DropConnection closes the connection without an answer.
	DropConnection bool

	// Status replaces the answer by an error of this status.
	Status int

	// Body replaces the body of the answer (with status 200 unless Status says
	// otherwise), and ContentType what is said of it, by default text/html.
	Body        []byte
	ContentType string

	// CutBody declares the full length of the body, sends half of it, and
	// closes the connection.
	CutBody bool

	// RetryAfter is the header of that name, verbatim.
	RetryAfter string

	// Header replaces headers of the answer. A nil value leaves a header out,
	// Date too.
	Header http.Header
}

// Control sets the function that is asked about every request before anything
// else looks at it; nil from it means the normal answer, and a nil function ends
// all faults. It is called concurrently, without locks held: it may call methods
// of the Service, for example to add a contact between two pages.
func (s *Service) Control(fn func(*http.Request) *Fault) {
	if fn == nil {
		s.control.Store(nil)
		return
	}
	s.control.Store(&fn)
}

// Release lets the requests that a [Fault] has hanging go on. It does not
// concern requests that come later.
func (s *Service) Release() {
	s.hangMu.Lock()
	defer s.hangMu.Unlock()
	close(s.hang)
	s.hang = make(chan struct{})
}

func (s *Service) faultOf(r *http.Request) *Fault {
	if fn := s.control.Load(); fn != nil {
		return (*fn)(r)
	}
	return nil
}

// released returns what the next Release closes.
func (s *Service) released() <-chan struct{} {
	s.hangMu.Lock()
	defer s.hangMu.Unlock()
	return s.hang
}

// wait waits as the fault demands, and reports whether the client is still
// there.
func (f *Fault) wait(r *http.Request, released <-chan struct{}) bool {
	if !f.Hang && f.Delay <= 0 {
		return true
	}
	// net/http notices that a client has gone only once the body was read.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))

	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return false
		}
	}
	if f.Hang {
		select {
		case <-released:
		case <-r.Context().Done():
			return false
		}
	}
	return true
}

// apply returns the answer as the fault changes it; normal is called only where
// something of it remains.
func (f *Fault) apply(normal func() answer) answer {
	if f == nil {
		return normal()
	}
	var a answer
	switch {
	case f.Body != nil:
		a = answer{status: http.StatusOK, contentType: "text/html; charset=utf-8", body: [][]byte{f.Body}}
	case f.Status != 0:
		a = refusal(f.Status, http.StatusText(f.Status))
	default:
		a = normal()
	}
	if f.Status != 0 {
		a.status = f.Status
	}
	if f.ContentType != "" {
		a.contentType = f.ContentType
	}
	header := http.Header{}
	maps.Copy(header, a.header)
	if f.RetryAfter != "" {
		header.Set("Retry-After", f.RetryAfter)
	}
	for name, values := range f.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	a.header = header
	return a
}

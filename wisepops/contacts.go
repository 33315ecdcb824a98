package wisepops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

var errNotJSON = errors.New("the answer is not JSON")

// MaxPageSize is the largest page that GET /contacts serves.
const MaxPageSize = 1000

// ContactsRequest asks for one page of contacts (GET /contacts).
type ContactsRequest struct {
	// CollectedAfter bounds the contacts from below; zero for all of them. It is
	// sent in milliseconds, rounded down. Whether the API includes the instant
	// itself, or cuts it to seconds, is not documented.
	CollectedAfter time.Time

	WisepopID int64 // limits to one pop-up; 0 for all
	PageSize  int   // 1 to [MaxPageSize]; 0 for the API's default, 100
	Page      int   // from 1; 0 is the first

	// NoRetry makes one attempt only, whatever the client's MaxRetries.
	NoRetry bool

	// SizeHint is the expected length of the answer in bytes, such as the last
	// page's: it saves copies where the API does not announce the length.
	SizeHint int
}

// ContactsPage is one page of contacts in the API's order: that of their arrival, as
// documented, so that their times may step back.
type ContactsPage struct {
	Contacts []Contact
	Date     time.Time // the server's clock (Date header, whole seconds); zero where unknown
	Size     int       // length of the answer in bytes
}

// Contact is what one pop-up collected from one visitor.
type Contact struct {
	// Raw is the contact's own JSON, byte for byte. It shares memory with the
	// other contacts of its page: treat it as read-only.
	Raw []byte

	ID          ID        // see [ContactID]
	CollectedAt time.Time // UTC; zero where missing or not a time
	WisepopID   string    // as written; empty where missing
}

// Contacts returns one page of the contacts that pop-ups collected.
//
// Errors: [APIError], [TransportError], [FormatError], or those of the
// [Limiter] and the context.
func (c *Client) Contacts(ctx context.Context, r ContactsRequest) (*ContactsPage, error) {
	if r.PageSize < 0 || r.PageSize > MaxPageSize {
		return nil, fmt.Errorf("page_size must be between 1 and %d", MaxPageSize)
	}
	if r.Page < 0 {
		return nil, errors.New("page must be at least 1")
	}
	query := url.Values{}
	if !r.CollectedAfter.IsZero() {
		query.Set("collected_after", FormatTime(r.CollectedAfter))
	}
	if r.WisepopID != 0 {
		query.Set("wisepop_id", strconv.FormatInt(r.WisepopID, 10))
	}
	if r.PageSize != 0 {
		query.Set("page_size", strconv.Itoa(r.PageSize))
	}
	if r.Page > 1 {
		query.Set("page", strconv.Itoa(r.Page))
	}
	req := &request{method: http.MethodGet, path: "/contacts", query: query, maxRetries: c.opts.MaxRetries, sizeHint: r.SizeHint}
	if r.NoRetry {
		req.maxRetries = 0
	}
	res, err := c.do(ctx, req)
	if err != nil {
		return nil, err
	}
	contacts, err := ParseContacts(res.body)
	if err != nil {
		return nil, &FormatError{Endpoint: req.endpoint(), Reason: err.Error()}
	}
	return &ContactsPage{Contacts: contacts, Date: res.date, Size: len(res.body)}, nil
}

// ParseContacts cuts a JSON array of contacts, as GET /contacts answers and hooks
// receive, without decoding or copying it: the contacts share memory with body,
// which must not be changed afterwards. An element that is not an object is kept, with
// an id but no time. It accepts exactly the arrays that encoding/json accepts,
// nested no deeper than 10,000, also behind a byte order mark. Contacts that nothing
// tells apart have one id: see [NumberTwins]. The error does not quote the body.
func ParseContacts(body []byte) ([]Contact, error) {
	body = withoutBOM(body)
	p := newContactParser(body)
	defer p.release()
	i := p.skipSpace(0)
	if !p.is(i, '[') {
		if json.Valid(body) {
			return nil, errors.New("the answer is JSON, but not an array of contacts")
		}
		return nil, errNotJSON
	}
	var contacts []Contact
	i = p.skipSpace(i + 1)
	for !p.is(i, ']') || len(contacts) > 0 {
		p.nodes = p.nodes[:0]
		end := p.value(i, 1)
		if end == broken {
			return nil, errNotJSON
		}
		if contacts == nil {
			contacts = make([]Contact, 0, min(len(body)/(end-i)+1, MaxPageSize))
		}
		contacts = append(contacts, p.contact())
		i = p.skipSpace(end)
		if p.is(i, ']') {
			break
		}
		if !p.is(i, ',') {
			return nil, errNotJSON
		}
		i = p.skipSpace(i + 1)
	}
	if p.skipSpace(i+1) != len(body) {
		return nil, errNotJSON
	}
	return contacts, nil
}

// ParseDelivery cuts what a hook receives, as [ParseContacts] does: an array of objects,
// or a single object, which is a delivery of one. Each contact has an id of its own
// ([NumberTwins]).
func ParseDelivery(body []byte) ([]Contact, error) {
	body = withoutBOM(body)
	if object := bytes.TrimLeft(body, " \n\t\r"); len(object) > 0 && object[0] == '{' {
		p := newContactParser(body)
		defer p.release()
		end := p.value(len(body)-len(object), 0)
		if p.skipSpace(end) != len(body) {
			return nil, errNotJSON
		}
		return []Contact{p.contact()}, nil
	}
	contacts, err := ParseContacts(body)
	if err != nil {
		return nil, err
	}
	for i := range contacts {
		if contacts[i].Raw[0] != '{' {
			return nil, errors.New("the delivery holds something else than contacts")
		}
	}
	NumberTwins(contacts)
	return contacts, nil
}

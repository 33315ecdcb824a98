package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// contactsQuery is what a call to GET /contacts asks for.
type contactsQuery struct {
	collectedAfter time.Time
	bounded        bool // whether collectedAfter was given
	wisepopID      int64
	page           int
	pageSize       int
}

// getContacts answers GET /contacts as documented in
// https://support.wisepops.com/en/articles/wisepops-api-documentation: a JSON
// array, empty where the page lies behind the last contact. Parameters that are doubled or
// unreadable are refused, so that a client's mistakes show.
func (s *Service) getContacts(r *http.Request) answer {
	q, err := parseContactsQuery(r.URL.RawQuery, s.opts.Strict)
	if err != nil {
		return refusal(http.StatusBadRequest, err.Error())
	}
	size, stride := q.pageSize, q.pageSize
	if s.opts.PageCap > 0 && size > s.opts.PageCap {
		size = s.opts.PageCap
		if !s.opts.PageCapSkips {
			stride = size
		}
	}
	if s.opts.PageIgnored {
		q.page = 1
	}
	page, body, past := s.cutPage(q, size, stride)
	if past && s.opts.PastEnd == PastEndNotFound {
		return refusal(http.StatusNotFound, "there is no such page")
	}
	if page.count >= size {
		s.churn(page.rows)
	}
	return answer{status: http.StatusOK, contentType: "application/json", body: body}
}

// cutPage reports whether the page lies past the last one, which is never the first.
func (s *Service) cutPage(q contactsQuery, size, stride int) (page joiner, body [][]byte, past bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := view{
		order:     s.opts.Order,
		wisepopID: q.wisepopID,
		late:      s.opts.FilterAfterPaging,
		blanks:    s.opts.BlankEvery,
		keep:      s.opts.DeletePerPage > 0,
	}
	if q.bounded && !s.opts.BoundIgnored {
		v.from = s.store.search(s.firstServed(q.collectedAfter))
	}
	page, past = s.store.page(v, (q.page-1)*stride, size)
	past = past && q.page > 1
	if past && s.opts.PastEnd == PastEndLastPage {
		last := max(s.store.places(v)-1, 0) / stride
		page, _ = s.store.page(v, last*stride, size)
	}
	return page, page.array(), past
}

// churn changes the contacts once a full page was served.
func (s *Service) churn(served []row) {
	if n := min(s.opts.DeletePerPage, len(served)); n > 0 {
		gone := map[uint64]bool{}
		for i := range n {
			gone[served[i*len(served)/n].place()] = true
		}
		s.mu.Lock()
		s.store.remove(func(r row) bool { return gone[r.place()] })
		s.mu.Unlock()
	}
	for range s.opts.InsertPerPage {
		s.Submit()
	}
}

// firstServed returns the first millisecond that a bound lets through.
func (s *Service) firstServed(bound time.Time) int64 {
	bound = bound.Add(s.opts.BoundOffset)
	if s.opts.SecondBoundUp {
		bound = bound.Add(time.Second - time.Nanosecond)
	}
	if s.opts.SecondBound || s.opts.SecondBoundUp {
		bound = bound.Truncate(time.Second)
	}
	floor := bound.UnixMilli()
	if s.opts.ExclusiveBound || bound.After(time.UnixMilli(floor)) {
		return floor + 1
	}
	return floor
}

func parseContactsQuery(raw string, strict bool) (contactsQuery, error) {
	q := contactsQuery{page: 1, pageSize: defaultPageSize}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, errors.New("the query string is malformed")
	}
	for name, given := range values {
		if len(given) > 1 {
			return q, fmt.Errorf("%s is given twice", name)
		}
		value := given[0]
		switch name {
		case "collected_after":
			if q.collectedAfter, err = parseBound(value, strict); err != nil {
				return q, err
			}
			q.bounded = true
		case "wisepop_id":
			q.wisepopID, err = strconv.ParseInt(value, 10, 64)
			if err != nil || q.wisepopID < 1 {
				return q, errors.New("wisepop_id must be a positive integer")
			}
		case "page":
			page, err := strconv.ParseUint(value, 10, 31)
			if err != nil || page < 1 {
				return q, errors.New("page must be an integer from 1")
			}
			q.page = int(page)
		case "page_size":
			size, err := strconv.ParseUint(value, 10, 31)
			if err != nil || size < 1 || size > maxPageSize {
				return q, fmt.Errorf("page_size must be an integer from 1 to %d", maxPageSize)
			}
			q.pageSize = int(size)
		default:
			if strict {
				return q, fmt.Errorf("%s is not a parameter of this endpoint", name)
			}
		}
	}
	return q, nil
}

// parseBound reads an instant. One with another zone or none, or a date alone, is taken
// unless strict: so is a plus that was not escaped, and came as a space.
func parseBound(value string, strict bool) (at time.Time, err error) {
	// UnmarshalText is stricter than time.Parse, but for a decimal comma.
	err = at.UnmarshalText([]byte(value))
	if _, offset := at.Zone(); err == nil && !strings.Contains(value, ",") && (offset == 0 || !strict) {
		return at, nil
	}
	if strict {
		return at, errors.New("collected_after must be an RFC 3339 time in UTC")
	}
	if zone := strings.LastIndexByte(value, ' '); zone > len(time.DateOnly) {
		value = value[:zone] + "+" + value[zone+1:]
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339, time.DateTime, "2006-01-02T15:04:05", time.DateTime + "Z07:00"} {
		if at, err = time.Parse(layout, value); err == nil && !strings.Contains(value, ",") {
			return at, nil
		}
	}
	return at, errors.New("collected_after must be an RFC 3339 time, or a date")
}

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
// array, empty where the page lies behind the last contact. Parameters that are
// unknown, doubled or unreadable are refused, so that a client's mistakes show.
func (s *Service) getContacts(r *http.Request) answer {
	q, err := parseContactsQuery(r.URL.RawQuery)
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

	s.mu.RLock()
	defer s.mu.RUnlock()
	from := 0
	if q.bounded {
		from = s.store.search(s.firstServed(q.collectedAfter))
	}
	return answer{
		status:      http.StatusOK,
		contentType: "application/json",
		body:        s.store.page(s.opts.Order, from, q.wisepopID, (q.page-1)*stride, size),
	}
}

// firstServed returns the first millisecond that a bound lets through.
func (s *Service) firstServed(bound time.Time) int64 {
	if s.opts.SecondBound {
		bound = bound.Truncate(time.Second)
	}
	floor := bound.UnixMilli()
	if s.opts.ExclusiveBound || bound.After(time.UnixMilli(floor)) {
		return floor + 1
	}
	return floor
}

func parseContactsQuery(raw string) (contactsQuery, error) {
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
			// UnmarshalText is stricter than time.Parse, but for a decimal comma.
			err = q.collectedAfter.UnmarshalText([]byte(value))
			_, offset := q.collectedAfter.Zone()
			if err != nil || offset != 0 || strings.Contains(value, ",") {
				return q, errors.New("collected_after must be an RFC 3339 time in UTC")
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
			return q, fmt.Errorf("%s is not a parameter of this endpoint", name)
		}
	}
	return q, nil
}

package contacts

import (
	"maps"
	"math"
	"slices"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// beginning is the position of a watermark that has not moved yet.
	beginning = math.MinInt64

	// maxUndated is how many contacts without a readable time are remembered
	// although the API returns them no longer. Those that it does return are all
	// remembered: else they would be delivered at each poll.
	maxUndated = 1000
)

// progress is how far contacts were read, or acknowledged. All instants are in
// milliseconds since 1970.
type progress struct {
	marks

	// seen holds the contacts dated keepFrom or later.
	seen map[wisepops.ID]int64

	undated map[wisepops.ID]struct{} // contacts without a readable time

	// website tells the API key apart from others, and not more.
	website string

	// migrated says that the progress was read from format 1, whose ids cannot be
	// compared with today's: its overlap, a second, may be delivered once more.
	migrated bool
}

// marks is the part of the progress whose size does not depend on the contacts.
type marks struct {
	position int64 // everything dated up to it was read; or beginning

	// safe is the newest instant read that lies behind every plausible clock: the
	// last position before a clock jumped ahead, if one did.
	safe int64
	// before is where the position stood before it last moved by more than an hour:
	// both clocks may have jumped then.
	before int64
	// agreed is the newest position that was reached while both clocks agreed: a
	// clock that lies before it is wrong.
	agreed int64

	// keepFrom bounds what is seen. The next run begins here, and a contact dated
	// earlier is taken as delivered where nothing better is known.
	keepFrom int64

	lateness int64 // most milliseconds that collected_at stepped back by, in the order of arrival

	total   int   // contacts read since the first one, where counted
	counted bool  // total holds all of them
	checked int64 // when a run was last held against its count; or beginning
	proven  int   // the total then
	doubted int64 // when a check was last answered with nothing, and says nothing; or beginning
	// disputed says that it did not agree, whatever was read again: that is not
	// repeated at each poll.
	disputed bool

	habits habits

	// tail is the run that ended with more contacts under its bound than fit into a
	// page: the next one looks at its end.
	tail tail

	// cursor is where a sweep stands whose order allows no position yet, so that a
	// crash does not start it over.
	cursor cursor
}

// habits is what the API was seen to do. It is stored, so that it is found out
// once.
type habits struct {
	Ascending   bool `json:"oldest_first,omitempty"`
	Descending  bool `json:"newest_first,omitempty"`
	PageIgnored bool `json:"page_ignored,omitempty"`   // answers the first page whatever page is requested
	Early       bool `json:"bound_early,omitempty"`    // returns contacts from before the bound
	Filtered    bool `json:"pages_filtered,omitempty"` // pages are short although more contacts follow
	LongestPage int  `json:"longest_page,omitempty"`   // a shorter one is not cut
	PageCap     int  `json:"page_cap,omitempty"`       // pages are cut to as many; 0 where they are not
}

type tail struct {
	after int64
	total int
	first bool // the next run looks at the first page instead
}

type cursor struct {
	after    int64
	end      int // how many contacts under the bound were read; 0 for no sweep
	now      int64
	latest   int64
	safe     int64
	floor    int64 // what is dated from here on is remembered
	restarts int
	last     []wisepops.ID // the last page, to find the place again; never changed
}

// delta is what a page adds to the acknowledged progress.
type delta struct {
	marks
	seen          []seenContact
	undated       []wisepops.ID
	forget        []wisepops.ID // seen, and gone from the API
	forgetUndated []wisepops.ID
	completeTo    int64 // everything up to this instant was read; 0 in the middle of a run
}

type seenContact struct {
	id wisepops.ID
	at int64
}

func newProgress() progress {
	return progress{
		marks: marks{
			position: beginning,
			safe:     beginning,
			before:   beginning,
			agreed:   beginning,
			keepFrom: beginning,
			counted:  true,
			checked:  beginning,
			doubted:  beginning,
		},
		seen:    map[wisepops.ID]int64{},
		undated: map[wisepops.ID]struct{}{},
	}
}

func (p *progress) clone() progress {
	c := *p
	c.seen = maps.Clone(p.seen)
	c.undated = maps.Clone(p.undated)
	return c
}

// size is how many contacts are remembered.
func (p *progress) size() int { return len(p.seen) + len(p.undated) + len(p.cursor.last) }

// apply adds a page. Pages are applied in the order in which they were read.
func (p *progress) apply(d *delta) {
	raised := d.keepFrom > p.keepFrom
	p.marks = d.marks
	if raised {
		maps.DeleteFunc(p.seen, func(_ wisepops.ID, at int64) bool { return at < p.keepFrom })
	}
	for _, s := range d.seen {
		if s.at >= p.keepFrom { // others would be forgotten at once
			p.seen[s.id] = s.at
		}
	}
	for _, id := range d.forget {
		delete(p.seen, id)
	}
	for _, id := range d.undated {
		p.undated[id] = struct{}{}
	}
	for _, id := range d.forgetUndated {
		delete(p.undated, id)
	}
}

// sortedIDs returns ids in an order that does not depend on the map, so that the
// same progress is stored as the same bytes.
func sortedIDs(ids map[wisepops.ID]struct{}) []wisepops.ID {
	return slices.SortedFunc(maps.Keys(ids), compareIDs)
}

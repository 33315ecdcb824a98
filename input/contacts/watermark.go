package contacts

import (
	"errors"
	"slices"
	"time"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// orderProof is how many times in a row a later instant must follow an
	// earlier one before the API is taken to serve oldest contacts first. By
	// chance that happens once in 20! orders.
	orderProof = 20

	// A page is asked for by page number instead of by time where more than one
	// contact in maxRereadShare of a page would be read again.
	maxRereadShare = 64

	// minOverlap is the least that a request reaches back, since the API may cut
	// its bound to seconds.
	minOverlap = time.Second

	// maxClockLead is how far a stored position may lie ahead of the server's
	// clock: the clocks of several servers differ a little.
	maxClockLead = time.Hour

	// A page shorter than asked for is suspected to be cut by the API where its
	// length is a round number, such as 100, 250 or 500.
	minPageCap   = 100
	pageCapUnits = 50

	// Where contacts arrive while an API that serves newest contacts first is read,
	// the same page comes again by right. That many of them, and pages, are not
	// expected to arrive just so.
	maxSamePages    = 3
	maxSameContacts = 60
)

var errSamePage = errors.New("the API answers the same page again and again, whatever page is asked for: nothing more can be read past it")

// question is one request for contacts.
type question struct {
	after int64 // bound in milliseconds, or beginning
	page  int   // from 1
	size  int   // page_size
}

// answer is what a page means.
type answer struct {
	fresh      []wisepops.Contact // to be delivered, in the order of the page
	undated    int                // how many of fresh have no readable time
	duplicates int                // how many were delivered before
	delta      delta              // what is known once the page is acknowledged

	caughtUp  bool // the run ends: there is nothing more at present
	finished  bool // collected_before is reached: there never will be more
	disorder  bool // the order that was relied upon broke: the run starts over
	clockBack bool // the position lay far ahead of the server's clock, and was set back
}

// delta is what a page adds to the acknowledged progress.
type delta struct {
	position   int64 // where the watermark stands after this page
	ordered    bool
	seen       []seenContact
	undated    []wisepops.ID
	completeTo int64 // everything up to this instant was read; 0 in the middle of a run
}

type seenContact struct {
	id wisepops.ID
	at int64
}

func (p *progress) apply(d *delta, overlap time.Duration) {
	horizon := int64(beginning)
	if d.position != p.position {
		horizon = reachBack(d.position, overlap)
	}
	for _, s := range d.seen {
		if s.at >= horizon { // others would be forgotten at once
			p.seen[s.id] = s.at
		}
	}
	p.addUndated(d.undated...)
	p.ordered = d.ordered
	p.moveTo(d.position, overlap)
}

// watermark decides which page of contacts to ask for next, and which contacts of
// an answer are new. It is pure: no I/O, no clock.
//
// A run is the sequence of requests of one poll. Requests that share a bound and
// differ in their page number are a sweep.
type watermark struct {
	progress

	pageSize int
	overlap  time.Duration
	auto     bool  // a run reaches back no further than is free
	from     int64 // contacts before it are left out; or beginning
	before   int64 // contacts from here on are left out; 0 for none

	next question

	// of the run
	startBound    int64
	startPosition int64
	moved         bool // a request of this run relied on the order
	unordered     bool // the order was disproved in this run

	// of the sweep
	clock    int64 // the server's clock when its first page was answered
	newest   int64 // newest instant so far
	latest   int64 // newest instant so far that does not lie after the clock
	mark     int64 // instant of the last ascent
	ascents  int   // how often an instant followed that is later by more than the overlap; kept between runs
	lastPage [2]wisepops.ID
	same     int // how often the last page came again

	// pending are the new contacts of the page, from the remembered-th on, that are
	// not among the seen yet. Most would be forgotten as soon as the position moves,
	// and never get there.
	pending    []seenContact
	remembered int
	newestSeen int64 // no seen contact is later

	longest int // longest page ever answered: a shorter one is not cut by the API
}

// newWatermark starts at from where p is new: a stored position wins over it.
func newWatermark(p progress, pageSize int, overlap time.Duration, from, before time.Time) *watermark {
	w := &watermark{
		progress: p,
		pageSize: pageSize,
		overlap:  max(overlap, minOverlap),
		from:     beginning,

		newestSeen: beginning,
	}
	for _, at := range p.seen {
		w.newestSeen = max(w.newestSeen, at)
	}
	if !from.IsZero() && (p.position == beginning || from.UnixMilli() <= p.position) {
		w.from = from.UnixMilli()
	}
	if !before.IsZero() {
		w.before = before.UnixMilli()
	}
	w.startRun()
	return w
}

func (w *watermark) bound(position int64) int64 {
	if position == beginning {
		position = w.from
	}
	if position == beginning {
		return beginning
	}
	return position - w.overlap.Milliseconds()
}

// runBound is the bound that a run begins with: where the overlap is auto, no more than a
// quarter of a page of known contacts comes again, so that a quiet poll is one call.
func (w *watermark) runBound() int64 {
	bound, most := w.bound(w.position), w.pageSize/4
	if !w.auto || w.position == beginning || len(w.seen) <= most {
		return bound
	}
	instants := make([]int64, 0, len(w.seen))
	for _, at := range w.seen {
		if at >= bound {
			instants = append(instants, at)
		}
	}
	if len(instants) <= most {
		return bound
	}
	slices.Sort(instants)
	return max(bound, min(instants[len(instants)-1-most], w.position-minOverlap.Milliseconds()))
}

func (w *watermark) startRun() {
	w.startPosition = w.position
	w.startBound = w.runBound()
	w.moved = false
	if w.unordered {
		w.unordered = false
		w.ascents = 0
	}
	w.startSweep(w.startBound, w.pageSize)
}

func (w *watermark) startSweep(after int64, size int) {
	w.next = question{after: after, page: 1, size: size}
	w.newest, w.latest, w.mark = beginning, beginning, beginning
	w.same = 0
}

// take reads the answer to the question in w.next, and puts the next one there.
func (w *watermark) take(contacts []wisepops.Contact, clock time.Time) (answer, error) {
	if err := w.checkSamePage(contacts); err != nil {
		w.startRun()
		return answer{}, err
	}
	if w.next.page == 1 {
		w.clock = clock.UnixMilli()
	}
	var a answer
	if w.position != beginning && w.position > w.clock+maxClockLead.Milliseconds() {
		w.position, w.startPosition = w.clock, w.clock
		a.clockBack = true
	}
	beyond := w.sort(contacts, &a)

	full := len(contacts) >= w.next.size
	suspect := !full && len(contacts) >= minPageCap && len(contacts)%pageCapUnits == 0 && len(contacts) >= w.longest
	w.longest = max(w.longest, len(contacts))
	w.ordered = !w.unordered && (w.ordered || w.ascents >= orderProof)

	if w.unordered {
		// What lies before the position was taken for read, and may not be.
		w.position = w.startPosition
	}
	switch {
	case w.unordered && w.moved:
		a.disorder = true
		w.moved = false
		w.startSweep(w.startBound, w.pageSize)
	case full && w.ordered && beyond:
		a.caughtUp = true
		a.finished = w.clock >= w.before
		w.advance()
	case full && w.ordered:
		w.advance()
		w.askOn()
	case full:
		w.next.page++
	case suspect && w.next.page == 1:
		// The same page size that the API seems to cut to, so that both agree on
		// where the second page begins.
		w.next = question{after: w.next.after, page: 2, size: len(contacts)}
	default:
		a.caughtUp = true
		a.finished = w.before != 0 && w.clock >= w.before
		a.delta.completeTo = w.clock
		w.advance()
	}
	w.remember(beginning)
	a.delta.position = w.position
	a.delta.ordered = w.ordered
	if a.caughtUp {
		w.startRun()
	}
	return a, nil
}

// sort tells the new contacts of a page from those delivered before, and judges
// the order. It reports whether the page reached collected_before.
func (w *watermark) sort(contacts []wisepops.Contact, a *answer) (beyond bool) {
	a.fresh = contacts[:0]
	a.delta.seen = make([]seenContact, 0, len(contacts))
	w.remembered = 0
	tolerance := w.overlap.Milliseconds()
	newestOfPage := int64(beginning)
	for i := range contacts {
		c := &contacts[i]
		if c.CollectedAt.IsZero() {
			w.takeUndated(c, a)
			continue
		}
		at := c.CollectedAt.UnixMilli()
		dup := w.known(c.ID, at, newestOfPage)
		late := newestOfPage != beginning && at < newestOfPage-tolerance ||
			!dup && w.newest != beginning && at < w.newest-tolerance
		newestOfPage = max(newestOfPage, at)
		switch {
		case late:
			// Up to the overlap, disorder is harmless: each request reaches back
			// that far.
			w.unordered = true
		case at > w.newest:
			w.newest = at
			w.judgeAscent(at, dup)
		}
		if w.before != 0 && at >= w.before {
			beyond = true
			continue
		}
		if at <= w.clock {
			w.latest = max(w.latest, at)
		}
		switch {
		case dup:
			a.duplicates++
		case at < w.from:
		default:
			a.fresh = append(a.fresh, *c)
			a.delta.seen = append(a.delta.seen, seenContact{c.ID, at})
			w.pending = a.delta.seen[w.remembered:]
		}
	}
	return beyond
}

// known tells whether a contact was delivered before, or stands in the page already:
// the same id is of the same instant.
func (w *watermark) known(id wisepops.ID, at, newestOfPage int64) bool {
	const tiesCompared = 16
	if at <= newestOfPage {
		if at < newestOfPage || len(w.pending) > tiesCompared && w.pending[len(w.pending)-tiesCompared].at == at {
			w.remember(beginning)
		}
		for i := len(w.pending) - 1; i >= 0 && w.pending[i].at == at; i-- {
			if w.pending[i].id == id {
				return true
			}
		}
	}
	if at > w.newestSeen {
		return false
	}
	_, seen := w.seen[id]
	return seen
}

// remember adds the pending contacts to the seen ones, but for those before the
// horizon.
func (w *watermark) remember(horizon int64) {
	for _, s := range w.pending {
		if s.at >= horizon {
			w.seen[s.id] = s.at
			w.newestSeen = max(w.newestSeen, s.at)
		}
	}
	w.remembered += len(w.pending)
	w.pending = nil
}

// judgeAscent counts a later instant as proof of the order, where it is one that
// disorder would have been noticed at.
func (w *watermark) judgeAscent(at int64, dup bool) {
	if w.mark != beginning && at <= w.mark+w.overlap.Milliseconds() {
		return
	}
	if w.mark != beginning && !dup {
		w.ascents++
	}
	w.mark = at
}

func (w *watermark) takeUndated(c *wisepops.Contact, a *answer) {
	if w.hasUndated(c.ID) {
		a.duplicates++
		return
	}
	w.addUndated(c.ID)
	a.undated++
	a.fresh = append(a.fresh, *c)
	a.delta.undated = append(a.delta.undated, c.ID)
}

// advance moves the position to the newest contact of the sweep.
func (w *watermark) advance() {
	if w.latest != beginning && (w.position == beginning || w.latest > w.position) {
		w.moveTo(w.latest, w.overlap)
		w.remember(reachBack(w.position, w.overlap))
	}
}

// askOn follows a full page of an API that serves oldest contacts first. By
// time, a contact that appears late or vanishes meanwhile moves none past the
// reader; but where contacts stand so close that much would be read again, or
// the page brought no later time, by page number.
func (w *watermark) askOn() {
	w.remember(beginning)
	after := w.bound(w.position)
	if after > w.next.after {
		again := 0
		for _, at := range w.seen {
			if at >= after {
				again++
			}
		}
		if again*maxRereadShare <= w.next.size {
			w.moved = true
			w.startSweep(after, w.next.size)
			return
		}
	}
	w.next.page++
}

// checkSamePage tells an API that ignores the page number, which would be asked
// for ever.
func (w *watermark) checkSamePage(contacts []wisepops.Contact) error {
	if len(contacts) == 0 || w.next.page == 1 {
		w.same = 0
	} else if ends := [2]wisepops.ID{contacts[0].ID, contacts[len(contacts)-1].ID}; ends == w.lastPage {
		if w.same++; w.same >= maxSamePages && w.same*len(contacts) >= maxSameContacts {
			return errSamePage
		}
	} else {
		w.same = 0
	}
	if len(contacts) > 0 {
		w.lastPage = [2]wisepops.ID{contacts[0].ID, contacts[len(contacts)-1].ID}
	}
	return nil
}

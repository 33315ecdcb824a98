package contacts

import (
	"slices"
	"time"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// wideSize is requested where pages of page_size are too small to tell the
	// order, or to overlap: the API's own default.
	wideSize = 100

	// checkInterval is how often a run is held against its count, and
	// doubtInterval how often where the API leaves contacts out of pages.
	checkInterval = int64(7 * 24 * time.Hour / time.Millisecond)
	doubtInterval = int64(24 * time.Hour / time.Millisecond)
)

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
	warnings   []warning          // each is told once, or when it changes

	caughtUp bool // the run ends: there is nothing more at present
	finished bool // collected_before is reached: there never will be more
}

type phase int

const (
	sweeping phase = iota
	checking       // one more page is requested, where the count says what it holds
	tailing        // the end of a sweep that did not fit into a page is requested
)

// watermark decides which page of contacts to request next, and which contacts of an
// answer are new. It is pure: no I/O, no clock.
//
// A run is the sequence of requests of one poll. Requests that share a bound and
// differ in their page number are a sweep.
type watermark struct {
	progress

	pageSize int
	overlap  int64
	auto     bool
	from     int64 // contacts before it are left out; or beginning
	until    int64 // contacts from here on are left out; 0 for none

	next question

	phase phase
	run   run
	sweep sweep
	check check
	page  reading

	ids          idSet // what was read in this process
	passed       int   // contacts from until on
	wholeHistory bool  // ids holds everything since the first contact
	newestSeen   int64 // no seen contact is later

	idle    int // calls in a row that brought nothing new, and ended no run
	strikes int // errors because of that, since a run has ended

	stuck *question // cannot be read past
	told  map[warningKind]warning
}

type run struct {
	startPosition int64
	began         int64 // by the clock
	arrived       int   // contacts collected since
	read          int   // contacts that were new
	wide          bool  // pages are requested larger than page_size
	widest        bool
	deep          bool                     // contacts from before keepFrom are new unless they are known
	forced        bool                     // the count did not agree: all is read by number
	suspect       int                      // length that pages may be cut to; 0 for none
	largest       int                      // page size of a forced run; 0 for no limit
	repeated      int                      // runs read again for the sake of the count
	head          []wisepops.ID            // its first page
	after         int64                    // and the bound of that
	undated       map[wisepops.ID]struct{} // those met
	latest, safe  int64                    // of completed sweeps
	floor         int64                    // what is dated earlier is not remembered
	early         bool                     // collected_before was reached
	keptAt        int64                    // position that keepFrom was derived from
	doubt         doubt
}

// newWatermark starts at from where p is new: a stored position wins over it. An
// overlap below zero is auto.
func newWatermark(p progress, pageSize int, overlap time.Duration, from, before time.Time) *watermark {
	w := &watermark{
		progress:   p,
		pageSize:   pageSize,
		overlap:    max(0, overlap.Milliseconds()),
		auto:       overlap < 0,
		from:       beginning,
		newestSeen: beginning,
		told:       map[warningKind]warning{},
	}
	w.wholeHistory = p.position == beginning && p.total == 0 && len(p.seen) == 0
	for _, at := range p.seen {
		w.newestSeen = max(w.newestSeen, at)
	}
	if !from.IsZero() && (p.position == beginning || from.UnixMilli() <= p.position) {
		w.from = from.UnixMilli()
	}
	if !before.IsZero() {
		w.until = before.UnixMilli()
	}
	w.startRun()
	if w.cursor.end > 0 {
		w.resume()
	}
	return w
}

// size is the page size to request.
func (w *watermark) size() int {
	n := w.pageSize
	if w.run.wide {
		n = max(n, wideSize)
	}
	if w.run.widest {
		n = wisepops.MaxPageSize
	}
	if w.habits.PageCap > 0 {
		n = min(n, w.habits.PageCap)
	}
	if w.run.largest > 0 {
		n = min(n, w.run.largest)
	}
	return n
}

// firstBound is the bound of a run that begins with the first contact.
func (w *watermark) firstBound() int64 { return whole(w.from) }

func (w *watermark) startRun() {
	head := w.run.head[:0]
	bound := w.keepFrom
	if w.position == beginning {
		bound = w.firstBound()
	}
	w.run = run{
		startPosition: w.position,
		keptAt:        w.position,
		began:         beginning,
		floor:         beginning,
		latest:        beginning,
		safe:          beginning,
		head:          head,
		undated:       map[wisepops.ID]struct{}{},
		doubt:         doubt{newest: beginning},
	}
	w.check = check{}
	// What is known comes again: a page must have room for something new.
	w.run.wide = w.habits.Early || 4*len(w.seen) >= 3*w.size()
	w.run.widest = w.habits.PageIgnored && (w.habits.Early || 4*len(w.seen) >= 3*w.size())
	switch {
	case w.stuck != nil:
		w.startSweep(w.stuck.after)
		w.next = *w.stuck
	case w.tail.total >= w.size() && !w.habits.PageIgnored && !w.habits.Filtered:
		w.startTail()
	default:
		w.startSweep(bound)
	}
}

// resume goes on with a sweep that a crash cut short.
func (w *watermark) resume() {
	c := w.cursor
	w.run.wide = true
	w.resetSweep(c.after)
	s := &w.sweep
	s.end, s.now, s.sure, s.latest, s.safe, s.restarts = c.end, c.now, c.now, c.latest, c.safe, c.restarts
	s.resumed, s.moved = true, true
	w.run.floor = c.floor
	s.last = append(s.last, c.last...)
	for _, id := range c.last {
		if w.ids.find(id) == nil {
			w.ids.add(id, s.number)
		}
	}
	page, size := nextWindow(c.end, w.size(), windowOverlap)
	w.next = question{after: c.after, page: page, size: size}
	w.run.doubt.held = w.next // it begins within the last page
}

// take reads the answer to the question in w.next, and puts the next one there. An
// error says that contacts exist which cannot be read; nothing is fresh then, and
// w.next asks again.
func (w *watermark) take(contacts []wisepops.Contact, server, own time.Time) (answer, error) {
	return w.takeAnswer(contacts, clocks{clockTime(server), clockTime(own)})
}

// pastEnd is take where the API answers that there is no such page (404).
func (w *watermark) pastEnd(server, own time.Time) (answer, error) {
	return w.takeAnswer(nil, clocks{clockTime(server), clockTime(own)})
}

func (w *watermark) takeAnswer(contacts []wisepops.Contact, c clocks) (a answer, err error) {
	if len(contacts) == 0 && w.contradicted() {
		again, err := w.takeEmpty(&a)
		switch {
		case err != nil:
			return answer{}, err
		case a.caughtUp:
			w.page.reset(nil, w.next)
			w.commit(&w.page, &a)
			w.startRun()
			return a, nil
		case again:
			return a, nil
		}
	}
	before := w.marks
	r := w.read(contacts, c, &a)
	if r.n > 0 {
		w.holds(r)
	}
	w.run.read += r.fresh
	w.tellClocks(c, &a)
	if r.early > 0 && !w.habits.Early {
		w.habits.Early = true
		w.warn(&a, warning{kind: warnBoundEarly})
	}
	switch {
	case r.verdict.behind && w.phase != checking && w.lastBeforeJump(r.verdict.latest) < w.position:
		w.setBack(r, &a)
	case w.phase == checking:
		w.takeCheck(r, &a)
	case w.phase == tailing:
		w.takeTail(r, &a)
	default:
		err = w.takePage(r, &a)
	}
	if err == nil && !a.caughtUp && w.fruitless(r) {
		err = errFruitless
	}
	w.habits.LongestPage = max(w.habits.LongestPage, r.n)
	if err != nil {
		// Its delta is discarded, so nothing is kept of it but what it shows of the API.
		learned := w.habits
		w.marks = before
		w.cursor = cursor{}
		w.habits = learned
		w.startRun()
		return a, err
	}
	w.commit(r, &a)
	if a.caughtUp {
		w.idle, w.strikes = 0, 0
		w.startRun()
	}
	return a, nil
}

// commit makes the delta of a page, and adds it to what was read.
func (w *watermark) commit(r *reading, a *answer) {
	d := &a.delta
	s := &w.sweep
	var known []int64
	if w.position != w.run.keptAt || a.caughtUp || w.cursor.end > 0 {
		known = w.knownInstants(r, a.caughtUp)
	}
	floor := w.keepFrom
	if w.position != beginning && (w.position != w.run.keptAt || a.caughtUp) {
		floor = max(floor, w.horizon(w.position, known), w.run.floor)
		w.run.keptAt = w.position
	}
	remember := max(floor, w.run.floor)
	if w.cursor.end > 0 && s.latest != beginning {
		// The position moves to the newest contact when the sweep ends: what is
		// earlier than that reaches back is not remembered.
		w.run.floor = max(w.run.floor, w.horizon(s.latest, known))
		w.cursor.floor = w.run.floor
		remember = max(remember, w.run.floor)
	}
	if a.caughtUp {
		w.keepTail(countFrom(known, floor))
	}
	n := 0
	for _, c := range r.added {
		if c.at >= remember {
			n++
		}
	}
	d.seen = make([]seenContact, 0, n)
	for _, c := range r.added {
		if c.at >= remember {
			d.seen = append(d.seen, c)
			w.newestSeen = max(w.newestSeen, c.at)
		}
	}
	d.undated = slices.Clone(r.undated)
	d.marks = w.marks
	d.keepFrom = floor
	w.apply(d)
	if w.ids.n > maxIDs && w.phase == sweeping && w.next.page == 1 && !w.run.forced {
		w.ids, w.wholeHistory = idSet{}, false
	}
}

// tellClocks warns where the clocks differ.
func (w *watermark) tellClocks(c clocks, a *answer) {
	if c.differ() {
		w.warn(a, warning{kind: warnClocksDiffer, from: c.server, to: c.own})
	} else {
		delete(w.told, warnClocksDiffer)
	}
}

// warn adds a warning, unless it was told.
func (w *watermark) warn(a *answer, x warning) {
	if last, ok := w.told[x.kind]; ok && (last == x || x.kind.once()) {
		return
	}
	w.told[x.kind] = x
	a.warnings = append(a.warnings, x)
}

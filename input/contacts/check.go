package contacts

import (
	"slices"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// minPageCap is the least that pages are expected to be cut to.
const minPageCap = 10

// checkGrowth is the growth of the total that calls for a check.
const checkGrowth = 10

// That many contacts, or a share of all, are believed to have arrived while they were read.
const (
	maxArrivals     = 10
	maxArrivalShare = 20
)

// maxErased is how many contacts may be erased between two checks, until that costs a
// further call.
const maxErased = 20

// maxRepeats is how often one run is read again because its count does not agree.
const maxRepeats = 2

// check is a request whose answer is known if the run was complete: the end of all
// that was read, by number. It finds pages that are cut or filtered, and contacts that
// were inserted behind the reader, which no page would show.
type check struct {
	after     int64
	total     int // contacts that should lie after it
	short     int // length of the page that looked like the last one, if it may have been cut
	found     int // how many lay there, at least
	again     int // times that the check was repeated
	byTime    bool
	last      wisepops.ID   // that the sweep ended with
	before    int           // the total when all was read again
	alike     int           // pages by time of the same length
	confirmed bool          // the first page came again, twice
	polled    bool          // what arrived since is looked for
	extra     int           // contacts that did not agree
	arrivals  int           // that would explain them
	missing   []wisepops.ID // seen, but not returned any more
}

// complete ends a sweep, and the run unless it has to be checked. The position moves
// only then: a crash before does not hide what the check finds.
func (w *watermark) complete(r *reading, a *answer) {
	s := &w.sweep
	w.run.latest, w.run.safe = max(w.run.latest, s.latest), max(w.run.safe, s.safe)
	switch {
	case w.run.forced && !w.habits.Filtered && 10*s.end < 9*w.check.found:
		if s.pages == 1 && r.n >= minPageCap && r.n < w.size() {
			w.run.largest = r.n
			w.startSweep(w.check.after)
			return
		}
		w.filters(a)
		w.byNumber(r)
		return
	case w.habits.Filtered && !w.run.forced && s.filled && !s.short:
		w.habits.Filtered = false // pages are full again, and nothing follows short ones
		w.settle(a)
		return
	case w.check.byTime || w.habits.Filtered || w.habits.Early && w.checked != beginning && (!w.counted || w.habits.PageIgnored):
		// Where bounds are not kept, contacts can be counted only from the first on.
		w.settle(a)
		return
	case w.check.polled && w.run.arrived >= w.check.arrivals && w.check.extra <= max(maxArrivals, w.check.total/maxArrivalShare):
		w.settle(a)
		return
	case w.check.polled:
		w.force(a)
		return
	}
	// A website's first contacts are few: what is true of them need not be of many.
	due := w.checked == beginning || s.now-w.checked >= checkInterval || w.total >= max(1, checkGrowth*w.proven)
	disputed := w.disputed && w.checked != beginning && s.now-w.checked < doubtInterval
	doubted := w.doubted != beginning && s.now-w.doubted < doubtInterval
	if (disputed || doubted) && !w.run.forced {
		w.finish(a)
		return
	}
	missing := w.missing(r)
	if !due && !w.run.forced && len(missing) == 0 && !w.looksCut(r) {
		w.finish(a)
		return
	}
	if !w.run.wide && w.pageSize < wideSize && s.pages == 1 && r.offset == 0 {
		// So few contacts prove little.
		w.run.wide = true
		w.startSweep(s.after)
		return
	}
	w.check.missing = missing
	w.check.short = 0
	w.check.last = lastOf(s.last, r.base)
	if r.offset == 0 {
		w.markPage(r)
	}
	if r.n > 0 && !r.within {
		s.last = append(s.last[:0], r.base...)
	}
	if r.n > 0 && !r.full && (r.n >= w.habits.LongestPage || len(missing) > 0) {
		w.check.short = r.n
	}
	switch {
	case w.run.forced:
		w.startCheck(w.check.after, s.end, a)
	case w.habits.PageIgnored && (w.checked == beginning || !due):
		w.checkByTime(r, a)
	case (due || w.habits.Early) && w.counted && !w.habits.PageIgnored && w.until == 0: // total is what lies before until
		w.startCheck(w.firstBound(), w.total, a)
	default:
		w.startCheck(s.after, s.end, a)
	}
}

// looksCut reports whether a page may be cut by the API although it is shorter than
// requested: none was longer. Where it is as long as the longest that is asked once
// a day, since nothing new may ever be seen otherwise.
func (w *watermark) looksCut(r *reading) bool {
	const least = 10
	if r.full || w.sweep.pages != 1 || r.n < least || r.n < w.habits.LongestPage {
		return false
	}
	return r.n > w.habits.LongestPage && r.fresh > 0 || w.sweep.now-w.checked >= doubtInterval
}

// missing returns the contacts that were seen after the bound, and that the only
// page under it does not hold: the API erased them, or it cut the page.
func (w *watermark) missing(r *reading) (ids []wisepops.ID) {
	s := &w.sweep
	if s.pages != 1 || r.offset != 0 || r.full || s.after != beginning && s.after%second != 0 {
		return nil
	}
	expected := 0
	for _, at := range w.seen {
		if at > s.after {
			expected++
		}
	}
	if r.met >= expected {
		return nil
	}
	page := make(map[wisepops.ID]struct{}, len(r.ids))
	for _, id := range r.ids {
		page[id] = struct{}{}
	}
	for id, at := range w.seen {
		if _, ok := page[id]; !ok && at > s.after {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

// startCheck requests the end of the contacts after a bound.
func (w *watermark) startCheck(after int64, total int, a *answer) {
	w.check.after, w.check.total = after, total
	w.run.wide = true
	q := checkQuestion(after, total, w.size())
	if q == w.next && total == w.sweep.end {
		w.settle(a) // the last page of the sweep was just that
		return
	}
	if spare := maxErased; !w.ofSweep() && total >= 5*spare {
		// Some were erased since they were counted.
		q.page, q.size = window(total, min(w.size(), total-spare), spare)
	}
	w.next, w.phase = q, checking
}

// checkQuestion requests the end of total contacts after a bound, with as much room
// behind it as a page has.
func checkQuestion(after int64, total, largest int) question {
	q := question{after: after, page: 2, size: largest}
	switch {
	case total == 1:
		q.size = 1
	case total > 1:
		q.page, q.size = window(total, min(largest, total-1), 1)
		if q.page*q.size <= total { // windows of a contact or two
			q.page = (total+q.size-1)/q.size + 1
		}
	}
	return q
}

// ofSweep reports whether the check requests what lies behind the sweep before it.
func (w *watermark) ofSweep() bool {
	return w.check.after == w.sweep.after && w.check.total == w.sweep.end
}

// takeCheck compares a page with what the count says.
func (w *watermark) takeCheck(r *reading, a *answer) {
	c := &w.check
	expected := max(0, c.total-r.offset)
	fresh, n := r.fresh+r.ahead, r.n
	if r.recent && c.again == maxRepeats && r.ahead <= maxArrivals {
		fresh, n = r.fresh, n-r.ahead // what arrives beyond collected_before does not end
	}
	switch {
	case c.total > 1 && expected > 0 && r.repeats && !c.confirmed:
		// It may be the last page again, if what should be on this one was erased.
		c.confirmed = true
		c.total = r.n
		w.next = checkQuestion(c.after, c.total, w.size())
	case c.total > 1 && expected > 0 && (r.repeats || r.n == 0):
		// No page is not enough to say that the number is ignored: the few contacts
		// that it should hold may have been erased.
		// So is the first page again, where it may be the last one.
		if r.repeats && r.n >= minPageCap/2 {
			w.ignoresPages(a)
		}
		if c.short > 0 {
			w.checkByTime(r, a)
			return
		}
		w.settle(a)
	case fresh == 0 && (n <= expected || expected == 0 && r.assumed == 0): // or the last page again
		// Fewer are contacts that were erased.
		if c.after == w.firstBound() && w.counted && r.n < expected && w.until == 0 {
			w.total = r.offset + r.n
		}
		if w.habits.PageIgnored && r.n == expected && expected > 0 {
			w.habits.PageIgnored = false // it is honoured again
		}
		w.settle(a)
	case fresh > 0 && r.recent && r.assumed == 0 && r.n-fresh <= expected && c.again < maxRepeats:
		// They may have arrived since the run began: then the next page agrees.
		c.again++
		if w.ofSweep() {
			w.sweep.last = append(w.sweep.last[:0], r.base...)
			w.sweep.end += fresh
		}
		c.total += fresh
		size := w.size()
		if c.short >= minPageCap {
			// Where pages are cut, a larger one would begin elsewhere.
			size = min(size, c.short)
		}
		w.next = checkQuestion(c.after, c.total, size)
	default:
		w.repeat(r, a)
	}
}

// checkByTime requests what lies behind nearly all that was read: where pages are cut
// and the page number is ignored, that brings more.
func (w *watermark) checkByTime(r *reading, a *answer) {
	w.check.byTime = true
	instants := r.sorted()
	if len(instants) > 0 {
		newest := instants[len(instants)-1]
		for _, bound := range [...]int64{whole(newest), newest - 1} {
			if bound > w.sweep.after && countFrom(instants, bound) < len(instants) {
				w.startSweep(bound)
				return
			}
		}
	}
	w.settle(a)
}

// settle ends a run that was checked.
func (w *watermark) settle(a *answer) {
	s := &w.sweep
	w.checked, w.doubted, w.disputed = s.now, beginning, false
	defer func() { w.proven = w.total }()
	if c := &w.check; w.run.deep && c.before > 0 && w.total > c.before && w.habits.PageCap == 0 && !w.habits.Filtered {
		w.warn(a, warning{kind: warnMiscounted, size: w.total, want: c.before})
	}
	if w.run.forced && w.check.after == w.firstBound() && !w.habits.Filtered && w.until == 0 {
		w.total, w.counted = s.end, true
	}
	if len(w.check.missing) > 0 && w.run.repeated == 0 && !w.check.polled {
		a.delta.forget = w.check.missing
		w.total = max(0, w.total-len(w.check.missing))
	}
	w.finish(a)
}

// finish ends a run.
func (w *watermark) finish(a *answer) {
	s := &w.sweep
	w.advance()
	a.caughtUp = true
	// Contacts may yet appear that are late.
	a.finished = w.until != 0 && s.now >= w.until+max(w.need(), lateReach)
	if !w.run.early {
		a.delta.completeTo = s.now
	}
	w.cursor = cursor{}
	w.stuck = nil
	if len(w.undated)+a.undated > maxUndated {
		for id := range w.undated {
			if _, met := w.run.undated[id]; !met {
				a.delta.forgetUndated = append(a.delta.forgetUndated, id)
			}
		}
	}
}

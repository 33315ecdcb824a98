package contacts

import (
	"slices"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// repeat reads again what does not agree with its count. Newest first, what arrived
// since moved the end: that is looked for first.
func (w *watermark) repeat(r *reading, a *answer) {
	c := &w.check
	// Where what comes again does not end as the sweep did, twice, it is not the last
	// page again, nor moved by contacts in front of it.
	fresh := r.fresh + r.ahead
	if fresh > 0 || c.shows(r.ids) || r.n > 0 && r.base[r.n-1] != c.last && w.run.repeated > 0 {
		c.found = r.offset + r.n
	}
	if c.before == 0 {
		c.before = w.total - r.fresh
	}
	if fresh > 0 || c.polled || w.habits.Ascending {
		w.force(a)
		return
	}
	c.polled = true
	c.extra = r.n - max(0, c.total-r.offset)
	c.arrivals = w.run.arrived + c.extra
	w.run.forced = false
	bound := w.firstBound()
	latest := w.sweep.latest
	if w.until != 0 && w.sweep.order.count > 0 {
		latest = max(latest, min(w.sweep.order.newest, w.sweep.now)) // what arrives lies beyond
	}
	if latest != beginning {
		bound = max(bound, whole(latest-max(w.need(), lateReach)))
	}
	w.startSweep(bound)
}

func lastOf(pages ...[]wisepops.ID) (id wisepops.ID) {
	for _, p := range pages {
		if len(p) > 0 {
			id = p[len(p)-1]
		}
	}
	return id
}

// shows reports whether ids hold one that was missing: then it was not erased.
func (c *check) shows(ids []wisepops.ID) bool {
	if len(c.missing) == 0 {
		return false
	}
	for _, id := range ids {
		if _, found := slices.BinarySearchFunc(c.missing, id, compareIDs); found {
			return true
		}
	}
	return false
}

// force reads all by number: nothing is trusted but the count. Where that ends too
// early as well, contacts are left out of pages, so that a short one is not the last.
func (w *watermark) force(a *answer) {
	c := &w.check
	w.run.repeated++
	w.run.largest, w.run.suspect = 0, 0
	cut := c.found > 0 && c.short >= minPageCap && c.short < w.size()
	switch {
	case w.run.repeated > maxRepeats:
		w.warn(a, warning{kind: warnMiscounted, size: max(c.found, c.total), want: c.total})
		w.settle(a)
		w.disputed = true
		return
	case c.found > 0 && w.run.repeated > 1 && !w.habits.Filtered:
		w.filters(a)
	case cut:
		w.run.suspect = c.short
	}
	c.polled = false
	w.run.forced, w.run.deep = true, true
	w.startSweep(c.after)
}

// explain tells cut pages from filtered ones by the first page of a forced run. It
// reports whether that has to be requested again: a page that is as short as before,
// although more are known to follow, was cut, or what is missing was left out of it.
// If a request for just as many fills the page, it was cut.
func (w *watermark) explain(r *reading, a *answer) (again bool) {
	suspect, largest := w.run.suspect, w.run.largest
	w.run.suspect, w.run.largest = 0, 0
	switch {
	case suspect > 0 && r.n == suspect:
		w.run.largest = suspect
		w.startSweep(w.check.after)
		return true
	case largest > 0 && r.full:
		w.cut(largest, a)
	case largest > 0:
		w.filters(a)
	}
	return false
}

func (w *watermark) cut(size int, a *answer) {
	w.habits.PageCap = size
	w.run.forced = false // it is explained
	w.warn(a, warning{kind: warnPageCapped, size: size})
}

func (w *watermark) filters(a *answer) {
	w.habits.Filtered = true
	w.tail = tail{}
	w.warn(a, warning{kind: warnPageFiltered})
}

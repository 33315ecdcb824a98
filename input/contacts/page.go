package contacts

import "slices"

// maxIdle is how many pages by number in a row may bring nothing to a sweep, as where
// many contacts were inserted in front of them. More are the same page again.
const maxIdle = 2

// takePage goes on with a sweep.
func (w *watermark) takePage(r *reading, a *answer) error {
	s := &w.sweep
	if r.offset > 0 && r.full && r.news == 0 {
		s.idle++
	} else {
		s.idle = 0
	}
	if r.offset > 0 && (r.repeats || s.idle > maxIdle || !s.paged && r.offset < s.end && r.n == 0 && !w.habits.Filtered) {
		return w.withoutPages(r, a)
	}
	if r.gap && w.backUp(a) {
		return nil
	}
	s.end = r.end
	s.pages++
	s.gapsRow = 0
	s.short = s.short || s.ended && r.n > max(0, r.overlap) && !r.stale
	s.ended = s.ended || !r.full
	s.filled = s.filled || r.full
	s.overlap = max(windowOverlap, s.overlap*3/4)
	s.paged = s.paged || r.offset > 0
	if r.n > 0 && !r.stale {
		s.empty = 0
	} else {
		s.empty++
	}
	if w.run.forced && r.offset == 0 {
		if w.explain(r, a) {
			return nil
		}
	}
	ascending := w.judgeOrder()
	if w.check.byTime && !r.full && r.fresh > 0 && r.n >= minPageCap && r.n == w.check.short {
		r.full = true // a page like the one that looked like the last
		if w.check.alike++; w.check.alike > 1 {
			w.cut(r.n, a)
		}
	}
	switch {
	case w.habits.Filtered && w.readsOn(r):
		w.byNumber(r)
	case !r.full:
		w.complete(r, a)
	case ascending && r.beyond && s.order.newest >= w.until+2*s.order.lateness:
		w.advance()
		w.run.early = true
		w.finish(a)
	case w.habits.Early && s.order.descending(w.habits.Descending) && w.position != beginning && r.oldest < w.keepFrom && !w.run.deep:
		w.complete(r, a) // what follows is from before the bound
	case w.habits.PageIgnored:
		return w.byTime(r, a, ascending)
	default:
		w.goOn(r, ascending)
	}
	switch {
	case a.caughtUp || w.phase == checking:
	case w.next.page > 1 && !ascending && !w.run.forced && !w.habits.Filtered:
		w.cursor = cursor{
			after: s.after, end: s.end, now: s.now, latest: s.latest, safe: s.safe, restarts: s.restarts,
			last: slices.Clone(r.base),
		}
	default:
		w.cursor = cursor{}
	}
	return nil
}

// readsOn reports whether a run goes on where the API leaves contacts out of
// pages, so that only empty ones may be the end. A quiet poll does not, but once a day.
func (w *watermark) readsOn(r *reading) bool {
	s := &w.sweep
	if s.empty >= 2 {
		return false
	}
	return r.full || s.pages > 1 || r.fresh > 0 || w.run.forced || s.now-w.checked >= doubtInterval
}

func (w *watermark) judgeOrder() (ascending bool) {
	s := &w.sweep
	ascending = s.order.ascending(w.habits.Ascending)
	switch {
	case ascending:
		w.habits.Ascending = w.habits.Ascending || s.order.ascending(false)
		w.habits.Descending = false
		w.lateness = max(w.lateness, s.order.lateness)
	case s.order.descending(false):
		w.habits.Ascending, w.habits.Descending = false, true
	case s.order.disorderly():
		w.habits.Ascending = false
		w.habits.Descending = w.habits.Descending && s.order.ascents == 0
	}
	return ascending
}

// goOn follows a full page of an API that honours the page number. By time, a
// contact that appears late or vanishes meanwhile moves none past the reader; but
// where the order is not known, or contacts stand so close that much would be read
// again, by page number.
func (w *watermark) goOn(r *reading, ascending bool) {
	s := &w.sweep
	if !ascending || w.run.forced {
		w.byNumber(r)
		return
	}
	w.advance()
	bound, again := w.stepBound(r)
	most := max(1, w.next.size/maxRereadShare)
	if r.offset >= maxWindows*w.next.size {
		most = max(most, w.next.size/maxMoveShare)
	}
	// What is all known is read by number to its end, so that the next run can look
	// just there. Where bounds are read early, what lies before a new one would come
	// again, page by page.
	if bound > s.after && !w.habits.Early && again <= most && again < r.n && w.run.read > 0 {
		w.startSweep(bound)
		return
	}
	w.byNumber(r)
}

// withoutPages goes on where the API answers the first page again, or none, for a page
// that must be there.
func (w *watermark) withoutPages(r *reading, a *answer) error {
	w.ignoresPages(a)
	if w.widen() || r.n == 0 {
		w.startSweep(w.sweep.after)
		return nil
	}
	return w.byTime(r, a, w.sweep.order.ascending(w.habits.Ascending))
}

// widen requests the largest pages, since without page numbers each page must show
// the order and lead on by itself. It reports whether they were smaller.
func (w *watermark) widen() bool {
	size := w.size()
	w.run.widest = true
	return w.size() > size && w.size() > w.next.size
}

func (w *watermark) ignoresPages(a *answer) {
	if !w.habits.PageIgnored {
		w.habits.PageIgnored = true
		w.tail = tail{}
		w.warn(a, warning{kind: warnPageIgnored})
	}
}

// byTime follows a full page of an API that ignores the page number.
func (w *watermark) byTime(r *reading, a *answer, ascending bool) error {
	s := &w.sweep
	o := &s.order
	bound, ok := w.onlyStepBound(r)
	// Less proof is asked for where there is no other way on.
	if ok && (ascending || o.ascents >= orderProof || o.ascents > 0 && o.lateness*maxLateShare <= o.span() || o.span() == 0) {
		w.stuck = nil
		if late := max(w.lateness, o.lateness); o.newest-bound < late {
			w.warn(a, warning{kind: warnReachShort, from: bound, to: late})
		}
		w.advance()
		w.startSweep(bound)
		return nil
	}
	if w.widen() {
		w.startSweep(s.after)
		return nil
	}
	if o.span() > 0 && o.lateness*maxLateShare > o.span() && o.ascents < orderProof {
		// Newest first, or at random: what does not come with this page comes with
		// none. Later contacts do, as long as they fit into a page.
		if s.known == 0 || !o.descending(false) {
			w.warn(a, warning{kind: warnGap, from: s.after, to: r.oldest})
		}
		w.complete(r, a)
		return nil
	}
	if r.fresh > 0 {
		return nil // once more: the next answer may hold others
	}
	w.stuck = &question{after: w.next.after, page: 1, size: w.next.size}
	return &unreadableError{at: o.newest, size: r.n, all: 2*r.early > r.n}
}

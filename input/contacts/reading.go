package contacts

import (
	"slices"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// reading is what a page holds. Its memory is used again for the next page.
type reading struct {
	n      int
	full   bool
	offset int // how many contacts under the bound lie before the page

	base     []wisepops.ID // ids as they came
	ids      []wisepops.ID // with the ordinals of twins
	instants []int64       // in the order of the page
	ordered  []int64       // instants in ascending order, where valid
	valid    bool
	added    []seenContact // what is new and dated
	undated  []wisepops.ID // what is new and has no readable time

	fresh   int // contacts to be delivered
	news    int // contacts that did not come in the sweep before, as far as is looked up
	known   int // contacts that were delivered before
	assumed int // of those, known only by their early date
	met     int // of those seen, dated after the bound
	early   int // contacts dated before the bound
	oldest  int64
	recent  bool  // all that is new was collected since the sweep began
	beyond  bool  // holds contacts from collected_before on
	ahead   int   // of those, contacts that did not come before
	overlap int   // how many at its head are those that the page before ended with; -1 where none fits
	gap     bool  // holds no contact that came before in its sweep, although it must
	repeats bool  // is the first page of the sweep again
	within  bool  // what came before in the sweep goes on behind the page
	end     int   // how many contacts under the bound were read, with the page
	stale   bool  // holds nothing that did not come before in the sweep: the last page again
	mark    uint8 // of the sweep, for what comes in the page
	verdict verdict

	times occurrences
}

func (r *reading) sorted() []int64 {
	if !r.valid {
		r.ordered = append(r.ordered[:0], r.instants...)
		slices.Sort(r.ordered)
		r.valid = true
	}
	return r.ordered
}

func (r *reading) reset(contacts []wisepops.Contact, q question) {
	*r = reading{
		n:        len(contacts),
		full:     len(contacts) >= q.size,
		offset:   (q.page - 1) * q.size,
		base:     r.base[:0],
		ids:      r.ids[:0],
		instants: r.instants[:0],
		ordered:  r.ordered[:0],
		added:    r.added[:0],
		undated:  r.undated[:0],
		oldest:   beginning,
		recent:   true,
		end:      (q.page-1)*q.size + len(contacts),
		times:    r.times,
	}
	for i := range contacts {
		c := &contacts[i]
		r.base = append(r.base, c.ID)
		if !c.CollectedAt.IsZero() {
			at := c.CollectedAt.UnixMilli()
			r.instants = append(r.instants, at)
			if r.oldest == beginning || at < r.oldest {
				r.oldest = at
			}
		}
	}
}

// read tells the new contacts of a page from those delivered before, and judges the
// clocks and the order.
func (w *watermark) read(contacts []wisepops.Contact, c clocks, a *answer) *reading {
	r, s := &w.page, &w.sweep
	r.reset(contacts, w.next)
	r.verdict = c.judge(r.instants, &w.marks)
	if s.now == beginning || r.offset == 0 && w.phase == sweeping {
		s.now, s.sure, s.agree = r.verdict.now, r.verdict.sure, r.verdict.agree
	}
	if w.run.began == beginning {
		w.run.began = s.now
	}
	a.fresh = contacts[:0]
	if r.offset > 0 {
		head := s.head
		if w.phase == checking && w.next.after != s.after {
			head = w.run.head
		}
		r.repeats = r.full && r.n <= len(head) && slices.Equal(r.base, head[:r.n])
		if r.repeats {
			r.known = r.n
			a.duplicates, a.fresh = r.n, nil
			return r
		}
		if w.phase == checking && w.ofSweep() {
			r.overlap = min(r.n, overlapOf(s.last, r.base, s.end-r.offset))
		}
		if w.phase == sweeping {
			r.stale = w.habits.Filtered && !slices.ContainsFunc(r.base, func(id wisepops.ID) bool {
				mark := w.ids.find(id)
				return mark == nil || *mark != s.number
			})
			r.overlap = overlapOf(s.last, r.base, s.end-r.offset)
			s.moved = s.moved || r.overlap != s.end-r.offset
			switch {
			case r.overlap > r.n:
				r.end, r.overlap, r.within = r.offset+r.overlap, r.n, true
			case r.overlap < 0 && r.n > 0:
				r.within = w.cameInSweep(r.base[r.n-1:])
			}
			if r.overlap < 0 && r.full && w.firstPageAgain(r) {
				r.repeats = true
			}
			if w.habits.Filtered {
				// Where contacts are missing in pages, nothing tells a twin from what
				// comes again.
				r.overlap = min(r.overlap, 0)
			}
			r.gap = !r.repeats && r.overlap < 0 && r.n > 0 && r.offset < s.end && !w.habits.Filtered && !w.cameInSweep(r.base)
		}
	} else {
		s.head = append(s.head[:0], r.base...)
		if len(w.run.head) == 0 || s.after == w.run.after && len(r.base) > len(w.run.head) {
			w.run.head, w.run.after = append(w.run.head[:0], r.base...), s.after
		}
	}
	r.mark = s.number
	if r.gap || r.repeats || w.phase == checking && r.overlap <= 0 {
		r.mark = 0 // the sweep does not go on from here
	}
	byNumber := r.offset > 0 && r.overlap > 0
	if !byNumber {
		r.times.reset(r.n)
	}
	for i := range contacts {
		c := &contacts[i]
		if i < r.overlap {
			r.ids = append(r.ids, c.ID)
			r.known++
			continue
		}
		var nth int
		if byNumber {
			nth = w.nthInSweep(c.ID)
		} else {
			nth = r.times.nth(r.base, i)
		}
		c.ID = wisepops.TwinID(c.ID, nth)
		r.ids = append(r.ids, c.ID)
		w.classify(c, i, r, a)
	}
	r.fresh = len(a.fresh)
	a.fresh = release(a.fresh, r.n)
	r.news += r.fresh
	s.known += r.known
	a.duplicates = r.known
	return r
}

// keepShare is the share of a page from which its memory is kept for what is fresh.
const keepShare = 4

// release lets go of a page of n contacts, of which few are fresh: they share the
// memory of its body, and may be in flight for long.
func release(fresh []wisepops.Contact, n int) []wisepops.Contact {
	if len(fresh) == 0 {
		return nil
	}
	if keepShare*len(fresh) >= n {
		return fresh
	}
	fresh = slices.Clone(fresh)
	for i := range fresh {
		fresh[i].Raw = slices.Clone(fresh[i].Raw)
	}
	return fresh
}

// classify decides what becomes of a contact.
func (w *watermark) classify(c *wisepops.Contact, i int, r *reading, a *answer) {
	s := &w.sweep
	at := int64(beginning)
	if !c.CollectedAt.IsZero() {
		at = c.CollectedAt.UnixMilli()
	}
	known := w.isKnown(c.ID, at, i, r)
	if at == beginning {
		w.run.undated[c.ID] = struct{}{}
		if known {
			r.known++
			return
		}
		w.total++
		w.ids.add(c.ID, r.mark)
		a.undated++
		r.undated = append(r.undated, c.ID)
		a.fresh = append(a.fresh, *c)
		return
	}
	if w.phase != checking && !r.repeats {
		s.order.see(at)
	}
	if at < w.next.after {
		r.early++
	}
	if w.until != 0 && at >= w.until {
		r.beyond = true
		w.passOver(c.ID, at, r)
		return
	}
	if at <= s.now {
		s.latest = max(s.latest, at)
	}
	if at <= s.sure {
		s.safe = max(s.safe, at)
	}
	if known {
		r.known++
		return
	}
	w.total++
	w.ids.add(c.ID, r.mark)
	r.added = append(r.added, seenContact{c.ID, at})
	w.arrived(at, r)
	if at < w.from {
		return
	}
	if p := w.run.startPosition; p != beginning && at < p && !w.run.deep && !r.verdict.behind && p-at <= maxFreeReach {
		// It appeared after later ones were read.
		w.lateness = max(w.lateness, p-at)
	}
	a.fresh = append(a.fresh, *c)
}

// passOver counts a contact from collected_before on: it is not delivered, but lies
// between those that are.
func (w *watermark) passOver(id wisepops.ID, at int64, r *reading) {
	if w.ids.find(id) != nil {
		return
	}
	w.ids.add(id, r.mark)
	w.passed++
	r.news++
	r.ahead++
	w.arrived(at, r)
}

// arrived notes that a contact is new to the run.
func (w *watermark) arrived(at int64, r *reading) {
	if at < w.run.began-clockTolerance {
		r.recent = false
	} else {
		w.run.arrived++
	}
}

// isKnown reports whether a contact was delivered before.
func (w *watermark) isKnown(id wisepops.ID, at int64, i int, r *reading) (known bool) {
	if at == beginning {
		_, known = w.undated[id]
	} else if at <= w.newestSeen {
		if _, known = w.seen[id]; known && at > w.next.after {
			r.met++
		}
	}
	early := at != beginning && at < w.keepFrom
	if r.offset > 0 || w.run.deep || early || at != beginning && at < w.run.floor {
		if mark := w.ids.find(id); mark != nil {
			if *mark != w.sweep.number {
				r.news++
			}
			if r.mark != 0 {
				*mark = r.mark
			}
			if w.run.deep && !known && at != beginning {
				r.added = append(r.added, seenContact{id, at}) // it was forgotten
			}
			return true
		}
		if known {
			w.ids.add(id, r.mark)
			r.news++
			return true
		}
	}
	if known || !early || w.run.deep || w.wholeHistory || w.position == beginning {
		return known
	}
	// Contacts dated so early are not remembered. A request does not return them,
	// unless the API ignores its bound: then each poll would deliver all of them. But
	// what lies behind the end of all that was counted, in the order of arrival, is new.
	if w.phase == checking && w.habits.Ascending && i >= w.check.total-r.offset {
		return false
	}
	w.ids.add(id, r.mark)
	r.news++
	r.assumed++
	return true
}

// firstPageAgain reports whether a page that was requested by number is mostly the
// first one of the sweep, from which contacts came or went meanwhile. Ids that come
// more often than once are no evidence.
func (w *watermark) firstPageAgain(r *reading) bool {
	head := w.sweep.head[:min(r.offset, len(w.sweep.head))]
	const least = 10
	if len(head) < least {
		return false
	}
	times := make(map[wisepops.ID]int, len(head))
	for _, id := range head {
		times[id]++
	}
	single, again := 0, 0
	for _, id := range r.base {
		if n := times[id]; n <= 1 {
			single++
			again += n
		}
	}
	return single >= least && 4*again > 3*single
}

// cameInSweep reports whether one of ids came in this sweep.
func (w *watermark) cameInSweep(ids []wisepops.ID) bool {
	for _, id := range ids {
		if mark := w.ids.find(id); mark != nil && *mark == w.sweep.number {
			return true
		}
	}
	return false
}

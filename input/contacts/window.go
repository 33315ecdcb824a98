package contacts

import (
	"slices"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// windowOverlap is how many contacts two pages by number share at least. A contact
// that vanishes meanwhile moves those behind it forward, past the reader.
const windowOverlap = 2

// filteredOverlap is windowOverlap where some of the contacts are left out of pages.
const filteredOverlap = 10

// window returns the page, from 1, and the page size of the request that leads
// furthest beyond the first end contacts, and begins at least overlap before it.
//
// page_size and page only describe windows that begin at a multiple of their
// length; the best one is about 40 contacts short of 1,000 where end is large.
func window(end, largest, overlap int) (page, size int) {
	begin := max(end-overlap, 0)
	best := 0
	for n := largest; n > 0 && begin+n > best; n-- {
		if p := begin / n; n*(p+1) > best {
			best, page, size = n*(p+1), p+1, n
		}
	}
	return page, size
}

// nextWindow is the window that leads beyond the first end contacts. It overlaps by
// less where pages are too short.
func nextWindow(end, largest, overlap int) (page, size int) {
	for {
		if page, size = window(end, largest, overlap); page*size > end || overlap == 0 {
			return page, size
		}
		overlap /= 2
	}
}

// overlapOf returns how many of the elements that the page before ended with come
// again from the head of a page on, or -1 where they do not fit. It should be want;
// contacts that appeared or vanished before the page shift it. It is more than the
// page holds where that lies within the one before.
func overlapOf(before, page []wisepops.ID, want int) int {
	fits := func(n int) bool {
		if n < 1 || n > len(before) || len(page) == 0 {
			return false
		}
		both := min(n, len(page))
		return slices.Equal(before[len(before)-n:][:both], page[:both])
	}
	for off := 0; off <= max(len(before), want); off++ {
		if fits(want + off) {
			return want + off
		}
		if off > 0 && fits(want-off) {
			return want - off
		}
	}
	return -1
}

// sweep is a sequence of requests under one bound. Its windows are read in turn.
type sweep struct {
	after  int64
	number uint8 // tells what came in this sweep
	end    int   // how many contacts under the bound were read
	pages  int
	paged  bool // a page by number was honoured
	empty  int  // empty pages in a row
	idle   int  // full pages in a row that brought nothing
	known  int  // contacts that were known

	now    int64 // judges the future: the clock of its first page
	sure   int64
	agree  bool
	latest int64 // newest instant so far that is not in the future
	safe   int64 // newest instant so far that no clock doubts
	order  order

	head  []wisepops.ID // its first page, as far as it is read by number
	last  []wisepops.ID // its last page
	times map[wisepops.ID]int

	filled   bool // a page was full
	ended    bool // a page was not
	short    bool // and others followed one that was not
	moved    bool // contacts came or went between its pages
	overlap  int  // how many contacts pages share at least
	gaps     int  // pages that shared nothing with those before
	gapsRow  int  // of those in a row
	restarts int
	resumed  bool
}

// startSweep requests the first page under a bound.
func (w *watermark) startSweep(after int64) {
	w.resetSweep(after)
	w.next = question{after: after, page: 1, size: w.size()}
}

func (w *watermark) resetSweep(after int64) {
	s := &w.sweep
	if s.number++; s.number == 0 {
		w.ids.forgetSweeps() // or an old one would be taken for this one
		s.number = 1
	}
	*s = sweep{
		after: after, number: s.number, now: beginning, sure: beginning,
		latest: beginning, safe: beginning,
		overlap: windowOverlap, head: s.head[:0], last: s.last[:0],
	}
	w.phase = sweeping
}

// byNumber requests the next window of the sweep.
func (w *watermark) byNumber(r *reading) {
	s := &w.sweep
	if r.offset == 0 {
		w.markPage(r)
	}
	if !r.within {
		s.last = append(s.last[:0], r.base...)
	}
	w.run.wide = true
	overlap := s.overlap
	if w.habits.Filtered {
		// What was left out of a page is part of it, for the API.
		s.end = r.offset + w.next.size
		overlap = max(overlap, filteredOverlap)
	}
	w.next.page, w.next.size = nextWindow(s.end, w.size(), overlap)
}

// markPage notes that the contacts of the first page came in this sweep, so that twins
// on later pages are told from what is read again.
func (w *watermark) markPage(r *reading) {
	s := &w.sweep
	clear(s.times)
	for i, id := range r.ids {
		if at := w.ids.find(id); at != nil {
			*at = s.number
		} else {
			w.ids.add(id, s.number)
		}
		if id != r.base[i] {
			w.addTimes(r.base[i])
		}
	}
}

func (w *watermark) addTimes(id wisepops.ID) int {
	s := &w.sweep
	if s.times == nil {
		s.times = map[wisepops.ID]int{}
	}
	s.times[id] = max(1, s.times[id]) + 1
	return s.times[id]
}

// nthInSweep returns that an id, which is not one of the overlap, comes for the nth
// time in the sweep. Behind the end of a sweep, where contacts that arrived meanwhile
// may have moved others, only an id that came twice before is one that twins have.
func (w *watermark) nthInSweep(id wisepops.ID) int {
	if at := w.ids.find(id); at == nil || *at != w.sweep.number {
		return 1
	}
	if w.phase == checking && w.sweep.times[id] < 2 {
		return 1
	}
	return w.addTimes(id)
}

// backUp reads again where a page shares nothing with the one before: contacts
// vanished meanwhile, more than pages overlap by, and others may have been passed.
// From then on pages overlap by more. It reports whether it does: a sweep is read
// again a few times only.
func (w *watermark) backUp(a *answer) bool {
	s := &w.sweep
	s.gaps++
	s.gapsRow++
	s.overlap = min(4*s.overlap, max(w.size()/2, windowOverlap))
	switch {
	case s.gaps > maxGaps || s.gapsRow > 1 && (s.restarts >= maxRestarts || s.resumed && s.restarts > 0):
		w.warn(a, warning{kind: warnVanishing})
		return false
	case s.gapsRow == 1:
		w.next.page, w.next.size = window(s.end, w.size(), max(w.size()/2, windowOverlap))
	default:
		if s.resumed {
			w.warn(a, warning{kind: warnSweepRestarted})
		}
		again := sweep{overlap: s.overlap, gaps: s.gaps, restarts: s.restarts + 1, resumed: s.resumed}
		w.startSweep(s.after)
		s.overlap, s.gaps, s.restarts, s.resumed = again.overlap, again.gaps, again.restarts, again.resumed
	}
	return true
}

const (
	// maxGaps and maxRestarts bound how often a sweep is read again, as contacts
	// vanish from it faster than it is read.
	maxGaps     = 12
	maxRestarts = 3
)

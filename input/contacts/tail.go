package contacts

// maxTailWindows is how many pages the end of a sweep may be away from its bound,
// until it is worth the calls to begin at a later one.
const maxTailWindows = 20

// keepTail remembers where a run ended whose contacts come again and fill a page:
// the next one then looks at its end only, which is one call.
func (w *watermark) keepTail(known int) {
	s := &w.sweep
	first := w.tail.first
	w.tail = tail{}
	w.run.wide = true
	size := w.size()
	if w.habits.PageIgnored || w.habits.Filtered || s.end < size || s.moved && !w.habits.Ascending {
		return
	}
	fills := 4*known >= 3*size && (s.end <= maxTailWindows*size || 2*known >= s.end)
	if fills || w.habits.Early && !w.habits.Descending {
		w.tail = tail{after: s.after, total: s.end, first: first}
	}
}

// startTail requests the end of the contacts under the bound of a run before. What
// appeared in front of it moves it, and so shows in its length, unless as many
// vanished. So where new contacts may come first, the first page is looked at in turn.
func (w *watermark) startTail() {
	w.run.wide = true
	w.resetSweep(w.tail.after)
	s := &w.sweep
	s.end = w.tail.total
	page, size := nextWindow(s.end, w.size(), windowOverlap)
	// Newest first, a run that meets what lies before its bound does not know the end.
	endless := w.habits.Early && w.habits.Descending
	if (w.tail.first || endless) && !w.habits.Ascending {
		page, size = 1, w.size()
	}
	w.tail.first = !w.tail.first
	w.next = question{after: s.after, page: page, size: size}
	w.phase = tailing
}

// takeTail compares a part of a sweep with what it was.
func (w *watermark) takeTail(r *reading, a *answer) {
	s := &w.sweep
	expected := s.end - r.offset
	switch {
	case r.offset == 0 && r.fresh == 0 && r.full:
		w.complete(r, a)
	case r.n == 0 || r.offset == 0 || r.fresh == 0 && (r.n > expected || r.n < expected && !w.habits.Ascending):
		w.startSweep(s.after)
	case r.fresh == 0:
		s.end = r.offset + r.n
		w.complete(r, a)
	case w.habits.Ascending && r.known == expected:
		s.end = r.offset + r.n
		s.pages = 2
		w.phase = sweeping
		if r.full {
			w.advance()
			w.byNumber(r)
			return
		}
		w.complete(r, a)
	default:
		w.startSweep(s.after)
	}
}

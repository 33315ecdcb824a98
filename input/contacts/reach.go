package contacts

import (
	"slices"
	"time"
)

const (
	second = int64(time.Second / time.Millisecond)

	// minReach is the least that a request reaches back, since contacts of one
	// instant may appear one after the other.
	minReach = second

	// maxFreeReach is the most that a quiet poll reaches back by itself: later than
	// that contacts hardly appear.
	maxFreeReach = int64(24 * time.Hour / time.Millisecond)

	// lateReach is reached back by a quiet poll whatever it costs: that late is what
	// arrives in order. Where it holds more than a page, only its end is requested.
	lateReach = 10 * second

	// soonReach is reached back by a quiet poll even where more than a quarter of a
	// page was collected meanwhile, if that fits into a page: most late
	// contacts are late by seconds.
	soonReach = int64(time.Minute / time.Millisecond)

	// maxRereadShare bounds what reading on by time may read again, as a share of a
	// page: a backfill of 200,000 must not take more than five calls more than it has
	// pages.
	maxRereadShare = 64

	// Where contacts stand so close that more would be read again, pages are
	// requested by number. After that many the windows overlap by more than a move
	// of the bound reads again, if that is less than the share.
	maxWindows   = 12
	maxMoveShare = 8

	// freeShare is the share of a page that reading on by time reads again anyway,
	// to be safe against a lateness that was not seen yet.
	freeShare = 100
)

// whole returns the last whole second before at. Bounds are such: so it makes no
// difference whether the API includes its bound, or rounds it to seconds.
func whole(at int64) int64 {
	if at == beginning {
		return beginning
	}
	at--
	return at - ((at%second)+second)%second
}

// need is how far each request must reach back. What is read later than others was
// collected at most the lateness before; twice that, since it is only what was seen.
func (w *watermark) need() int64 {
	return max(minReach, w.overlap, 2*min(w.lateness, maxFreeReach))
}

// horizon returns where the next run begins if the position is at: what is dated
// from there on must be remembered. instants are those known, in ascending order.
func (w *watermark) horizon(at int64, instants []int64) int64 {
	h := at - w.need()
	size := w.size()
	if w.auto {
		h = min(h, at-lateReach)
		// As far as a quarter of a page of known contacts reaches is free: the
		// answer of a quiet poll is one page all the same.
		free := at - maxFreeReach
		if k := size / 4; k == 0 {
			free = at
		} else if k <= len(instants) {
			free = max(free, instants[len(instants)-k])
		}
		h = min(h, free)
		if soon := at - soonReach; 4*countFrom(instants, whole(soon)) <= 3*size {
			h = min(h, soon)
		}
	}
	if w.safe != beginning && w.safe < at && at-w.safe <= maxFreeReach+maxFreeReach/24 {
		h = min(h, w.safe-w.need()) // the position may have to be set back
	}
	if k := 3 * size / 4; w.habits.PageIgnored && k > 0 && k < len(instants) {
		// What does not fit into a page could not be read past. An instant comes whole.
		i := len(instants) - k
		for i < len(instants) && instants[i] == instants[i-1] {
			i++
		}
		if i < len(instants) {
			h = max(h, min(at, instants[i]))
		}
	}
	if w.habits.PageIgnored && countFrom(instants, whole(h)) > 3*size/4 {
		return h - 1
	}
	return whole(h)
}

// countFrom counts the instants, which are in ascending order, from at on.
func countFrom(instants []int64, at int64) int {
	i, _ := slices.BinarySearch(instants, at)
	return len(instants) - i
}

// knownInstants returns the instants of what is remembered and of the page, in
// ascending order. In the middle of a run a page that is full tells enough.
func (w *watermark) knownInstants(r *reading, caughtUp bool) []int64 {
	if !caughtUp && r.full && len(r.instants) >= w.size()/2 {
		return r.sorted()
	}
	known := make([]int64, 0, len(w.seen)+len(r.added))
	for _, at := range w.seen {
		known = append(known, at)
	}
	for _, s := range r.added {
		known = append(known, s.at)
	}
	slices.Sort(known)
	return known
}

// stepBound returns where reading goes on by time after a full page in ascending
// order, and how many contacts of the page come again.
func (w *watermark) stepBound(r *reading) (bound int64, again int) {
	instants := r.sorted()
	latest := w.sweep.order.newest
	bound = latest - w.need()
	if k := max(1, w.next.size/freeShare); k <= len(instants) {
		bound = min(bound, max(instants[len(instants)-k], latest-maxFreeReach))
	}
	bound = whole(bound)
	return bound, countFrom(instants, bound)
}

// onlyStepBound is stepBound where the API ignores the page number, so that there is
// no other way on: it reaches back as far as is needed, and less where the bound
// would not move or the next page would be read already. ok is false where no
// bound leads on.
func (w *watermark) onlyStepBound(r *reading) (bound int64, ok bool) {
	instants := r.sorted()
	if len(instants) == 0 {
		return 0, false
	}
	latest := instants[len(instants)-1]
	for _, reach := range [...]struct {
		bound int64
		most  int // contacts that may come again
	}{
		{whole(latest - w.need()), w.next.size / 2},
		{whole(latest - w.need()/2), w.next.size / 2},
		{whole(latest), 3 * w.next.size / 4},
		{latest - 1, w.next.size - 1},
	} {
		if again := countFrom(instants, reach.bound); reach.bound > w.next.after && again <= reach.most && again < r.n {
			return reach.bound, true
		}
	}
	return 0, false
}

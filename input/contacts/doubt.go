package contacts

import "errors"

// maxEmpty is how often a run fails because of empty answers, after growing waits of a
// minute in all, until it is begun anew or what they say is believed.
const maxEmpty = 6

// errEmpty says that what was there is not any more. Behind a proxy that is the API's
// outage more often than its truth.
var errEmpty = errors.New("the API answers nothing where it answered contacts before: if they were not erased, look at what is in front of the API")

// maxIdleCalls is how many calls in a row may bring nothing new, beyond those that it takes
// to read all that is known three times.
const maxIdleCalls = 100

// errFruitless ends a run that may go on for ever.
var errFruitless = errors.New("the API answers what is known, call after call, and the run does not end: look at what is in front of the API, and at its time zone")

// fruitless reports whether a run has brought nothing for so many calls that it may not
// end. From the second time on a tenth is enough, then a single call: the budget is for
// what can be read.
func (w *watermark) fruitless(r *reading) bool {
	if r.fresh+r.ahead > 0 {
		w.idle = 0
		return false
	}
	most := maxIdleCalls + 3*(w.total+w.passed)/w.size()
	for range min(w.strikes, 3) {
		most /= 10
	}
	if w.idle++; w.idle <= most {
		return false
	}
	w.idle = 0
	w.strikes++
	return true
}

// doubt is what was made of empty answers in a run that contradict what is known.
type doubt struct {
	held     question // last request of a sweep whose answer held contacts
	newest   int64    // contact read
	stepped  bool     // held is requested again
	answers  int      // that were empty, since something new was read
	failures int
}

// contradicted reports whether an empty answer contradicts what is known: each request
// but the first reaches back to contacts that were read.
func (w *watermark) contradicted() bool {
	q, d := w.next, &w.run.doubt
	offset := (q.page - 1) * q.size
	switch {
	case w.habits.Filtered || w.phase == tailing:
		return false
	case w.phase == checking:
		return offset < w.check.total
	case q.page > 1:
		return d.held != question{} && offset < w.sweep.end
	case q.after != beginning && q.after%second != 0:
		return false // the API may round it up
	case d.held == question{}:
		return w.seenAfter(q.after)
	default:
		return d.newest > q.after
	}
}

func (w *watermark) seenAfter(bound int64) bool {
	for _, at := range w.seen {
		if at > bound {
			return true
		}
	}
	return false
}

// takeEmpty asks whether there is anything at all, by the last request that was answered
// with contacts. It is false where an empty answer is to be believed.
func (w *watermark) takeEmpty(a *answer) (again bool, err error) {
	d, s, c := &w.run.doubt, &w.sweep, &w.check
	a.delta = delta{marks: w.marks}
	if d.stepped {
		return true, w.failEmpty()
	}
	if w.phase == sweeping && d.held == (question{}) {
		if d.failures == maxEmpty {
			return false, nil
		}
		d.failures++
		return true, errEmpty
	}
	d.answers++
	first := d.answers == 1
	counted := w.phase == checking && (c.after != s.after || c.total > s.end) // by the total, not in this sweep
	switch {
	case counted && first:
		// Contacts may have been erased since they were counted: then those before
		// are the last ones.
		c.total = (w.next.page - 1) * w.next.size
		w.next.page, w.next.size = window(c.total, w.size(), max(1, w.size()/2))
		return true, nil
	case counted && d.answers == 2 && d.held != question{}, first:
		if d.held == (question{}) {
			return false, nil
		}
		w.stepBack()
		return true, nil
	case counted:
		w.total = min(w.total, (w.next.page-1)*w.next.size)
		w.inconclusive(a)
		return true, nil
	case s.ended && w.phase == checking || !s.paged && w.next.page > 1:
		return false, nil // the last page was short, or no page is answered by number
	case d.failures < maxEmpty:
		w.stepBack()
		return true, w.failEmpty()
	case w.phase == checking:
		w.inconclusive(a)
		return true, nil
	}
	return false, nil
}

// stepBack requests again what held contacts.
func (w *watermark) stepBack() {
	held := w.run.doubt.held
	w.run.doubt.stepped = true
	w.phase = sweeping
	if held.page == 1 || held.after != w.sweep.after {
		w.startSweep(held.after)
		return
	}
	w.next = held
}

// failEmpty makes the engine wait and request the same again. All contacts of the
// window may be erased indeed: then a new run tells.
func (w *watermark) failEmpty() error {
	if w.run.doubt.failures++; w.run.doubt.failures > maxEmpty {
		w.cursor = cursor{}
		w.startRun()
		w.run.deep = true
	}
	return errEmpty
}

// holds notes a page that is not empty.
func (w *watermark) holds(r *reading) {
	d := &w.run.doubt
	d.stepped = false
	if r.fresh > 0 {
		d.answers, d.failures = 0, 0
	}
	if w.phase == sweeping {
		d.held = w.next
	}
	if len(r.instants) > 0 {
		d.newest = max(d.newest, r.sorted()[len(r.instants)-1])
	}
}

// inconclusive ends a run whose check says nothing. It is repeated after a day.
func (w *watermark) inconclusive(a *answer) {
	w.doubted = w.sweep.now
	w.warn(a, warning{kind: warnUnanswered})
	w.finish(a)
}

package contacts

import "time"

// advance moves the position to the newest contact of the sweep, and of those that were
// completed before it in the run.
func (w *watermark) advance() {
	s := &w.sweep
	latest := max(s.latest, w.run.latest)
	if latest != beginning && (w.position == beginning || latest > w.position) {
		if w.position != beginning && latest-w.position > jump {
			w.before = w.position
		}
		w.position = latest
		if s.agree {
			w.agreed = max(w.agreed, w.position)
		}
	}
	if safe := max(s.safe, w.run.safe); safe != beginning {
		w.safe = min(max(w.safe, safe), w.position)
	}
}

// lastBeforeJump is the last position that no clock contradicts: before one of them
// jumped ahead, or before both did. It is the position itself where none is known.
func (w *watermark) lastBeforeJump(clock int64) int64 {
	for _, at := range [...]int64{w.safe, w.before} {
		if at < w.position && at <= clock+clockTolerance {
			return at
		}
	}
	return w.position
}

// setBack leaves a position that was reached with a clock that had jumped ahead.
func (w *watermark) setBack(r *reading, a *answer) {
	to := w.lastBeforeJump(r.verdict.latest)
	w.warn(a, warning{kind: warnSetBack, from: w.position, to: to})
	w.position = to
	w.safe, w.agreed = min(w.safe, to), min(w.agreed, to)
	w.keepFrom = beginning
	if to != beginning {
		w.keepFrom = whole(to - w.need())
	}
	w.tail, w.cursor, w.stuck = tail{}, cursor{}, nil
	w.startRun()
	w.run.deep = true
}

// jump is more than the clocks of a busy website's contacts move on by.
const jump = int64(time.Hour / time.Millisecond)

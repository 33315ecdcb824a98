package contacts

import "time"

// clockTolerance is how far two clocks may differ and still agree, and how far a
// contact may be dated after a clock: the clocks of several servers differ a little.
const clockTolerance = int64(time.Minute / time.Millisecond)

// clocks are the API's clock and ours when a page was answered; beginning where
// unknown. Either may lie.
type clocks struct {
	server, own int64
}

// verdict is what the clocks are good for.
type verdict struct {
	now    int64 // judges what lies in the future
	agree  bool
	latest int64 // the latest usable clock
	// behind says that all usable clocks lie before the position: it was reached
	// with a clock that had jumped ahead.
	behind bool
	// sure is the earliest clock that contradicts nothing known: what is dated up
	// to it is past, whichever clock is right.
	sure int64
}

func clockTime(t time.Time) int64 {
	if t.IsZero() {
		return beginning
	}
	return t.UnixMilli()
}

func (c clocks) differ() bool {
	return c.server != beginning && c.own != beginning && max(c.server, c.own)-min(c.server, c.own) > clockTolerance
}

// judge weighs the clocks against the instants of a page and the position.
//
// Contacts are dated by the API, so a clock that lies before most of a page is wrong
// (a server's in 1970, or ours without a battery); so is one that lies before what
// both clocks agreed on once. Where both are wrong the later one is nearer the
// truth, since time only goes on. Of two that may be right the earlier one judges the
// future: a contact that is taken for a future one costs nothing, but a position
// in the future hides what comes before it.
func (c clocks) judge(instants []int64, m *marks) verdict {
	usable := make([]int64, 0, 2)
	v := verdict{sure: beginning, agree: c.server != beginning && c.own != beginning && !c.differ()}
	for _, clock := range [...]int64{c.server, c.own} {
		if clock == beginning {
			continue
		}
		if !clockIsWrong(clock, instants, m.agreed) {
			usable = append(usable, clock)
		}
		if m.safe == beginning || clock >= m.safe-clockTolerance {
			if v.sure == beginning || clock < v.sure {
				v.sure = clock
			}
		}
	}
	if len(usable) == 0 {
		usable = append(usable, max(c.server, c.own))
		v.agree = false
	}
	v.now = usable[0]
	latest := usable[0]
	for _, clock := range usable {
		v.now, latest = min(v.now, clock), max(latest, clock)
	}
	v.latest = latest
	if v.sure == beginning {
		v.sure = v.now
	}
	v.behind = m.position != beginning && latest != beginning && m.position > latest+clockTolerance
	return v
}

func clockIsWrong(clock int64, instants []int64, agreed int64) bool {
	if agreed != beginning && clock < agreed-clockTolerance {
		return true
	}
	later := 0
	for _, at := range instants {
		if at > clock+clockTolerance {
			later++
		}
	}
	return 2*later > len(instants)
}

package poll

import (
	"slices"
	"time"
)

const (
	// splitInto is how many parts a rejected batch is read again in.
	splitInto = 8

	// holdPatience is how long a rejected part waits to be alone in flight, and then has
	// everything else wait. An output that gathers batches without a period never
	// answers before it has enough.
	holdPatience = 3 * time.Second

	// maxParallel is how many rejected parts are in flight where each has an outcome of
	// its own, and fewParallel how many small ones are while that is not known.
	maxParallel  = 64
	fewParallel  = 4
	smallPart    = 2
	togetherNack = 3 // so many rejections at once look like one
	aloneAfter   = 8 // parts that are sent alone then

	// A sink that rejects so many times in a row seems to be away: it is probed with one
	// part after another, which are not split for that.
	outageNacks = 6
	probeFirst  = 100 * time.Millisecond
	probeLast   = time.Minute
	probesWhole = 3 // of one part, before it is split after all

	// A single message that is rejected again and again waits for longer each time.
	singleFirst = 10 * time.Millisecond
	singleLast  = 2 * time.Minute
)

// part is a run of the messages of a page: a batch of its own.
type part struct {
	page     *page
	from, to int

	nacks   int       // since it has its size
	due     time.Time // not before
	sent    int       // when it was sent, in sends
	crowded bool      // it was not alone in flight
}

func (p *part) size() int { return p.to - p.from }

// isolation decides what becomes of batches that were rejected: which part is sent when,
// and beside what. It is pure: no I/O, no clock.
//
// A rejected batch says only that not everything in it was delivered. So all of it is sent
// again, in eighths, then in eighths of those that are rejected: what is good settles
// soon, and what is rejected for its content ends alone. Two things stand in the way. An
// output may gather several batches into one, and reject them all for one message: so a
// part is sent alone in flight until it is seen that each has an outcome of its own. And
// where the sink is away everything is rejected: then one part probes it.
type isolation struct {
	waiting []*part // that were rejected; the next to go stand first
	flying  []*part // everything in flight

	sends       int
	independent bool // outcomes do not depend on what else is in flight
	together    int  // rejections in a row of what was not alone
	crowdedNack int  // when the last of these came, in sends
	aloneNext   int  // so many parts are sent alone, whatever their size

	failing    int       // rejections in a row, each of what was sent after the one before
	failedAt   int       // when the last of these came, in sends
	gate       time.Time // nothing is sent again before
	blocked    time.Time // since when a part waits to be alone
	aloneUntil time.Time // while a part is alone in flight
}

// next returns the part to send now, if any. Otherwise hold says that new pages have to
// wait, and wait when to look again: zero means at the next change.
func (s *isolation) next(now time.Time) (p *part, hold bool, wait time.Duration) {
	i, wait := s.due(now)
	if i < 0 {
		if len(s.flying) > 0 && now.Before(s.aloneUntil) {
			return nil, true, earlier(wait, s.aloneUntil.Sub(now))
		}
		return nil, false, wait
	}
	p = s.waiting[i]
	if len(s.flying) >= s.window(p) {
		if s.blocked.IsZero() {
			s.blocked = now
		}
		if left := holdPatience - now.Sub(s.blocked); left > 0 {
			return nil, !s.independent, left
		}
	}
	s.blocked = time.Time{}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	if !s.independent {
		s.aloneUntil = now.Add(holdPatience)
	}
	return p, false, 0
}

// due returns the first part that may be sent, or -1 and how long to wait for one.
func (s *isolation) due(now time.Time) (i int, wait time.Duration) {
	if len(s.waiting) == 0 {
		return -1, 0
	}
	if now.Before(s.gate) {
		return -1, s.gate.Sub(now)
	}
	for i, p := range s.waiting {
		left := p.due.Sub(now)
		if left <= 0 {
			return i, 0
		}
		wait = earlier(wait, left)
	}
	return -1, wait
}

// earlier is the shorter wait, where zero means none.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// window is how many batches may be in flight with a part.
func (s *isolation) window(p *part) int {
	switch {
	case s.failing > outageNacks:
		return 1
	case s.independent:
		return maxParallel
	case p.size() <= smallPart && s.aloneNext == 0:
		return fewParallel
	default:
		return 1
	}
}

// sent takes note of a batch that is handed out, new or not.
func (s *isolation) sent(p *part) {
	s.sends++
	p.sent = s.sends
	s.flying = append(s.flying, p)
	p.crowded = len(s.flying) > 1
	if p.crowded {
		for _, other := range s.flying {
			other.crowded = true
		}
	}
	if s.aloneNext > 0 {
		s.aloneNext--
	}
}

func (s *isolation) landed(p *part) {
	if i := slices.Index(s.flying, p); i >= 0 {
		s.flying = slices.Delete(s.flying, i, i+1)
	}
}

// acked takes note of a batch that was delivered.
func (s *isolation) acked(p *part) {
	s.landed(p)
	s.failing, s.gate = 0, time.Time{}
	if p.crowded {
		if s.crowdedNack > p.sent { // while it was in flight
			s.independent = true
		}
		s.together = 0
	}
}

// nacked takes note of a batch that was rejected. Partial says that some of its messages
// were not.
func (s *isolation) nacked(p *part, partial bool, now time.Time) {
	s.landed(p)
	s.sends++ // an instant of its own
	p.nacks++
	if p.crowded {
		s.crowdedNack = s.sends
		if s.together++; s.together >= togetherNack {
			s.independent, s.aloneNext = false, aloneAfter
		}
	}
	switch {
	case partial:
		s.independent, s.aloneNext = true, 0
		s.failing, s.gate = 0, time.Time{}
	case p.sent > s.failedAt:
		s.failedAt = s.sends
		if s.failing++; s.failing > outageNacks {
			s.gate = now.Add(doubled(probeFirst, s.failing-outageNacks, probeLast))
		}
	}
	s.again(p, partial, now)
}

// again has a rejected batch wait to be sent again, whole or in parts.
func (s *isolation) again(p *part, partial bool, now time.Time) {
	blamed := partial || s.independent || !p.crowded || p.nacks > 1
	away := s.failing > outageNacks && p.nacks < probesWhole
	switch {
	case p.size() == 1:
		p.due = now.Add(doubled(singleFirst, p.nacks, singleLast))
		s.waiting = append(s.waiting, p)
	case blamed && !away:
		s.waiting = slices.Insert(s.waiting, 0, p.split()...)
	default:
		s.waiting = append(s.waiting, p)
	}
}

// split cuts a part into eighths, or into single messages.
func (p *part) split() []*part {
	size := (p.size() + splitInto - 1) / splitInto
	var parts []*part
	for from := p.from; from < p.to; from += size {
		parts = append(parts, &part{page: p.page, from: from, to: min(from+size, p.to)})
	}
	return parts
}

// doubled is the first wait, and twice as long each time, up to the last.
func doubled(first time.Duration, times int, last time.Duration) time.Duration {
	for i := 1; i < times && first < last; i++ {
		first *= 2
	}
	return min(first, last)
}

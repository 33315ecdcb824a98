package poll

import (
	"slices"
	"time"
)

const (
	// splitInto is how many parts a rejected batch is sent again in.
	splitInto = 8

	// doubtWindow is how close to a rejection an acknowledgement is in doubt. Those of
	// one write come within a millisecond; a process that a scheduler of containers
	// holds up in between may stand still for a tenth of a second.
	doubtWindow = 200 * time.Millisecond

	// A rejected part waits for so long to be alone in flight, and then has everything
	// else wait: twice as long as the last one took, within these bounds. An output that
	// gathers batches without a period never answers before it has enough.
	leastPatience = 3 * time.Second
	mostPatience  = 30 * time.Second

	// A sink that rejects so many times in a row seems to be away: it is probed with one
	// message after another, ever more seldom, and the parts stay as they are.
	outageNacks = 10
	probeFirst  = 20 * time.Millisecond
	probeLast   = time.Minute

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
	sent    int       // when it was sent, in steps
	sentAt  time.Time
	crowded bool // it was not alone in flight

	acked   int       // when it was acknowledged, in steps
	ackedAt time.Time // likewise
}

func (p *part) size() int { return p.to - p.from }

// isolation decides what becomes of batches that were rejected, and which acknowledgements
// are to be believed. It is pure: no I/O, no clock.
//
// A rejected batch says only that not everything in it was delivered. So all of it is sent
// again, in eighths, then in eighths of those that are rejected: what is good settles
// soon, and what is rejected for its content ends alone.
//
// Whatever gathers several batches into one, be it an output, a broker or an input around
// this one, acknowledges each of them by the indexes of the messages that failed. Benthos
// mixes these up behind processors that change the form of a batch, so that a batch may be
// acknowledged in place of another. All of them are answered at once, though: an
// acknowledgement that comes close to the rejection of a batch that was in flight with it is
// in doubt, and that batch is sent again too. And a part that was rejected or in doubt is
// sent alone, so that its outcome concerns only itself.
//
// Where the sink is away everything is rejected: then one part probes it.
type isolation struct {
	waiting []*part // to be sent again; the next to go stand first
	flying  []*part // in flight
	held    []*part // acknowledged, and not yet out of doubt

	steps     int // sends and outcomes so far
	patience  time.Duration
	nackedAt  time.Time // of the last rejection
	nackStep  int       // likewise, in steps
	nackCount int       // rejections in a row, each of what was sent after the one before
	countedAt int       // when the last of these came, in steps
	gate      time.Time // nothing is sent again before
	blocked   time.Time // since when a part waits to be alone
	alone     time.Time // until when new pages wait for a part that is in flight
}

// next returns the part to send now, if any. Otherwise hold says that new pages have to
// wait, and wait when to look again: zero means at the next change.
func (s *isolation) next(now time.Time) (p *part, hold bool, wait time.Duration) {
	i, wait := s.due(now)
	if i < 0 {
		if len(s.flying) > 0 && now.Before(s.alone) {
			return nil, true, earlier(wait, s.alone.Sub(now))
		}
		return nil, false, wait
	}
	patience := max(s.patience, leastPatience)
	if len(s.flying) > 0 {
		if s.blocked.IsZero() {
			s.blocked = now
		}
		if left := patience - now.Sub(s.blocked); left > 0 {
			return nil, true, left
		}
	}
	s.blocked = time.Time{}
	s.alone = now.Add(patience)
	return s.take(i), false, 0
}

// take removes the part to send from those that wait. In an outage it is one message of
// the first part that has more: one that was not tried by itself, for those that were may
// all be rejected for their content.
func (s *isolation) take(i int) *part {
	if s.nackCount > outageNacks {
		if i := slices.IndexFunc(s.waiting, func(p *part) bool { return p.size() > 1 }); i >= 0 {
			p := s.waiting[i]
			p.from++
			return &part{page: p.page, from: p.from - 1, to: p.from}
		}
	}
	p := s.waiting[i]
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return p
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

// sent records a batch that is handed out, new or not.
func (s *isolation) sent(p *part, now time.Time) {
	s.steps++
	p.sent, p.sentAt = s.steps, now
	s.flying = append(s.flying, p)
	p.crowded = len(s.flying) > 1
	if p.crowded {
		for _, other := range s.flying {
			other.crowded = true
		}
	}
}

func (s *isolation) landed(p *part, now time.Time) {
	s.steps++
	if i := slices.Index(s.flying, p); i >= 0 {
		s.flying = slices.Delete(s.flying, i, i+1)
	}
	if !p.crowded {
		s.patience = min(2*now.Sub(p.sentAt), mostPatience)
	}
}

// acked records a batch that was acknowledged. It counts as delivered once delivered
// returns it.
func (s *isolation) acked(p *part, now time.Time) {
	s.landed(p, now)
	s.nackCount, s.gate = 0, time.Time{}
	p.acked, p.ackedAt = s.steps, now
	if s.nackStep > p.sent && now.Sub(s.nackedAt) < doubtWindow {
		s.doubt(p)
		return
	}
	s.held = append(s.held, p)
}

// doubt has a batch be sent again that may have been acknowledged in place of another.
func (s *isolation) doubt(p *part) {
	p.due = time.Time{}
	s.waiting = append(s.waiting, p)
}

// delivered returns the batches that are out of doubt: nothing that was in flight with them
// can be rejected any more, or would have been by now.
func (s *isolation) delivered(now time.Time) []*part {
	if len(s.held) == 0 {
		return nil
	}
	oldest := s.steps + 1 // that is in flight
	for _, p := range s.flying {
		oldest = min(oldest, p.sent)
	}
	var sure []*part
	s.held = slices.DeleteFunc(s.held, func(p *part) bool {
		if oldest > p.acked || now.Sub(p.ackedAt) >= doubtWindow {
			sure = append(sure, p)
			return true
		}
		return false
	})
	return sure
}

// nacked records a batch that was rejected.
func (s *isolation) nacked(p *part, now time.Time) {
	s.landed(p, now)
	s.nackedAt, s.nackStep = now, s.steps
	p.nacks++
	if p.sent > s.countedAt {
		s.countedAt = s.steps
		if s.nackCount++; s.nackCount > outageNacks {
			s.gate = now.Add(doubled(probeFirst, s.nackCount-outageNacks, probeLast))
		}
	}
	s.held = slices.DeleteFunc(s.held, func(other *part) bool {
		together := p.sent < other.acked && now.Sub(other.ackedAt) < doubtWindow
		if together {
			s.doubt(other)
		}
		return together
	})
	blamed := !p.crowded || p.nacks > 1
	away := s.nackCount > outageNacks
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

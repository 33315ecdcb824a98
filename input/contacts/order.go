package contacts

const (
	// orderProof is how many times a contact must be later than all before it,
	// until the API is taken to serve oldest contacts first. Of contacts in a
	// random order a thousand bring about seven.
	orderProof = 20

	// In the order of arrival collected_at steps back by the lateness of contacts.
	// As long as that is at most one part in maxLateShare of what a sweep spans, it
	// is an order to go on by; newest first, and at random, it is all of the span.
	maxLateShare = 4
)

// order is the evidence that a sweep gives of the API's order.
type order struct {
	oldest, newest int64
	count          int
	ascents        int   // how often a contact was later than all before
	descents       int   // how often one was earlier than all before
	lateness       int64 // the most that one was earlier than another before it
}

func (o *order) see(at int64) {
	o.count++
	switch {
	case o.count == 1:
		o.oldest, o.newest = at, at
	case at > o.newest:
		o.newest = at
		o.ascents++
	default:
		o.lateness = max(o.lateness, o.newest-at)
		if at < o.oldest {
			o.oldest = at
			o.descents++
		}
	}
}

func (o *order) span() int64 { return o.newest - o.oldest }

// ascending reports whether what follows is later than the newest contact so far,
// but for the lateness. A page of one instant proves no order: it may be the newest
// one of an API that serves newest contacts first.
func (o *order) ascending(before bool) bool {
	return o.span() > 0 && o.lateness*maxLateShare <= o.span() &&
		(o.ascents >= orderProof || before && o.ascents > 0)
}

// descending reports whether what follows is earlier.
func (o *order) descending(before bool) bool {
	return o.descents >= orderProof && o.ascents*orderProof <= o.descents ||
		before && o.descents > 0 && o.ascents == 0
}

// disorderly reports whether contacts were seen to come in another order than
// that of arrival. What is late by seconds is no proof of that.
func (o *order) disorderly() bool {
	return o.count >= 2*orderProof && o.lateness > soonReach && 2*o.lateness > o.span()
}

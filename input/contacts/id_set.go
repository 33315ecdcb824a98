package contacts

import "github.com/wisepops-connect/wisepops-connect/wisepops"

const (
	idChunk = 1024

	// maxIDs is how many ids of contacts dated before keepFrom are kept outside a
	// sweep: 16 MB. Past it a sweep that has to be made again repeats contacts.
	maxIDs = 1 << 20
)

// idSet is a set of ids that takes 17 bytes for each while it is only added to, and
// 4 to 8 more from the first lookup on. The zero value is empty.
//
// A map would take twice as much, and make what is only needed where the API
// misbehaves cost time on each page.
type idSet struct {
	chunks  [][]wisepops.ID
	sweeps  [][]uint8 // the sweep that an id came in last, beside the chunks
	n       int
	table   []uint32 // index of an id, from 1
	indexed int
}

// add appends an id, which must not be in the set.
func (s *idSet) add(id wisepops.ID, sweep uint8) {
	if s.n%idChunk == 0 {
		s.chunks = append(s.chunks, make([]wisepops.ID, 0, idChunk))
		s.sweeps = append(s.sweeps, make([]uint8, 0, idChunk))
	}
	last := len(s.chunks) - 1
	s.chunks[last] = append(s.chunks[last], id)
	s.sweeps[last] = append(s.sweeps[last], sweep)
	s.n++
}

// find returns where the sweep of an id stands, or nil where it is not in the set.
func (s *idSet) find(id wisepops.ID) *uint8 {
	if s.n == 0 {
		return nil
	}
	s.index()
	mask := uint64(len(s.table) - 1) //nolint:gosec // A table is not empty here.
	for slot := hashID(id) >> 32 & mask; s.table[slot] != 0; slot = (slot + 1) & mask {
		if i := int(s.table[slot] - 1); s.chunks[i/idChunk][i%idChunk] == id {
			return &s.sweeps[i/idChunk][i%idChunk]
		}
	}
	return nil
}

// forgetSweeps makes all ids come in no sweep.
func (s *idSet) forgetSweeps() {
	for _, c := range s.sweeps {
		clear(c)
	}
}

// index enters what was added since the last lookup.
func (s *idSet) index() {
	if 4*s.n > 3*len(s.table) {
		size := max(idChunk, len(s.table))
		for 4*s.n > 3*size {
			size *= 2
		}
		s.table = make([]uint32, size)
		s.indexed = 0
	}
	mask := uint64(len(s.table) - 1) //nolint:gosec // A table is not empty here.
	for ; s.indexed < s.n; s.indexed++ {
		slot := hashID(s.chunks[s.indexed/idChunk][s.indexed%idChunk]) >> 32 & mask
		for s.table[slot] != 0 {
			slot = (slot + 1) & mask
		}
		s.table[slot] = uint32(s.indexed + 1) //nolint:gosec // There are no 2^32 contacts.
	}
}

package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"
)

// Order is the order in which GET /contacts serves contacts.
type Order int

// The orders. Contacts of one instant come in the order of their arrival,
// reversed for NewestFirst.
const (
	OldestFirst Order = iota
	NewestFirst

	// Unsorted is a pseudo-random order that follows from the seed. Two contacts
	// stand in it the same way round whatever the bound, and whatever is added.
	Unsorted
)

var orderNames = []string{"oldest-first", "newest-first", "unsorted"}

// String returns the name that [ParseOrder] reads.
func (o Order) String() string {
	if o < 0 || int(o) >= len(orderNames) {
		return fmt.Sprintf("Order(%d)", int(o))
	}
	return orderNames[o]
}

// ParseOrder reads oldest-first, newest-first or unsorted.
func ParseOrder(name string) (Order, error) {
	if i := slices.Index(orderNames, name); i >= 0 {
		return Order(i), nil
	}
	return 0, fmt.Errorf("order must be one of %q", orderNames)
}

const (
	smallestChunk = 16 << 10
	largestChunk  = 4 << 20
)

// store keeps the JSON of contacts in large chunks, each contact followed by a
// comma, and an index of them sorted by time. Bytes are only ever appended, so
// that slices of them stay valid without a lock, and a page of contacts that
// arrived in order is one slice.
type store struct {
	seed   uint64
	rows   []row
	chunks [][]byte
	bytes  int

	collected map[int64]int64 // contacts ever inserted, by pop-up

	// permutation holds indexes of rows for Unsorted; nil where rows changed.
	// Readers build it, under permutationMu.
	permutationMu sync.Mutex
	permutation   []uint32
}

// row is one contact: where its bytes are, and what is searched for.
type row struct {
	at              int64 // Unix milliseconds
	wisepopID       int64
	chunk, off, len uint32
	emailOff        uint32 // in the contact's bytes
	emailLen        uint32
	phone           uint64 // the digits of E.164; 0 without a phone
}

// insert adds contacts in time order, after those of the same instant.
func (st *store) insert(rows ...row) {
	st.permutation = nil
	st.count(rows)
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	old := len(st.rows)
	st.rows = append(st.rows, rows...)
	if old == 0 || len(rows) == 0 || st.rows[old-1].at <= rows[0].at {
		return
	}
	late := slices.Clone(rows)
	for to := len(st.rows) - 1; len(late) > 0; to-- {
		last := len(late) - 1
		if old > 0 && st.rows[old-1].at > late[last].at {
			old--
			st.rows[to] = st.rows[old]
			continue
		}
		st.rows[to] = late[last]
		late = late[:last]
	}
}

func (st *store) count(rows []row) {
	if st.collected == nil {
		st.collected = map[int64]int64{}
	}
	for _, r := range rows {
		st.collected[r.wisepopID]++
	}
}

// keep copies the bytes of one contact and returns its row.
func (st *store) keep(raw []byte) row {
	need := len(raw) + 1
	last := len(st.chunks) - 1
	if last < 0 || cap(st.chunks[last])-len(st.chunks[last]) < need {
		size := min(max(st.bytes, smallestChunk), largestChunk)
		st.chunks = append(st.chunks, make([]byte, 0, max(size, need)))
		last++
	}
	r := row{chunk: uint32(last), off: uint32(len(st.chunks[last])), len: uint32(len(raw))}
	st.chunks[last] = append(append(st.chunks[last], raw...), ',')
	st.bytes += need
	return r
}

func (st *store) raw(r row) []byte {
	end := r.off + r.len
	return st.chunks[r.chunk][r.off:end:end]
}

func (st *store) email(r row) []byte {
	return st.raw(r)[r.emailOff : r.emailOff+r.emailLen]
}

// search returns the index of the first row at or after an instant.
func (st *store) search(at int64) int {
	return sort.Search(len(st.rows), func(i int) bool { return st.rows[i].at >= at })
}

// page returns the pieces of a JSON array: at most size of the contacts from
// the index from on (of one pop-up, unless wisepopID is 0), past the first skip.
func (st *store) page(order Order, from int, wisepopID int64, skip, size int) [][]byte {
	n := len(st.rows)
	positions := n - from
	var permutation []uint32
	if order == Unsorted {
		permutation = st.shuffled()
		positions = n
	}
	k := 0
	if wisepopID == 0 && (order != Unsorted || from == 0) {
		k, skip = min(skip, positions), 0
	}

	j := joiner{store: st, pieces: [][]byte{[]byte("[")}}
	for ; k < positions && j.count < size; k++ {
		i := from + k
		switch order {
		case NewestFirst:
			i = n - 1 - k
		case Unsorted:
			i = int(permutation[k])
			if i < from {
				continue
			}
		}
		if wisepopID != 0 && st.rows[i].wisepopID != wisepopID {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		j.add(st.rows[i])
	}
	return j.array()
}

// shuffled returns the indexes of all rows by a hash of where their bytes are,
// which never changes.
func (st *store) shuffled() []uint32 {
	st.permutationMu.Lock()
	defer st.permutationMu.Unlock()
	if st.permutation != nil {
		return st.permutation
	}
	type keyed struct {
		key   uint64
		index uint32
	}
	keys := make([]keyed, len(st.rows))
	for i, r := range st.rows {
		keys[i] = keyed{mix(st.seed ^ mix(uint64(r.chunk)<<32|uint64(r.off))), uint32(i)}
	}
	slices.SortFunc(keys, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	st.permutation = make([]uint32, len(keys))
	for i, k := range keys {
		st.permutation[i] = k.index
	}
	return st.permutation
}

// mix is the finalizer of SplitMix64, a bijection.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// joiner makes a JSON array of contacts, in as few pieces as their places allow.
type joiner struct {
	store  *store
	pieces [][]byte
	count  int
	run    row // the contacts, commas and all, that become the next piece
}

func (j *joiner) add(r row) {
	j.count++
	if j.count > 1 && r.chunk == j.run.chunk && r.off == j.run.off+j.run.len+1 {
		j.run.len += 1 + r.len
		return
	}
	if j.count > 1 {
		j.pieces = append(j.pieces, j.store.raw(j.run), comma)
	}
	j.run = r
}

func (j *joiner) array() [][]byte {
	if j.count > 0 {
		j.pieces = append(j.pieces, j.store.raw(j.run))
	}
	return append(j.pieces, []byte("]"))
}

var comma = []byte(",")

package sandbox

import (
	"cmp"
	"slices"
	"sort"
	"sync"
	"time"
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

	// ByArrival is the order in which contacts arrived. Their times may step back, see
	// [Switches.Late] and [Service.Add].
	ByArrival
)

var orderNames = []string{"oldest-first", "newest-first", "unsorted", "by-arrival"}

// String returns the name that [ParseOrder] reads.
func (o Order) String() string { return nameOf(orderNames, int(o), "Order") }

// ParseOrder reads oldest-first, newest-first, unsorted or by-arrival.
func ParseOrder(name string) (Order, error) {
	i, err := indexOf(orderNames, name)
	return Order(i), err
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
	arrivals  uint32          // contacts ever inserted

	// permutation holds indexes of rows for Unsorted or ByArrival; nil where rows changed.
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
	arrival         uint32 // in which place it came
	phone           uint64 // the digits of E.164; 0 without a phone
}

// insert adds contacts in time order, after those of the same instant.
func (st *store) insert(rows ...row) {
	st.permutation = nil
	st.count(rows)
	for i := range rows {
		rows[i].arrival = st.arrivals
		st.arrivals++
	}
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

// remove deletes rows, and returns how many there were.
func (st *store) remove(is func(row) bool) int {
	before := len(st.rows)
	st.rows = slices.DeleteFunc(st.rows, is)
	st.permutation = nil
	return before - len(st.rows)
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

// arrived has the contacts that are there have arrived in the order of their time, each
// up to late after it.
func (st *store) arrived(late time.Duration) {
	order := make([]int, len(st.rows))
	for i := range order {
		order[i] = i
	}
	if late > 0 {
		arrival := func(i int) int64 {
			r := st.rows[i]
			return r.at + int64(mix(st.seed^mix(r.place()))%uint64(late.Milliseconds()+1))
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(arrival(a), arrival(b)) })
	}
	for n, i := range order {
		st.rows[i].arrival = uint32(n)
	}
	st.arrivals = uint32(len(order))
}

// place tells a row from all others.
func (r row) place() uint64 { return uint64(r.chunk)<<32 | uint64(r.off) }

// view is what pages are cut of.
type view struct {
	order     Order
	from      int   // index of the first row
	wisepopID int64 // 0 for all
	late      bool  // the pop-up is looked for once a page is cut
	blanks    int   // see Switches.BlankEvery
	keep      bool  // what is served is about to change
}

// filled is how many of the first places of all pages hold a contact.
func (v *view) filled(places int) int {
	if v.blanks < 2 {
		return places
	}
	return places - places/v.blanks
}

// page returns the contacts in the places from skip on, at most as many as there are
// places, and whether there is nothing from there on.
func (st *store) page(v view, skip, places int) (j joiner, past bool) {
	size := v.filled(skip+places) - v.filled(skip)
	skip = v.filled(skip)
	n := len(st.rows)
	positions := n - v.from
	var permutation []uint32
	if v.order == Unsorted || v.order == ByArrival {
		permutation = st.permuted(v.order)
		positions = n
	}
	k := 0
	filtered := v.wisepopID != 0 && !v.late
	if !filtered && (permutation == nil || v.from == 0) {
		k, skip = min(skip, positions), 0
	}

	j = joiner{store: st, keep: v.keep, pieces: [][]byte{[]byte("[")}}
	past = true
	for taken := 0; k < positions && (taken < size || past); k++ {
		i := v.from + k
		switch {
		case v.order == NewestFirst:
			i = n - 1 - k
		case permutation != nil:
			i = int(permutation[k])
			if i < v.from {
				continue
			}
		}
		wanted := v.wisepopID == 0 || st.rows[i].wisepopID == v.wisepopID
		if filtered && !wanted {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		past = false
		if taken++; wanted && taken <= size {
			j.add(st.rows[i])
		}
	}
	return j, past
}

// places is how many places all pages have together.
func (st *store) places(v view) int {
	total := len(st.rows) - v.from
	if v.wisepopID != 0 && !v.late {
		total = 0
		for _, r := range st.rows[v.from:] {
			if r.wisepopID == v.wisepopID {
				total++
			}
		}
	}
	if v.blanks >= 2 && total > 0 {
		total += (total - 1) / (v.blanks - 1)
	}
	return total
}

// permuted returns the indexes of all rows in the order of their arrival, or by a hash of
// where their bytes are, which never changes.
func (st *store) permuted(order Order) []uint32 {
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
		key := uint64(r.arrival)
		if order == Unsorted {
			key = mix(st.seed ^ mix(r.place()))
		}
		keys[i] = keyed{key, uint32(i)}
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
	run    row   // the contacts, commas and all, that become the next piece
	keep   bool  // whether rows are kept
	rows   []row // all that were added
}

func (j *joiner) add(r row) {
	j.count++
	if j.keep {
		j.rows = append(j.rows, r)
	}
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

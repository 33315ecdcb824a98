package contacts

import (
	"bytes"
	"encoding/binary"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func compareIDs(a, b wisepops.ID) int { return bytes.Compare(a[:], b[:]) }

// occurrences counts how often an id came within one answer, without allocating
// once it is as large as a page.
type occurrences struct {
	table []int32 // index of the first element with an id, from 1
	times []int32 // by index of the first element
	shift uint
}

func (o *occurrences) reset(n int) {
	bits := uint(6)
	for 1<<bits < 2*n {
		bits++
	}
	if len(o.table) != 1<<bits {
		o.table = make([]int32, 1<<bits)
	} else {
		clear(o.table)
	}
	o.shift = 64 - bits
	if cap(o.times) < n {
		o.times = make([]int32, n)
	}
	o.times = o.times[:n]
}

// nth returns that ids[i] comes for the nth time, of the ids that were passed since
// reset.
func (o *occurrences) nth(ids []wisepops.ID, i int) int {
	mask := len(o.table) - 1
	for slot := int(hashID(ids[i])>>o.shift) & mask; ; slot = (slot + 1) & mask { //nolint:gosec // The shift leaves few bits.
		first := o.table[slot]
		if first == 0 {
			o.table[slot] = int32(i + 1) //nolint:gosec // A page is shorter than 2^31.
			o.times[i] = 1
			return 1
		}
		if ids[first-1] == ids[i] {
			o.times[first-1]++
			return int(o.times[first-1])
		}
	}
}

// hashID returns a hash whose upper bits are good. Ids are the halves of
// cryptographic hashes, but for the tests'.
func hashID(id wisepops.ID) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return (binary.LittleEndian.Uint64(id[:8]) ^ binary.BigEndian.Uint64(id[8:])) * odd
}

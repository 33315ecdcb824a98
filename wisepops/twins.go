package wisepops

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// TwinID returns the id of the nth of the contacts that share an id, counted from 1 in
// the order of an answer. The first keeps the id; that of a further one is the first half
// of the SHA-256 of the id's 32 hex digits, "\n", and n in decimal. Where n is less than
// 1 it counts as 1.
//
// Two visitors without a form_session and behind one address may give the same answer in
// the same instant: nothing in the two contacts differs, and both count.
//
// A test vector, whose value any SHA-256 tool confirms: the second of the id
// bcee0b16a0aeb5a5b49cca1dcb6fa71d is the text
//
//	bcee0b16a0aeb5a5b49cca1dcb6fa71d
//	2
//
// and the id 869834b45997b2fa35747628980cf9da.
func TwinID(id ID, n int) ID {
	if n <= 1 {
		return id
	}
	text := make([]byte, 0, 2*len(id)+len("\n2147483647"))
	text = hex.AppendEncode(text, id[:])
	text = strconv.AppendInt(append(text, '\n'), int64(n), 10)
	sum := sha256.Sum256(text)
	return ID(sum[:len(id)])
}

// NumberTwins gives each contact of an answer an id of its own: where several share one,
// the second and further ones get that of [TwinID]. A reader that puts several answers
// together counts over all of them instead.
func NumberTwins(contacts []Contact) {
	const fewContacts = 16
	if len(contacts) <= fewContacts {
		// From the end, so that the ids in front are still those that are shared.
		for i := len(contacts) - 1; i > 0; i-- {
			n := 1
			for j := range i {
				if contacts[j].ID == contacts[i].ID {
					n++
				}
			}
			contacts[i].ID = TwinID(contacts[i].ID, n)
		}
		return
	}
	came := make(map[ID]int, len(contacts))
	for i := range contacts {
		id := contacts[i].ID
		came[id]++
		contacts[i].ID = TwinID(id, came[id])
	}
}

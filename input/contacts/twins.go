package contacts

import (
	"bytes"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// twins gives contacts that nothing tells apart, such as two anonymous visitors who pick the
// same answer in the same instant, an id each: two elements of one answer are two contacts.
//
// Where contacts come in their order, two pages by number of one sweep are one answer, for
// contacts that name no email: one that does is on two pages because a late contact moved it,
// and so may be any contact where there is no order.
type twins struct {
	last question
	came map[wisepops.ID]int // how often an id came, up to the last page that had it
}

func (t *twins) number(contacts []wisepops.Contact, q question, ordered bool) {
	before := t.came
	if !ordered || q.page != t.last.page+1 || q.after != t.last.after {
		before = nil
	}
	t.last = q
	t.came = make(map[wisepops.ID]int, len(contacts))
	for i := range contacts {
		id := contacts[i].ID
		n, met := t.came[id]
		if !met && bytes.IndexByte(contacts[i].Raw, '@') < 0 {
			n = before[id]
		}
		t.came[id] = n + 1
		contacts[i].ID = wisepops.TwinID(id, n+1)
	}
}

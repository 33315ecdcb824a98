// Package metadata names the metadata of messages, and makes the messages of contacts.
package metadata

import (
	"encoding/hex"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// The metadata of messages, and the values of Source.
const (
	ContactID   = "wisepops_contact_id"
	CollectedAt = "wisepops_collected_at"
	WisepopID   = "wisepops_wisepop_id"
	Source      = "wisepops_source"
	Event       = "wisepops_event"
	SnapshotAt  = "wisepops_snapshot_at"

	SourceContacts    = "contacts"
	SourceWebhook     = "webhook"
	SourcePerformance = "performance"
)

// Contacts makes a batch of contacts. The metadata that differ from contact
// to contact are cut from one string. Ids are taken as they stand: contacts that nothing
// tells apart have been numbered (wisepops.NumberTwins). An event of "" is not known.
func Contacts(contacts []wisepops.Contact, source, event string) service.MessageBatch {
	const (
		idLength   = 2 * len(wisepops.ID{})
		timeLength = len("2006-01-02T15:04:05.000Z")
	)
	buf := make([]byte, 0, len(contacts)*(idLength+timeLength))
	for i := range contacts {
		c := &contacts[i]
		buf = hex.AppendEncode(buf, c.ID[:])
		if !c.CollectedAt.IsZero() {
			buf = wisepops.AppendTime(buf, c.CollectedAt)
		}
	}
	text := string(buf)
	cut := func(n int) (head string) {
		head, text = text[:n], text[n:]
		return head
	}

	batch := make(service.MessageBatch, len(contacts))
	for i := range contacts {
		c := &contacts[i]
		msg := service.NewMessage(c.Raw)
		msg.MetaSetMut(ContactID, cut(idLength))
		if !c.CollectedAt.IsZero() {
			msg.MetaSetMut(CollectedAt, cut(timeLength))
		}
		msg.MetaSetMut(WisepopID, c.WisepopID)
		msg.MetaSetMut(Source, source)
		if event != "" {
			msg.MetaSetMut(Event, event)
		}
		batch[i] = msg
	}
	return batch
}

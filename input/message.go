package input

import (
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	metaContactID   = "wisepops_contact_id"
	metaCollectedAt = "wisepops_collected_at"
	metaWisepopID   = "wisepops_wisepop_id"
	metaSource      = "wisepops_source"
	metaEvent       = "wisepops_event"
	metaSnapshotAt  = "wisepops_snapshot_at"

	sourceContacts    = "contacts"
	sourceWebhook     = "webhook"
	sourcePerformance = "performance"
)

// contactMessages makes a batch of contacts. The metadata that differ from contact
// to contact are cut from one string. An event of "" is not known.
func contactMessages(contacts []wisepops.Contact, source, event string) service.MessageBatch {
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
		msg.MetaSetMut(metaContactID, cut(idLength))
		if !c.CollectedAt.IsZero() {
			msg.MetaSetMut(metaCollectedAt, cut(timeLength))
		}
		msg.MetaSetMut(metaWisepopID, c.WisepopID)
		msg.MetaSetMut(metaSource, source)
		if event != "" {
			msg.MetaSetMut(metaEvent, event)
		}
		batch[i] = msg
	}
	return batch
}

// popupMessages makes a batch of the pop-ups of one snapshot.
func popupMessages(messages []popupMessage, at time.Time) service.MessageBatch {
	batch := make(service.MessageBatch, len(messages))
	for i, m := range messages {
		msg := service.NewMessage(m.content)
		if m.id != 0 {
			msg.MetaSetMut(metaWisepopID, strconv.FormatInt(m.id, 10))
		}
		msg.MetaSetMut(metaSnapshotAt, wisepops.FormatTime(at))
		msg.MetaSetMut(metaSource, sourcePerformance)
		batch[i] = msg
	}
	return batch
}

// refusedMessages returns the indexes of the messages of a batch that err concerns, in
// their order: all of them unless it tells.
func refusedMessages(err error, indexer *service.Indexer, n int) []int {
	told := make([]bool, n)
	count := 0
	if batchErr, ok := errors.AsType[*service.BatchError](err); ok && batchErr.IndexedErrors() > 0 {
		batchErr.WalkMessagesIndexedBy(indexer, func(i int, _ *service.Message, err error) bool {
			// A message that became several is met several times.
			if err != nil && i >= 0 && i < n && !told[i] {
				told[i] = true
				count++
			}
			return true
		})
	}
	refused := make([]int, 0, n)
	for i := range n {
		if told[i] || count == 0 {
			refused = append(refused, i)
		}
	}
	return refused
}

package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestKafkaTopicHasEveryContactUnderItsID(t *testing.T) {
	t.Parallel()
	needServices(t)
	k := newKafka(t, "wisepops_contacts", "wisepops_contacts.dead_letters")
	w := newWebsite(t, sandbox.Options{Contacts: 3000})
	w.site.AddRaw(sandbox.DefaultStart, []byte(`"EMAILMARKER@example.com"`))
	w.set("KAFKA_BROKERS=" + k.address)

	g := newGate(w)
	r := w.start("config/leads_to_kafka.yaml", resources("state_sqlite"),
		once, smallPages)
	w.survives(g, func() int { return k.count("wisepops_contacts") }, k.unreachable(), k.refusing(kerr.NotEnoughReplicas))
	r.succeeds()

	arrived := arrivals{}
	records := k.records("wisepops_contacts")
	for _, record := range records {
		id := arrived.read(t, record.Value)
		require.Equal(t, string(record.Key), id)
		require.Equal(t, header(record, "wisepops_contact_id"), id)
		require.Equal(t, "contacts", header(record, "wisepops_source"))
		require.Empty(t, header(record, "reason"))
	}
	w.requireAll(arrived, 1)
	// What is sent again, since no answer came, Kafka recognises.
	require.Len(t, records, len(arrived))

	aside := k.records("wisepops_contacts.dead_letters")
	require.Len(t, aside, 1)
	assert.Equal(t, `"EMAILMARKER@example.com"`, string(aside[0].Value))
	assert.NotEmpty(t, header(aside[0], "reason"))
	assert.NotContains(t, header(aside[0], "reason"), "EMAILMARKER")
}

// A delivery that was answered with 200 is in the topic, whatever became of Kafka
// meanwhile.
func TestDeliveriesReachKafkaThroughAnOutage(t *testing.T) {
	t.Parallel()
	needServices(t)
	k := newKafka(t, "wisepops_contacts", "wisepops_contacts.dead_letters")
	const past = 260
	w := newWebsite(t, sandbox.Options{Contacts: past})
	receiver := net.JoinHostPort("127.0.0.1", freePort(t))
	w.set("KAFKA_BROKERS="+k.address, "WEBHOOK_ADDRESS="+receiver, "WEBHOOK_PUBLIC_URL=http://"+receiver+"/wisepops")
	r := w.start("config/leads_realtime.yaml", resources("state_sqlite"), "input.broker.inputs.0.wisepops_webhook.ack_timeout=500ms")
	arrived := func() int { return k.count("wisepops_contacts") }
	eventually(t, "hooks are registered", func() bool { return len(w.site.Hooks()) == 3 })
	eventually(t, "past contacts arrive", func() bool { return arrived() == past })

	ctx, cancel := context.WithCancel(context.Background())
	var delivering sync.WaitGroup
	delivering.Go(func() {
		w.site.Deliver(ctx, sandbox.DeliveryOptions{Retry: 50 * time.Millisecond, Attempts: 1000})
	})
	t.Cleanup(func() {
		cancel()
		delivering.Wait()
	})
	submit := func(times int) {
		for range times {
			w.site.Submit()
		}
	}
	submit(100)
	eventually(t, "deliveries arrive", func() bool { return arrived() > past })
	away := k.unreachable()
	away.begin()
	submit(50)
	eventually(t, "the pipeline notices", away.noticed)
	eventually(t, "deliveries are refused", func() bool { return w.site.Deliveries().ByStatus[http.StatusGatewayTimeout] > 0 })
	away.end()
	submit(50)
	eventually(t, "all are delivered", func() bool { return w.site.Deliveries().Pending == 0 })
	require.Zero(t, w.site.Deliveries().GivenUp)
	require.Equal(t, 1, w.site.Calls().ByEndpoint["GET /contacts"], "no poll brought what webhooks missed")

	all, ways := arrivals{}, map[string]bool{}
	for _, record := range k.records("wisepops_contacts") {
		id := all.read(t, record.Value)
		require.Equal(t, string(record.Key), id)
		ways[header(record, "wisepops_source")+" "+id] = true
	}
	w.requireAll(all, 0)
	require.Len(t, ways, w.site.Len(), "a contact came by both ways")
	require.Zero(t, k.count("wisepops_contacts.dead_letters"))
	r.terminate()
}

// Every request has its receipt, or its reason, though the worker is killed in
// between. What it had not committed is deleted again: that is safe.
func TestDeletionRequestsOfATopic(t *testing.T) {
	t.Parallel()
	needServices(t)
	const requests, receipts, failed = "privacy_requests", "privacy_requests.receipts", "privacy_requests.failed"
	k := newKafka(t, requests, receipts, failed)
	w := newWebsite(t, sandbox.Options{Contacts: 300, Seed: 3})
	w.set("KAFKA_BROKERS="+k.address, "RECEIPT_KEY=integration")
	start := func() *run {
		return w.start("config/privacy_from_kafka.yaml", resources("state_sqlite"),
			// As soon as can be: what a killed worker held goes to the next one.
			"input.kafka_franz.session_timeout=500ms", "input.kafka_franz.heartbeat_interval=100ms",
			"input.kafka_franz.rebalance_timeout=1s", "input.kafka_franz.commit_period=100ms")
	}
	bad := []string{`{"email":"EMAILMARKER"}`, `{}`, `EMAILMARKER`, `{"phone":"06 12"}`, `{"email":"a@example.com, EMAILMARKER@example.com"}`}
	good := func(contacts []sandbox.Contact) (messages []string) {
		for _, c := range contacts {
			messages = append(messages, fmt.Sprintf(`{"email":%q}`, c.Email))
		}
		return messages
	}
	var people []sandbox.Contact
	for _, c := range w.site.Contacts() {
		if c.Email != "" && len(people) < 30 {
			people = append(people, c)
		}
	}
	deletions := func() int { return w.site.Calls().ByEndpoint["DELETE /data-privacy"] }

	k.produce(requests, append(good(people[:15]), bad...)...)
	r := start()
	eventually(t, "the first half is answered, and committed", func() bool {
		return k.count(receipts) == 15 && k.count(failed) == len(bad) && k.committed("wisepops_privacy") == 15+len(bad)
	})

	// The worker is killed while it waits for an answer.
	var asked atomic.Int32
	w.site.Control(func(*http.Request) *sandbox.Fault {
		return &sandbox.Fault{Hang: asked.Add(1) > 7}
	})
	k.produce(requests, append(good(people[15:]), bad...)...)
	eventually(t, "some are answered and one is not", func() bool { return asked.Load() == 8 })
	r.kill()
	w.site.Control(nil)
	w.site.Release()
	killedAt, committed := deletions(), k.committed("wisepops_privacy")
	require.Less(t, k.count(receipts), 30, "too late to kill")

	r = start()
	total := 2 * (15 + len(bad))
	eventually(t, "all is committed", func() bool { return k.committed("wisepops_privacy") == total })
	r.terminate()
	assert.LessOrEqual(t, deletions()-killedAt, total-committed, "calls for what was committed")

	hashes := map[string]bool{}
	for _, record := range k.records(receipts) {
		var receipt struct {
			EmailHMAC string `json:"email_hmac"`
			Status    string `json:"status"`
		}
		require.NoError(t, json.Unmarshal(record.Value, &receipt))
		require.Contains(t, []string{"deleted", "not_found"}, receipt.Status)
		require.NotContains(t, string(record.Value), "@")
		hashes[receipt.EmailHMAC] = true
	}
	assert.Len(t, hashes, 30, "people with a receipt")
	reasons := map[string]int{}
	for _, record := range k.records(failed) {
		reasons[string(record.Value)]++
		require.NotEmpty(t, header(record, "reason"))
		require.NotContains(t, header(record, "reason"), "EMAILMARKER")
	}
	for _, message := range bad {
		assert.GreaterOrEqual(t, reasons[message], 2, message)
	}
	assert.Len(t, reasons, len(bad))
	for _, c := range w.site.Contacts() {
		for _, person := range people {
			require.False(t, strings.EqualFold(c.Email, person.Email), "somebody is not deleted")
		}
	}
}

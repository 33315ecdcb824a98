package integration_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	_ "modernc.org/sqlite"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	topic       = "wisepops_contacts"
	deadLetters = "wisepops_contacts.dead_letters"
)

// large returns a contact with a field of so many characters, which do not compress well,
// and the field.
func large(length int) (contact []byte, field string) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	rng := rand.New(rand.NewPCG(uint64(length), 1))
	text := make([]byte, length)
	for i := range text {
		text[i] = letters[rng.IntN(len(letters))]
	}
	field = string(text)
	return fmt.Appendf(nil, `{"collected_at":"2026-01-02T03:04:05.678Z","wisepop_id":7,"fields":{"email":"EMAILMARKER@example.com","essay":%q}}`, field), field
}

// amid puts a contact between those that there are.
func (w *website) amid(raw []byte) {
	all := w.site.Contacts()
	w.site.AddRaw(all[len(all)/2].CollectedAt, raw)
}

// deadLetter puts the pieces of the one dead letter of the topic together.
func (k *kafka) deadLetter() (record, reason string, pieces int) {
	k.t.Helper()
	records := k.records(deadLetters)
	require.NotEmpty(k.t, records)
	slices.SortFunc(records, func(a, b *kgo.Record) int { return int(a.Offset - b.Offset) })
	var whole strings.Builder
	for i, r := range records {
		require.Equal(k.t, records[0].Partition, r.Partition, "pieces keep their order in one partition alone")
		require.Equal(k.t, records[0].Key, r.Key)
		require.Equal(k.t, string(r.Key), header(r, "wisepops_contact_id"))
		require.Equal(k.t, header(records[0], "reason"), header(r, "reason"))
		if len(records) > 1 {
			require.Equal(k.t, fmt.Sprintf("%d of %d", i+1, len(records)), header(r, "piece"))
		} else {
			require.Empty(k.t, header(r, "piece"))
		}
		whole.Write(r.Value)
	}
	return whole.String(), header(records[0], "reason"), len(records)
}

func requireEssay(t *testing.T, record, essay string) {
	t.Helper()
	var r struct {
		ContactID string            `json:"contact_id"`
		Fields    map[string]string `json:"fields"`
	}
	require.NoError(t, json.Unmarshal([]byte(record), &r))
	require.Len(t, r.ContactID, 32)
	require.Equal(t, essay, r.Fields["essay"])
}

// Its batch arrives once, it goes aside whole, and the watermark is past it.
func TestContactThatNoRecordTakesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"false", "true"} {
		t.Run("strict error handling "+strict, func(t *testing.T) {
			t.Parallel()
			needServices(t)
			k := newKafka(t, topic, deadLetters)
			w := newWebsite(t, sandbox.Options{Contacts: 509})
			contact, essay := large(1_100_000)
			w.amid(contact)
			w.set("KAFKA_BROKERS=" + k.address)
			start := func() *run {
				return w.start("config/leads_to_kafka.yaml", resources("state_sqlite"), once, "error_handling.strict="+strict)
			}
			log := start().succeeds()

			arrived := arrivals{}
			records := k.records(topic)
			for _, record := range records {
				arrived.read(t, record.Value)
			}
			w.requireAll(arrived, 1)
			require.Equal(t, 509, len(records), "records of 509 contacts") //nolint:testifylint // Len prints them all
			record, reason, pieces := k.deadLetter()
			requireEssay(t, record, essay)
			require.Contains(t, reason, "MESSAGE_TOO_LARGE")
			require.Equal(t, 6, pieces)
			require.Contains(t, log, "goes to the dead letters")
			require.NotContains(t, log, "level=error")

			calls := w.site.Calls().Total
			start().succeeds()
			require.Equal(t, calls+1, w.site.Calls().Total, "calls of a run after the watermark")
			require.Equal(t, 509, k.count(topic))
			require.Equal(t, pieces, k.count(deadLetters))
		})
	}
}

// limited has a topic take batches of fewer bytes than the producer sends. The other
// partitions of a request with one that is too large are to be sent again.
func (k *kafka) limited(topic string, most int) {
	id := k.TopicInfo(topic).TopicID
	k.Control(func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req, ok := kreq.(*kmsg.ProduceRequest)
		if !ok {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		rejected := false
		for _, t := range req.Topics {
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID = t.Topic, t.TopicID
			for _, partition := range t.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode = partition.Partition, kerr.NotEnoughReplicas.Code
				if (t.Topic == topic || t.TopicID == id) && len(partition.Records) > most {
					p.ErrorCode, rejected = kerr.MessageTooLarge.Code, true
				}
				answer.Partitions = append(answer.Partitions, p)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, rejected
	})
}

// The broker, which alone knows its limit, rejects a whole batch of records for one.
func TestContactThatTheBrokerRejectsIsIsolated(t *testing.T) {
	t.Parallel()
	needServices(t)
	k := newKafka(t, topic, deadLetters)
	k.limited(topic, 100_000)
	w := newWebsite(t, sandbox.Options{Contacts: 509})
	contact, essay := large(150_000)
	w.amid(contact)
	w.set("KAFKA_BROKERS=" + k.address)
	w.start("config/leads_to_kafka.yaml", resources("state_sqlite"), once).succeeds()

	arrived := arrivals{}
	records := k.records(topic)
	for _, record := range records {
		arrived.read(t, record.Value)
	}
	w.requireAll(arrived, 1)
	t.Logf("%d records of 509 contacts", len(records))
	require.LessOrEqual(t, len(records), 2*509)
	record, reason, pieces := k.deadLetter()
	requireEssay(t, record, essay)
	require.Contains(t, reason, "MESSAGE_TOO_LARGE")
	require.Equal(t, 1, pieces)

	sent := len(records)
	w.start("config/leads_to_kafka.yaml", resources("state_sqlite"), once).succeeds()
	require.Equal(t, sent, k.count(topic))
	require.Equal(t, 1, k.count(deadLetters))
}

// What Kafka rejects for what it is in, not for what it holds, waits.
func TestOutagesOfKafkaMakeNoDeadLetters(t *testing.T) {
	t.Parallel()
	needServices(t)
	k := newKafka(t, topic, deadLetters)
	w := newWebsite(t, sandbox.Options{Contacts: 3000})
	contact, essay := large(1_100_000)
	w.site.AddRaw(sandbox.DefaultStart, contact) // first of all: aside before anything is away
	w.set("KAFKA_BROKERS=" + k.address)
	g := newGate(w)
	r := w.start("config/leads_to_kafka.yaml", resources("state_sqlite"), once, smallPages)
	w.survives(g, func() int { return k.count(topic) },
		k.refusing(kerr.TopicAuthorizationFailed), k.unreachable(), k.refusing(kerr.PolicyViolation), k.refusing(kerr.UnknownServerError))
	r.succeeds()
	arrived := arrivals{}
	for _, record := range k.records(topic) {
		arrived.read(t, record.Value)
	}
	w.requireAll(arrived, 1)
	record, _, _ := k.deadLetter()
	requireEssay(t, record, essay)
}

// What was delivered cannot be written down, and is not repeated for it.
func TestFullCacheRepeatsNoContact(t *testing.T) {
	t.Parallel()
	needServices(t)
	k := newKafka(t, topic, deadLetters)
	w := newWebsite(t, sandbox.Options{Contacts: 5000})
	receiver := net.JoinHostPort("127.0.0.1", freePort(t))
	w.set("KAFKA_BROKERS="+k.address, "WEBHOOK_ADDRESS="+receiver, "WEBHOOK_PUBLIC_URL=http://"+receiver+"/wisepops")
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "wisepops_state.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, statement := range []string{
		`CREATE TABLE wisepops_state (key TEXT PRIMARY KEY, value BLOB NOT NULL)`,
		`CREATE TRIGGER full BEFORE INSERT ON wisepops_state WHEN NEW.key LIKE 'delivered%'
			BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END`,
	} {
		_, err = db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	r := w.start("config/leads_realtime.yaml", resources("state_sqlite"))
	eventually(t, "past contacts arrive", func() bool { return k.count(topic) >= 5000 })
	all := w.site.Contacts()
	last := wisepops.FormatTime(all[len(all)-1].CollectedAt)
	eventually(t, "the watermark is behind all of them", func() (behind bool) {
		err := db.QueryRowContext(t.Context(), `SELECT count(*) = 1 FROM wisepops_state
			WHERE key = 'leads_realtime' AND instr(CAST(value AS TEXT), $1) > 0`, last).Scan(&behind)
		return err == nil && behind
	})
	require.Contains(t, r.terminate(), "database or disk is full")
	// Whatever its overlap asks for again is known to it.
	calls := w.site.Calls().ByEndpoint["GET /contacts"]
	r = w.start("config/leads_realtime.yaml", resources("state_sqlite"))
	eventually(t, "the second run polls", func() bool { return w.site.Calls().ByEndpoint["GET /contacts"] > calls })
	r.terminate()
	require.Equal(t, 5000, k.count(topic), "records of 5,000 contacts")
	require.Zero(t, k.count(deadLetters))
}

// A receiver answers 200 for what goes aside: sent again it would go no other way.
func TestReceiverPutsALargeDeliveryAside(t *testing.T) {
	t.Parallel()
	needServices(t)
	k := newKafka(t, topic, deadLetters)
	w := newWebsite(t, sandbox.Options{})
	receiver := net.JoinHostPort("127.0.0.1", freePort(t))
	w.set("KAFKA_BROKERS=" + k.address)
	r := w.start("deploy/kubernetes/pipelines/receiver.yaml", []string{"resources/state_memory.yaml"}, "input.wisepops_webhook.address="+receiver)
	contact, essay := large(1_040_000)
	other := `{"collected_at":"2026-01-02T03:04:05.679Z","wisepop_id":7,"fields":{"email":"other@example.com"}}`
	body := bytes.Join([][]byte{[]byte("["), contact, []byte(","), []byte(other), []byte("]")}, nil)
	deliver := func() (status int) {
		mac := hmac.New(sha256.New, []byte(sandbox.DefaultAPIKey))
		mac.Write(body)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+receiver+"/wisepops/email", bytes.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("X-Wisepops-Signature", hex.EncodeToString(mac.Sum(nil)))
		resp, err := (&http.Client{Timeout: patience}).Do(req)
		if err != nil {
			return 0
		}
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	eventually(t, "it listens", func() bool { return answers(receiver) })
	require.Equal(t, http.StatusOK, deliver())
	require.Equal(t, 1, k.count(topic))
	record, reason, pieces := k.deadLetter()
	requireEssay(t, record, essay)
	assert.Contains(t, reason, "MESSAGE_TOO_LARGE")
	assert.Equal(t, 6, pieces)
	r.terminate()
}

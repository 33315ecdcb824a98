package integration_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	deletes   = "wisepops_privacy_delete: { api_key: '${WISEPOPS_API_KEY}', base_url: '${WISEPOPS_BASE_URL}' }"
	toFailed  = "kafka_franz: { seed_brokers: [ '${KAFKA_BROKERS}' ], topic: privacy_requests.failed }"
	receipts  = "wisepops_privacy_delete: { api_key: '${WISEPOPS_API_KEY}', base_url: '${WISEPOPS_BASE_URL}', receipt_key: '${RECEIPT_KEY}' }"
	toReceipt = "kafka_franz: { seed_brokers: [ '${KAFKA_BROKERS}' ], topic: privacy_requests.receipts }"
	toEither  = "switch: { cases: [ { check: errored(), output: { " + toFailed + " } }, { output: { " + toReceipt + " } } ] }"
	aside     = "fallback: [ { " + deletes + " }, { " + toFailed + " } ]"
	retried   = "retry: { backoff: { initial_interval: 10ms }, output: "
)

var (
	byPeriod = []string{"input.kafka_franz.batching.period=100ms"}
	byCount  = append([]string{"input.kafka_franz.batching.count=10"}, byPeriod...)
)

// Whatever fails, and however often the worker is killed, no offset of these pipelines is
// committed whose request was neither made at the API, and has its receipt where there are
// any, nor put aside.
func TestEveryRequestOfATopicIsMade(t *testing.T) {
	t.Parallel()
	needServices(t)
	for name, shape := range map[string]struct {
		processors, output string // of privacy_from_kafka.yaml where there are none
		batching           []string
		receipts           bool
	}{
		"one by one":               {output: deletes},
		"by count":                 {output: deletes, batching: byCount},
		"by period":                {output: deletes, batching: byPeriod},
		"aside":                    {output: aside},
		"aside, by count":          {output: aside, batching: byCount},
		"split, retried, by count": {processors: "{ split: { size: 1 } }", output: retried + "{ " + deletes + " } }", batching: byCount},
		"receipts":                 {receipts: true},
		"receipts, by count":       {receipts: true, batching: byCount},
		"switch":                   {receipts: true, processors: "{ " + receipts + " }", output: toEither},
		"switch, retried, by count": {
			receipts: true, processors: "{ " + receipts + " }", output: retried + "{ " + toEither + " } }", batching: byCount,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const kills, share = 6, 20
			k := newKafka(t, "privacy_requests", "privacy_requests.receipts", "privacy_requests.failed")
			w := newWebsite(t, sandbox.Options{})
			w.set("KAFKA_BROKERS="+k.address, "RECEIPT_KEY=integration")
			chance := chances(uint64(len(name)))
			w.site.Control(func(*http.Request) *sandbox.Fault {
				switch {
				case chance(4):
					return &sandbox.Fault{Status: http.StatusConflict} // not retried by the client
				case chance(20):
					return &sandbox.Fault{Status: http.StatusBadGateway}
				case chance(20):
					return &sandbox.Fault{DropConnection: true, Effective: chance(2)}
				}
				return &sandbox.Fault{Delay: 5 * time.Millisecond}
			})
			pipeline := "config/privacy_from_kafka.yaml"
			if shape.output != "" {
				pipeline = w.write(fmt.Sprintf(`
input: { kafka_franz: { seed_brokers: [ "${KAFKA_BROKERS}" ], topics: [ privacy_requests ], consumer_group: wisepops_privacy } }
pipeline: { processors: [ %s ] }
output: { %s }
`, shape.processors, shape.output))
			}
			start := func() *run {
				return w.start(pipeline, resources("state_sqlite"), append([]string{
					// As soon as can be: what a killed worker held goes to the next one.
					"input.kafka_franz.session_timeout=500ms", "input.kafka_franz.heartbeat_interval=100ms",
					"input.kafka_franz.rebalance_timeout=1s", "input.kafka_franz.commit_period=100ms",
				}, shape.batching...)...)
			}

			calls := func() int { return w.site.Calls().ByEndpoint["DELETE /data-privacy"] }
			var people []string
			r := start()
			for range kills {
				var requests []string
				for range share {
					email := fmt.Sprintf("person%d@mail.example", len(people))
					people = append(people, email)
					w.site.Add(sandbox.Contact{Email: email})
					requests = append(requests, requestOf(email))
				}
				before := calls()
				k.flaky(nil)
				k.produce("privacy_requests", requests...)
				k.flaky(func() bool { return chance(4) })
				eventually(t, "calls are under way", func() bool { return calls() > before+share/3 })
				r.kill()
				r = start()
			}
			eventually(t, "all requests are committed", func() bool { return k.committed("wisepops_privacy") == len(people) })
			r.kill()

			failed, answered, there := map[string]bool{}, map[string]bool{}, map[string]bool{}
			for _, record := range k.records("privacy_requests.failed") {
				failed[string(record.Value)] = true
			}
			for _, record := range k.records("privacy_requests.receipts") {
				var receipt struct {
					EmailHMAC string `json:"email_hmac"`
				}
				require.NoError(t, json.Unmarshal(record.Value, &receipt))
				answered[receipt.EmailHMAC] = true
			}
			for _, c := range w.site.Contacts() {
				there[c.Email] = true
			}
			missing := slices.DeleteFunc(people, func(email string) bool {
				mac := hmac.New(sha256.New, []byte("integration"))
				mac.Write([]byte(email))
				made := !there[email] && (!shape.receipts || answered[hex.EncodeToString(mac.Sum(nil))])
				return made || failed[requestOf(email)]
			})
			require.Empty(t, missing, "committed, and neither made nor put aside")
		})
	}
}

func requestOf(email string) string { return fmt.Sprintf(`{"email":%q}`, email) }

// chances returns what happens once in so many times.
func chances(seed uint64) func(in int) bool {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(in int) bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(in) == 0
	}
}

// write makes a pipeline of a test's own, and returns its path as [website.start] takes it.
func (w *website) write(pipeline string) string {
	w.t.Helper()
	file := filepath.Join(w.dir, "pipeline.yaml")
	require.NoError(w.t, os.WriteFile(file, []byte(pipeline), 0o600))
	path, err := filepath.Rel(repository(), file)
	require.NoError(w.t, err)
	return path
}

package webhook_test

import (
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	"github.com/redpanda-data/benthos/v4/public/service/integration"
)

// TestInBenthosOwnSuite runs those of Benthos' stream tests that fit a
// delivery: they send and receive at the same time, since it is answered when it was
// received. The output signs as Wisepops does.
func TestInBenthosOwnSuite(t *testing.T) {
	integration.StreamTests(
		integration.StreamTestStreamParallel(200),
		integration.StreamTestStreamParallelLossy(200),
		integration.StreamTestStreamParallelLossyThroughReconnect(200),
	).Run(t, `
output:
  processors:
    - mapping: |
        root = [ { "collected_at": "2026-01-31T10:00:00.000Z", "wisepop_id": 1, "fields": { "text": content().string() } } ]
  http_client:
    url: http://127.0.0.1:$PORT/wisepops/survey
    verb: POST
    headers:
      X-Wisepops-Signature: ${! content().hash("hmac_sha256", "suite").encode("hex") }
    retry_period: 1ms
    max_retry_backoff: 10ms
    retries: 1000
    max_in_flight: $MAX_IN_FLIGHT

input:
  wisepops_webhook:
    api_key: suite
    address: 127.0.0.1:$PORT
    register: false
  processors:
    - mapping: root = this.fields.text
`, integration.StreamTestOptTimeout(time.Minute), integration.StreamTestOptMaxInFlight(10))
}

package output

import (
	"context"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/privacy"
)

func privacyDeleteSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Categories("Services").
		Summary("Deletes the data of the people that messages name, and has it suppressed from then on, as the GDPR and the CCPA demand.").
		Description(`
Each message is a request about one person. A message that names nobody, or whose email or phone cannot be read, makes no call and fails; so that it is not tried for ever, put it aside with a `+"`fallback`"+`. To keep a receipt of each deletion, use the processor of the same name.

A batch fails as a whole where a part of it fails, since many inputs, such as `+"`kafka_franz` with `batching`"+`, lose messages when parts of a batch fail repeatedly. Everybody else whom the batch names is deleted all the same, and remembered for an hour, as a keyed hash in memory: when the batch comes again, they make no call. A `+"`fallback`"+` takes the whole batch: leave the input without batching, which gains nothing here, so that it takes the request that failed and no other.

A deletion is safe to repeat. While the API is away a single message is tried, after a wait that grows to 15 minutes; while it refuses the key, an hour.

== Metrics

- `+"`wisepops_privacy_deletions`"+`: requests by status, `+"`deleted`, `repeated` (within the hour, without a call), `dry_run`, `unreadable` or `error`"+`
- `+"`wisepops_api_requests`"+` and `+"`wisepops_api_latency_ns`"+`: calls by endpoint and status
`).
		Field(apiconfig.KeyField()).
		Fields(privacy.Fields()...).
		Fields(apiconfig.TransportFields()...).
		Footnotes(privacy.ErrorNotes()).
		Example("Requests from a topic", "What fails goes to a topic of its own, with the reason. The input does not batch, so that no other request does.", `
input:
  kafka_franz:
    seed_brokers: [ localhost:9092 ]
    topics: [ privacy_requests ]
    consumer_group: wisepops_privacy

output:
  fallback:
    - wisepops_privacy_delete:
        api_key: "${WISEPOPS_API_KEY}"
        default_country: FR
    - kafka_franz:
        seed_brokers: [ localhost:9092 ]
        topic: privacy_requests_failed
        metadata:
          include_patterns: [ fallback_error ]
`)
}

func init() {
	service.MustRegisterBatchOutput("wisepops_privacy_delete", privacyDeleteSpec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			deleter, err := privacy.New(conf, mgr)
			if err != nil {
				return nil, service.BatchPolicy{}, 0, err
			}
			return &privacyDelete{deleter, privacy.NewMemory()}, service.BatchPolicy{}, deleter.MaxInFlight, nil
		})
}

type privacyDelete struct {
	deleter *privacy.Deleter
	memory  *privacy.Memory
}

// Connect makes no call: the API has none that would delete nobody.
func (*privacyDelete) Connect(context.Context) error { return nil }

// WriteBatch fails the batch as a whole where a part of it fails.
func (o *privacyDelete) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	return o.deleter.DeleteOnce(ctx, batch, o.memory)
}

func (o *privacyDelete) Close(context.Context) error {
	o.deleter.Close()
	return nil
}

package performance

import (
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
)

const (
	fieldPollInterval       = "poll_interval"
	fieldFollow             = "follow"
	fieldEmit               = "emit"
	fieldCheckpointCache    = "checkpoint_cache"
	fieldCheckpointCacheKey = "checkpoint_cache_key"

	emitAll     = "all"
	emitChanged = "changed"
)

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Categories("Services").
		Summary("Reads the performance of the pop-ups of a website: snapshots of how often each was displayed, clicked and filled in.").
		Description(`
Each snapshot is a batch, and each message is one pop-up: the API's own object and, added to it,

- `+"`snapshot_at`"+`: when the snapshot was taken, the same for all of its pop-ups, RFC 3339, UTC
- `+"`created_at_utc`"+`: `+"`created_at`"+` in RFC 3339, or null where there is none
- `+"`delta`"+`: where an earlier snapshot is known, how much `+"`display_count`, `click_count` and `email_count`"+` grew since. A count that fell was reset, and its delta is the new count; so it is for a pop-up that is in no earlier snapshot. A delta is null where a count is missing.

`+"```json"+`
{
  "id": 12345, "label": "Live Wisepop", "activated": true,
  "created_at": "2017-02-27 15:29:43", "created_at_utc": "2017-02-27T15:29:43Z",
  "display_count": 130, "click_count": 25, "email_count": 21,
  "snapshot_at": "2026-01-31T10:00:00.000Z",
  "delta": { "display_count": 30, "click_count": 5, "email_count": 1 }
}
`+"```"+`

The API tells totals since the creation of a pop-up, and nothing about the past: what is not read is not known later. A snapshot is compared with the last one that was acknowledged downstream, which `+"`checkpoint_cache`"+` keeps across restarts, so that deltas add up. A snapshot is delivered at least once; `+"`id` and `snapshot_at`"+` tell a repetition.

A snapshot costs one call of the API's budget (1,500 in 30 days), and one is taken at each start. A call that fails is tried again after a wait that grows from a second to an hour, and only the first one of an outage is retried at once (`+"`max_retries`"+`).

== Metadata

- `+"`wisepops_wisepop_id`"+`: the pop-up
- `+"`wisepops_snapshot_at`"+`: as in the message
- `+"`wisepops_source`"+`: `+"`performance`"+`

== Metrics

- `+"`wisepops_performance_snapshots`"+`: snapshots taken
- `+"`wisepops_last_poll_success_seconds`"+`: when the last one was, in seconds since 1970
- `+"`wisepops_snapshot_write_errors`"+`: failed writes of the last snapshot
- `+"`wisepops_api_requests`"+` and `+"`wisepops_api_latency_ns`"+`: calls by endpoint and status
`).
		Field(apiconfig.KeyField()).
		Field(service.NewDurationField(fieldPollInterval).
			Description("How long to wait after a snapshot.").
			Default("24h").
			Example("1h")).
		Field(service.NewBoolField(fieldFollow).
			Description("Whether to go on with further snapshots. When `false` the input ends after one, as a scheduled job wants.").
			Default(true)).
		Field(service.NewStringAnnotatedEnumField(fieldEmit, map[string]string{
			emitAll:     "Each snapshot has all pop-ups.",
			emitChanged: "A snapshot has the pop-ups of which anything changed since the last one, and those that are new.",
		}).
			Description("What is delivered of a snapshot.").
			Default(emitAll)).
		Field(service.NewStringField(fieldCheckpointCache).
			Description("The label of the xref:components:caches/about.adoc[cache resource] that keeps the last snapshot. An empty string keeps it in memory: the first snapshot after a start has no deltas, and all pop-ups.").
			Default("").
			Example("state")).
		Field(service.NewStringField(fieldCheckpointCacheKey).
			Description("The key of the last snapshot in the cache. Each input needs its own.").
			Default("wisepops_performance")).
		Fields(apiconfig.TransportFields()...).
		Footnotes(apiconfig.ErrorNotes(`- 'checkpoint_cache names …': there is no cache resource with that label: give the file that defines it with '-r'.
- 'reading the last snapshot': the cache does not answer. No call is made until it does.
- 'the last snapshot … cannot be used': it is empty, damaged or written by a newer version. To start over, delete the key that the error names or set another 'checkpoint_cache_key': the next snapshot has no deltas then.
- 'storing the last snapshot': the cache takes no writes, and it is tried again. After a crash meanwhile the next snapshot is compared with an older one.
- 'both keep their state under the key': give each input a 'checkpoint_cache_key' of its own.
`)).
		Example("A table of daily growth", "One row a day and pop-up.", `
input:
  wisepops_performance:
    api_key: "${WISEPOPS_API_KEY}"
    checkpoint_cache: state

output:
  sql_insert:
    driver: postgres
    dsn: "${POSTGRES_DSN}"
    table: wisepops_performance
    columns: [ wisepop_id, snapshot_at, label, displays, new_displays ]
    args_mapping: root = [ this.id, this.snapshot_at, this.label, this.display_count, this.delta.display_count.or(null) ]
    suffix: ON CONFLICT (wisepop_id, snapshot_at) DO NOTHING

cache_resources:
  - label: state
    sql:
      driver: postgres
      dsn: "${POSTGRES_DSN}"
      table: wisepops_state
      key_column: key
      value_column: value
      set_suffix: ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value
`).
		Example("What changed, as a scheduled job", "Ends after one snapshot. The state of the last run tells what changed.", `
input:
  wisepops_performance:
    api_key: "${WISEPOPS_API_KEY}"
    follow: false
    emit: changed
    checkpoint_cache: state

output:
  stdout: {}

cache_resources:
  - label: state
    redis:
      url: redis://localhost:6379
`)
}

type config struct {
	website      string // tells the API key apart from others
	pollInterval time.Duration
	follow       bool
	changedOnly  bool
	cache        string
	cacheKey     string
}

func parseConfig(conf *service.ParsedConfig) (c config, err error) {
	key, err := apiconfig.Key(conf)
	if err != nil {
		return c, err
	}
	c.website = apiconfig.Website(key)
	if c.pollInterval, err = conf.FieldDuration(fieldPollInterval); err != nil {
		return c, err
	}
	if c.pollInterval <= 0 {
		return c, fmt.Errorf("%s must be longer than zero", fieldPollInterval)
	}
	if c.follow, err = conf.FieldBool(fieldFollow); err != nil {
		return c, err
	}
	emit, err := conf.FieldString(fieldEmit)
	if err != nil {
		return c, err
	}
	if emit != emitAll && emit != emitChanged {
		return c, fmt.Errorf("%s must be %s or %s, and is %q", fieldEmit, emitAll, emitChanged, emit)
	}
	c.changedOnly = emit == emitChanged
	if c.cache, err = conf.FieldString(fieldCheckpointCache); err != nil {
		return c, err
	}
	if c.cacheKey, err = conf.FieldString(fieldCheckpointCacheKey); err != nil {
		return c, err
	}
	if c.cache != "" && c.cacheKey == "" {
		return c, fmt.Errorf("%s is empty", fieldCheckpointCacheKey)
	}
	return c, nil
}

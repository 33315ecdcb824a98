package input

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	wciFieldWisepopID          = "wisepop_id"
	wciFieldCollectedAfter     = "collected_after"
	wciFieldCollectedBefore    = "collected_before"
	wciFieldPageSize           = "page_size"
	wciFieldPollInterval       = "poll_interval"
	wciFieldFollow             = "follow"
	wciFieldOverlap            = "overlap"
	wciFieldCheckpointCache    = "checkpoint_cache"
	wciFieldCheckpointCacheKey = "checkpoint_cache_key"
	wciFieldCheckpointLimit    = "checkpoint_limit"
)

func contactsSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Categories("Services").
		Summary("Reads the contacts that Wisepops pop-ups collected, past and new ones, by polling with a watermark.").
		Description(`
Each page of contacts is a batch, and each message is one contact's own JSON, byte for byte. The watermark, which is the newest `+"`collected_at`"+` up to which everything was acknowledged downstream, is kept in a cache: after a restart or a crash the input goes on from there. Every contact is delivered at least once; after a crash those that were in flight are delivered again, and can be told by their id.

A poll that finds nothing costs one call of the API's budget (1,500 in 30 days), and a backfill of N contacts about N / `+"`page_size`"+`. The default `+"`poll_interval`"+` of 30 minutes costs 1,440 calls in 30 days.

A poll that fails is tried again after a wait that grows from a second to `+"`poll_interval`"+`, and only the first one of an outage is retried at once (`+"`max_retries`"+`).

What has no readable time is delivered too, once and with a warning, even where a page holds something else than objects: nothing that the API returns is judged to be no lead.

== Metadata

- `+"`wisepops_contact_id`"+`: 32 hex digits that identify the contact, the same for a contact that a webhook delivered: what tables upsert on
- `+"`wisepops_collected_at`"+`: RFC 3339, UTC, milliseconds; missing where the contact has no readable time
- `+"`wisepops_wisepop_id`"+`: the pop-up
- `+"`wisepops_source`"+`: `+"`contacts`"+`

== Metrics

- `+"`wisepops_contacts_received`"+`: contacts delivered to the pipeline
- `+"`wisepops_contacts_duplicates`"+`: contacts that the API returned again and that were left out
- `+"`wisepops_contacts_undated`"+`: contacts without a readable time
- `+"`wisepops_watermark_lag_seconds`"+`: age of the instant up to which everything was delivered
- `+"`wisepops_last_poll_success_seconds`"+`: when the last poll succeeded, in seconds since 1970
- `+"`wisepops_seen_size`"+`: contacts remembered, so that the overlap repeats none
- `+"`wisepops_watermark_write_errors`"+`: failed writes of the watermark
- `+"`wisepops_api_requests`"+` and `+"`wisepops_api_latency_ns`"+`: calls by endpoint and status
`).
		Field(apiconfig.KeyField()).
		Field(service.NewIntField(wciFieldWisepopID).
			Description("Limits to the contacts of one pop-up. `0` reads those of all pop-ups.").
			Default(0).
			LintRule(`root = if this < 0 { "wisepop_id must not be negative" }`)).
		Field(service.NewStringField(wciFieldCollectedAfter).
			Description("Where to begin when no watermark is stored, as an RFC 3339 time: contacts collected at that instant or later are read. Empty begins with the first contact. A stored watermark takes precedence: to start over, delete its key from the cache or set another `checkpoint_cache_key`.").
			Default("").
			Example("2026-01-01T00:00:00Z")).
		Field(service.NewStringField(wciFieldCollectedBefore).
			Description("Where to stop, as an RFC 3339 time: contacts collected at that instant or later are left out, and the input ends when it is reached. Empty never stops.").
			Default("").
			Example("2026-02-01T00:00:00Z")).
		Field(service.NewIntField(wciFieldPageSize).
			Description("How many contacts a call returns at most, from 1 to 1000. Smaller pages cost more calls.").
			Default(wisepops.MaxPageSize).
			LintRule(`root = if this < 1 || this > 1000 { "page_size must be between 1 and 1000" }`)).
		Field(service.NewDurationField(wciFieldPollInterval).
			Description("How long to wait after a poll that found everything.").
			Default("30m").
			Example("1h")).
		Field(service.NewBoolField(wciFieldFollow).
			Description("Whether to go on polling for new contacts. When `false` the input ends once it has caught up, as a scheduled job wants.").
			Default(true)).
		Field(service.NewDurationField(wciFieldOverlap).
			Description("How far each request reaches back behind the watermark, to find contacts that the API shows late. Those delivered before are recognised and left out. Less than a second has the effect of a second. A longer overlap lets the API return more that is known already: as long as that fits into one page it costs no further call.").
			Default("1s").
			Example("1h").
			Advanced()).
		Field(service.NewStringField(wciFieldCheckpointCache).
			Description("The label of the xref:components:caches/about.adoc[cache resource] that keeps the watermark. An empty string keeps none: each start begins at `collected_after`, as a bounded backfill wants.").
			Example("state")).
		Field(service.NewStringField(wciFieldCheckpointCacheKey).
			Description("The key of the watermark in the cache. Each input needs its own.").
			Default("wisepops_contacts")).
		Field(service.NewIntField(wciFieldCheckpointLimit).
			Description("How many contacts may be in flight, or delivered and not yet covered by the stored watermark, before reading pauses. It bounds the memory that is used, and what is repeated after a crash. An output that batches must batch fewer than this.").
			Default(10000).
			LintRule(`root = if this < 1 { "checkpoint_limit must be at least 1" }`).
			Advanced()).
		Field(service.NewAutoRetryNacksToggleField().
			Description("Whether messages that are rejected (nacked) downstream are replayed until they are delivered. When `false` the watermark stays behind them, and they are read from the API again, which costs calls but no memory.")).
		Fields(apiconfig.TransportFields()...).
		Footnotes(apiconfig.ErrorNotes(`- 'checkpoint_cache names …': there is no cache resource with that label: give the file that defines it with '-r'.
- 'reading the watermark': the cache does not answer. No call is made until it does.
- 'the watermark … cannot be used': it is empty, damaged, of another 'wisepop_id' or written by a newer version. To start over from 'collected_after', delete the key that the error names or set another 'checkpoint_cache_key'. It is never ignored, since that would read everything again.
- 'storing the watermark': the cache takes no writes. Reading pauses and the write is tried again: nothing is lost, and a crash meanwhile repeats what is not stored.
- 'both keep their state under the key': two inputs of one process would overwrite each other's watermark: give each a 'checkpoint_cache_key' of its own.
- 'contacts have no readable collected_at': they are delivered, once; the API or what is in front of it changed.
- 'contacts were refused downstream' (with 'auto_replay_nacks: false'): they are read again; look at the errors of the output.
- 'The API no longer serves oldest contacts first': nothing to do; the run is read again by pages.
- 'The watermark lies ahead of the clock of the API': nothing to do, unless it comes often: then a clock is wrong.
`)).
		Example("Contacts into Postgres", "Upserts on the contact id, so that a repetition changes nothing.", `
input:
  wisepops_contacts:
    api_key: ${WISEPOPS_API_KEY}
    checkpoint_cache: state

pipeline:
  processors:
    - wisepops_contact: {}

output:
  sql_insert:
    driver: postgres
    dsn: ${POSTGRES_DSN}
    table: wisepops_contacts
    columns: [ contact_id, collected_at, email ]
    args_mapping: root = [ this.contact_id, this.collected_at, this.email ]
    suffix: ON CONFLICT (contact_id) DO NOTHING

cache_resources:
  - label: state
    sql:
      driver: postgres
      dsn: ${POSTGRES_DSN}
      table: wisepops_state
      key_column: key
      value_column: value
      set_suffix: ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value
`).
		Example("A month of contacts, once", "A bounded backfill that keeps no state.", `
input:
  wisepops_contacts:
    api_key: ${WISEPOPS_API_KEY}
    collected_after: 2026-01-01T00:00:00Z
    collected_before: 2026-02-01T00:00:00Z
    checkpoint_cache: ""
    follow: false
`)
}

type contactsConfig struct {
	website         string // tells the API key apart from others
	wisepopID       int64
	collectedAfter  time.Time
	collectedBefore time.Time
	pageSize        int
	pollInterval    time.Duration
	follow          bool
	overlap         time.Duration
	cache           string
	cacheKey        string
	checkpointLimit int
	autoReplay      bool
}

func parseContactsConfig(conf *service.ParsedConfig) (c contactsConfig, err error) {
	key, err := apiconfig.Key(conf)
	if err != nil {
		return c, err
	}
	c.website = websiteOf(key)
	var wisepopID int
	if wisepopID, err = conf.FieldInt(wciFieldWisepopID); err != nil {
		return c, err
	}
	if c.wisepopID = int64(wisepopID); c.wisepopID < 0 {
		return c, fmt.Errorf("%s must not be negative", wciFieldWisepopID)
	}
	if c.collectedAfter, err = optionalTime(conf, wciFieldCollectedAfter); err != nil {
		return c, err
	}
	if c.collectedBefore, err = optionalTime(conf, wciFieldCollectedBefore); err != nil {
		return c, err
	}
	if !c.collectedBefore.IsZero() && !c.collectedAfter.Before(c.collectedBefore) {
		return c, fmt.Errorf("%s must be later than %s", wciFieldCollectedBefore, wciFieldCollectedAfter)
	}
	if c.pageSize, err = conf.FieldInt(wciFieldPageSize); err != nil {
		return c, err
	}
	if c.pageSize < 1 || c.pageSize > wisepops.MaxPageSize {
		return c, fmt.Errorf("%s must be between 1 and %d, and is %d", wciFieldPageSize, wisepops.MaxPageSize, c.pageSize)
	}
	if c.pollInterval, err = conf.FieldDuration(wciFieldPollInterval); err != nil {
		return c, err
	}
	if c.pollInterval <= 0 {
		return c, fmt.Errorf("%s must be longer than zero", wciFieldPollInterval)
	}
	if c.follow, err = conf.FieldBool(wciFieldFollow); err != nil {
		return c, err
	}
	if c.overlap, err = conf.FieldDuration(wciFieldOverlap); err != nil {
		return c, err
	}
	if c.overlap < 0 {
		return c, fmt.Errorf("%s must not be negative", wciFieldOverlap)
	}
	if c.cache, err = conf.FieldString(wciFieldCheckpointCache); err != nil {
		return c, err
	}
	if c.cacheKey, err = conf.FieldString(wciFieldCheckpointCacheKey); err != nil {
		return c, err
	}
	if c.cache != "" && c.cacheKey == "" {
		return c, fmt.Errorf("%s is empty", wciFieldCheckpointCacheKey)
	}
	if c.checkpointLimit, err = conf.FieldInt(wciFieldCheckpointLimit); err != nil {
		return c, err
	}
	if c.checkpointLimit < 1 {
		return c, fmt.Errorf("%s must be at least 1", wciFieldCheckpointLimit)
	}
	c.autoReplay, err = conf.FieldBool(service.AutoRetryNacksToggleFieldName)
	return c, err
}

// websiteOf tells an API key apart from others, and does not let it be guessed.
func websiteOf(key string) string {
	sum := sha256.Sum256([]byte("wisepops website\n" + key))
	return hex.EncodeToString(sum[:4])
}

func optionalTime(conf *service.ParsedConfig, field string) (time.Time, error) {
	s, err := conf.FieldString(field)
	if err != nil || strings.TrimSpace(s) == "" {
		return time.Time{}, err
	}
	t, err := wisepops.ParseTime(strings.TrimSpace(s))
	if err != nil {
		return t, fmt.Errorf("%s: %w: it looks like 2026-01-31T00:00:00Z", field, err)
	}
	return t, nil
}

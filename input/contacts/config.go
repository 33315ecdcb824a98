package contacts

import (
	"fmt"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	fieldWisepopID          = "wisepop_id"
	fieldCollectedAfter     = "collected_after"
	fieldCollectedBefore    = "collected_before"
	fieldPageSize           = "page_size"
	fieldPollInterval       = "poll_interval"
	fieldFollow             = "follow"
	fieldOverlap            = "overlap"
	fieldCheckpointCache    = "checkpoint_cache"
	fieldCheckpointCacheKey = "checkpoint_cache_key"
	fieldCheckpointLimit    = "checkpoint_limit"
	fieldCheckpointBytes    = "checkpoint_bytes"
)

const (
	overlapAuto = "auto"

	// autoOverlap finds contacts that come late by minutes. A run reaches back less where
	// that would cost calls.
	autoOverlap = 5 * time.Minute
)

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Categories("Services").
		Summary("Reads the contacts that Wisepops pop-ups collected, past and new ones, by polling with a watermark.").
		Description(`
Each page of contacts is a batch, and each message is one contact's own JSON, byte for byte. The watermark, which is the newest `+"`collected_at`"+` up to which everything was acknowledged downstream, is kept in a cache: after a restart or a crash the input goes on from there. Every contact is delivered at least once; after a crash those that were in flight are delivered again, and can be told by their id.

A batch that is rejected (nacked) downstream is sent again in eighths, then in eighths of those that are rejected, down to single contacts: what is good settles soon, and a contact that a sink rejects for its content ends alone and is tried again after a wait that grows to two minutes. The watermark stays behind it, and reading goes on up to `+"`checkpoint_limit`"+`. Put such contacts aside in the pipeline, for example with a `+"`fallback`"+` output.

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
- `+"`wisepops_watermark_lag_seconds`"+`: age of the oldest contact that was read and is not delivered; where there is none, of the instant up to which everything was
- `+"`wisepops_last_poll_success_seconds`"+`: when the last poll succeeded, in seconds since 1970
- `+"`wisepops_seen_size`"+`: contacts remembered, so that the overlap repeats none
- `+"`wisepops_watermark_write_errors`"+`: failed writes of the watermark
- `+"`wisepops_api_requests`"+` and `+"`wisepops_api_latency_ns`"+`: calls by endpoint and status
`).
		Field(apiconfig.KeyField()).
		Field(service.NewIntField(fieldWisepopID).
			Description("Limits to the contacts of one pop-up. `0` reads those of all pop-ups.").
			Default(0).
			LintRule(`root = if this < 0 { "wisepop_id must not be negative" }`)).
		Field(service.NewStringField(fieldCollectedAfter).
			Description("Where to begin when no watermark is stored, as an RFC 3339 time: contacts collected at that instant or later are read. Empty begins with the first contact. A stored watermark takes precedence: to start over, delete its key from the cache or set another `checkpoint_cache_key`.").
			Default("").
			Example("2026-01-01T00:00:00Z")).
		Field(service.NewStringField(fieldCollectedBefore).
			Description("Where to stop, as an RFC 3339 time: contacts collected at that instant or later are left out, and the input ends when it is reached. Empty never stops.").
			Default("").
			Example("2026-02-01T00:00:00Z")).
		Field(service.NewIntField(fieldPageSize).
			Description("How many contacts a call returns at most, from 1 to 1000. Smaller pages cost more calls.").
			Default(wisepops.MaxPageSize).
			LintRule(`root = if this < 1 || this > 1000 { "page_size must be between 1 and 1000" }`)).
		Field(service.NewDurationField(fieldPollInterval).
			Description("How long to wait after a poll that found everything.").
			Default("30m").
			Example("1h")).
		Field(service.NewBoolField(fieldFollow).
			Description("Whether to go on polling for new contacts. When `false` the input ends once it has caught up, as a scheduled job wants.").
			Default(true)).
		Field(service.NewStringField(fieldOverlap).
			Description("How far each request reaches back behind the watermark, to find contacts that the API shows late, such as `1h`. Those delivered before are recognised and left out. Less than a second has the effect of a second. A longer overlap lets the API return more that is known already: as long as that fits into one page it costs no further call. `auto` reaches back five minutes, or as far as a quarter of a page of known contacts does where that is less.").
			Default(overlapAuto).
			Example("1h").
			LintRule(`root = if this != "auto" && this.parse_duration().catch(-1) < 0 { "overlap must be auto or a duration such as 1h" }`).
			Advanced()).
		Field(service.NewStringField(fieldCheckpointCache).
			Description("The label of the xref:components:caches/about.adoc[cache resource] that keeps the watermark. An empty string keeps none: each start begins at `collected_after`, as a bounded backfill wants.").
			Example("state")).
		Field(service.NewStringField(fieldCheckpointCacheKey).
			Description("The key of the watermark in the cache. Each input needs its own.").
			Default("wisepops_contacts")).
		Field(service.NewIntField(fieldCheckpointLimit).
			Description("How many contacts may be in flight, or delivered and not yet covered by the stored watermark, before reading pauses. It bounds the memory that is used, and what is repeated after a crash. An output that batches must batch fewer than this.").
			Default(10000).
			LintRule(`root = if this < 1 { "checkpoint_limit must be at least 1" }`).
			Advanced()).
		Field(service.NewIntField(fieldCheckpointBytes).
			Description("How many bytes the contacts in flight may hold in memory, likewise. A page that is larger is read alone.").
			Default(64<<20).
			LintRule(`root = if this < 1 { "checkpoint_bytes must be at least 1" }`).
			Advanced()).
		Fields(apiconfig.TransportFields()...).
		Footnotes(apiconfig.ErrorNotes(`- 'checkpoint_cache names …': there is no cache resource with that label: give the file that defines it with '-r'.
- 'reading the watermark': the cache does not answer. No call is made until it does.
- 'the watermark … cannot be used': it is empty, damaged, of another 'wisepop_id' or written by a newer version. To start over from 'collected_after', delete the key that the error names or set another 'checkpoint_cache_key'. It is never ignored, since that would read everything again.
- 'storing the watermark': the cache takes no writes. Reading pauses and the write is tried again: nothing is lost, and a crash meanwhile repeats what is not stored.
- 'both keep their state under the key': two inputs of one process would overwrite each other's watermark: give each a 'checkpoint_cache_key' of its own.
- 'contacts have no readable collected_at': they are delivered, once; the API or what is in front of it changed.
- 'The API no longer serves oldest contacts first': nothing to do; the run is read again by pages.
- 'The watermark lies ahead of the clock of the API': nothing to do, unless it comes often: then a clock is wrong.
`)).
		Example("Contacts into Postgres", "Upserts on the contact id, so that a repetition changes nothing.", `
input:
  wisepops_contacts:
    api_key: "${WISEPOPS_API_KEY}"
    checkpoint_cache: state

pipeline:
  processors:
    - wisepops_contact: {}

output:
  sql_insert:
    driver: postgres
    dsn: "${POSTGRES_DSN}"
    table: wisepops_contacts
    columns: [ contact_id, collected_at, email ]
    args_mapping: root = [ this.contact_id, this.collected_at, this.email ]
    suffix: ON CONFLICT (contact_id) DO NOTHING

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
		Example("A month of contacts, once", "A bounded backfill that keeps no state.", `
input:
  wisepops_contacts:
    api_key: "${WISEPOPS_API_KEY}"
    collected_after: 2026-01-01T00:00:00Z
    collected_before: 2026-02-01T00:00:00Z
    checkpoint_cache: ""
    follow: false
`)
}

type config struct {
	website         string // tells the API key apart from others
	wisepopID       int64
	collectedAfter  time.Time
	collectedBefore time.Time
	pageSize        int
	pollInterval    time.Duration
	follow          bool
	overlap         time.Duration
	autoOverlap     bool
	cache           string
	cacheKey        string
	checkpointLimit int
	checkpointBytes int
}

func parseConfig(conf *service.ParsedConfig) (c config, err error) {
	key, err := apiconfig.Key(conf)
	if err != nil {
		return c, err
	}
	c.website = apiconfig.Website(key)
	var wisepopID int
	if wisepopID, err = conf.FieldInt(fieldWisepopID); err != nil {
		return c, err
	}
	if c.wisepopID = int64(wisepopID); c.wisepopID < 0 {
		return c, fmt.Errorf("%s must not be negative", fieldWisepopID)
	}
	if c.collectedAfter, err = optionalTime(conf, fieldCollectedAfter); err != nil {
		return c, err
	}
	if c.collectedBefore, err = optionalTime(conf, fieldCollectedBefore); err != nil {
		return c, err
	}
	if !c.collectedBefore.IsZero() && !c.collectedAfter.Before(c.collectedBefore) {
		return c, fmt.Errorf("%s must be later than %s", fieldCollectedBefore, fieldCollectedAfter)
	}
	if c.pageSize, err = conf.FieldInt(fieldPageSize); err != nil {
		return c, err
	}
	if c.pageSize < 1 || c.pageSize > wisepops.MaxPageSize {
		return c, fmt.Errorf("%s must be between 1 and %d, and is %d", fieldPageSize, wisepops.MaxPageSize, c.pageSize)
	}
	if c.pollInterval, err = conf.FieldDuration(fieldPollInterval); err != nil {
		return c, err
	}
	if c.pollInterval <= 0 {
		return c, fmt.Errorf("%s must be longer than zero", fieldPollInterval)
	}
	if c.follow, err = conf.FieldBool(fieldFollow); err != nil {
		return c, err
	}
	if c.overlap, c.autoOverlap, err = parseOverlap(conf); err != nil {
		return c, err
	}
	if c.cache, err = conf.FieldString(fieldCheckpointCache); err != nil {
		return c, err
	}
	if c.cacheKey, err = conf.FieldString(fieldCheckpointCacheKey); err != nil {
		return c, err
	}
	if c.cache != "" && c.cacheKey == "" {
		return c, fmt.Errorf("%s is empty", fieldCheckpointCacheKey)
	}
	if c.checkpointLimit, err = conf.FieldInt(fieldCheckpointLimit); err != nil {
		return c, err
	}
	if c.checkpointLimit < 1 {
		return c, fmt.Errorf("%s must be at least 1", fieldCheckpointLimit)
	}
	if c.checkpointBytes, err = conf.FieldInt(fieldCheckpointBytes); err != nil {
		return c, err
	}
	if c.checkpointBytes < 1 {
		return c, fmt.Errorf("%s must be at least 1", fieldCheckpointBytes)
	}
	return c, nil
}

func parseOverlap(conf *service.ParsedConfig) (overlap time.Duration, auto bool, err error) {
	text, err := conf.FieldString(fieldOverlap)
	if err != nil {
		return 0, false, err
	}
	if text == overlapAuto {
		return autoOverlap, true, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, false, fmt.Errorf("%s must be %s or a duration such as 1h", fieldOverlap, overlapAuto)
	}
	return d, false, nil
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

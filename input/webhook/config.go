package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	fieldPreviousAPIKeys   = "previous_api_keys"
	fieldAddress           = "address"
	fieldPath              = "path"
	fieldPublicURL         = "public_url"
	fieldEvents            = "events"
	fieldWisepopIDs        = "wisepop_ids"
	fieldRegister          = "register"
	fieldUnregisterOnClose = "unregister_on_close"
	fieldRegisterInterval  = "register_interval"
	fieldCheckpointCache   = "checkpoint_cache"
	fieldVerifySignature   = "verify_signature"
	fieldMaxBodyBytes      = "max_body_bytes"
	fieldMaxInFlight       = "max_in_flight"
	fieldAckTimeout        = "ack_timeout"
	fieldCertFile          = "cert_file"
	fieldKeyFile           = "key_file"
	fieldShutdownTimeout   = "shutdown_timeout"
)

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Categories("Services").
		Summary("Receives the contacts that Wisepops pop-ups collect as they come, by webhooks that it registers itself.").
		Description(`
Each delivery is a batch, and each message is one contact's own JSON, byte for byte. Wisepops gets its answer when the pipeline has acknowledged the batch: a delivery that was not stored is sent again. Deliveries cost nothing of the API's budget.

Hooks are registered in the background, one for each event with the target `+"`public_url/<event>`"+`: what is there is kept, what is missing is created, exact twins are removed, and hooks with another target are never touched, so that several replicas can run. A look costs one call; where hooks are created or twins removed, one for each of these and one for a second look.

A message that can never be processed is refused each time it is sent again: give such a pipeline a fallback or a dead-letter queue. A message that a mapping deletes, or whose error is not handled, counts as delivered.

== Answers

- 200: the pipeline has acknowledged the batch, or the list was empty
- 400: neither a JSON array of objects nor one object
- 401: a signature that is missing, doubled or wrong
- 404, 405: another path or method; `+"`GET path/healthz`"+` answers 200
- 408: the body came too slowly
- 413, 415: a body longer than `+"`max_body_bytes`"+`, or compressed
- 503: refused by the pipeline, more than `+"`max_in_flight`"+`, or shutting down
- 504: no acknowledgement within `+"`ack_timeout`"+`

== Metadata

- `+"`wisepops_contact_id`"+`: 32 hex digits that identify the contact, the same for a contact that the `+"`wisepops_contacts`"+` input reads
- `+"`wisepops_collected_at`"+`: RFC 3339, UTC, milliseconds; missing where the contact has no readable time
- `+"`wisepops_wisepop_id`"+`: the pop-up
- `+"`wisepops_source`"+`: `+"`webhook`"+`
- `+"`wisepops_event`"+`: `+"`email`, `phone` or `survey`"+`; missing where neither the path nor a query such as `+"`?event=email`"+` names one

== Metrics

- `+"`wisepops_deliveries`"+`: requests by event and status
- `+"`wisepops_delivery_latency_ns`"+`: time from a request to its answer
- `+"`wisepops_hooks_registered`"+`: hooks that are there, of those wanted
- `+"`wisepops_api_requests`"+` and `+"`wisepops_api_latency_ns`"+`: calls by endpoint and status
`).
		Field(apiconfig.KeyField()).
		Field(service.NewStringListField(fieldPreviousAPIKeys).
			Description("Keys whose signatures are still accepted while a key is rotated.").
			Default([]any{}).
			Example([]any{"${WISEPOPS_PREVIOUS_API_KEY}"}).
			Secret()).
		Field(service.NewStringField(fieldAddress).
			Description("The host and port to listen on. Inputs that name the same address share one listener, each under its own `path`.").
			Default("0.0.0.0:8080")).
		Field(service.NewStringField(fieldPath).
			Description("The path that deliveries are posted to: itself, `path/<event>` or `path?event=<event>`.").
			Default("/wisepops")).
		Field(service.NewStringField(fieldPublicURL).
			Description("The URL at which Wisepops reaches `path`, such as that of a reverse proxy in front. Required to register hooks. Must be `https`, but for loopback addresses.").
			Default("").
			Example("https://leads.example.com/wisepops")).
		Field(service.NewStringListField(fieldEvents).
			Description("The events to register hooks for: `email` (sign-up blocks), `phone` and `survey`.").
			Default([]any{wisepops.EventEmail, wisepops.EventPhone, wisepops.EventSurvey})).
		Field(service.NewIntListField(fieldWisepopIDs).
			Description("Registers hooks for these pop-ups only. Empty registers for all of them.").
			Default([]any{}).
			Example([]any{12345, 20417})).
		Field(service.NewBoolField(fieldRegister).
			Description("Whether to register hooks. When `false`, create them with `wisepops-connect hooks create`.").
			Default(true)).
		Field(service.NewBoolField(fieldUnregisterOnClose).
			Description("Whether to delete the hooks at the end. Leave it `false` where several replicas share them, and where a restart is meant to lose nothing: Wisepops sends again what was not answered.").
			Default(false).
			Advanced()).
		Field(service.NewDurationField(fieldRegisterInterval).
			Description("How long after a look at the hooks to look again, since somebody may have deleted one.").
			Default("24h").
			Advanced()).
		Field(service.NewStringField(fieldCheckpointCache).
			Description("The label of a xref:components:caches/about.adoc[cache resource] that remembers the last look at the hooks, so that restarts cost no calls. An empty string looks at each start.").
			Default("").
			Example("state")).
		Field(service.NewBoolField(fieldVerifySignature).
			Description("Whether deliveries must carry the signature of one of the keys. Without it, anybody can add contacts.").
			Default(true).
			Advanced()).
		Field(service.NewIntField(fieldMaxBodyBytes).
			Description("The longest body that is accepted.").
			Default(1<<20).
			LintRule(`root = if this < 1 { "max_body_bytes must be at least 1" }`).
			Advanced()).
		Field(service.NewIntField(fieldMaxInFlight).
			Description("How many requests may wait for their answer. Further ones are told to come again.").
			Default(1000).
			LintRule(`root = if this < 1 { "max_in_flight must be at least 1" }`)).
		Field(service.NewDurationField(fieldAckTimeout).
			Description("How long a request waits for the pipeline. Wisepops sends the delivery again after a timeout; the contact id tells that it is the same.").
			Default("10s")).
		Field(service.NewStringField(fieldCertFile).
			Description("A certificate in PEM, to serve TLS without a reverse proxy.").
			Default("").
			Advanced()).
		Field(service.NewStringField(fieldKeyFile).
			Description("The private key of the certificate, in PEM.").
			Default("").
			Advanced()).
		Field(service.NewDurationField(fieldShutdownTimeout).
			Description("How long the end of the input may take, at most: requests in flight are answered, new ones refused.").
			Default("10s").
			Advanced()).
		Fields(apiconfig.TransportFields()...).
		Footnotes(apiconfig.ErrorNotes(`- 'A delivery was refused with status …': the line says why; further ones are counted in 'wisepops_deliveries'. Many with status 401 mean that 'api_key' is not the key of the website that sends.
- 'listening on address': another process has the port.
- 'both serve … on …': two inputs have the same 'address' and 'path': give each its own 'path'.
- 'Registering hooks': tried again after a growing wait; deliveries of hooks that exist flow meanwhile.
- 'reading from cache … when hooks were registered': the cache does not answer. No call is made until it does.
- 'public_url is empty': set it, or 'register' to 'false'.
- 'api_key', 'previous_api_keys[…] is empty': anybody could sign with an empty key.
`)).
		Example("Contacts as they come", "Behind a reverse proxy that terminates TLS.", `
input:
  wisepops_webhook:
    api_key: "${WISEPOPS_API_KEY}"
    address: 0.0.0.0:8080
    public_url: https://leads.example.com/wisepops
    checkpoint_cache: state

pipeline:
  processors:
    - wisepops_contact: {}

output:
  reject_errored:
    stdout: {}

cache_resources:
  - label: state
    memory: {}
`)
}

type config struct {
	apiKeys         []string
	address         string
	path            string
	events          []string
	wanted          []wisepops.Hook // nil: hooks are not registered
	unregister      bool
	interval        time.Duration
	cache           string
	cacheKey        string
	verify          bool
	maxBody         int64
	maxInFlight     int
	ackTimeout      time.Duration
	certFile        string
	keyFile         string
	shutdownTimeout time.Duration
}

func parseConfig(conf *service.ParsedConfig) (c config, err error) {
	if c.apiKeys, err = parseAPIKeys(conf); err != nil {
		return c, err
	}
	if c.address, err = conf.FieldString(fieldAddress); err != nil {
		return c, err
	}
	if _, port, err := net.SplitHostPort(c.address); err != nil || !isPort(port) {
		return c, fmt.Errorf("%s is not a host and a port: it looks like 0.0.0.0:8080", fieldAddress)
	}
	if c.path, err = conf.FieldString(fieldPath); err != nil {
		return c, err
	}
	if c.path, err = cleanPath(c.path); err != nil {
		return c, err
	}
	if c.events, err = conf.FieldStringList(fieldEvents); err != nil {
		return c, err
	}
	if err := c.parseRegistration(conf); err != nil {
		return c, err
	}
	if c.verify, err = conf.FieldBool(fieldVerifySignature); err != nil {
		return c, err
	}
	maxBody, err := atLeastOne(conf, fieldMaxBodyBytes)
	if err != nil {
		return c, err
	}
	c.maxBody = int64(maxBody)
	if c.maxInFlight, err = atLeastOne(conf, fieldMaxInFlight); err != nil {
		return c, err
	}
	if c.ackTimeout, err = longerThanZero(conf, fieldAckTimeout); err != nil {
		return c, err
	}
	if c.shutdownTimeout, err = longerThanZero(conf, fieldShutdownTimeout); err != nil {
		return c, err
	}
	if c.certFile, err = conf.FieldString(fieldCertFile); err != nil {
		return c, err
	}
	if c.keyFile, err = conf.FieldString(fieldKeyFile); err != nil {
		return c, err
	}
	if (c.certFile == "") != (c.keyFile == "") {
		return c, fmt.Errorf("%s and %s must be set together", fieldCertFile, fieldKeyFile)
	}
	return c, nil
}

// parseAPIKeys returns the keys whose signatures are accepted. An empty one would
// let everybody in.
func parseAPIKeys(conf *service.ParsedConfig) ([]string, error) {
	key, err := apiconfig.Key(conf)
	if err != nil {
		return nil, err
	}
	previous, err := conf.FieldStringList(fieldPreviousAPIKeys)
	if err != nil {
		return nil, err
	}
	keys := []string{key}
	for i, key := range previous {
		key = strings.TrimSpace(key)
		if key == "" {
			return nil, fmt.Errorf("%s[%d] is empty: set it to a former API key, or remove it", fieldPreviousAPIKeys, i)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (c *config) parseRegistration(conf *service.ParsedConfig) (err error) {
	for i, event := range c.events {
		if !slices.Contains(wisepops.Events(), event) {
			return fmt.Errorf("%s[%d] must be one of %s", fieldEvents, i, strings.Join(wisepops.Events(), ", "))
		}
		if slices.Contains(c.events[:i], event) {
			return fmt.Errorf("%s names %s twice", fieldEvents, event)
		}
	}
	if c.unregister, err = conf.FieldBool(fieldUnregisterOnClose); err != nil {
		return err
	}
	if c.interval, err = longerThanZero(conf, fieldRegisterInterval); err != nil {
		return err
	}
	if c.cache, err = conf.FieldString(fieldCheckpointCache); err != nil {
		return err
	}
	given, err := conf.FieldIntList(fieldWisepopIDs)
	if err != nil {
		return err
	}
	ids := make([]int64, len(given))
	for i, id := range given {
		if ids[i] = int64(id); id < 1 {
			return fmt.Errorf("%s[%d] must be a positive number", fieldWisepopIDs, i)
		}
		if slices.Contains(ids[:i], ids[i]) {
			return fmt.Errorf("%s names %d twice", fieldWisepopIDs, id)
		}
	}
	public, err := conf.FieldString(fieldPublicURL)
	if err != nil {
		return err
	}
	register, err := conf.FieldBool(fieldRegister)
	if err != nil || !register {
		return err
	}
	if len(c.events) == 0 {
		return fmt.Errorf("%s is empty: name at least one event, or set %s to false", fieldEvents, fieldRegister)
	}
	if public, err = parsePublicURL(public); err != nil {
		return err
	}
	base, err := apiconfig.BaseURL(conf)
	if err != nil {
		return err
	}
	c.wanted = wantedHooks(public, c.events, ids)
	// Another website, or other hooks, are looked at anew.
	identity, err := json.Marshal([]any{base, c.apiKeys[0], c.wanted})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(identity)
	c.cacheKey = "wisepops_webhook_" + hex.EncodeToString(sum[:8])
	return nil
}

func parsePublicURL(given string) (string, error) {
	given = strings.TrimSpace(given)
	if given == "" {
		return "", fmt.Errorf("%s is empty: set it to the URL at which Wisepops reaches this input, or set %s to false", fieldPublicURL, fieldRegister)
	}
	u, err := url.Parse(given)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("%s is not a URL: it looks like https://leads.example.com/wisepops", fieldPublicURL)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", fmt.Errorf("%s must not hold credentials, a query string or a fragment", fieldPublicURL)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !wisepops.IsLoopback(u.Hostname())) {
		return "", fmt.Errorf("%s must begin with https://, but for loopback addresses", fieldPublicURL)
	}
	return strings.TrimRight(normaliseURL(u.String()), "/"), nil
}

func cleanPath(given string) (string, error) {
	if !strings.HasPrefix(given, "/") {
		return "", fmt.Errorf("%s must begin with a slash", fieldPath)
	}
	if strings.ContainsAny(given, "?#") {
		return "", fmt.Errorf("%s must not hold a query string or a fragment", fieldPath)
	}
	if trimmed := strings.TrimRight(given, "/"); trimmed != "" {
		return trimmed, nil
	}
	return "/", nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func atLeastOne(conf *service.ParsedConfig, field string) (int, error) {
	n, err := conf.FieldInt(field)
	if err == nil && n < 1 {
		err = fmt.Errorf("%s must be at least 1", field)
	}
	return n, err
}

func longerThanZero(conf *service.ParsedConfig, field string) (time.Duration, error) {
	d, err := conf.FieldDuration(field)
	if err == nil && d <= 0 {
		err = errors.New(field + " must be longer than zero")
	}
	return d, err
}

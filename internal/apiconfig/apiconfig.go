// Package apiconfig holds what every component needs of the Wisepops API in
// Benthos terms: the config fields, and the client built from them, with its
// metrics, its rate limit and its logs.
package apiconfig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	fieldAPIKey     = "api_key"
	fieldBaseURL    = "base_url"
	fieldTimeout    = "timeout"
	fieldMaxRetries = "max_retries"
	fieldBackOff    = "backoff"
	fieldRateLimit  = "rate_limit"
)

// ErrorNotes returns the section of a component's page about its errors and what to do:
// its own, as a list in which ' stands for a backtick, and those that all components
// which call the API share.
func ErrorNotes(own string) string {
	return strings.ReplaceAll("\n== Errors\n\n"+own+sharedErrors, "'", "`")
}

const sharedErrors = `- 'api_key is empty': set it, or the environment variable that it is read from.
- 'status 401' or '403', 'the API key was refused': the key is wrong, was replaced, or is of another website. Such a call is not retried at once.
- 'status 403', 'something in front of the API … blocks the call': a firewall or a proxy answers, and not the API. The key is not at fault: have the address of this machine allowed.
- 'asks to make no call for …': the API wants no call for longer than most polls take to come again. Calls wait that long, 30 days at most.
- 'status 429', 'the call budget is spent': the calls of the website in 30 days are used up. It goes on when the API allows; 'wisepops_quota' keeps it from happening.
- 'status 5xx', 'connection refused', 'deadline exceeded', 'the answer broke off': the API or the way to it is out of order. The call is tried again by itself.
- 'the answer is not …', 'redirects are not followed': something else than the API answers, such as a proxy: check 'base_url'.
- 'base_url is plain http': the key would travel in the clear: use 'https'.
- 'rate_limit names …, and there is no rate limit resource with that label': give the file that defines it with '-r'.
`

// KeyField returns the field api_key, which stands first in a component's spec.
func KeyField() *service.ConfigField {
	return service.NewStringField(fieldAPIKey).
		Description("The API key of the website. A key belongs to one website of a Wisepops account, and so does its budget of calls. An empty key, such as an environment variable that is not set, is refused at the start.").
		Example("${WISEPOPS_API_KEY}").
		Secret()
}

// TransportFields returns the fields that say how the API is called: base_url,
// timeout, max_retries, backoff and rate_limit.
func TransportFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField(fieldRateLimit).
			Description("The label of a xref:components:rate_limits/about.adoc[rate limit] resource that is asked before every call, retries included. Without one, calls are not limited.").
			Default("").
			Example("wisepops_budget"),
		service.NewStringField(fieldBaseURL).
			Description("Where the API is served. Must be `https`; plain `http` is accepted for loopback addresses only.").
			Default(wisepops.DefaultBaseURL).
			Advanced(),
		service.NewDurationField(fieldTimeout).
			Description("How long one call may take, from the dial to the last byte.").
			Default(wisepops.DefaultTimeout.String()).
			Advanced(),
		service.NewIntField(fieldMaxRetries).
			Description("How many times a call is tried again after a status of 429 or 5xx or a network fault. Each try counts against the budget. A refused key (401, 403) is never retried.").
			Default(wisepops.DefaultMaxRetries).
			LintRule(`root = if this < 0 { "max_retries must not be negative" }`).
			Advanced(),
		service.NewBackOffField(fieldBackOff, true, defaultBackOff()).
			Description("How long to wait between these tries. A longer `Retry-After` of the API takes precedence.").
			Advanced(),
	}
}

func defaultBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 500 * time.Millisecond
	b.MaxInterval = 10 * time.Second
	b.MaxElapsedTime = time.Minute
	return b
}

// Key returns the API key, or an error where it is empty.
func Key(conf *service.ParsedConfig) (string, error) {
	key, err := conf.FieldString(fieldAPIKey)
	if err != nil {
		return "", err
	}
	if key = strings.TrimSpace(key); key == "" {
		return "", wisepops.ErrNoAPIKey
	}
	return key, nil
}

// Website tells an API key apart from others in stored state, and does not let it be
// guessed.
func Website(key string) string {
	sum := sha256.Sum256([]byte("wisepops website\n" + key))
	return hex.EncodeToString(sum[:4])
}

// Retries returns how many times a call is tried again, and how long a client waits for
// that in all: a longer Retry-After is left to its caller.
func Retries(conf *service.ParsedConfig) (most int, patience time.Duration, err error) {
	if most, err = conf.FieldInt(fieldMaxRetries); err != nil {
		return 0, 0, err
	}
	boff, err := conf.FieldBackOff(fieldBackOff)
	if err != nil {
		return 0, 0, err
	}
	return most, boff.MaxElapsedTime, nil
}

// BaseURL returns where the API is served, as it is written.
func BaseURL(conf *service.ParsedConfig) (string, error) { return conf.FieldString(fieldBaseURL) }

// NewClient builds the client that the fields describe. onWait, which may be
// nil, is called before each wait for the rate limit. It makes no call.
func NewClient(conf *service.ParsedConfig, mgr *service.Resources, onWait func(time.Duration)) (*wisepops.Client, error) {
	opts := wisepops.Options{OnWait: onWait}
	var err error
	if opts.APIKey, err = conf.FieldString(fieldAPIKey); err != nil {
		return nil, err
	}
	if opts.BaseURL, err = conf.FieldString(fieldBaseURL); err != nil {
		return nil, err
	}
	if opts.Timeout, err = positiveDuration(conf, fieldTimeout); err != nil {
		return nil, err
	}
	if opts.MaxRetries, err = conf.FieldInt(fieldMaxRetries); err != nil {
		return nil, err
	}
	boff, err := conf.FieldBackOff(fieldBackOff)
	if err != nil {
		return nil, err
	}
	opts.BackOff = *boff

	label, err := conf.FieldString(fieldRateLimit)
	if err != nil {
		return nil, err
	}
	if label != "" {
		if !mgr.HasRateLimit(label) {
			return nil, fmt.Errorf("rate_limit names %q, and there is no rate limit resource with that label: give the file that defines it with -r, such as resources/budget.yaml", label)
		}
		opts.Limiter = rateLimit{mgr: mgr, label: label}
	}
	opts.OnAttempt = newAttemptObserver(mgr)
	return wisepops.New(opts)
}

func positiveDuration(conf *service.ParsedConfig, field string) (time.Duration, error) {
	d, err := conf.FieldDuration(field)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%s must be longer than zero", field)
	}
	return d, err
}

// rateLimit asks a Benthos rate limit resource.
type rateLimit struct {
	mgr   *service.Resources
	label string
}

func (r rateLimit) Access(ctx context.Context) (wait time.Duration, err error) {
	accessErr := r.mgr.AccessRateLimit(ctx, r.label, func(l service.RateLimit) {
		wait, err = l.Access(ctx)
	})
	return wait, errors.Join(accessErr, err)
}

// Package privacy deletes people's data on request: what the output and the
// processor wisepops_privacy_delete have in common.
package privacy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/identity"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	fieldEmail          = "email"
	fieldPhone          = "phone"
	fieldDefaultCountry = "default_country"
	fieldDryRun         = "dry_run"
	fieldMaxInFlight    = "max_in_flight"

	defaultMaxInFlight = 4
)

// ErrorNotes returns the section of a component's page about its errors.
func ErrorNotes() string { return apiconfig.ErrorNotes(errorNotes) }

const errorNotes = `- 'the message is not a JSON object': it has no fields for 'email' and 'phone' to be mapped from. No call was made; look at what is in front of the component.
- 'the message names nobody': 'email' and 'phone' are both empty for this message. No call was made; look at the mapping of these fields.
- 'email is not one email address', 'phone is not …': what the message names cannot be read. No call was made, since half a deletion would pass for a whole one: have a person look at the request.
- 'phone can be read as more than one number', 'phone may be a number of …, or an international one without its +': the text says two numbers, and the wrong one may be another person's. No call was made: ask for the number with its '+'.
- 'phone has a prefix behind its country code …': as in '+44 07700', where neither reading is a number. No call was made.
- 'phone is not international …, and there is no default_country': set 'default_country', or have numbers sent with their '+'.
- 'not tried, since the last call failed': the API is away or refuses the key, as the error behind it says. One message is tried after the time that it names; the others fail at once.
`

// Fields returns the fields of both components but the API key, which stands
// first, and those of the transport, which stand last.
func Fields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewInterpolatedStringField(fieldEmail).
			Description("The email address of the person, read as `wisepops_contact` reads it: it may follow `mailto:` or stand in angle brackets behind a name, and is asked for in lower case. Empty where the phone alone is known.").
			Default(`${! this.email.or("") }`),
		service.NewInterpolatedStringField(fieldPhone).
			Description("The phone of the person, which becomes E.164 as `wisepops_contact` reads it. International numbers begin with `+` or `00`. Empty where the email alone is known. With both, records that have either are deleted.").
			Default(`${! this.phone.or("") }`),
		service.NewStringField(fieldDefaultCountry).
			Description("How to read a national phone number: a country as two letters of ISO 3166 (`UK` and `EL` are read too). Without one, national numbers are errors.").
			Default("").
			Example("FR"),
		service.NewBoolField(fieldDryRun).
			Description("Whether to read identities and make no call.").
			Default(false),
		service.NewIntField(fieldMaxInFlight).
			Description("How many calls may be under way at a time.").
			Default(defaultMaxInFlight).
			LintRule(`root = if this < 1 { "max_in_flight must be at least 1" }`),
	}
}

// Outcome is what became of one request.
type Outcome struct {
	Who         wisepops.Identity
	Deleted     int // records
	RequestedAt time.Time
	CompletedAt time.Time
	Repeated    bool // it was erased shortly before, and no call was made
}

// Deleter reads whom messages are about, and deletes their data.
type Deleter struct {
	DryRun      bool
	MaxInFlight int

	client   *wisepops.Client
	retries  int           // of a call that the API wants later than the client waits
	patience time.Duration // of the client
	email    *service.InterpolatedString
	phone    *service.InterpolatedString
	country  string
	places   chan struct{} // taken by calls under way
	outage   outage
	counts   *service.MetricCounter
}

// New builds what the fields describe. It makes no call.
func New(conf *service.ParsedConfig, mgr *service.Resources) (d *Deleter, err error) {
	d = &Deleter{counts: mgr.Metrics().NewCounter("wisepops_privacy_deletions", "status")}
	if d.client, err = apiconfig.NewClient(conf, mgr, nil); err != nil {
		return nil, err
	}
	if d.retries, d.patience, err = apiconfig.Retries(conf); err != nil {
		return nil, err
	}
	if d.email, err = conf.FieldInterpolatedString(fieldEmail); err != nil {
		return nil, err
	}
	if d.phone, err = conf.FieldInterpolatedString(fieldPhone); err != nil {
		return nil, err
	}
	if d.country, err = conf.FieldString(fieldDefaultCountry); err != nil {
		return nil, err
	}
	if err := identity.CheckCountry(d.country); err != nil {
		return nil, fmt.Errorf("%s: %w", fieldDefaultCountry, err)
	}
	if d.DryRun, err = conf.FieldBool(fieldDryRun); err != nil {
		return nil, err
	}
	if d.MaxInFlight, err = conf.FieldInt(fieldMaxInFlight); err != nil {
		return nil, err
	}
	if d.MaxInFlight < 1 {
		return nil, fmt.Errorf("%s must be at least 1", fieldMaxInFlight)
	}
	d.places = make(chan struct{}, d.MaxInFlight)
	return d, nil
}

// Close releases the connections.
func (d *Deleter) Close() { d.client.CloseIdleConnections() }

// Delete handles each message of a batch by itself. The slices returned are as long
// as the batch, and a message has either an outcome or an error. Messages that name
// the same person share one call.
func (d *Deleter) Delete(ctx context.Context, batch service.MessageBatch) ([]Outcome, []error) {
	return d.each(ctx, batch, d.call)
}

// DeleteOnce handles a batch as a whole: its error is that of the first message that
// failed. Everybody else whom the batch names is deleted all the same, and makes no call
// when the batch comes again while the memory lasts. The error is never a
// [service.BatchError]: inputs that retry trust its indexes, which name other messages
// once a processor has split or filtered the batch, or a part of it has failed twice.
func (d *Deleter) DeleteOnce(ctx context.Context, batch service.MessageBatch, memory *Memory) error {
	_, errs := d.each(ctx, batch, func(ctx context.Context, who wisepops.Identity) (o Outcome, err error) {
		if d.DryRun {
			return d.call(ctx, who)
		}
		o.Repeated, err = memory.once(ctx, who, func() error {
			o, err = d.call(ctx, who)
			return err
		})
		return o, err
	})
	var first error
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
			first = cmp.Or(first, err)
		}
	}
	if failed == 0 || len(batch) == 1 {
		return first
	}
	return fmt.Errorf("%d of %d messages failed, the first of them: %w", failed, len(batch), first)
}

func (d *Deleter) each(ctx context.Context, batch service.MessageBatch, erase func(context.Context, wisepops.Identity) (Outcome, error)) ([]Outcome, []error) {
	outcomes, errs := make([]Outcome, len(batch)), make([]error, len(batch))
	people := map[wisepops.Identity][]int{}
	for i := range batch {
		who, err := d.read(batch, i)
		if err != nil {
			d.counts.Incr(1, "unreadable")
			errs[i] = err
			continue
		}
		people[who] = append(people[who], i)
	}
	var calls sync.WaitGroup
	for who, messages := range people {
		calls.Go(func() {
			outcome, err := erase(ctx, who)
			d.counts.Incr(int64(len(messages)), d.status(&outcome, err))
			for _, i := range messages {
				outcomes[i], errs[i] = outcome, err
			}
		})
	}
	calls.Wait()
	return outcomes, errs
}

var errNotObject = errors.New("the message is not a JSON object")

// read reads whom a message is about.
func (d *Deleter) read(batch service.MessageBatch, i int) (who wisepops.Identity, err error) {
	email, err := batch.TryInterpolatedString(i, d.email)
	if err != nil {
		return who, unreadable(batch[i], fieldEmail) // its error may quote the message
	}
	phone, err := batch.TryInterpolatedString(i, d.phone)
	if err != nil {
		return who, unreadable(batch[i], fieldPhone)
	}
	if identity.Clean(email) == "" && identity.Clean(phone) == "" && !isObject(batch[i]) {
		return who, errNotObject
	}
	return identity.Read(email, phone, d.country)
}

func unreadable(msg *service.Message, field string) error {
	if !isObject(msg) {
		return errNotObject
	}
	return fmt.Errorf("%s cannot be read from the message", field)
}

func isObject(msg *service.Message) bool {
	v, err := msg.AsStructured()
	_, ok := v.(map[string]any)
	return err == nil && ok
}

// status is the label of a message in the metrics.
func (d *Deleter) status(o *Outcome, err error) string {
	switch {
	case err != nil:
		return "error"
	case o.Repeated:
		return "repeated"
	case d.DryRun:
		return "dry_run"
	}
	return "deleted"
}

func (d *Deleter) call(ctx context.Context, who wisepops.Identity) (o Outcome, err error) {
	o = Outcome{Who: who, RequestedAt: time.Now()}
	if d.DryRun {
		o.CompletedAt = o.RequestedAt
		return o, nil
	}
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
	case <-ctx.Done():
		return o, ctx.Err()
	}
	for attempt := 0; ; attempt++ {
		client := d.client
		probing, done, err := d.outage.enter(ctx)
		if err != nil {
			return o, err
		}
		if probing {
			client = client.WithMaxRetries(0)
		}
		o.Deleted, err = client.DeleteData(ctx, who)
		done(err)
		if err == nil {
			break
		}
		// A Retry-After that is too long for the client: the outage has everybody wait.
		if apiErr, ok := errors.AsType[*wisepops.APIError](err); ok && apiErr.RetryAfter > d.patience && attempt < d.retries {
			continue
		}
		return o, fmt.Errorf("deleting data: %w", err)
	}
	o.CompletedAt = time.Now()
	return o, nil
}

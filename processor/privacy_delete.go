package processor

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/privacy"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	wpdFieldReceiptKey      = "receipt_key"
	wpdFieldIncludeIdentity = "include_identity"
	wpdFieldRequestedAt     = "requested_at"

	receiptDeleted  = "deleted"
	receiptNotFound = "not_found"
	receiptDryRun   = "dry_run"
)

func privacyDeleteSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Categories("Services").
		Summary("Deletes the data of the people that messages name, and replaces each message by a receipt.").
		Description(`
Each message is a request about one person. Its content becomes the receipt that an auditor asks for, and its metadata stay:

`+"```json"+`
{
  "email_hmac": "9f86d0…",
  "phone_hmac": null,
  "deleted": 1,
  "requested_at": "2026-01-31T10:00:00.000Z",
  "completed_at": "2026-01-31T10:00:00.412Z",
  "status": "deleted"
}
`+"```"+`

The status is `+"`deleted`"+`, `+"`not_found`"+` where there were no records (any more), or `+"`dry_run`"+`. The hashes are HMAC-SHA-256 of the email and of the phone as they were asked for (the columns of `+"`wisepops_contact`"+`), in hex: whoever has the key can tell whom a receipt is about, and nobody else can guess it.

`+"`requested_at`"+` is when the person asked, as the field `+"`requested_at`"+` tells it; where it tells nothing, when this processor took the message up; null where it is no date. `+"`completed_at`"+` is when the API answered that the data is deleted. Both are RFC 3339 in UTC.

A message that names nobody, whose email or phone cannot be read, or whose call fails is kept as it is and marked as failed, for `+"`switch`, `catch` or `reject_errored`"+`. A deletion is safe to repeat. While the API is away a single message is tried, after a wait that grows to 15 minutes; while it refuses the key, an hour, and the others fail at once.

== Metrics

- `+"`wisepops_privacy_deletions`"+`: messages by status, `+"`deleted`, `dry_run`, `unreadable` or `error`"+`
- `+"`wisepops_api_requests`"+` and `+"`wisepops_api_latency_ns`"+`: calls by endpoint and status
`).
		Field(apiconfig.KeyField()).
		Fields(privacy.Fields()...).
		Field(service.NewStringField(wpdFieldReceiptKey).
			Description("The key of the hashes in receipts. Empty takes the API key: set one of its own where receipts are to outlive that key.").
			Default("").
			Secret()).
		Field(service.NewBoolField(wpdFieldIncludeIdentity).
			Description("Whether receipts also hold the plain `email` and `phone`. Such receipts are personal data themselves.").
			Default(false)).
		Field(service.NewInterpolatedStringField(wpdFieldRequestedAt).
			Description("When the request was made, for the receipt: a date such as `2026-01-31T10:00:00Z` (without a zone, UTC). A date that cannot be read holds up no deletion: the receipt has null.").
			Default(`${! this.requested_at.or("") }`).
			Example(`${! this.received.ts_format() }`)).
		Fields(apiconfig.TransportFields()...).
		Footnotes(privacy.ErrorNotes()).
		Example("Receipts of deletions", "What failed goes to a file of its own, with the reason.", `
pipeline:
  processors:
    - wisepops_privacy_delete:
        api_key: "${WISEPOPS_API_KEY}"
        default_country: FR

output:
  switch:
    cases:
      - check: errored()
        output:
          file:
            path: failed.jsonl
          processors:
            - mapping: |
                root.request = this
                root.reason = error()
      - output:
          file:
            path: receipts.jsonl
`)
}

func init() {
	service.MustRegisterBatchProcessor("wisepops_privacy_delete", privacyDeleteSpec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchProcessor, error) {
			return newPrivacyDelete(conf, mgr)
		})
}

type privacyDelete struct {
	deleter         *privacy.Deleter
	receiptKey      []byte
	includeIdentity bool
	requestedAt     *service.InterpolatedString
}

func newPrivacyDelete(conf *service.ParsedConfig, mgr *service.Resources) (*privacyDelete, error) {
	key, err := conf.FieldString(wpdFieldReceiptKey)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(key) == "" {
		if key, err = apiconfig.Key(conf); err != nil {
			return nil, err
		}
	}
	p := &privacyDelete{receiptKey: []byte(key)}
	if p.includeIdentity, err = conf.FieldBool(wpdFieldIncludeIdentity); err != nil {
		return nil, err
	}
	if p.requestedAt, err = conf.FieldInterpolatedString(wpdFieldRequestedAt); err != nil {
		return nil, err
	}
	p.deleter, err = privacy.New(conf, mgr)
	return p, err
}

// ProcessBatch replaces messages by receipts, and marks those that failed.
func (p *privacyDelete) ProcessBatch(ctx context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	begun := time.Now()
	outcomes, errs := p.deleter.Delete(ctx, batch)
	requested := make([]any, len(batch)) // read before any message is a receipt
	for i := range batch {
		requested[i] = p.readRequestedAt(batch, i, begun)
	}
	for i, msg := range batch {
		if errs[i] != nil {
			msg.SetError(errs[i])
			continue
		}
		msg.SetStructuredMut(p.receipt(&outcomes[i], requested[i]))
	}
	return []service.MessageBatch{batch}, nil
}

func (p *privacyDelete) Close(context.Context) error {
	p.deleter.Close()
	return nil
}

// readRequestedAt returns when a request was made, or begun where its message does not
// tell; nil where what it tells is no date.
func (p *privacyDelete) readRequestedAt(batch service.MessageBatch, i int, begun time.Time) any {
	text, err := batch.TryInterpolatedString(i, p.requestedAt)
	if text = strings.TrimSpace(text); err != nil || text == "" {
		return wisepops.FormatTime(begun)
	}
	at, err := wisepops.ParseTime(text)
	if err != nil {
		return nil
	}
	return wisepops.FormatTime(at)
}

func (p *privacyDelete) receipt(o *privacy.Outcome, requestedAt any) map[string]any {
	status := receiptDeleted
	switch {
	case p.deleter.DryRun:
		status = receiptDryRun
	case o.Deleted == 0:
		status = receiptNotFound
	}
	receipt := map[string]any{
		"email_hmac":   p.hash(o.Who.Email),
		"phone_hmac":   p.hash(o.Who.Phone),
		"deleted":      int64(o.Deleted),
		"requested_at": requestedAt,
		"completed_at": wisepops.FormatTime(o.CompletedAt),
		"status":       status,
	}
	if p.includeIdentity {
		receipt["email"], receipt["phone"] = orNull(o.Who.Email), orNull(o.Who.Phone)
	}
	return receipt
}

// hash is null for nothing, whose hash would be the same in all receipts.
func (p *privacyDelete) hash(identity string) any {
	if identity == "" {
		return nil
	}
	mac := hmac.New(sha256.New, p.receiptKey)
	mac.Write([]byte(identity))
	return hex.EncodeToString(mac.Sum(nil))
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

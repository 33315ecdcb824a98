package processor

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
)

const (
	wcaFieldRefreshInterval = "refresh_interval"
	wcaFieldMaxWait         = "max_wait"

	wcaMetaWisepopID = "wisepops_wisepop_id"

	colCampaign      = "campaign"
	colFieldCampaign = "field_campaign"
)

func campaignSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Version("0.1.0").
		Categories("Services").
		Summary("Adds to a lead the campaign that brought it: the label of the pop-up, whether it is active, and when it was created.").
		Description(`
Takes raw contacts, as the inputs deliver them, and the records of `+"`wisepops_contact`"+`. The pop-up is that of `+"`wisepop_id`"+`, or of the metadata `+"`wisepops_wisepop_id`"+`. The message gets

`+"```json"+`
{
  "campaign": { "label": "Live Wisepop", "activated": true, "created_at": "2017-02-27 15:29:43" }
}
`+"```"+`

with the members as the API has them (the time is in UTC), or `+"`\"campaign\": null`"+` where the pop-up is not known. A member `+"`campaign`"+` that a message has already, such as a form's field of that name, is kept as `+"`field_campaign`"+`, or with a number behind that where there is one.

All pop-ups are looked up with one call of the API's budget (1,500 in 30 days), whose answer is kept for `+"`refresh_interval`"+` and shared by all of these processors with the same API key in a process; the first of them says how the API is called. It is refreshed in the background, while the last answer serves. A pop-up that is not in it has it refreshed early, once an hour at most; one that is missing then as well was deleted, and causes no further call.

No message is lost or held up for it. A message waits only where its pop-up is not known and the first call for it is under way, and no longer than `+"`max_wait`"+`; while the API is away or the budget is spent none waits. A call that fails is tried again after a wait that grows from a second to an hour.

A message that is not a JSON object fails and is passed on unchanged.

== Metrics

- `+"`wisepops_campaign_unknown`"+`: messages whose pop-up was not known
- `+"`wisepops_api_requests`"+` and `+"`wisepops_api_latency_ns`"+`: calls by endpoint and status
`).
		Field(apiconfig.KeyField()).
		Field(service.NewDurationField(wcaFieldRefreshInterval).
			Description("How long an answer of the API is kept. The default costs 30 calls in 30 days.").
			Default("24h").
			Example("6h")).
		Field(service.NewDurationField(wcaFieldMaxWait).
			Description("How long a message may wait for a call that would tell its pop-up. `0s` never waits: the first leads after a start are without their campaign.").
			Default("1s").
			Example("30s").
			Advanced()).
		Fields(apiconfig.TransportFields()...).
		Footnotes(apiconfig.ErrorNotes(`- 'leads go on with the campaigns that are known': the call failed for the reason in front, and is tried again. Nothing is held up.
- 'message is not a JSON object': the message has no place for a campaign, and is passed on as it is, with this error.
`)).
		Example("Leads with the names of their campaigns", "The label becomes a column.", `
input:
  wisepops_contacts:
    api_key: "${WISEPOPS_API_KEY}"
    checkpoint_cache: state

pipeline:
  processors:
    - wisepops_contact: {}
    - wisepops_campaign:
        api_key: "${WISEPOPS_API_KEY}"
    - mapping: |
        root = this.without("campaign")
        root.campaign_label = this.campaign.label

output:
  stdout: {}

cache_resources:
  - label: state
    redis:
      url: redis://localhost:6379
`)
}

func init() {
	service.MustRegisterProcessor("wisepops_campaign", campaignSpec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.Processor, error) {
			return newCampaignProcessor(conf, mgr)
		})
}

type campaignProcessor struct {
	refresh   time.Duration
	maxWait   time.Duration
	directory *campaignDirectory
	closed    sync.Once
	unknown   *service.MetricCounter
}

func newCampaignProcessor(conf *service.ParsedConfig, mgr *service.Resources) (*campaignProcessor, error) {
	key, err := apiconfig.Key(conf)
	if err != nil {
		return nil, err
	}
	p := &campaignProcessor{unknown: mgr.Metrics().NewCounter("wisepops_campaign_unknown")}
	if p.refresh, err = conf.FieldDuration(wcaFieldRefreshInterval); err != nil {
		return nil, err
	}
	if p.refresh <= 0 {
		return nil, fmt.Errorf("%s must be longer than zero", wcaFieldRefreshInterval)
	}
	if p.maxWait, err = conf.FieldDuration(wcaFieldMaxWait); err != nil {
		return nil, err
	}
	if p.maxWait < 0 {
		return nil, fmt.Errorf("%s must not be negative", wcaFieldMaxWait)
	}
	p.directory, err = openCampaignDirectory(conf, mgr, key)
	return p, err
}

// Process adds the campaign. On an error the message is as it came, for Benthos to
// flag and pass on.
func (p *campaignProcessor) Process(ctx context.Context, msg *service.Message) (service.MessageBatch, error) {
	// What the decoder says of bytes that are not JSON quotes them, so its error
	// goes no further.
	structured, err := msg.AsStructuredMut()
	if err != nil {
		return nil, fmt.Errorf("adding the campaign: %w", errNotJSON)
	}
	lead, ok := structured.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("adding the campaign: %w, it is %s", errNotObject, jsonKind(structured))
	}
	id := popupID(lead[colWisepopID])
	if id == "" {
		meta, _ := msg.MetaGet(wcaMetaWisepopID)
		id = popupID(meta)
	}
	var campaign map[string]any
	if id != "" {
		if campaign, err = p.directory.lookup(ctx, id, p.refresh, p.maxWait); err != nil {
			return nil, err
		}
	}
	if own, taken := lead[colCampaign]; taken && !isCampaign(own) {
		lead[freeName(lead, colFieldCampaign)] = own
	}
	lead[colCampaign] = nil
	if campaign != nil {
		lead[colCampaign] = campaign
	} else {
		p.unknown.Incr(1)
	}
	msg.SetStructuredMut(lead)
	return service.MessageBatch{msg}, nil
}

func (p *campaignProcessor) Close(ctx context.Context) (err error) {
	p.closed.Do(func() { err = p.directory.close(ctx) })
	return err
}

// popupID is the digits of an id; empty where there is none.
func popupID(v any) string {
	switch id := v.(type) {
	case json.Number:
		if n, err := id.Float64(); err == nil && strings.ContainsAny(id.String(), ".eE") {
			return popupID(n)
		}
		return id.String()
	case string:
		return strings.TrimSpace(id)
	case int64:
		return strconv.FormatInt(id, 10)
	case int:
		return strconv.Itoa(id)
	case float64:
		if id == math.Trunc(id) && math.Abs(id) < 1<<53 {
			return strconv.FormatInt(int64(id), 10)
		}
	}
	return ""
}

// freeName returns a name that the lead does not have: name, name_2 and so on.
func freeName(lead map[string]any, name string) string {
	for n, free := 2, name; ; n++ {
		if _, taken := lead[free]; !taken {
			return free
		}
		free = name + "_" + strconv.Itoa(n)
	}
}

// isCampaign tells what this processor added before from anything else.
func isCampaign(v any) bool {
	object, ok := v.(map[string]any)
	if v == nil || !ok {
		return v == nil
	}
	for _, name := range campaignMembers {
		if _, has := object[name]; !has {
			return false
		}
	}
	return len(object) == len(campaignMembers)
}

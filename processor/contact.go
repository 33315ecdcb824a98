// Package processor holds the Benthos processors of Wisepops Connect. Importing
// it registers them.
package processor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	wcpMetaContactID = "wisepops_contact_id"
	wcpMetaEvent     = "wisepops_event"
)

func init() {
	service.MustRegisterProcessor("wisepops_contact", contactProcessorSpec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.Processor, error) {
			return newContactProcessor(conf, mgr)
		})
}

// contactProcessor holds only what its configuration says and is never written
// to, so that Process may run concurrently.
type contactProcessor struct {
	opts     contactOptions
	website  *service.InterpolatedString
	stripNUL bool
	stripped *service.MetricCounter
}

func newContactProcessor(conf *service.ParsedConfig, mgr *service.Resources) (p *contactProcessor, err error) {
	p = &contactProcessor{stripped: mgr.Metrics().NewCounter("wisepops_contact_nul_stripped")}
	if p.opts, err = parseContactOptions(conf); err != nil {
		return nil, err
	}
	if p.website, err = conf.FieldInterpolatedString(wcpFieldWebsite); err != nil {
		return nil, err
	}
	if p.stripNUL, err = conf.FieldBool(wcpFieldStripNUL); err != nil {
		return nil, err
	}
	return p, nil
}

// Process replaces the message's content by its record. On an error the message
// is as it came, for Benthos to flag and pass on.
func (p *contactProcessor) Process(_ context.Context, msg *service.Message) (service.MessageBatch, error) {
	// What the decoder says of bytes that are not JSON quotes them, so its error
	// goes no further.
	structured, err := msg.AsStructured()
	if err != nil {
		return nil, fmt.Errorf("reading contact: %w", errNotJSON)
	}
	contact, ok := structured.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading contact: %w, it is %s", errNotObject, jsonKind(structured))
	}

	var origin contactOrigin
	origin.id, _ = msg.MetaGet(wcpMetaContactID)
	if origin.id == "" && !p.opts.drop[colContactID] {
		raw, err := msg.AsBytes()
		if err != nil {
			return nil, fmt.Errorf("reading contact: %w", errNotJSON)
		}
		if origin.id, err = wisepops.ContactID(raw); err != nil {
			return nil, fmt.Errorf("computing contact id: %w", err)
		}
	}
	origin.event, _ = msg.MetaGet(wcpMetaEvent)
	if origin.website, err = p.website.TryString(msg); err != nil {
		return nil, errors.New("reading contact: website cannot be read from the message") // its error may quote the message
	}
	if p.stripNUL {
		if clean, found := withoutNULInObject(contact); found {
			contact = clean
			p.stripped.Incr(1)
		}
	}

	// The record shares nested values with the contact, which may belong to
	// others: SetStructured, unlike SetStructuredMut, has them copied before a
	// later processor changes them.
	msg.SetStructured(normalise(contact, origin, p.opts))
	return service.MessageBatch{msg}, nil
}

func (p *contactProcessor) Close(context.Context) error { return nil }

const nul = "\x00"

// withoutNUL returns a value without the NUL characters of its texts and keys, and
// whether there were any. The value itself is not changed. A key that becomes another
// one's name gets a number, so that nothing is lost.
func withoutNUL(value any) (stripped any, found bool) {
	switch v := value.(type) {
	case string:
		if !strings.Contains(v, nul) {
			return value, false
		}
		return strings.ReplaceAll(v, nul, ""), true
	case []any:
		for i, item := range v {
			if item, changed := withoutNUL(item); changed {
				if !found {
					v, found = slices.Clone(v), true
				}
				v[i] = item
			}
		}
		return v, found
	case map[string]any:
		return withoutNULInObject(v)
	}
	return value, false
}

func withoutNULInObject(object map[string]any) (map[string]any, bool) {
	stripped, found := object, false
	var renamed []string
	for key, item := range object {
		item, changed := withoutNUL(item)
		isRenamed := strings.Contains(key, nul)
		if !changed && !isRenamed {
			continue
		}
		if !found {
			stripped, found = maps.Clone(object), true
		}
		stripped[key] = item
		if isRenamed {
			renamed = append(renamed, key)
		}
	}
	slices.Sort(renamed)
	for _, key := range renamed {
		base := strings.ReplaceAll(key, nul, "")
		name := base
		for n := 2; ; n++ {
			if _, taken := stripped[name]; !taken {
				break
			}
			name = base + "_" + strconv.Itoa(n)
		}
		stripped[name] = stripped[key]
		delete(stripped, key)
	}
	return stripped, found
}

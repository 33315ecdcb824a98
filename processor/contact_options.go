package processor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	wcpFieldDrop          = "drop"
	wcpFieldHash          = "hash"
	wcpFieldFlattenFields = "flatten_fields"
	wcpFieldEmailFields   = "email_fields"
	wcpFieldPhoneFields   = "phone_fields"
	wcpFieldStripNUL      = "strip_nul"
	wcpFieldInferEvent    = "infer_event"
	wcpFieldWebsite       = "website"
)

// contactOptions is read only once built: all messages share it. The zero value is
// that of an empty configuration, but for NUL characters.
type contactOptions struct {
	drop, hash     map[string]bool
	concealsPeople bool // email or phone is dropped or hashed
	flatten        bool
	inferEvent     bool
	hasWebsite     bool

	emailLabels, phoneLabels labels // without ranks: those that are known
}

func parseContactOptions(conf *service.ParsedConfig) (opts contactOptions, err error) {
	var lists [4][]string
	for i, name := range []string{wcpFieldDrop, wcpFieldHash, wcpFieldEmailFields, wcpFieldPhoneFields} {
		if lists[i], err = conf.FieldStringList(name); err != nil {
			return opts, err
		}
	}
	flatten, err := conf.FieldBool(wcpFieldFlattenFields)
	if err != nil {
		return opts, err
	}
	if opts, err = newContactOptions(lists[0], lists[1], flatten); err != nil {
		return opts, err
	}
	for _, name := range lists[2] {
		if slices.ContainsFunc(lists[3], func(other string) bool { return snakeCase(other) == snakeCase(name) }) {
			return opts, fmt.Errorf("fields %s and %s: %q is in both", wcpFieldEmailFields, wcpFieldPhoneFields, name)
		}
	}
	opts.emailLabels = newLabels(colEmail, lists[2], emailNames)
	opts.phoneLabels = newLabels(colPhone, lists[3], phoneNames)
	if opts.inferEvent, err = conf.FieldBool(wcpFieldInferEvent); err != nil {
		return opts, err
	}
	website, err := conf.FieldString(wcpFieldWebsite)
	opts.hasWebsite = website != ""
	return opts, err
}

func newContactOptions(drop, hash []string, flatten bool) (contactOptions, error) {
	opts := contactOptions{drop: map[string]bool{}, hash: map[string]bool{}, flatten: flatten}
	for _, name := range drop {
		if !slices.Contains(contactColumns, name) {
			return opts, fmt.Errorf("field %s: %q is not a column, expected one of %s",
				wcpFieldDrop, name, strings.Join(contactColumns, ", "))
		}
		opts.drop[name] = true
	}
	for _, name := range hash {
		switch {
		case name == colFields:
			return opts, fmt.Errorf("field %s: %s is an object and cannot be hashed, leave it out with %s instead",
				wcpFieldHash, colFields, wcpFieldDrop)
		case !slices.Contains(contactColumns, name):
			return opts, fmt.Errorf("field %s: %q is not a column, expected one of %s",
				wcpFieldHash, name, strings.Join(contactColumns[:len(contactColumns)-1], ", "))
		case opts.drop[name]:
			return opts, fmt.Errorf("fields %s and %s: %s is in both, a column is either left out or hashed",
				wcpFieldDrop, wcpFieldHash, name)
		}
		opts.hash[name] = true
	}
	opts.concealsPeople = opts.conceals(colEmail) || opts.conceals(colPhone)
	return opts, nil
}

func (o *contactOptions) emails() labels {
	if o.emailLabels.rank == nil {
		return emailLabels
	}
	return o.emailLabels
}

func (o *contactOptions) phones() labels {
	if o.phoneLabels.rank == nil {
		return phoneLabels
	}
	return o.phoneLabels
}

// newField reads the key of a field.
func (o *contactOptions) newField(key string, value any) contactField {
	f := contactField{key: key, name: snakeCase(key), value: value}
	switch {
	case o.emails().include(key, f.name):
		f.column = colEmail
	case o.phones().include(key, f.name):
		f.column = colPhone
	}
	return f
}

// topNames lists the names that flattened fields may not have.
func (o *contactOptions) topNames() []string {
	if !o.flatten {
		return nil
	}
	names := slices.Clone(contactColumns)
	if o.inferEvent {
		names = append(names, colEventInferred)
	}
	if o.hasWebsite {
		names = append(names, colWebsite)
	}
	return names
}

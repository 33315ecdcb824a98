package processor

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Jeffail/gabs/v2"

	"github.com/wisepops-connect/wisepops-connect/internal/identity"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// The columns of a record, which are also the names that drop and hash accept.
const (
	colContactID   = "contact_id"
	colCollectedAt = "collected_at"
	colWisepopID   = "wisepop_id"
	colEvent       = "event"
	colFormSession = "form_session"
	colIP          = "ip"
	colCountryCode = "country_code"
	colEmail       = "email"
	colPhone       = "phone"
	colFields      = "fields"

	// Columns of options.
	colEventInferred = "event_inferred"
	colWebsite       = "website"

	eventEmail  = "email"
	eventPhone  = "phone"
	eventSurvey = "survey"
)

// collectedAtLayout is RFC 3339 with three fraction digits, for UTC times only.
const collectedAtLayout = "2006-01-02T15:04:05.000Z"

var (
	errNotJSON   = errors.New("message is not JSON")
	errNotObject = errors.New("message is not a JSON object")

	// contactColumns is the order in which documentation and errors name the
	// columns; colFields is the last one.
	contactColumns = []string{
		colContactID, colCollectedAt, colWisepopID, colEvent, colFormSession,
		colIP, colCountryCode, colEmail, colPhone, colFields,
	}

	// contactMembers are the members of a raw contact that have a column.
	contactMembers = []string{
		colCollectedAt, colWisepopID, colFormSession, colIP, colCountryCode, colFields,
	}
)

// contactOrigin is what a message tells of its contact besides the content; empty is
// unknown.
type contactOrigin struct{ id, event, website string }

// contactField is something of a contact that may end up in `fields`.
type contactField struct {
	key    string // as the contact has it
	name   string // the key in snake_case
	column string // the column it is a value of, with which it is dropped or hashed; "" if none
	value  any
}

// normalise builds the record of one contact. It reads contact without changing
// it, though the record shares nested values with it, and has no error: what a
// column cannot hold stays in `fields`.
func normalise(contact map[string]any, origin contactOrigin, opts contactOptions) map[string]any {
	doc := gabs.Wrap(contact)
	own := opts.readFields(doc.S(colFields))
	var others []contactField
	if raw := doc.S(colFields).Data(); !isObject(raw) && !isEmptyFields(raw) {
		others = append(others, contactField{key: colFields, name: colFields, value: raw})
	}

	// member fills a column from the contact's member of that name.
	member := func(column string, read func(any) any) any {
		raw := doc.S(column).Data()
		value := read(raw)
		if value == nil && !isBlank(raw) {
			others = append(others, contactField{key: column, name: column, column: column, value: raw})
		}
		return value
	}

	record := make(map[string]any, len(contactColumns)+len(own))
	record[colContactID] = readText(origin.id)
	record[colCollectedAt] = member(colCollectedAt, readCollectedAt)
	record[colWisepopID] = member(colWisepopID, readWisepopID)
	record[colEvent] = readText(origin.event)
	record[colFormSession] = member(colFormSession, readText)
	record[colIP] = member(colIP, readText)
	record[colCountryCode] = member(colCountryCode, readCountry)
	country, _ := record[colCountryCode].(string)
	if opts.hasWebsite {
		record[colWebsite] = readText(origin.website)
	}

	for _, key := range slices.Sorted(maps.Keys(contact)) {
		if !slices.Contains(contactMembers, key) {
			others = append(others, opts.newField(key, contact[key]))
		}
	}

	var email, phone any
	for _, fields := range []*[]contactField{&own, &others} {
		if email == nil {
			email, *fields = takeEmail(*fields, opts.emails())
		}
		if phone == nil {
			phone, *fields = takePhone(*fields, opts.phones(), country)
		}
	}
	record[colEmail], record[colPhone] = email, phone
	if opts.inferEvent {
		record[colEventInferred] = inferEvent(record, own)
	}

	for column := range opts.hash {
		if value := record[column]; value != nil {
			record[column] = sha256Hex(value)
		}
	}
	for column := range opts.drop {
		delete(record, column)
	}
	if opts.drop[colFields] {
		return record
	}

	rest := record
	if !opts.flatten {
		rest = make(map[string]any, len(own)+len(others))
		record[colFields] = rest
	}
	fields := append(own, others...)
	nameFields(fields, opts.topNames())
	for _, f := range fields {
		if value, keep := opts.conceal(f, country); keep {
			rest[f.name] = value
		}
	}
	return record
}

// readFields lists the members of the contact's `fields` in the order of their
// keys; none where it is not an object (PHP writes an empty object as []).
func (o *contactOptions) readFields(fields *gabs.Container) []contactField {
	children := fields.ChildrenMap()
	list := make([]contactField, 0, len(children))
	for key, child := range children {
		list = append(list, o.newField(key, child.Data()))
	}
	slices.SortFunc(list, func(a, b contactField) int { return cmp.Compare(a.key, b.key) })
	return list
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

func isEmptyFields(v any) bool {
	list, isList := v.([]any)
	return isBlank(v) || isList && len(list) == 0
}

// readText returns text trimmed, a number as its digits, and nil for text that is
// blank and for anything else.
func readText(v any) any {
	switch t := v.(type) {
	case string:
		if t = strings.TrimSpace(t); t != "" {
			return t
		}
	case json.Number:
		return t.String()
	case int64:
		return strconv.FormatInt(t, 10)
	case uint64:
		return strconv.FormatUint(t, 10)
	}
	return nil
}

func readCountry(v any) any {
	if text, ok := readText(v).(string); ok {
		return identity.Country(text)
	}
	return nil
}

func readCollectedAt(v any) any {
	at, ok := v.(time.Time)
	if text, isText := v.(string); isText {
		parsed, err := wisepops.ParseTime(text)
		at, ok = parsed, err == nil
	}
	at = at.UTC()
	if !ok || at.Year() < 0 || at.Year() > 9999 {
		return nil
	}
	return at.Format(collectedAtLayout)
}

func readWisepopID(v any) any {
	switch t := v.(type) {
	case json.Number, int, int64, uint64, float64:
		return t
	case string:
		t = strings.TrimSpace(t)
		isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
		if t == "0" || t != "" && t[0] != '0' && strings.TrimLeftFunc(t, isDigit) == "" {
			return json.Number(t)
		}
	}
	return nil
}

// isBlank reports whether a raw value says nothing.
func isBlank(v any) bool {
	text, ok := v.(string)
	return v == nil || ok && strings.TrimSpace(text) == ""
}

// sha256Hex hashes text as it is and any other value as its JSON.
func sha256Hex(v any) string {
	text, ok := v.(string)
	if !ok {
		text = gabs.Wrap(v).String()
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func jsonKind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case []any:
		return "an array (split a delivery into its contacts first, with unarchive and its format json_array)"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "a number"
}

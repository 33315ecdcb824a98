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
	"unicode"

	"github.com/Jeffail/gabs/v2"
	"github.com/nyaruka/phonenumbers"

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

	// emailNames and phoneNames are the snake_case names of the fields that are
	// read as an email or a phone, the best first.
	emailNames = []string{colEmail, "e_mail", "email_address", "e_mail_address"}
	phoneNames = []string{
		colPhone, "phone_number", "telephone", "telephone_number", "tel",
		"mobile", "mobile_phone", "mobile_number",
	}
)

// contactOptions is read only once built: all messages share it.
type contactOptions struct {
	drop, hash map[string]bool
	flatten    bool
}

// contactField is something of a contact that may end up in `fields`.
type contactField struct {
	key    string // as the contact has it
	name   string // the key in snake_case
	column string // the column it is a value of, with which it is dropped or hashed; "" if none
	value  any
}

// normalise builds the record of one contact. It reads contact without changing
// it, though the record shares nested values with it, and has no error: what a
// column cannot hold stays in `fields`. An empty id or event is unknown.
func normalise(contact map[string]any, id, event string, opts contactOptions) map[string]any {
	doc := gabs.Wrap(contact)
	own := readFields(doc.S(colFields))
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
	record[colContactID] = readText(id)
	record[colCollectedAt] = member(colCollectedAt, readCollectedAt)
	record[colWisepopID] = member(colWisepopID, readWisepopID)
	record[colEvent] = readText(event)
	record[colFormSession] = member(colFormSession, readText)
	record[colIP] = member(colIP, readText)
	record[colCountryCode] = member(colCountryCode, readCountry)
	country, _ := record[colCountryCode].(string)

	for _, key := range slices.Sorted(maps.Keys(contact)) {
		if !slices.Contains(contactMembers, key) {
			others = append(others, newContactField(key, contact[key]))
		}
	}

	var email, phone any
	for _, fields := range []*[]contactField{&own, &others} {
		if email == nil {
			email, *fields = takeEmail(*fields)
		}
		if phone == nil {
			phone, *fields = takePhone(*fields, country)
		}
	}
	record[colEmail], record[colPhone] = email, phone

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
	taken := make(map[string]bool, len(own)+len(others))
	for _, fields := range [][]contactField{own, others} {
		nameFields(fields, taken, opts.flatten)
		for _, f := range fields {
			switch {
			case opts.drop[f.column]:
			case opts.hash[f.column] && f.value != nil:
				rest[f.name] = sha256Hex(f.normalised())
			default:
				rest[f.name] = f.value
			}
		}
	}
	return record
}

// readFields lists the members of the contact's `fields` in the order of their
// keys; none where it is not an object (PHP writes an empty object as []).
func readFields(fields *gabs.Container) []contactField {
	children := fields.ChildrenMap()
	list := make([]contactField, 0, len(children))
	for key, child := range children {
		list = append(list, newContactField(key, child.Data()))
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

func newContactField(key string, value any) contactField {
	f := contactField{key: key, name: snakeCase(key), value: value}
	switch {
	case slices.Contains(emailNames, f.name):
		f.column = colEmail
	case slices.Contains(phoneNames, f.name):
		f.column = colPhone
	}
	return f
}

// normalised is the value as its column would hold it, as far as that can be
// said of any value.
func (f contactField) normalised() any {
	s, ok := f.value.(string)
	switch {
	case !ok:
		return f.value
	case f.column == colEmail:
		return strings.ToLower(strings.TrimSpace(s))
	}
	return strings.TrimSpace(s)
}

// takeEmail returns the contact's email, or nil, and the other fields.
func takeEmail(fields []contactField) (any, []contactField) {
	for _, i := range candidates(fields, emailNames) {
		f := fields[i]
		text, isText := f.value.(string)
		text = strings.ToLower(strings.TrimSpace(text))
		isEmailKey := strings.EqualFold(strings.TrimSpace(f.key), colEmail)
		if !isText || text == "" || !isEmailKey && !strings.Contains(text, "@") {
			continue
		}
		return text, slices.Delete(fields, i, i+1)
	}
	return nil, fields
}

// takePhone returns the contact's phone in E.164, or nil, and the other fields.
// A phone whose text says more than its number stays among these.
func takePhone(fields []contactField, country string) (any, []contactField) {
	for _, i := range candidates(fields, phoneNames) {
		text, _ := readText(fields[i].value).(string)
		if _, isText := fields[i].value.(string); !isText && strings.ContainsAny(text, "-.eE") {
			continue // a fraction or an exponent: its digits are not a number's
		}
		phone := readPhone(text, country)
		if phone == "" {
			continue
		}
		if strings.ContainsFunc(text, isNotPhoneRune) {
			return phone, fields
		}
		return phone, slices.Delete(fields, i, i+1)
	}
	return nil, fields
}

// candidates lists the indexes of the fields that have one of names, in the
// order of names, a key that is the first of names before all others.
func candidates(fields []contactField, names []string) []int {
	var found []int
	for i, f := range fields {
		if slices.Contains(names, f.name) {
			found = append(found, i)
		}
	}
	rank := func(i int) int {
		if fields[i].key == names[0] {
			return -1
		}
		return slices.Index(names, fields[i].name)
	}
	slices.SortStableFunc(found, func(a, b int) int { return cmp.Compare(rank(a), rank(b)) })
	return found
}

// readPhone returns text as E.164, or "" where it is no valid number. A country
// that the library does not know leaves it with international numbers.
func readPhone(text, country string) string {
	attempts := []string{text}
	if rest, ok := strings.CutPrefix(text, "00"); ok {
		attempts = append(attempts, "+"+rest)
	}
	for _, attempt := range attempts {
		number, err := phonenumbers.Parse(attempt, country)
		if err == nil && phonenumbers.IsValidNumber(number) {
			return phonenumbers.Format(number, phonenumbers.E164)
		}
	}
	return ""
}

func isNotPhoneRune(r rune) bool {
	return !unicode.IsDigit(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.Pd, r) && !strings.ContainsRune("+＋().", r)
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
		return strings.ToUpper(text)
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

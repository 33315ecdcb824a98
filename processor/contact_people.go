package processor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/wisepops-connect/wisepops-connect/internal/identity"
)

// takeEmail returns the contact's email, or nil, and the other fields. An email that
// has a name beside it stays among these.
func takeEmail(fields []contactField, known labels) (any, []contactField) {
	for _, i := range candidates(fields, known) {
		text, isText := fields[i].value.(string)
		if !isText {
			continue
		}
		email, err := identity.ReadEmail(text)
		switch {
		case err != nil:
			continue
		case identity.HasName(text):
			return email, fields
		}
		return email, slices.Delete(fields, i, i+1)
	}
	return nil, fields
}

// takePhone returns the contact's phone in E.164, or nil, and the other fields. A phone
// that has an extension stays among these.
func takePhone(fields []contactField, known labels, country string) (any, []contactField) {
	for _, i := range candidates(fields, known) {
		text, ok := readDigits(fields[i].value)
		if !ok {
			continue
		}
		if phone, err := identity.ReadPhone(text, country); err == nil {
			return phone, slices.Delete(fields, i, i+1)
		}
		if number, found := identity.CutExtension(text); found {
			if phone, err := identity.ReadPhone(number, country); err == nil {
				return phone, fields
			}
		}
	}
	return nil, fields
}

// candidates lists the indexes of the fields that have a known label, the best first;
// among equals, in the order of the fields.
func candidates(fields []contactField, known labels) []int {
	var found []int
	for i, f := range fields {
		if f.column == known.column {
			found = append(found, i)
		}
	}
	if len(found) > 1 {
		rank := func(i int) int { return known.of(fields[i].key, fields[i].name) }
		slices.SortStableFunc(found, func(a, b int) int { return cmp.Compare(rank(a), rank(b)) })
	}
	return found
}

// readDigits returns text as it is, and a whole number as its digits.
func readDigits(value any) (string, bool) {
	if text, ok := value.(string); ok {
		return text, true
	}
	text, ok := readText(value).(string)
	return text, ok && !strings.ContainsAny(text, "-.eE") // a fraction or an exponent: its digits are not a number's
}

// conceal returns the value of a field as it may stand beside columns that are dropped
// or hashed, and whether it may.
func (o *contactOptions) conceal(f contactField, country string) (value any, keep bool) {
	if o.drop[f.column] {
		return nil, false
	}
	if value, keep = o.concealValue(f.value, country); !keep {
		return nil, false
	}
	if f.value == nil || !o.hash[f.column] {
		return value, true
	}
	text, isText := f.value.(string)
	switch {
	case !isText:
		return sha256Hex(f.value), true
	case value != f.value:
		return value, true // it was read, and is hashed like the column
	case f.column == colEmail:
		return sha256Hex(strings.ToLower(strings.TrimSpace(text))), true
	}
	return sha256Hex(strings.TrimSpace(text)), true
}

// concealValue looks for emails and phones in a value and in what it holds: one that is
// to be hashed is replaced, one that is to be dropped takes the whole value with it.
func (o *contactOptions) concealValue(value any, country string) (concealed any, keep bool) {
	if !o.concealsPeople {
		return value, true
	}
	switch v := value.(type) {
	case []any:
		changed := slices.Clone(v)
		for i, item := range v {
			if changed[i], keep = o.concealValue(item, country); !keep {
				return nil, false
			}
		}
		return changed, true
	case map[string]any:
		changed := make(map[string]any, len(v))
		for key, item := range v {
			if changed[key], keep = o.concealValue(item, country); !keep {
				return nil, false
			}
		}
		return changed, true
	}
	column, normalised := o.person(value, country)
	switch {
	case column == "":
		return value, true
	case o.drop[column]:
		return nil, false
	}
	return sha256Hex(normalised), true
}

// person tells which of the concealed columns a whole value could stand in, and how;
// "" if in none.
func (o *contactOptions) person(value any, country string) (column, normalised string) {
	text, ok := readDigits(value)
	if !ok {
		return "", ""
	}
	if o.conceals(colEmail) && strings.ContainsAny(text, "@＠") {
		if email, err := identity.ReadEmail(text); err == nil {
			return colEmail, email
		}
	}
	if o.conceals(colPhone) {
		if phone, err := identity.ReadPhone(text, country); err == nil {
			return colPhone, phone
		}
		if number, found := identity.CutExtension(text); found {
			if phone, err := identity.ReadPhone(number, country); err == nil {
				return colPhone, phone
			}
		}
	}
	return "", ""
}

func (o *contactOptions) conceals(column string) bool { return o.drop[column] || o.hash[column] }

// inferEvent says which block a contact was probably collected by; nil where its fields
// do not tell.
func inferEvent(record map[string]any, own []contactField) any {
	switch {
	case record[colEmail] != nil:
		return eventEmail
	case record[colPhone] != nil:
		return eventPhone
	}
	for _, column := range []string{colEmail, colPhone} { // one that could not be read
		if slices.ContainsFunc(own, func(f contactField) bool { return f.column == column && !isBlank(f.value) }) {
			return column
		}
	}
	if len(own) > 0 {
		return eventSurvey
	}
	return nil
}

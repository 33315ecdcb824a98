package sandbox

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// respell writes the same contact in other bytes, as a delivery may: other order
// of keys, white space, escapes and time zone, without a country_code that is
// null. What is not an object stays as it is.
func respell(raw []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return raw
	}
	if string(members["country_code"]) == "null" {
		delete(members, "country_code")
	}
	var at time.Time
	if json.Unmarshal(members["collected_at"], &at) == nil && !at.IsZero() {
		members["collected_at"] = []byte(`"` + at.UTC().Format("2006-01-02T15:04:05.000") + `+00:00"`)
	}
	if fields := members["fields"]; fields != nil {
		members["fields"] = respellObject(fields)
	}
	return appendReversed(nil, members)
}

func respellObject(raw []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return raw
	}
	for key, value := range members {
		var text string
		if bytes.HasPrefix(value, []byte(`"`)) && json.Unmarshal(value, &text) == nil {
			members[key] = appendString(nil, text, !isASCII(value))
		}
	}
	return appendReversed(nil, members)
}

func isASCII(text []byte) bool {
	return !slices.ContainsFunc(text, func(c byte) bool { return c >= 0x80 })
}

func appendReversed(b []byte, members map[string]json.RawMessage) []byte {
	keys := slices.Sorted(maps.Keys(members))
	slices.Reverse(keys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(appendString(b, key, true), ": "...)
		b = append(b, members[key]...)
	}
	return append(b, '}')
}

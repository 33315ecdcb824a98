package wisepops

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"
)

// ID identifies a contact: the first 16 bytes of a SHA-256. The API has no id
// of its own; see [ContactID].
type ID [16]byte

// String returns 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ContactID returns the id of a contact, given its JSON object: 32 lower-case
// hex digits that are the same for a contact from the API and from a hook,
// whatever the order of keys, the escaping of strings, the spelling of the time
// zone, or members other than the three that it is made of. It is what tables
// upsert on.
//
// The id is the first half of the SHA-256 of three lines joined by "\n":
//
//   - wisepop_id, as it is written (empty where it is missing);
//   - collected_at in milliseconds since 1970, or the text itself where it is
//     not a time;
//   - fields as JSON in canonical form: no white space, the keys of objects
//     sorted by code point (of a repeated key the last one), strings with only
//     the escapes that JSON demands (\" \\ \b \t \n \f \r, \u00xx for other
//     control characters), numbers as they are written. Missing, null and []
//     are the same as {}.
//
// A test vector, whose value any SHA-256 tool confirms: the contact
//
//	{"collected_at":"2019-10-10T12:10:58.389+02:00","wisepop_id":12345,"fields":{"Name":"Zo\u00eb","email":"a@example.com"}}
//
// is the text
//
//	12345
//	1570702258389
//	{"Name":"Zoë","email":"a@example.com"}
//
// and the id 3e387188b05a61a130ee504a762623e0.
//
// The error says that raw is not a JSON object, and does not quote it.
func ContactID(raw []byte) (string, error) {
	if !validJSON(raw) {
		return "", errors.New("a contact must be a JSON object, and this is not JSON")
	}
	v := gjson.Parse(text(raw))
	if !v.IsObject() {
		return "", errors.New("a contact must be a JSON object, and this is another JSON value")
	}
	var p contactParser
	return p.parse(v, raw).ID.String(), nil
}

type member struct {
	key   string
	value gjson.Result
}

// contactParser holds the buffers that contacts of one page share.
type contactParser struct {
	buf     []byte
	members []member // a stack: nested objects use its end
}

func (p *contactParser) parse(v gjson.Result, raw []byte) Contact {
	c := Contact{Raw: raw}
	if !v.IsObject() {
		p.buf = append(append(p.buf[:0], "\n\n"...), raw...)
		c.ID = p.sum()
		return c
	}
	var wisepopID, collectedAt, fields gjson.Result
	v.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "wisepop_id":
			wisepopID = value
		case "collected_at":
			collectedAt = value
		case "fields":
			fields = value
		}
		return true
	})

	switch wisepopID.Type {
	case gjson.Number:
		c.WisepopID = wisepopID.Raw
	case gjson.String:
		c.WisepopID = wisepopID.Str
	default:
	}
	p.buf = append(append(p.buf[:0], c.WisepopID...), '\n')
	if t, err := ParseTime(collectedAt.Str); err == nil && collectedAt.Type == gjson.String {
		c.CollectedAt = t
		p.buf = strconv.AppendInt(p.buf, t.UnixMilli(), 10)
	} else {
		p.buf = append(p.buf, collectedAt.Raw...)
	}
	p.buf = append(p.buf, '\n')
	if fields.IsObject() {
		p.appendCanonical(fields)
	} else if !fields.Exists() || fields.Type == gjson.Null || (fields.IsArray() && isEmptyArray(fields.Raw)) {
		p.buf = append(p.buf, "{}"...)
	} else {
		p.appendCanonical(fields)
	}
	c.ID = p.sum()
	return c
}

// isEmptyArray tells an empty array, which is how PHP writes an empty object.
func isEmptyArray(raw string) bool {
	return len(bytes.TrimSpace([]byte(raw[1:len(raw)-1]))) == 0
}

func (p *contactParser) sum() (id ID) {
	sum := sha256.Sum256(p.buf)
	copy(id[:], sum[:])
	return id
}

func (p *contactParser) appendCanonical(v gjson.Result) {
	switch {
	case v.Type == gjson.String:
		p.appendString(v.Raw, v.Str)
	case v.IsObject():
		p.appendObject(v)
	case v.IsArray():
		p.buf = append(p.buf, '[')
		first := true
		v.ForEach(func(_, item gjson.Result) bool {
			if !first {
				p.buf = append(p.buf, ',')
			}
			first = false
			p.appendCanonical(item)
			return true
		})
		p.buf = append(p.buf, ']')
	default:
		p.buf = append(p.buf, v.Raw...)
	}
}

func (p *contactParser) appendObject(v gjson.Result) {
	start := len(p.members)
	v.ForEach(func(key, value gjson.Result) bool {
		p.members = append(p.members, member{key.Str, value})
		return true
	})
	slices.SortStableFunc(p.members[start:], func(a, b member) int { return cmp.Compare(a.key, b.key) })
	end := len(p.members)
	p.buf = append(p.buf, '{')
	first := true
	for i := start; i < end; i++ {
		// Nested objects grow the stack, so it is indexed anew each time.
		m := p.members[i]
		if i+1 < end && p.members[i+1].key == m.key {
			continue
		}
		if !first {
			p.buf = append(p.buf, ',')
		}
		first = false
		p.appendString("", m.key)
		p.buf = append(p.buf, ':')
		p.appendCanonical(m.value)
	}
	p.buf = append(p.buf, '}')
	p.members = p.members[:start]
}

// appendString writes decoded as a canonical JSON string; raw is its literal,
// taken as it is where it holds no escape, or empty.
func (p *contactParser) appendString(raw, decoded string) {
	if len(raw) == len(decoded)+2 && utf8.ValidString(decoded) {
		p.buf = append(p.buf, raw...)
		return
	}
	p.buf = append(p.buf, '"')
	for _, r := range decoded { // invalid UTF-8 becomes U+FFFD
		switch r {
		case '"', '\\':
			p.buf = append(p.buf, '\\', byte(r))
		case '\b':
			p.buf = append(p.buf, `\b`...)
		case '\t':
			p.buf = append(p.buf, `\t`...)
		case '\n':
			p.buf = append(p.buf, `\n`...)
		case '\f':
			p.buf = append(p.buf, `\f`...)
		case '\r':
			p.buf = append(p.buf, `\r`...)
		default:
			if r < 0x20 {
				const digits = "0123456789abcdef"
				p.buf = append(p.buf, `\u00`...)
				p.buf = append(p.buf, digits[r>>4], digits[r&0xf])
				continue
			}
			p.buf = utf8.AppendRune(p.buf, r)
		}
	}
	p.buf = append(p.buf, '"')
}

// maxDepth is how deep encoding/json follows nested values. gjson recurses
// without a limit, which a hostile body could use to exhaust the stack.
const maxDepth = 10000

func validJSON(raw []byte) bool {
	if bytes.Count(raw, []byte{'['})+bytes.Count(raw, []byte{'{'}) > maxDepth && !json.Valid(raw) {
		return false
	}
	return gjson.ValidBytes(raw)
}

// text views b as a string without a copy; b is never written to again.
func text(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // read-only view of a body that is never changed
}

package wisepops

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// ID identifies a contact: the first 16 bytes of a SHA-256. The API has no id
// of its own; see [ContactID].
type ID [16]byte

// String returns 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ContactID returns the id of a contact, given its JSON object: 32 lower-case
// hex digits that are the same for a contact from the API and from a hook,
// whatever the order of keys, the escaping of strings, the spelling of the
// instant, or members other than those that it is made of. It is what tables
// upsert on.
//
// The id is the first half of the SHA-256 of four lines joined by "\n":
//
//   - wisepop_id, as it is written (a string without its quotes);
//   - collected_at in milliseconds since 1970, or as JSON in canonical form
//     where it is not a time (see [ParseTime], which a number is read by, too);
//   - form_session as JSON in canonical form, where it is a string of more than
//     white space; otherwise ip, likewise, unless it is a string of nothing else:
//     two visitors who give the same answer in the same instant are two contacts;
//   - fields as JSON in canonical form: no white space, the keys of objects
//     sorted by code point (of a repeated key the last one), strings with only
//     the escapes that JSON demands (\" \\ \b \t \n \f \r, \u00xx for other
//     control characters), numbers as they are written. Missing, null and []
//     are the same as {}.
//
// What is missing or null is an empty line. Where wisepop_id, collected_at and
// fields all are, the id is that of the whole object in canonical form instead. What
// is not UTF-8 in a string counts as U+FFFD, as in encoding/json.
//
// A test vector, whose value any SHA-256 tool confirms: the contact
//
//	{"collected_at":"2019-10-10T12:10:58.389+02:00","wisepop_id":12345,"ip":"203.0.113.7","fields":{"Name":"Zo\u00eb","email":"a@example.com"}}
//
// is the text
//
//	12345
//	1570702258389
//	"203.0.113.7"
//	{"Name":"Zoë","email":"a@example.com"}
//
// and the id bcee0b16a0aeb5a5b49cca1dcb6fa71d.
//
// Contacts that agree in all of that are told apart by [TwinID]. This is format 2
// of the id; format 1 had no third line.
//
// The error says that raw is not a JSON object, and does not quote it.
func ContactID(raw []byte) (string, error) {
	p := newContactParser(raw)
	defer p.release()
	end := p.value(p.skipSpace(0), 0)
	if p.skipSpace(end) != len(raw) {
		return "", errors.New("a contact must be a JSON object, and this is not JSON")
	}
	if p.first(0) != '{' {
		return "", errors.New("a contact must be a JSON object, and this is another JSON value")
	}
	return p.contact().ID.String(), nil
}

// contactParser makes contacts of what its scanner listed. It holds the buffers
// that the contacts of one page share.
type contactParser struct {
	scanner
	buf        []byte            // what the id is the hash of
	decoded    []byte            // the strings of one contact that hold escapes
	members    []member          // a stack: nested objects use its end
	wisepopIDs map[string]string // those of the page, which are few
}

// contactParsers are those at rest: deliveries are many and short, and buffers
// would cost them more than what is done in them.
var contactParsers = sync.Pool{New: func() any { return new(contactParser) }}

func newContactParser(data []byte) *contactParser {
	p, ok := contactParsers.Get().(*contactParser)
	if !ok {
		p = new(contactParser)
	}
	p.data = data
	p.nodes = p.nodes[:0]
	return p
}

// release keeps the buffers, unless they grew large or hold on to much.
func (p *contactParser) release() {
	const most = 64 << 10
	if cap(p.buf) > most || cap(p.decoded) > most || cap(p.nodes) > most/32 {
		return
	}
	p.data = nil
	wasLarge := len(p.wisepopIDs) > 1000
	clear(p.members[:cap(p.members)])
	if clear(p.wisepopIDs); wasLarge {
		p.wisepopIDs = nil // a map keeps its size
	}
	contactParsers.Put(p)
}

type member struct {
	key   []byte
	value int
}

// contact returns the contact that the scanner listed.
func (p *contactParser) contact() Contact {
	p.buf, p.decoded = p.buf[:0], p.decoded[:0]
	root := p.nodes[0]
	c := Contact{Raw: p.data[root.start:root.end:root.end]}
	if p.first(0) != '{' {
		p.appendCanonical(0)
		c.ID = p.sum()
		return c
	}
	var wisepopID, collectedAt, session, ip, fields int // 0, which is the contact itself, where missing
	for key := 1; key < root.next; {
		value := key + 1
		next := p.nodes[value].next
		if p.first(value) == 'n' {
			value = 0
		}
		switch string(p.text(key)) {
		case "wisepop_id":
			wisepopID = value
		case "collected_at":
			collectedAt = value
		case "form_session":
			session = value
		case "ip":
			ip = value
		case "fields":
			fields = value
		}
		key = next
	}

	if wisepopID == 0 && collectedAt == 0 && fields == 0 {
		p.appendCanonical(0)
		c.ID = p.sum()
		return c
	}
	if wisepopID > 0 {
		c.WisepopID = p.appendWisepopID(wisepopID)
	}
	p.buf = append(p.buf, '\n')
	if collectedAt > 0 {
		c.CollectedAt = p.appendTime(collectedAt)
	}
	p.buf = append(p.buf, '\n')
	if session > 0 && p.first(session) == '"' && !p.isBlank(session) {
		p.appendString(session)
	} else if ip > 0 && !p.isBlank(ip) {
		p.appendCanonical(ip)
	}
	p.buf = append(p.buf, '\n')
	if fields == 0 || p.isEmptyArray(fields) {
		p.buf = append(p.buf, "{}"...)
	} else {
		p.appendCanonical(fields)
	}
	c.ID = p.sum()
	return c
}

func (p *contactParser) appendWisepopID(n int) string {
	switch p.first(n) {
	case '"':
		p.buf = append(p.buf, p.text(n)...)
	case '{', '[', 't', 'f':
		p.appendCanonical(n)
		return ""
	default:
		p.buf = append(p.buf, p.literal(n)...)
	}
	id, known := p.wisepopIDs[string(p.buf)]
	if !known {
		id = string(p.buf)
		if p.wisepopIDs == nil {
			p.wisepopIDs = make(map[string]string)
		}
		p.wisepopIDs[id] = id
	}
	return id
}

func (p *contactParser) appendTime(n int) time.Time {
	t, err := time.Time{}, errTime
	switch c := p.first(n); {
	case c == '"':
		t, err = parseTimeText(p.text(n))
	case isDigit(c):
		t, err = parseEpoch(p.literal(n))
	}
	if err != nil {
		p.appendCanonical(n)
		return time.Time{}
	}
	p.buf = strconv.AppendInt(p.buf, t.UnixMilli(), 10)
	return t
}

// isBlank reports whether the value at n is a string of white space alone.
func (p *contactParser) isBlank(n int) bool {
	return p.first(n) == '"' && len(bytes.TrimSpace(p.text(n))) == 0
}

// isEmptyArray tells an empty array, which is how PHP writes an empty object.
func (p *contactParser) isEmptyArray(n int) bool {
	return p.first(n) == '[' && p.nodes[n].next == n+1
}

func (p *contactParser) sum() (id ID) {
	sum := sha256.Sum256(p.buf)
	copy(id[:], sum[:])
	return id
}

func (p *contactParser) appendCanonical(n int) {
	switch p.first(n) {
	case '"':
		p.appendString(n)
	case '{':
		p.appendObject(n)
	case '[':
		p.buf = append(p.buf, '[')
		for item := n + 1; item < p.nodes[n].next; item = p.nodes[item].next {
			if item > n+1 {
				p.buf = append(p.buf, ',')
			}
			p.appendCanonical(item)
		}
		p.buf = append(p.buf, ']')
	default:
		p.buf = append(p.buf, p.literal(n)...)
	}
}

func (p *contactParser) appendObject(n int) {
	start := len(p.members)
	for key := n + 1; key < p.nodes[n].next; key = p.nodes[key+1].next {
		p.members = append(p.members, member{p.text(key), key + 1})
	}
	end := len(p.members)
	slices.SortFunc(p.members[start:], func(a, b member) int {
		return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.value, b.value))
	})
	p.buf = append(p.buf, '{')
	for i := start; i < end; i++ {
		// Nested objects grow the stack, so it is indexed anew each time.
		m := p.members[i]
		if i+1 < end && bytes.Equal(p.members[i+1].key, m.key) {
			continue
		}
		if p.buf[len(p.buf)-1] != '{' {
			p.buf = append(p.buf, ',')
		}
		p.appendString(m.value - 1)
		p.buf = append(p.buf, ':')
		p.appendCanonical(m.value)
	}
	p.buf = append(p.buf, '}')
	p.members = p.members[:start]
}

// text returns what the string at n stands for. It is valid until the next
// contact.
func (p *contactParser) text(n int) []byte {
	lit := p.literal(n)
	lit = lit[1 : len(lit)-1]
	if p.nodes[n].plain || (bytes.IndexByte(lit, '\\') < 0 && utf8.Valid(lit)) {
		return lit
	}
	start := len(p.decoded)
	p.decoded = appendDecoded(p.decoded, lit)
	return p.decoded[start:]
}

// appendDecoded resolves the escapes of a string. What is not UTF-8, and half
// of a surrogate pair, becomes U+FFFD.
func appendDecoded(dst, lit []byte) []byte {
	for len(lit) > 0 {
		if lit[0] != '\\' {
			r, size := utf8.DecodeRune(lit)
			dst = utf8.AppendRune(dst, r)
			lit = lit[size:]
			continue
		}
		c := lit[1]
		if i := bytes.IndexByte([]byte("bfnrt"), c); i >= 0 {
			dst = append(dst, "\b\f\n\r\t"[i])
			lit = lit[2:]
			continue
		}
		if c != 'u' {
			dst = append(dst, c)
			lit = lit[2:]
			continue
		}
		r := unhex(lit[2:6])
		lit = lit[6:]
		if len(lit) >= 6 && lit[0] == '\\' && lit[1] == 'u' {
			if pair := utf16.DecodeRune(r, unhex(lit[2:6])); pair != utf8.RuneError {
				r = pair
				lit = lit[6:]
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

func unhex(b []byte) (r rune) {
	for _, c := range b {
		if isDigit(c) {
			c -= '0'
		} else {
			c = (c | 0x20) - 'a' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}

// appendString writes the string at n in canonical form.
func (p *contactParser) appendString(n int) {
	if p.nodes[n].plain {
		p.buf = append(p.buf, p.literal(n)...)
		return
	}
	p.buf = append(p.buf, '"')
	text := p.text(n)
	from := 0 // what is not written yet
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		p.buf = append(p.buf, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			p.buf = append(p.buf, '\\', c)
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
			const digits = "0123456789abcdef"
			p.buf = append(p.buf, `\u00`...)
			p.buf = append(p.buf, digits[c>>4], digits[c&0xf])
		}
	}
	p.buf = append(p.buf, text[from:]...)
	p.buf = append(p.buf, '"')
}

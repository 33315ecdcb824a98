package sandbox

import (
	"strconv"
	"time"
	"unicode/utf16"
)

// contact renders one block of a submission into the store. The row is not in
// the index yet.
func (g *generator) contact(st *store, v *visitor, block int, at int64) row {
	return g.contactOf(st, v, block, at, v.popup.id, "")
}

// contactOf is contact with the pop-up and the email address given; an empty
// address is made up.
func (g *generator) contactOf(st *store, v *visitor, block int, at, wisepopID int64, email string) row {
	layout := "2006-01-02T15:04:05.000Z07:00"
	if g.seconds {
		at -= ((at % 1000) + 1000) % 1000
		layout = time.RFC3339
	}
	b := append(g.buf[:0], `{"collected_at":"`...)
	if v.zone == utcInDigits {
		layout = layout[:len(layout)-len("Z07:00")] + "-07:00"
	}
	b = time.UnixMilli(at).In(v.zone).AppendFormat(b, layout)
	b = append(b, `","wisepop_id":`...)
	b = appendInt(b, wisepopID)
	if v.session != "" {
		b = append(b, `,"form_session":"`...)
		b = append(b, v.session...)
		b = append(b, '"')
	}
	b = append(b, `,"ip":"`...)
	b = append(b, v.ip...)
	b = append(b, '"')
	switch {
	case v.nullCode:
		b = append(b, `,"country_code":null`...)
	case v.hasCode:
		b = append(b, `,"country_code":"`...)
		b = append(b, v.country.code...)
		b = append(b, '"')
	}
	b = append(b, `,"fields":{`...)
	g.dialled = 0
	var emailOff, emailLen int
	for i, f := range v.popup.blocks[block] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, f.key, v.ascii)
		b = append(b, ':')
		if f.kind != kindEmail {
			b = g.value(b, v, f)
			continue
		}
		b = append(b, '"')
		emailOff = len(b)
		if email == "" {
			b = append(b, v.mailbox...)
			b = append(b, '.')
			b = appendInt(b, int64(g.serial))
			b = append(b, '@')
			b = append(b, mailDomains[g.serial%len(mailDomains)]...)
		} else {
			b = append(b, email...)
		}
		emailLen = len(b) - emailOff
		b = append(b, '"')
	}
	b = append(b, "}}"...)
	g.serial++
	g.buf = b

	r := st.keep(b)
	r.at, r.wisepopID = at, wisepopID
	r.emailOff, r.emailLen = uint32(emailOff), uint32(emailLen)
	r.phone = g.dialled
	return r
}

// value appends what the visitor typed into a field other than the email.
func (g *generator) value(b []byte, v *visitor, f field) []byte {
	chance := g.rng.IntN(100)
	if chance < 6 && !g.plain {
		return append(b, "null"...)
	}
	if chance < 8 {
		return append(b, `""`...)
	}
	switch f.kind {
	case kindPhone:
		return g.phone(b, v)
	case kindFirstName:
		return appendString(b, v.firstName, v.ascii)
	case kindLastName:
		return appendString(b, v.lastName, v.ascii)
	case kindCity:
		return appendString(b, pick(g.rng, v.country.cities), v.ascii)
	case kindChoice:
		return appendString(b, pick(g.rng, f.choices), v.ascii)
	case kindText:
		return appendString(b, pick(g.rng, remarks), v.ascii)
	case kindNested:
		if g.plain {
			return appendString(b, pick(g.rng, v.country.cities), v.ascii)
		}
		b = append(b, `{"city":`...)
		b = appendString(b, pick(g.rng, v.country.cities), v.ascii)
		b = append(b, `,"tags":["vip",`...)
		b = appendInt(b, g.rng.Int64N(10))
		return append(b, `,null]}`...)
	}

	if g.plain {
		b = append(b, '"')
	}
	switch f.kind {
	case kindConsent:
		b = strconv.AppendBool(b, g.percent(70))
	case kindInteger:
		b = appendInt(b, 1+g.rng.Int64N(80))
	case kindDecimal:
		b = appendInt(b, g.rng.Int64N(500))
		b = append(b, '.')
		b = append(b, '0'+byte(g.rng.IntN(10)), '0')
	case kindCard:
		// Past 2^53: a client that reads numbers as floating point shows.
		b = appendInt(b, 9007199254740993+2*g.rng.Int64N(1_000_000))
	}
	if g.plain {
		b = append(b, '"')
	}
	return b
}

// phone appends a phone number as people of the country write it: in
// international form, in E.164, or in national form. All forms of a country leave
// the same digits open.
func (g *generator) phone(b []byte, v *visitor) []byte {
	style := g.rng.IntN(3)
	form := v.country.international
	if style == 2 {
		form = v.country.national
	}
	b = append(b, '"')
	var open []byte
	for i := range len(form) {
		switch c := form[i]; {
		case c == '#':
			open = append(open, '0'+byte(g.rng.IntN(10)))
			b = append(b, open[len(open)-1])
		case style == 1 && (c == ' ' || c == '-'):
		default:
			b = append(b, c)
		}
	}
	g.dialled = 0
	for i := range len(v.country.international) {
		c := v.country.international[i]
		if c == '#' {
			c, open = open[0], open[1:]
		}
		if c >= '0' && c <= '9' {
			g.dialled = 10*g.dialled + uint64(c-'0')
		}
	}
	return append(b, '"')
}

func appendInt(b []byte, n int64) []byte {
	return strconv.AppendInt(b, n, 10)
}

// appendString appends a JSON string. With ascii it is spelled the way PHP does
// by default, with non-ASCII characters and slashes escaped.
func appendString(b []byte, s string, ascii bool) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == '/' && ascii:
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r < ' ':
			b = appendEscape(b, r)
		case r < 0x80 || !ascii:
			b = append(b, string(r)...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = appendEscape(appendEscape(b, high), low)
		default:
			b = appendEscape(b, r)
		}
	}
	return append(b, '"')
}

func appendEscape(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

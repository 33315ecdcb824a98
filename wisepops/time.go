package wisepops

import (
	"bytes"
	"errors"
	"time"
)

// TimeLayout is how the API writes instants: RFC 3339, UTC, milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z07:00"

var errTime = errors.New("not an RFC 3339 time")

// ParseTime reads an instant as the API writes them, RFC 3339 with any fraction and any
// zone, and as others do:
//
//   - with a space or a t for the T, and a z for the Z;
//   - with the zone as +0200 or +02, or without one (then UTC, as in GET /wisepops);
//   - with :60 for the seconds, which is the beginning of the next minute;
//   - as seconds (10 or 11 digits) or milliseconds (13 or 14) since 1970, perhaps with a
//     fraction. Other numbers of digits are no instant of our time.
//
// The result is in UTC, and between the years 0 and 9999 there. The error does not quote
// the text.
func ParseTime(s string) (time.Time, error) {
	if t, err := parseLayouts(s); err == nil {
		return t, nil
	}
	if t, err := parseEpoch([]byte(s)); err == nil {
		return t, nil
	}
	return parseUnusualTime(s)
}

func parseLayouts(s string) (time.Time, error) {
	for _, layout := range [...]string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05",
		time.DateTime, time.DateTime + "Z07:00", time.DateTime + "Z0700",
	} {
		t, err := time.Parse(layout, s)
		if t = t.UTC(); err == nil && t.Year() >= 0 && t.Year() <= 9999 {
			return t, nil
		}
	}
	return time.Time{}, errTime
}

// parseUnusualTime reads what [time.Parse] has no layout for: letters in lower case, a
// zone of whole hours, and leap seconds.
func parseUnusualTime(s string) (time.Time, error) {
	const seconds, end = len("2006-01-02T15:04:"), len("2006-01-02T15:04:05")
	if len(s) < end {
		return time.Time{}, errTime
	}
	b := []byte(s)
	if b[10] == 't' {
		b[10] = 'T'
	}
	if last := len(b) - 1; b[last] == 'z' {
		b[last] = 'Z'
	}
	if sign := len(b) - len("+00"); sign >= end && (b[sign] == '+' || b[sign] == '-') {
		b = append(b, ":00"...)
	}
	leap := string(b[seconds:end]) == "60"
	if leap {
		copy(b[seconds:], "59")
	}
	t, err := parseLayouts(string(b))
	if err != nil || !leap {
		return t, err
	}
	if t = t.Add(time.Second); t.Year() > 9999 {
		return time.Time{}, errTime
	}
	return t, nil
}

// parseEpoch reads seconds or milliseconds since 1970.
func parseEpoch(s []byte) (time.Time, error) {
	whole, fraction, dot := bytes.Cut(s, []byte("."))
	unit := time.Second
	switch len(whole) {
	case 10, 11:
	case 13, 14:
		unit = time.Millisecond
	default:
		return time.Time{}, errTime
	}
	if whole[0] == '0' || dot && len(fraction) == 0 {
		return time.Time{}, errTime
	}
	n := int64(0)
	for _, c := range whole {
		if !isDigit(c) {
			return time.Time{}, errTime
		}
		n = 10*n + int64(c-'0')
	}
	part, place := time.Duration(0), unit
	for _, c := range fraction {
		if !isDigit(c) {
			return time.Time{}, errTime
		}
		place /= 10
		part += time.Duration(c-'0') * place
	}
	if unit == time.Second {
		return time.Unix(n, int64(part)).UTC(), nil
	}
	return time.UnixMilli(n).Add(part).UTC(), nil
}

// parseTimeText is [ParseTime], several times faster for the API's own spelling.
func parseTimeText(s []byte) (time.Time, error) {
	if len(s) != len("2006-01-02T15:04:05.000Z") || s[4] != '-' || s[7] != '-' || s[10] != 'T' ||
		s[13] != ':' || s[16] != ':' || s[19] != '.' || s[23] != 'Z' {
		return ParseTime(string(s))
	}
	year, month, day := digits(s[0:4]), digits(s[5:7]), digits(s[8:10])
	hour, minute, second, ms := digits(s[11:13]), digits(s[14:16]), digits(s[17:19]), digits(s[20:23])
	if min(year, month, day, hour, minute, second, ms) < 0 || month < 1 || month > 12 || day < 1 || day > 28 ||
		hour > 23 || minute > 59 || second > 59 {
		return ParseTime(string(s)) // which knows how long months are
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, ms*int(time.Millisecond), time.UTC), nil
}

// digits reads a number of decimal digits; negative where there are others.
func digits(s []byte) int {
	n := 0
	for _, c := range s {
		if !isDigit(c) {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// FormatTime writes an instant as the API does: RFC 3339, UTC, milliseconds.
func FormatTime(t time.Time) string {
	return string(AppendTime(make([]byte, 0, len(TimeLayout)), t))
}

// AppendTime appends what [FormatTime] returns.
func AppendTime(b []byte, t time.Time) []byte {
	// The standard library is several times faster with its own layout than with
	// one of milliseconds.
	b = t.UTC().AppendFormat(b, time.RFC3339)
	ms := t.Nanosecond() / int(time.Millisecond)
	const digits = "0123456789"
	return append(b[:len(b)-1], '.', digits[ms/100], digits[ms/10%10], digits[ms%10], 'Z')
}

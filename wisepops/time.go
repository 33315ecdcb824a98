package wisepops

import (
	"errors"
	"time"
)

// TimeLayout is how the API writes instants: RFC 3339, UTC, milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z07:00"

var errTime = errors.New("not an RFC 3339 time")

// ParseTime reads an instant as the API writes them: RFC 3339 with any fraction
// and any zone, and also the forms with a space for the T, without a colon in
// the zone, or without a zone (then UTC, as in GET /wisepops). The result is in
// UTC, and between the years 0 and 9999 there. The error does not quote the text.
func ParseTime(s string) (time.Time, error) {
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

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

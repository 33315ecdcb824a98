package wisepops

import (
	"net/http"
	"strings"
	"time"
)

// MaxRetryAfter is the longest that a Retry-After is taken for: the window of the budget,
// after which every call that was spent has come back.
const MaxRetryAfter = 30 * 24 * time.Hour

// retryAfter reads a Retry-After as servers send it: seconds, also with decimals, a date
// of HTTP or of RFC 3339, or an instant in seconds or milliseconds since 1970. Where
// several stand there, as behind a proxy that adds its own, the longest wait counts. What
// cannot be read is no wait. now is the server's clock, or zero.
func retryAfter(value string, now time.Time) time.Duration {
	if strings.Trim(value, " \t,") == "" {
		return 0
	}
	parts := strings.Split(value, ",")
	longest := time.Duration(0)
	for i, part := range parts {
		longest = max(longest, readRetryAfter(part, now))
		if i > 0 { // a date of HTTP holds a comma
			longest = max(longest, readRetryAfter(parts[i-1]+","+part, now))
		}
	}
	return longest
}

func readRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if wait, ok := readSeconds(value); ok {
		return wait
	}
	at, err := http.ParseTime(value)
	if err != nil {
		if at, err = ParseTime(value); err != nil {
			return 0
		}
	}
	return waitUntil(at, now)
}

// readSeconds reads a number below 10^9, which would be 31 years, or one so long that it
// is no instant either.
func readSeconds(value string) (time.Duration, bool) {
	whole, fraction, _ := strings.Cut(value, ".")
	if whole == "" && fraction == "" || !isDigits(whole) || !isDigits(fraction) {
		return 0, false
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole) >= len("1000000000") {
		_, err := parseEpoch([]byte(value))
		return MaxRetryAfter, err != nil
	}
	wait := time.Duration(max(digits([]byte(whole)), 0)) * time.Second
	place := time.Second
	for _, c := range []byte(fraction) {
		place /= 10
		wait += time.Duration(c-'0') * place
	}
	return min(wait, MaxRetryAfter), true
}

// waitUntil takes an instant against the server's own clock where that is known, since
// ours may be off, and against ours where the server's makes it an unlikely wait.
func waitUntil(at, now time.Time) time.Duration {
	if now.IsZero() {
		now = time.Now()
	}
	wait := at.Sub(now)
	if wait > MaxRetryAfter {
		wait = min(time.Until(at), MaxRetryAfter)
	}
	return max(0, wait)
}

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

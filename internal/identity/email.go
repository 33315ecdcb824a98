package identity

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

var errEmail = errors.New("email is not one email address")

const (
	longestLocal  = 64  // bytes, RFC 5321
	longestDomain = 253 // bytes
	longestLabel  = 63  // of a domain
)

// domains brings internationalised domains to the form that is looked up, which is
// also what browsers put into forms: letters are mapped, ß stays ß.
var domains = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule())

// fullStops are the characters that part the labels of a domain.
var fullStops = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".")

// ReadEmail reads text as one email address: local@domain in lower case, the domain
// in ASCII (xn--…). The address may follow mailto:, or stand in angle brackets behind
// a name. Its local part may have dots where RFC 5322 has none (user..x@, user.@),
// since mailbox providers handed such addresses out; quoted local parts and comments
// are not read.
func ReadEmail(text string) (string, error) {
	address := Clean(text)
	if rest, isURL := cutScheme(address, "mailto:"); isURL {
		// Other parts of the URL may name others, and an escape may hide a character.
		if strings.ContainsAny(rest, "?%") {
			return "", errEmail
		}
		address = rest
	} else {
		var name string
		if name, address = cutName(address); strings.ContainsAny(name, "@<>") {
			return "", errEmail // a second address, which may be the one that is meant
		}
		address, _ = cutScheme(address, "mailto:")
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", errEmail
	}
	local, ok := readLocal(address[:at])
	if !ok {
		return "", errEmail
	}
	domain, ok := readDomain(address[at+1:])
	if !ok {
		return "", errEmail
	}
	return local + "@" + domain, nil
}

// HasName reports whether a text that [ReadEmail] reads holds a name besides.
func HasName(text string) bool {
	name, _ := cutName(Clean(text))
	return name != ""
}

// cutName parts Name <address>.
func cutName(text string) (name, address string) {
	open := strings.LastIndexByte(text, '<')
	if open < 0 || !strings.HasSuffix(text, ">") {
		return "", text
	}
	return strings.TrimSpace(text[:open]), strings.TrimSpace(text[open+1 : len(text)-1])
}

func readLocal(local string) (string, bool) {
	// A quote or a slash in front comes from around the address, not from it.
	if local == "" || len(local) > longestLocal || strings.ContainsRune("'`/", rune(local[0])) {
		return "", false
	}
	if first, _ := utf8.DecodeRuneInString(local); unicode.IsMark(first) {
		return "", false
	}
	if strings.ContainsFunc(local, isNotLocal) {
		return "", false
	}
	// A letter and an accent may be one character in lower case alone.
	local = norm.NFC.String(strings.Map(lower, local))
	return local, len(local) <= longestLocal
}

func isNotLocal(r rune) bool {
	if r < utf8.RuneSelf {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", r)
	}
	return r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.So)
}

// lower returns the lower case of a letter where the two differ in case alone: İ
// stays, since i is the lower case of another letter.
func lower(r rune) rune {
	l := unicode.ToLower(r)
	for f := unicode.SimpleFold(l); f != l; f = unicode.SimpleFold(f) {
		if f == r {
			return l
		}
	}
	return r
}

func readDomain(domain string) (string, bool) {
	domain = strings.TrimSuffix(fullStops.Replace(domain), ".")
	if domain == "" || len(domain) > 4*longestDomain {
		return "", false
	}
	domain = strings.Map(lower, domain)
	if strings.Contains(domain, "xn--") || strings.ContainsFunc(domain, isNotASCII) {
		ascii, err := domains.ToASCII(domain)
		if err != nil {
			return "", false
		}
		domain = ascii
	}
	if len(domain) > longestDomain {
		return "", false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > longestLabel || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, isNotLabel) {
			return "", false
		}
	}
	return domain, true
}

func isNotASCII(r rune) bool { return r >= utf8.RuneSelf }

func isNotLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

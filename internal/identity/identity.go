// Package identity reads emails and phones: one reading for the columns of a
// contact, their hashes, and the deletions that ask for them. It holds no state and
// makes no call.
//
// Its law: a value that was read reads as itself, with whatever country; so a
// deletion of what stands in a column asks for exactly that value. And no value is
// read that the text does not say: where two readings are possible there is none.
// The package's tests hold it to both.
//
// Errors never quote the text, and say what is wrong with it.
package identity

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

var errNobody = errors.New("the message names nobody: email and phone are both empty")

// Read reads whom a request is about, as [ReadEmail] and [ReadPhone] do. Either text
// may be blank. One that cannot be read is an error, also beside another that can:
// half a deletion would pass for a whole one.
func Read(email, phone, country string) (who wisepops.Identity, err error) {
	email, phone = Clean(email), Clean(phone)
	if email == "" && phone == "" {
		return who, errNobody
	}
	if email != "" {
		if who.Email, err = ReadEmail(email); err != nil {
			return wisepops.Identity{}, err
		}
	}
	if phone != "" {
		if who.Phone, err = ReadPhone(phone, country); err != nil {
			return wisepops.Identity{}, err
		}
	}
	return who, nil
}

// Clean returns text as a person sees it: without characters that show nothing
// (format characters, byte order marks, variation selectors, NUL), with a plain space
// for every kind of space and for tabs, full-width forms as their plain ones, composed
// (NFC), and without white space around it. Line breaks inside stay: they part two
// texts.
func Clean(text string) string {
	if !isPlain(text) {
		text = norm.NFC.String(width.Fold.String(strings.Map(visible, text)))
	}
	return strings.TrimSpace(text)
}

// isPlain reports whether text is of printable ASCII and line breaks, as most are.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < ' ' || c > '~') && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// visible drops a rune that shows nothing, and makes a space of one that shows a gap.
func visible(r rune) rune {
	switch {
	case r == 0, unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return -1
	case r == '\t', unicode.Is(unicode.Zs, r):
		return ' '
	}
	return r
}

// cutScheme cuts the scheme of a URL, in whatever case, and white space behind it.
func cutScheme(text, scheme string) (rest string, found bool) {
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return text, false
	}
	return strings.TrimSpace(text[len(scheme):]), true
}

package processor

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	// namelessField is the name of a key without letters or digits.
	namelessField = "field"
	// clashPrefix stands before a flattened field that has a column's name.
	clashPrefix = "field_"
)

// latinSpellings are the Latin letters that Unicode does not decompose into a
// letter and an accent.
var latinSpellings = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'ł': "l", 'đ': "d", 'ð': "d",
	'þ': "th", 'ħ': "h", 'ı': "i", 'ŋ': "ng", 'ŧ': "t", 'ĸ': "k",
}

// snakeCase returns a key as the name of a column: never empty, without upper
// case, words joined by one underscore. It is idempotent.
//
// Latin letters lose their accents ("Prénom" is "prenom", "Größe" is "grosse"),
// since they make column names that must be quoted; the letters of other scripts
// are kept, since without them nothing would be left. Words end at anything that
// is neither letter nor digit and at camelCase humps ("userID" is "user_id",
// "IPAddress" is "ip_address"); digits stay with the letters beside them.
func snakeCase(key string) string {
	if isPlainSnake(key) {
		return key
	}
	runes := withoutAccents(norm.NFKD.String(key))

	var b strings.Builder
	b.Grow(len(key) + 4)
	inWord := false
	for i, r := range runes {
		if !isWordRune(r) {
			inWord = false
			continue
		}
		if !inWord && b.Len() > 0 || inWord && isHump(runes, i) {
			b.WriteByte('_')
		}
		inWord = true
		r = unicode.ToLower(r)
		if spelling, ok := latinSpellings[r]; ok {
			b.WriteString(spelling)
		} else {
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return namelessField
	}
	return norm.NFC.String(b.String())
}

// isPlainSnake reports whether a key already is its own name, which most are.
func isPlainSnake(key string) bool {
	after := byte('_')
	for i := range len(key) {
		c := key[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '_' && after != '_':
		default:
			return false
		}
		after = c
	}
	return after != '_'
}

// withoutAccents drops the marks of a decomposed text that do not belong to a
// letter of a script other than Latin.
func withoutAccents(decomposed string) []rune {
	runes := make([]rune, 0, len(decomposed))
	keepMarks := false
	for _, r := range decomposed {
		if unicode.IsMark(r) {
			if keepMarks {
				runes = append(runes, r)
			}
			continue
		}
		keepMarks = unicode.IsLetter(r) && !unicode.Is(unicode.Latin, r)
		runes = append(runes, r)
	}
	return runes
}

func isWordRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)
}

// isHump reports whether a new word begins inside letters and digits: an upper
// case letter after a lower case one, or the last upper case one of several (or
// after a digit) before a lower case one.
func isHump(runes []rune, i int) bool {
	if i == 0 || !unicode.IsUpper(runes[i]) {
		return false
	}
	return unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])
}

// nameFields gives each field a name of its own. A key that is a name already has it;
// of the others, the first in the order of fields. The next get _2, _3 and so on,
// except names that are another key's own. A name among columns gets a prefix.
func nameFields(fields []contactField, columns []string) {
	own := make(map[string]bool, len(fields))
	for i, f := range fields {
		if slices.Contains(columns, f.name) {
			fields[i].name = clashPrefix + f.name
		}
		own[fields[i].name] = true
	}
	taken := make(map[string]bool, len(fields))
	named := make([]bool, len(fields))
	for i, f := range fields {
		if f.key == f.name && !taken[f.name] {
			taken[f.name], named[i] = true, true
		}
	}
	for i := range fields {
		if named[i] {
			continue
		}
		base := fields[i].name
		for n := 2; taken[fields[i].name] || own[fields[i].name] && fields[i].name != base; n++ {
			fields[i].name = base + "_" + strconv.Itoa(n)
		}
		taken[fields[i].name] = true
	}
}

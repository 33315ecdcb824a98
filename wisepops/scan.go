package wisepops

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
)

// maxDepth is how deep encoding/json follows nested values. Without a limit a
// hostile body could exhaust the stack, since the scanner recurses.
const maxDepth = 10000

// broken is where a value ends that is not JSON: past the end of any text.
const broken = math.MaxInt

// node is a value, or the key of a member, in a scanned text.
type node struct {
	start, end int
	next       int  // index of the first node behind it and all that it holds
	plain      bool // a string of ASCII without escapes
}

// scanner reads JSON in one pass, and accepts exactly what encoding/json does.
// It lists the values in the order of the text: an object is followed by its
// keys and values in turn, an array by its items.
type scanner struct {
	data  []byte
	nodes []node
}

// first returns the byte that tells the type of a node's value.
func (s *scanner) first(n int) byte { return s.data[s.nodes[n].start] }

func (s *scanner) literal(n int) []byte { return s.data[s.nodes[n].start:s.nodes[n].end] }

func (s *scanner) skipSpace(i int) int {
	for i < len(s.data) && (s.data[i] == ' ' || s.data[i] == '\n' || s.data[i] == '\t' || s.data[i] == '\r') {
		i++
	}
	return i
}

// is says whether c stands at i, which may be past the end.
func (s *scanner) is(i int, c byte) bool { return i < len(s.data) && s.data[i] == c }

// value lists the value that begins at i, and returns where it ends, or broken.
// depth is how many arrays and objects it stands in.
func (s *scanner) value(i, depth int) int {
	if i >= len(s.data) {
		return broken
	}
	switch s.data[i] {
	case '"':
		return s.str(i)
	case '{', '[':
		return s.container(i, depth+1)
	case 't':
		return s.word(i, "true")
	case 'f':
		return s.word(i, "false")
	case 'n':
		return s.word(i, "null")
	default:
		return s.number(i)
	}
}

func (s *scanner) add(start, end int, plain bool) int {
	s.nodes = append(s.nodes, node{start: start, end: end, next: len(s.nodes) + 1, plain: plain})
	return end
}

func (s *scanner) container(i, depth int) int {
	if depth > maxDepth {
		return broken
	}
	n := len(s.nodes)
	s.add(i, i, false)
	object := s.data[i] == '{'
	closing := byte(']')
	if object {
		closing = '}'
	}
	i = s.skipSpace(i + 1)
	if !s.is(i, closing) {
		for {
			if object {
				if !s.is(i, '"') {
					return broken
				}
				if i = s.skipSpace(s.str(i)); !s.is(i, ':') {
					return broken
				}
				i = s.skipSpace(i + 1)
			}
			i = s.skipSpace(s.value(i, depth))
			if s.is(i, closing) {
				break
			}
			if !s.is(i, ',') {
				return broken
			}
			i = s.skipSpace(i + 1)
		}
	}
	s.nodes[n].end, s.nodes[n].next = i+1, len(s.nodes)
	return i + 1
}

// isPlain marks the bytes that stand for themselves in a string.
var isPlain = func() (t [256]bool) {
	for c := byte(' '); c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// skipPlain returns the index of the first byte from i on that does not stand for
// itself. Eight bytes at a time, as long as there are: strings are most of a text.
func skipPlain(data []byte, i int) int {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	for i+8 <= len(data) {
		w := binary.LittleEndian.Uint64(data[i:])
		quote, backslash := w^('"'*ones), w^('\\'*ones)
		// The high bit of each byte that is a quote, a backslash, a control character
		// or not ASCII. Bytes behind the first of them may be marked by mistake.
		marks := ((w-' '*ones)|(quote-ones)&^quote|(backslash-ones)&^backslash)&^w | w
		if marks &= high; marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
		i += 8
	}
	for i < len(data) && isPlain[data[i]] {
		i++
	}
	return i
}

func (s *scanner) str(start int) int {
	data, plain := s.data, true
	for i := skipPlain(data, start+1); i < len(data); i = skipPlain(data, i+1) {
		c := data[i]
		switch {
		case c == '"':
			return s.add(start, i+1, plain)
		case c == '\\':
			plain = false
			i++
			if s.is(i, 'u') {
				if len(data)-i < 5 || !isHex(data[i+1:i+5]) {
					return broken
				}
				i += 4
			} else if i >= len(data) || strings.IndexByte(`"\/bfnrt`, data[i]) < 0 {
				return broken
			}
		case c < ' ':
			return broken
		default:
			plain = false
		}
	}
	return broken
}

func isHex(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (s *scanner) word(i int, word string) int {
	end := i + len(word)
	if end > len(s.data) || string(s.data[i:end]) != word {
		return broken
	}
	return s.add(i, end, false)
}

func (s *scanner) number(start int) int {
	i := start
	if s.is(i, '-') {
		i++
	}
	if s.is(i, '0') {
		i++
	} else {
		i = s.digits(i)
	}
	if s.is(i, '.') {
		i = s.digits(i + 1)
	}
	if s.is(i, 'e') || s.is(i, 'E') {
		i++
		if s.is(i, '+') || s.is(i, '-') {
			i++
		}
		i = s.digits(i)
	}
	if i == broken {
		return broken
	}
	return s.add(start, i, false)
}

// digits skips one digit or more.
func (s *scanner) digits(i int) int {
	from := i
	for i < len(s.data) && isDigit(s.data[i]) {
		i++
	}
	if i == from {
		return broken
	}
	return i
}

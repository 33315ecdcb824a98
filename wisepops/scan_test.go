package wisepops

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSkipPlainStopsAtTheFirstOddByte(t *testing.T) {
	odd := rapid.SampledFrom([]byte{0, 0x1f, '"', '\\', 0x7f, 0x80, 0xc3, 0xff, ' ', '!', '#', '[', ']', 'a'})
	rapid.Check(t, func(rt *rapid.T) {
		data := rapid.SliceOfN(rapid.OneOf(rapid.ByteRange('a', 'z'), odd), 0, 40).Draw(rt, "data")
		from := rapid.IntRange(0, len(data)).Draw(rt, "from")
		want := from
		for want < len(data) && data[want] >= ' ' && data[want] < 0x80 && data[want] != '"' && data[want] != '\\' {
			want++
		}
		require.Equal(rt, want, skipPlain(data, from))
	})
}

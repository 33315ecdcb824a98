package wisepops

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// times holds what each text means, in RFC 3339, or "" where it is not a time.
var times = []struct{ text, want string }{
	{"2019-10-10T10:10:58.389Z", "2019-10-10T10:10:58.389Z"},
	{"2019-10-10T10:10:58Z", "2019-10-10T10:10:58Z"},
	{"2019-10-10T10:10:58.3Z", "2019-10-10T10:10:58.3Z"},
	{"2019-10-10T10:10:58.389123456Z", "2019-10-10T10:10:58.389123456Z"},
	{"2019-10-10T12:10:58.389+02:00", "2019-10-10T10:10:58.389Z"},
	{"2019-10-10T12:10:58.389+0200", "2019-10-10T10:10:58.389Z"},
	{"2019-10-09T22:40:58.389-11:30", "2019-10-10T10:10:58.389Z"},
	{"2019-10-10T10:10:58.389-00:00", "2019-10-10T10:10:58.389Z"},
	{"2019-10-10T10:10:58.389", "2019-10-10T10:10:58.389Z"},
	{"2017-02-27 15:29:43", "2017-02-27T15:29:43Z"},
	{"2017-02-27 15:29:43.5", "2017-02-27T15:29:43.5Z"},
	{"2017-02-27 15:29:43Z", "2017-02-27T15:29:43Z"},
	{"2017-02-27 15:29:43+01:00", "2017-02-27T14:29:43Z"},
	{"2017-02-27 15:29:43+0100", "2017-02-27T14:29:43Z"},
	{"2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"},
	{"1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"},
	{"9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},

	{"2019-10-10t10:10:58.389z", "2019-10-10T10:10:58.389Z"},
	{"2019-10-10t12:10:58+02:00", "2019-10-10T10:10:58Z"},
	{"2017-02-27 15:29:43.5z", "2017-02-27T15:29:43.5Z"},
	{"2019-10-10T10:10:58+00", "2019-10-10T10:10:58Z"},
	{"2019-10-10T10:10:58.389+0000", "2019-10-10T10:10:58.389Z"},
	{"2019-10-10 12:10:58.389+02", "2019-10-10T10:10:58.389Z"},
	{"2019-10-10T05:10:58-05", "2019-10-10T10:10:58Z"},
	{"2019-10-10T10:10:60Z", "2019-10-10T10:11:00Z"},
	{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
	{"2016-12-31t23:59:60.25z", "2017-01-01T00:00:00.25Z"},
	{"2017-01-01 01:59:60+02", "2017-01-01T00:00:00Z"},
	{"1570702258", "2019-10-10T10:10:58Z"},
	{"1570702258.389", "2019-10-10T10:10:58.389Z"},
	{"1570702258389", "2019-10-10T10:10:58.389Z"},
	{"1570702258389.5", "2019-10-10T10:10:58.3895Z"},
	{"1000000000", "2001-09-09T01:46:40Z"},
	{"1000000000000", "2001-09-09T01:46:40Z"},
	{"99999999999", "5138-11-16T09:46:39Z"},
	{"99999999999999", "5138-11-16T09:46:39.999Z"},

	{"", ""},
	{"soon", ""},
	{"0", ""},
	{"999999999", ""},
	{"157070225838", ""},
	{"1570702258389000", ""},
	{"0570702258", ""},
	{"+1570702258", ""},
	{"-1570702258", ""},
	{"1570702258.", ""},
	{"1570702258.x", ""},
	{"157070225x", ""},
	{"1570702258,5", ""},
	{"2019-10-10T10:10:61Z", ""},
	{"2019-10-10T24:10:60Z", ""},
	{"9999-12-31T23:59:60Z", ""},
	{"2019-10-10x10:10:58z", ""},
	{"2019-10-10T10:10:58zz", ""},
	{"2019-10-10T10:10:58+0", ""},
	{"2019-10-10T10:10:58+000", ""},
	{"2019-10-10T10:10:58+25", ""},
	{"2019-10-10", ""},
	{"2019-10-10T10:10Z", ""},
	{"2019-10-10T10:10:58.Z", ""},
	{" 2019-10-10T10:10:58Z", ""},
	{"2019-10-10T10:10:58Z\n", ""},
	{"2019-10-10T10:10:58 UTC", ""},
	{"2019-10-10T10:10:58+2:00", ""},
	{"2019-10-10T24:00:00Z", ""},
	{"2023-02-29T00:00:00Z", ""},
	{"2019-13-01T00:00:00Z", ""},
	{"10000-01-01T00:00:00Z", ""},
	{"9999-12-31T23:59:59-01:00", ""},
	{"0000-01-01T00:00:00+01:00", ""},
	{"Thu, 10 Oct 2019 10:10:58 GMT", ""},
}

func TestParseTime(t *testing.T) {
	for _, row := range times {
		got, err := ParseTime(row.text)
		if row.want == "" {
			assert.EqualError(t, err, "not an RFC 3339 time", row.text)
			assert.Zero(t, got, row.text)
			continue
		}
		if assert.NoError(t, err, row.text) {
			assert.Equal(t, row.want, got.Format(time.RFC3339Nano), row.text)
			assert.Equal(t, time.UTC, got.Location(), row.text)
		}
	}
}

func TestFormatTimeRoundsDown(t *testing.T) {
	paris := time.FixedZone("", 2*60*60)
	require.Equal(t, "2019-10-10T10:10:58.389Z", FormatTime(time.Date(2019, 10, 10, 12, 10, 58, 389_999_999, paris)))
	require.Equal(t, "2019-10-10T10:10:58.000Z", FormatTime(time.Date(2019, 10, 10, 10, 10, 58, 0, time.UTC)))
	require.Equal(t, "1969-12-31T23:59:59.999Z", FormatTime(time.Unix(0, -1)))
}

func TestAppendTimeAgreesWithTheLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(-62_135_596_800_000, 253_402_300_799_999).Draw(t, "milliseconds"))
		require.Equal(t, at.UTC().Format(TimeLayout), string(AppendTime(nil, at)))
	})
}

// The short cut must read whatever the whole reader reads, and nothing else.
func TestTimesReadTheShortWayAreTheSame(t *testing.T) {
	check := func(t require.TestingT, text string) {
		want, wantErr := ParseTime(text)
		got, err := parseTimeText([]byte(text))
		require.Equal(t, wantErr, err, text)
		require.True(t, want.Equal(got), text)
		require.Equal(t, want.Location(), got.Location(), text)
	}
	for _, row := range times {
		check(t, row.text)
	}
	rapid.Check(t, func(rt *rapid.T) {
		number := func(width, most int) string {
			return fmt.Sprintf("%0*d", width, rapid.IntRange(0, most).Draw(rt, "number"))
		}
		text := []byte(number(4, 9999) + "-" + number(2, 13) + "-" + number(2, 32) + "T" +
			number(2, 25) + ":" + number(2, 61) + ":" + number(2, 61) + "." + number(3, 999) + "Z")
		if rapid.Bool().Draw(rt, "spoilt") {
			text[rapid.IntRange(0, len(text)-1).Draw(rt, "at")] = rapid.Byte().Draw(rt, "byte")
		}
		check(rt, string(text))
	})
}

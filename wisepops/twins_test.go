package wisepops

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Any SHA-256 tool confirms these:
//
//	printf 'bcee0b16a0aeb5a5b49cca1dcb6fa71d\n2' | sha256sum | cut -c-32
func TestTwinIDTestVectors(t *testing.T) {
	var id ID
	_, err := hex.Decode(id[:], []byte("bcee0b16a0aeb5a5b49cca1dcb6fa71d"))
	require.NoError(t, err)
	for n, want := range map[int]string{
		-1: "bcee0b16a0aeb5a5b49cca1dcb6fa71d", 0: "bcee0b16a0aeb5a5b49cca1dcb6fa71d", 1: "bcee0b16a0aeb5a5b49cca1dcb6fa71d",
		2: "869834b45997b2fa35747628980cf9da", 3: "5982d27b8e593dcdc6c5d732e7e39779", 1000000: "b04c8e66fbb047411607c9aa6b86c7cd",
	} {
		assert.Equal(t, want, TwinID(id, n).String(), n)
	}
}

func TestTwinsOfOneAnswerAreContactsOfTheirOwn(t *testing.T) {
	const answer = `{"collected_at":"2019-10-10T10:10:58Z","wisepop_id":12345,"ip":"203.0.113.7","fields":{"How?":"Friends"}}`
	for _, n := range []int{1, 2, 16, 17, 1000} {
		body := "[" + strings.Repeat(answer+",", n-1) + answer + "]"
		contacts, err := ParseContacts([]byte(body))
		require.NoError(t, err)
		first := contacts[0].ID
		NumberTwins(contacts)
		ids := map[ID]bool{}
		for i, c := range contacts {
			require.Equal(t, TwinID(first, i+1), c.ID)
			ids[c.ID] = true
		}
		require.Len(t, ids, n)
	}
	NumberTwins(nil)
}

// The nth that shares an id gets the same one wherever the others stand, and however
// many contacts the answer has: a poll and a hook agree.
func TestTwinsAreNumberedInTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.ByteRange(0, 4), 0, 40).Draw(t, "kinds")
		contacts := make([]Contact, len(kinds))
		for i, kind := range kinds {
			contacts[i].ID = ID{kind}
		}
		NumberTwins(contacts)
		for i, kind := range kinds {
			n := 1
			for _, earlier := range kinds[:i] {
				if earlier == kind {
					n++
				}
			}
			require.Equal(t, TwinID(ID{kind}, n), contacts[i].ID)
		}
	})
}

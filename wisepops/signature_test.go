package wisepops

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The vectors are those of RFC 4231 (test case 2) and of the article on HMAC in
// Wikipedia.
func TestSignVectors(t *testing.T) {
	require.Equal(t, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		Sign("Jefe", []byte("what do ya want for nothing?")))
	require.Equal(t, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
		Sign("key", []byte("The quick brown fox jumps over the lazy dog")))
}

func TestVerify(t *testing.T) {
	const good = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
	body := []byte("The quick brown fox jumps over the lazy dog")
	for _, row := range []struct {
		name, signature string
		keys            []string
		want            bool
	}{
		{"right", good, []string{"key"}, true},
		{"upper case", strings.ToUpper(good), []string{"key"}, true},
		{"of a former key", good, []string{"new", "key"}, true},
		{"of the first of two keys", good, []string{"key", "old"}, true},
		{"of another key", Sign("other", body), []string{"key"}, false},
		{"of another body", Sign("key", append([]byte(" "), body...)), []string{"key"}, false},
		{"no key", good, nil, false},
		{"empty key", Sign("", body), []string{""}, false},
		{"missing", "", []string{"key"}, false},
		{"cut", good[:62], []string{"key"}, false},
		{"longer", good + "00", []string{"key"}, false},
		{"padded", good + " ", []string{"key"}, false},
		{"with its scheme", "sha256=" + good, []string{"key"}, false},
		{"not hex", strings.Repeat("z", 64), []string{"key"}, false},
		{"doubled", good + ", " + good, []string{"key"}, false},
	} {
		assert.Equal(t, row.want, Verify(row.signature, body, row.keys...), row.name)
	}
}

// FuzzVerify knows of a signature only what the header says: nothing but the hex digits
// of the right sum may pass.
func FuzzVerify(f *testing.F) {
	f.Add("f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8", []byte("The quick brown fox jumps over the lazy dog"), "key")
	f.Add("", []byte(""), "")
	f.Add("00", []byte("a"), "k")
	f.Fuzz(func(t *testing.T, signature string, body []byte, key string) {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(body)
		right := hex.EncodeToString(mac.Sum(nil))
		require.Equal(t, key != "", Verify(right, body, key))
		require.Equal(t, key != "" && strings.EqualFold(signature, right), Verify(signature, body, key))
		require.False(t, Verify(right, append(body, 0), key))
	})
}

package wisepops

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// SignatureHeader is the header in which a delivery carries the signature of its
// body.
const SignatureHeader = "X-Wisepops-Signature"

// Sign returns the signature that a delivery carries: 64 lower-case hex digits of
// the HMAC-SHA-256 of its body, byte for byte, keyed with the API key.
func Sign(apiKey string, body []byte) string {
	return hex.EncodeToString(mac(apiKey, body))
}

// Verify tells whether a signature is that of the body under one of the keys. It
// takes the same time whichever key fits. Hex digits of either case are taken;
// an empty key fits nothing.
func Verify(signature string, body []byte, apiKeys ...string) bool {
	given, err := hex.DecodeString(signature)
	if err != nil || len(given) != sha256.Size {
		return false
	}
	fits := false
	for _, key := range apiKeys {
		if hmac.Equal(given, mac(key, body)) && key != "" {
			fits = true
		}
	}
	return fits
}

func mac(apiKey string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(apiKey))
	h.Write(body)
	return h.Sum(nil)
}

package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzDelivery holds the answer, and what is emitted, against encoding/json.
func FuzzDelivery(f *testing.F) {
	const most = 4096
	for _, body := range []string{
		``, ` `, `[]`, ` [ ] `, `null`, `{}`, `[1]`, `[null]`, `[{}]`, `[{}`, `[{}]x`, `[{}] [{}]`, "\ufeff[{}]", "\ufeff{}", `{"a":1}`, `{}{}`, "[\ufeff{}]",
		`[{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"fields":{"email":"a@example.com"}},{"n":12345678901234567890}]`,
		`[{"a":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}]`,
		`["` + strings.Repeat("x", most-4) + `"]`, `[{"a":"` + strings.Repeat("x", most) + `"}]`,
	} {
		f.Add([]byte(body), true, true)
	}
	f.Add([]byte(`[{}]`), false, true)
	f.Add([]byte(`[{}]`), true, false)

	rec := newReceiver(&config{maxBody: most, maxInFlight: 10, ackTimeout: time.Minute, verify: true, apiKeys: []string{"key"}}, service.MockResources())
	emitted := make(chan []string, 1)
	ctx := f.Context()
	go func() {
		for {
			d, err := rec.next(ctx)
			if err != nil {
				return
			}
			var raw []string
			for _, msg := range d.messages {
				content, _ := msg.AsBytes()
				raw = append(raw, string(content))
			}
			emitted <- raw
			_ = d.ack(ctx, nil)
		}
	}()
	f.Fuzz(func(t *testing.T, body []byte, signed, announced bool) {
		r := httptest.NewRequest(http.MethodPost, "/wisepops", bytes.NewReader(body))
		if !announced {
			r.ContentLength = -1
		}
		mac := hmac.New(sha256.New, []byte("key"))
		mac.Write(body)
		sum := mac.Sum(nil)
		if !signed {
			sum[0] ^= 1
		}
		r.Header.Set("X-Wisepops-Signature", hex.EncodeToString(sum))
		w := httptest.NewRecorder()
		rec.serveDelivery(w, r, "")

		var items []json.RawMessage
		want := http.StatusOK
		switch {
		case len(body) > most:
			want = http.StatusRequestEntityTooLarge
		case !signed:
			want = http.StatusUnauthorized
		default:
			text := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
			if bytes.HasPrefix(text, []byte("{")) && json.Valid(text) {
				items = []json.RawMessage{text}
			} else if json.Unmarshal(text, &items) != nil || items == nil {
				want = http.StatusBadRequest
			}
		}
		for _, item := range items {
			if item[0] != '{' {
				want = http.StatusBadRequest
			}
		}
		require.Equal(t, want, w.Code)
		var got []string
		select {
		case got = <-emitted:
		default:
		}
		if want != http.StatusOK || len(items) == 0 {
			require.Empty(t, got)
			return
		}
		require.Len(t, got, len(items))
		for i := range items {
			assert.Equal(t, string(items[i]), got[i])
		}
	})
}

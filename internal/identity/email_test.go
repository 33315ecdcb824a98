package identity

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The ASCII forms of domains are those of the registries and of browsers.
func TestReadEmail(t *testing.T) {
	for text, want := range map[string]string{
		"zoe@example.com":                       "zoe@example.com",
		" ZOE@Example.COM\r\n":                  "zoe@example.com",
		"zoe@example.com.":                      "zoe@example.com",
		"zoe＠example．com":                       "zoe@example.com",
		"zoe@example。com":                       "zoe@example.com",
		"\u200ezoe@exam\u200bple.com\ufeff":     "zoe@example.com",
		"zo\u00ade@example.com":                 "zoe@example.com",
		"mailto:zoe@example.com":                "zoe@example.com",
		"MAILTO: zoe+b@example.com":             "zoe+b@example.com",
		"<zoe@example.com>":                     "zoe@example.com",
		"Zoé Durand <Zoe@example.com>":          "zoe@example.com",
		`"Durand, Zoé" < zoe@example.com >`:     "zoe@example.com",
		"Zoé <mailto:zoe@example.com>":          "zoe@example.com",
		"Zoé ＜zoe＠example.com＞":                 "zoe@example.com",
		"user..x@docomo.ne.jp":                  "user..x@docomo.ne.jp",
		"user.@docomo.ne.jp":                    "user.@docomo.ne.jp",
		".user@docomo.ne.jp":                    ".user@docomo.ne.jp",
		"o'hara@example.com":                    "o'hara@example.com",
		"user+tag%x@example.com":                "user+tag%x@example.com",
		"a@localhost":                           "a@localhost",
		"a@ex_ample.com":                        "a@ex_ample.com",
		"a@r3---sn.example.com":                 "a@r3---sn.example.com",
		"zoë@example.com":                       "zoë@example.com",
		"ZOE\u0308@example.com":                 "zoë@example.com",
		"ΣΊΣΥΦΟΣ@example.com":                   "σίσυφοσ@example.com",
		"İpek@example.com":                      "İpek@example.com",
		"I\u0307pek@example.com":                "İpek@example.com",
		"IPEK@example.com":                      "ipek@example.com",
		"ǅ@example.com":                         "ǆ@example.com",
		"J\u030c@example.com":                   "ǰ@example.com",
		"伊昭傑@郵件.商務":                             "伊昭傑@xn--5nqv22n.xn--lhr59c",
		"info@München.de":                       "info@xn--mnchen-3ya.de",
		"info@mu\u0308nchen.de":                 "info@xn--mnchen-3ya.de",
		"info@XN--MNCHEN-3YA.de":                "info@xn--mnchen-3ya.de",
		"info@straße.de":                        "info@xn--strae-oqa.de",
		"info@bücher.example。":                  "info@xn--bcher-kva.example",
		"👋@example.com":                         "👋@example.com",
		strings.Repeat("a", 64) + "@example.fr": strings.Repeat("a", 64) + "@example.fr",
	} {
		got, err := ReadEmail(text)
		if assert.NoError(t, err, "%q", text) {
			assert.Equal(t, want, got, "%q", text)
		}
	}
}

func TestTextsThatAreNotOneEmail(t *testing.T) {
	for _, text := range []string{
		"", "null", "secret", "secret@", "@secret.com", "secret@.", "secret@.com", "secret@secret..com",
		"a@secret.com, b@secret.com", "a@secret.com;", "a@secret.com b", "a@b@secret.com", "a @secret.com",
		"a@secret.com (Secret)", "a@x.com <b@secret.com>", "<a@x.com>, <b@secret.com>", "A <a@x.com> <b@secret.com>", "<a@secret.com", "a@secret.com>",
		"mailto:a@secret.com?subject=x", "mailto:a%40secret.com", "mailto:a%2bb@secret.com", "mailto:a?to=b@secret.com", "mailto:", "mailto://a@secret.com", "mailto:mailto:a@secret.com",
		"mailto:Secret <a@secret.com>", "a@secret.com\r\nb", "a@secret.com\nb@secret.com", "'a@secret.com'", "'a@secret.com", "“a@secret.com”", "`a@secret.com`",
		`"a b"@secret.com`, "a@[127.0.0.1]", "a@-secret.com", "a@secret-.com", "a@se cret.com", "a@secret.com/x", "a@xn--a.com", "a@secret!.com",
		"\u0301a@secret.com", "a\ufffd@secret.com", "a\xff@secret.com", "a@secret\xff.com", "a@secret\ufffd.com",
		strings.Repeat("a", 65) + "@secret.com", "a@" + strings.Repeat("a", 64) + ".com", "a@" + strings.Repeat("aa.", 90) + "com",
	} {
		got, err := ReadEmail(text)
		assert.Empty(t, got)
		if assert.EqualError(t, err, "email is not one email address", "%q", text) {
			assert.NotContains(t, err.Error(), "secret")
		}
	}
}

func TestNamesBesideAnEmailAreSeen(t *testing.T) {
	assert.True(t, HasName("Zoé <zoe@example.com>"))
	assert.True(t, HasName("Zoé ＜zoe@example.com＞"))
	for _, text := range []string{"zoe@example.com", "<zoe@example.com>", "\u200b<zoe@example.com> "} {
		assert.False(t, HasName(text), "%q", text)
	}
}

// Whatever is typed around an address, or inside it without being seen, it is the same.
func TestSpellingsOfAnEmailAreOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.StringMatching(`[a-z0-9][a-z0-9.+_-]{0,12}`).Draw(t, "local")
		domain := rapid.SampledFrom([]string{"example.com", "xn--mnchen-3ya.de", "mail.example.co.uk"}).Draw(t, "domain")
		want := local + "@" + domain

		text := want
		if rapid.Bool().Draw(t, "IDN") {
			text = strings.Replace(text, "xn--mnchen-3ya", "münchen", 1)
		}
		if rapid.Bool().Draw(t, "upper") {
			text = strings.ToUpper(text)
		}
		if rapid.Bool().Draw(t, "wide") {
			text = strings.NewReplacer("@", "＠", "e", "ｅ", "1", "１").Replace(text)
		}
		text = sprinkle(t, text)
		text = rapid.SampledFrom([]string{"", " ", "mailto:", "<", "Zoé <"}).Draw(t, "before") + text
		if strings.Contains(text, "<") {
			text += ">"
		}
		got, err := ReadEmail(text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, got, "%q", text)
	})
}

// sprinkle puts characters that show nothing between those of a text.
func sprinkle(t *rapid.T, text string) string {
	var b strings.Builder
	for _, r := range text {
		if rapid.IntRange(0, 4).Draw(t, "sprinkle") == 0 {
			b.WriteRune(rapid.SampledFrom([]rune("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u202a\u202c\u2066\u2069\u00ad\ufe0f\u061c\u034f\x00")).Draw(t, "mark"))
		}
		b.WriteRune(r)
	}
	return b.String()
}

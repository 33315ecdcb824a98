package wisepops

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func contactID(t require.TestingT, raw string) string {
	id, err := ContactID([]byte(raw))
	require.NoError(t, err)
	return id
}

// The vector that the comment of ContactID holds; any SHA-256 tool confirms it:
//
//	printf '12345\n1570702258389\n"203.0.113.7"\n{"Name":"Zoë","email":"a@example.com"}' | sha256sum | cut -c-32
func TestContactIDTestVector(t *testing.T) {
	const want = "bcee0b16a0aeb5a5b49cca1dcb6fa71d"
	require.Equal(t, want, contactID(t, ` {"collected_at":"2019-10-10T12:10:58.389+02:00","wisepop_id":12345,"ip":"203.0.113.7","fields":{"Name":"Zo\u00eb","email":"a@example.com"}}`))
	cs, err := ParseContacts([]byte(" \n[ {\"a\":1} , {\"collected_at\":\"2019-10-10T10:10:58.389Z\",\"ip\":\"203.0.113.7\",\"x\":\"y\",\"fields\":{\"email\":\"a@example.com\",\"Name\":\"Zoë\"},\"wisepop_id\":12345}, 7]"))
	require.NoError(t, err)
	require.Len(t, cs, 3)
	require.Equal(t, `{"a":1}`, string(cs[0].Raw))
	require.Equal(t, want, cs[1].ID.String())
	require.Equal(t, `7`, string(cs[2].Raw))
}

// The ids come from testdata/contact_ids.py, which knows only the comment of
// ContactID; it says how to work them out again.
func TestContactIDAgreesWithPython(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "contact_ids.txt"))
	require.NoError(t, err)
	var contacts, ids []string
	for line := range strings.Lines(string(text)) {
		id, contact, found := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		require.True(t, found)
		assert.Equal(t, id, contactID(t, contact), contact)
		ids, contacts = append(ids, id), append(contacts, contact)
	}
	require.Greater(t, len(ids), 60)

	page, err := ParseContacts([]byte("[" + strings.Join(contacts, " ,\t") + "]"))
	require.NoError(t, err)
	require.Len(t, page, len(ids))
	for i, c := range page {
		assert.Equal(t, contacts[i], string(c.Raw))
		assert.Equal(t, ids[i], c.ID.String(), contacts[i])
	}
}

func TestContactIDIsTheSame(t *testing.T) {
	const plain = `{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"ip":"203.0.113.7","fields":{"b/c":"Zoë 😀","a":"1"}}`
	const empty = `{"collected_at":"2024-05-01T08:00:00Z","wisepop_id":7,"fields":{}}`
	const session = `{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"ip":"203.0.113.7","form_session":"5f3c","fields":{}}`
	for name, pair := range map[string][2]string{
		"key order":                  {plain, `{"fields":{"a":"1","b/c":"Zoë 😀"},"ip":"203.0.113.7","wisepop_id":7,"collected_at":"2024-05-01T08:00:00.120Z"}`},
		"white space":                {plain, "\t{ \"collected_at\" :\r\n\"2024-05-01T08:00:00.120Z\" ,\"wisepop_id\":7 ,\"ip\" : \"203.0.113.7\", \"fields\" : { \"b/c\" : \"Zoë 😀\" , \"a\" : \"1\" } }\n"},
		"escapes":                    {plain, `{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"ip":"203\u002e0.113.7","fields":{"b\/c":"Zo\u00EB \uD83d\ude00","\u0061":"\u0031"}}`},
		"escaped names of members":   {plain, `{"collected\u005fat":"2024-05-01T08:00:00.120\u005a","wisepop_\u0069d":7,"\u0069p":"203.0.113.7","\u0066ields":{"b/c":"Zoë 😀","a":"1"}}`},
		"other members":              {plain, `{"ip":"203.0.113.7","collected_at":"2024-05-01T08:00:00.120Z","Form_session":"x","wisepop_id":7,"country_code":null,"fields":{"b/c":"Zoë 😀","a":"1"},"Fields":{"a":2}}`},
		"offset":                     {plain, strings.Replace(plain, "08:00:00.120Z", "13:45:00.120+05:45", 1)},
		"offset without colon":       {plain, strings.Replace(plain, "08:00:00.120Z", "06:00:00.120-0200", 1)},
		"zero offset":                {plain, strings.Replace(plain, "08:00:00.120Z", "08:00:00.120+00:00", 1)},
		"no zone":                    {plain, strings.Replace(plain, "08:00:00.120Z", "08:00:00.120", 1)},
		"space":                      {plain, strings.Replace(plain, "T08:00:00.120Z", " 08:00:00.120", 1)},
		"fewer digits of a fraction": {plain, strings.Replace(plain, ".120Z", ".12Z", 1)},
		"more digits of a fraction":  {plain, strings.Replace(plain, ".120Z", ".120999Z", 1)},
		"letters in lower case":      {plain, strings.Replace(plain, "T08:00:00.120Z", "t08:00:00.120z", 1)},
		"offset of hours":            {plain, strings.Replace(plain, "08:00:00.120Z", "10:00:00.120+02", 1)},
		"seconds of 60":              {empty, strings.Replace(empty, "08:00:00Z", "07:59:60Z", 1)},
		"milliseconds as a number":   {plain, strings.Replace(plain, `"2024-05-01T08:00:00.120Z"`, `1714550400120`, 1)},
		"milliseconds as text":       {plain, strings.Replace(plain, `"2024-05-01T08:00:00.120Z"`, `"1714550400120"`, 1)},
		"seconds as a number":        {empty, strings.Replace(empty, `"2024-05-01T08:00:00Z"`, `1714550400`, 1)},
		"seconds with a fraction":    {plain, strings.Replace(plain, `"2024-05-01T08:00:00.120Z"`, `1714550400.12`, 1)},
		"form_session blank":         {plain, strings.Replace(plain, `"ip"`, `"form_session":" \t\u00a0","ip"`, 1)},
		"form_session null":          {plain, strings.Replace(plain, `"ip"`, `"form_session":null,"ip"`, 1)},
		"form_session no text":       {plain, strings.Replace(plain, `"ip"`, `"form_session":{"a":1},"ip"`, 1)},
		"ip besides a form_session":  {session, strings.Replace(session, `"ip":"203.0.113.7"`, `"ip":"2001:db8::1"`, 1)},
		"no ip besides it":           {session, strings.Replace(session, `"ip":"203.0.113.7",`, ``, 1)},
		"ip blank":                   {empty, strings.Replace(empty, `"wisepop_id"`, `"ip":"","wisepop_id"`, 1)},
		"ip null":                    {empty, strings.Replace(empty, `"wisepop_id"`, `"ip":null,"wisepop_id"`, 1)},
		"wisepop_id as text":         {plain, strings.Replace(plain, `:7,`, `:"7",`, 1)},
		"last of repeated members":   {plain, `{"wisepop_id":8,"collected_at":"2020-05-01T08:00:00.120Z","fields":{"x":1},` + plain[1:]},
		"last of repeated fields":    {plain, strings.Replace(plain, `{"b/c"`, `{"a":2,"b\/c":3,"\u0061":4,"b/c"`, 1)},
		"fields as an empty array":   {empty, strings.Replace(empty, `{}`, `[ ]`, 1)},
		"fields null":                {empty, strings.Replace(empty, `{}`, `null`, 1)},
		"fields missing":             {empty, strings.Replace(empty, `,"fields":{}`, ``, 1)},
		"whole":                      {`{"b":[1],"a":"\u0061","ip":"x"}`, "{\"ip\":\"x\" ,\n\"a\":\"a\", \"b\":[ 1 ]}"},
		"text that is not a time":    {`{"collected_at":"a/b"}`, `{"collected_at":"\u0061\/b"}`},
		"invalid UTF-8":              {"{\"fields\":{\"a\xff\":\"\xc3(\"}}", `{"fields":{"a\ufffd":"\ufffd("}}`},
		"half of a pair":             {`{"fields":{"\ud800":"\udc00\ud800x"}}`, `{"fields":{"\ufffd":"\ufffd\ufffdx"}}`},
		"keys the same after repair": {"{\"fields\":{\"\xff\":1,\"\xfe\":2}}", `{"fields":{"\ufffd":2}}`},
	} {
		assert.NotEqual(t, pair[0], pair[1], name)
		assert.Equal(t, contactID(t, pair[0]), contactID(t, pair[1]), name)
	}
}

func TestContactIDDiffers(t *testing.T) {
	contacts := []string{
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.121Z","wisepop_id":7,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120+01:00","wisepop_id":7,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":70,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":true,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":[7],"fields":{"a":"1","b":"2"}}`,
		`{"wisepop_id":7,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"171455040012","wisepop_id":7,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":171455040012,"wisepop_id":7,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":-1714550400,"wisepop_id":7,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"form_session":"5f3c","fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"form_session":"5f3c ","fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"ip":"203.0.113.7","fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"ip":"203.0.113.8","fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"ip":5,"fields":{"a":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":1,"b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":1.0,"b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":"2","b":"1"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":"1 ","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"A":"1","b":"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":"1"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":"1","b":"2","c":null}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":"1","b":["2"]}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"a":"1\",\"b\":\"2"}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":[{"a":"1","b":"2"}]}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":["a","1","b","2"]}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":["a","b","1","2"]}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":[[]]}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":{"":{}}}`,
		`{"collected_at":"2024-05-01T08:00:00.120Z","wisepop_id":7,"fields":""}`,
		`{"wisepop_id":"7\n1714550400120","fields":{"a":"1","b":"2"}}`,
		`{"wisepop_id":"7\n1714550400120\n","fields":{"a":"1","b":"2"}}`,
		`{"fields":[1]}`,
		`{"fields":{}}`,
		`{}`,
		`{"a":1}`,
		`{"a":2}`,
		`{"ip":"203.0.113.7","a":2}`,
		`{"ip":"203.0.113.7","a":2,"fields":null}`,
	}
	seen := map[string]string{}
	for _, c := range contacts {
		id := contactID(t, c)
		assert.Empty(t, seen[id], c)
		seen[id] = c
	}
}

func TestContactIDRefusesWhatIsNotAnObject(t *testing.T) {
	for _, raw := range []string{`[]`, `null`, `7`, `"x"`, ` true `} {
		_, err := ContactID([]byte(raw))
		require.EqualError(t, err, "a contact must be a JSON object, and this is another JSON value", raw)
	}
	for _, raw := range []string{``, ` `, `{`, `{"a"}`, `{"a":1,}`, `{a:1}`, `{}{}`, `{} x`, `<html>`, "\ufeff{}"} {
		_, err := ContactID([]byte(raw))
		require.EqualError(t, err, "a contact must be a JSON object, and this is not JSON", raw)
	}
}

func TestContactMembers(t *testing.T) {
	cs, err := ParseContacts([]byte(`[{"wisepop_id":"a\/b","collected_at":"2024-05-01T10:00:00.1204+02:00"},` +
		`{"wisepop_id":12.50},{"wisepop_id":12.50,"collected_at":"soon"},{"wisepop_id":{"a":1}},{"wisepop_id":false,"collected_at":1},{"collected_at":1714550400.1204}]`))
	require.NoError(t, err)
	require.Equal(t, "2024-05-01T08:00:00.1204Z", cs[0].CollectedAt.Format("2006-01-02T15:04:05.999999999Z07:00"))
	require.Equal(t, cs[0].CollectedAt, cs[5].CollectedAt)
	var ids []string
	for i, c := range cs[:5] {
		ids = append(ids, c.WisepopID)
		require.Equal(t, i > 0, c.CollectedAt.IsZero())
	}
	require.Equal(t, []string{"a/b", "12.50", "12.50", "", ""}, ids)
}

// writer spells JSON in one of its many ways.
type writer struct {
	*rapid.T
	strings.Builder
}

func (w *writer) space() {
	w.WriteString(rapid.SampledFrom([]string{"", "", "", " ", "\n\t", "\r"}).Draw(w.T, "space"))
}

func (w *writer) string(s string) {
	w.WriteByte('"')
	for _, r := range s {
		style := rapid.IntRange(0, 2).Draw(w.T, "style")
		switch {
		case style == 0 && strings.ContainsRune("/\"\\", r):
			w.WriteString(`\` + string(r))
		case style == 0 && strings.ContainsRune("\b\t\n\f\r", r):
			fmt.Fprintf(w, `\%c`, "btn_fr"[r-'\b'])
		case style == 1 && r >= ' ' && r != '"' && r != '\\':
			w.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(w, `\u%04x\u%04X`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			fmt.Fprintf(w, `\u%04x`, r)
		}
	}
	w.WriteByte('"')
}

func (w *writer) value(v any) {
	w.space()
	switch v := v.(type) {
	case string:
		w.string(v)
	case []any:
		w.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				w.WriteByte(',')
			}
			w.value(item)
		}
		w.space()
		w.WriteByte(']')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		w.WriteByte('{')
		for i, key := range rapid.Permutation(keys).Draw(w.T, "order") {
			if i > 0 {
				w.WriteByte(',')
			}
			w.space()
			w.string(key)
			w.space()
			w.WriteByte(':')
			w.value(v[key])
		}
		w.space()
		w.WriteByte('}')
	default:
		text, err := json.Marshal(v)
		require.NoError(w, err)
		w.Write(text)
	}
	w.space()
}

func anyText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("a/\\\"\b\t\n\f\r\x00\x1f\x7fé\u2028\ufffd😀"))))
}

func anyValue() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any { return drawValue(t, 3) })
}

func drawValue(t *rapid.T, depth int) any {
	kinds := 4
	if depth > 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return json.Number(rapid.SampledFrom([]string{"0", "-1", "1.50", "1e3", "12345678901234567890"}).Draw(t, "number"))
	case 3:
		return anyText().Draw(t, "text")
	case 4:
		items := make([]any, rapid.IntRange(0, 3).Draw(t, "length"))
		for i := range items {
			items[i] = drawValue(t, depth-1)
		}
		return items
	default:
		return drawObject(t, depth-1)
	}
}

func drawObject(t *rapid.T, depth int) map[string]any {
	object := map[string]any{}
	for range rapid.IntRange(0, 5).Draw(t, "members") {
		object[anyText().Draw(t, "key")] = drawValue(t, depth)
	}
	return object
}

func TestContactIDIsTheSameHoweverWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		contact := drawObject(t, 1)
		contact["wisepop_id"] = json.Number("12345")
		contact["collected_at"] = rapid.SampledFrom([]any{"2024-05-01T08:00:00.120Z", "so/on", nil}).Draw(t, "collected_at")
		contact["fields"] = anyValue().Draw(t, "fields")

		stock, err := json.Marshal(contact)
		require.NoError(t, err)
		w := &writer{T: t}
		w.value(contact)
		require.Equal(t, contactID(t, string(stock)), contactID(t, w.String()))

		page := &writer{T: t}
		page.value([]any{contact, contact})
		cs, err := ParseContacts([]byte(page.String()))
		require.NoError(t, err)
		require.Len(t, cs, 2)
		require.Equal(t, contactID(t, string(stock)), cs[0].ID.String())
		require.Equal(t, cs[0].ID, cs[1].ID)
	})
}

package processor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// parseContact decodes as Benthos does: numbers are kept as they are written.
func parseContact(t testing.TB, raw string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader([]byte(raw)))
	dec.UseNumber()
	var contact map[string]any
	require.NoError(t, dec.Decode(&contact))
	return contact
}

func mustOptions(t testing.TB, drop, hash []string, flatten bool) contactOptions {
	t.Helper()
	opts, err := newContactOptions(drop, hash, flatten)
	require.NoError(t, err)
	return opts
}

// recordOf is the JSON of the record of a contact whose id is "id".
func recordOf(t testing.TB, raw string, opts contactOptions) string {
	t.Helper()
	out, err := json.Marshal(normalise(parseContact(t, raw), contactOrigin{id: "id"}, opts))
	require.NoError(t, err)
	return string(out)
}

func TestRecordOfADocumentedContact(t *testing.T) {
	contact := parseContact(t, `{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,
		"ip":"127.0.0.1","country_code":"US","form_session":"s-1",
		"fields":{"email":"Example@Example.com","Gender":"male","City":"New York","Phone":"(212) 555-2368"}}`)

	out, err := json.Marshal(normalise(contact, contactOrigin{id: "0123", event: "email"}, contactOptions{}))
	require.NoError(t, err)
	assert.JSONEq(t, `{"contact_id":"0123","collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,
		"event":"email","form_session":"s-1","ip":"127.0.0.1","country_code":"US",
		"email":"example@example.com","phone":"+12125552368",
		"fields":{"gender":"male","city":"New York"}}`, string(out))
}

func TestEveryColumnIsPresentWhenNothingIsKnown(t *testing.T) {
	const nothing = `{"contact_id":"id","collected_at":null,"wisepop_id":null,"event":null,"form_session":null,
		"ip":null,"country_code":null,"email":null,"phone":null,"fields":{}}`
	for _, raw := range []string{
		`{}`,
		`{"fields":null}`,
		`{"fields":[]}`,
		`{"fields":{}}`,
		`{"fields":""}`,
		`{"collected_at":null,"wisepop_id":null,"form_session":null,"ip":"  ","country_code":"","fields":[]}`,
	} {
		assert.JSONEq(t, nothing, recordOf(t, raw, contactOptions{}), raw)
	}
}

func TestFieldsThatAreNoObjectAreKept(t *testing.T) {
	for _, fields := range []string{`"text"`, `["email"]`, `[{"name":"email","value":"a@example.com"}]`, `7`} {
		var record struct {
			Fields map[string]json.RawMessage `json:"fields"`
		}
		require.NoError(t, json.Unmarshal([]byte(recordOf(t, `{"fields":`+fields+`}`, contactOptions{})), &record))
		assert.JSONEq(t, fields, string(record.Fields["fields"]))
	}
}

func TestColumnsReadWhatTheyCanAndFieldsKeepTheRest(t *testing.T) {
	for _, tc := range []struct {
		name, contact string
		column        string
		want          any
		fields        string
	}{
		{"date in another zone", `{"collected_at":"2019-10-10T12:10:58.3891+02:00"}`, colCollectedAt, "2019-10-10T10:10:58.389Z", `{}`},
		{"date without a fraction", `{"collected_at":"2019-10-10T10:10:58Z"}`, colCollectedAt, "2019-10-10T10:10:58.000Z", `{}`},
		{"date before the year 0 in UTC", `{"collected_at":"0000-01-01T00:00:00+01:00"}`, colCollectedAt, nil, `{"collected_at":"0000-01-01T00:00:00+01:00"}`},
		{"date after the year 9999 in UTC", `{"collected_at":"9999-12-31T23:59:59-01:00"}`, colCollectedAt, nil, `{"collected_at":"9999-12-31T23:59:59-01:00"}`},
		{"date that is none", `{"collected_at":"yesterday"}`, colCollectedAt, nil, `{"collected_at":"yesterday"}`},
		{"date as a list", `{"collected_at":[1]}`, colCollectedAt, nil, `{"collected_at":[1]}`},
		{"pop-up of 20 digits", `{"wisepop_id":12345678901234567890}`, colWisepopID, json.Number("12345678901234567890"), `{}`},
		{"pop-up as text", `{"wisepop_id":" 12345678901234567890 "}`, colWisepopID, json.Number("12345678901234567890"), `{}`},
		{"pop-up as other text", `{"wisepop_id":"0x1"}`, colWisepopID, nil, `{"wisepop_id":"0x1"}`},
		{"pop-up with leading zeros", `{"wisepop_id":"007"}`, colWisepopID, nil, `{"wisepop_id":"007"}`},
		{"address in white space", `{"ip":" 203.0.113.9\n"}`, colIP, "203.0.113.9", `{}`},
		{"address as an object", `{"ip":{"v4":"203.0.113.9"}}`, colIP, nil, `{"ip":{"v4":"203.0.113.9"}}`},
		{"country in lower case", `{"country_code":" fr "}`, colCountryCode, "FR", `{}`},
		{"country that is the United Kingdom", `{"country_code":"uk"}`, colCountryCode, "GB", `{}`},
		{"country that is Greece", `{"country_code":"EL"}`, colCountryCode, "GR", `{}`},
		{"session as a number", `{"form_session":99}`, colFormSession, "99", `{}`},
		{"session as a boolean", `{"form_session":true}`, colFormSession, nil, `{"form_session":true}`},
		{"a member without a column", `{"pageURL":"/a","fields":{"page_url":"/b"}}`, colIP, nil, `{"page_url":"/b","page_url_2":"/a"}`},
		{"members named as given columns", `{"event":"x","contact_id":"y"}`, colEvent, nil, `{"event":"x","contact_id":"y"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			record := normalise(parseContact(t, tc.contact), contactOrigin{id: "id"}, contactOptions{})
			assert.Equal(t, tc.want, record[tc.column])
			fields, err := json.Marshal(record[colFields])
			require.NoError(t, err)
			assert.JSONEq(t, tc.fields, string(fields))
		})
	}
}

func TestDateThatAMappingParsedIsRead(t *testing.T) {
	at := time.Date(2019, 10, 10, 12, 10, 58, 389_900_000, time.FixedZone("", 2*3600))
	record := normalise(map[string]any{"collected_at": at}, contactOrigin{id: "id"}, contactOptions{})
	assert.Equal(t, "2019-10-10T10:10:58.389Z", record[colCollectedAt])
}

func TestEmailIsFoundByItsKey(t *testing.T) {
	for _, tc := range []struct {
		name, fields string
		email        any
		rest         string
	}{
		{"trimmed and in lower case", `{"email":"  Ada@Example.COM "}`, "ada@example.com", `{}`},
		{"any case", `{"EMAIL":"a@x"}`, "a@x", `{}`},
		{"white space around the key", `{" Email ":"a@x"}`, "a@x", `{}`},
		{"not an address", `{"Email":"none"}`, nil, `{"email":"none"}`},
		{"two addresses", `{"email":"a@x, b@x"}`, nil, `{"email":"a@x, b@x"}`},
		{"a link", `{"email":"mailto:a@x"}`, "a@x", `{}`},
		{"a name beside it is kept", `{"email":"Ada <Ada@x>"}`, "ada@x", `{"email":"Ada <Ada@x>"}`},
		{"marks that nobody sees", `{"email":"\u200ea\u200b@x\ufeff"}`, "a@x", `{}`},
		{"a domain in its own letters", `{"email":"a@München.de"}`, "a@xn--mnchen-3ya.de", `{}`},
		{"a remark in the label", `{"Email *":"a@x"}`, "a@x", `{}`},
		{"a label with a remark comes last", `{"Your email":"b@x","Correo":"a@x"}`, "a@x", `{"your_email":"b@x"}`},
		{"E-mail", `{"E-mail":"a@x"}`, "a@x", `{}`},
		{"e_mail", `{"e_mail":"a@x"}`, "a@x", `{}`},
		{"Email address", `{"Email address":"a@x"}`, "a@x", `{}`},
		{"E-Mail-Address", `{"E-Mail-Address":"a@x"}`, "a@x", `{}`},
		{"other spellings need an at sign", `{"Email?":"yes","E-mail":"a@x"}`, "a@x", `{"email":"yes"}`},
		{"the exact key wins", `{"EMAIL":"b@x","E-mail":"c@x","email":"a@x"}`, "a@x", `{"email":"b@x","e_mail":"c@x"}`},
		{"then the first in byte order", `{"eMAIL ":"c@x","Email":"b@x","EMAIL":"a@x"}`, "a@x", `{"email":"b@x","e_mail":"c@x"}`},
		{"an empty one gives way", `{"email":" ","Email":null,"EMAIL":"a@x"}`, "a@x", `{"email":" ","email_2":null}`},
		{"null", `{"email":null}`, nil, `{"email":null}`},
		{"a number", `{"email":12}`, nil, `{"email":12}`},
		{"an object", `{"email":{"value":"a@x"}}`, nil, `{"email":{"value":"a@x"}}`},
		{"other keys are no email", `{"Email of a friend":"b@x"}`, nil, `{"email_of_a_friend":"b@x"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			record := normalise(parseContact(t, `{"fields":`+tc.fields+`}`), contactOrigin{id: "id"}, contactOptions{})
			assert.Equal(t, tc.email, record[colEmail])
			rest, err := json.Marshal(record[colFields])
			require.NoError(t, err)
			assert.JSONEq(t, tc.rest, string(rest))
		})
	}
}

func TestPhoneIsReadWithTheContactsCountry(t *testing.T) {
	for _, tc := range []struct {
		name, country, fields string
		phone                 any
		rest                  string
	}{
		{"national", `"FR"`, `{"phone":"06 12 34 56 78"}`, "+33612345678", `{}`},
		{"country in lower case", `"fr"`, `{"Phone":"06.12.34.56.78"}`, "+33612345678", `{}`},
		{"international beats the country", `"US"`, `{"phone":"+33 6 12 34 56 78"}`, "+33612345678", `{}`},
		{"without a country", `null`, `{"phone":"+33612345678"}`, "+33612345678", `{}`},
		{"00 without a country", `""`, `{"phone":"0033 6 12 34 56 78"}`, "+33612345678", `{}`},
		{"00 where it is not the prefix", `"US"`, `{"phone":"0033612345678"}`, "+33612345678", `{}`},
		{"unknown country", `"ZZ"`, `{"phone":"+33612345678"}`, "+33612345678", `{}`},
		{"country that is no code", `["FR"]`, `{"phone":"0612345678"}`, nil, `{"phone":"0612345678","country_code":["FR"]}`},
		{"national without a country", `null`, `{"phone":"0612345678"}`, nil, `{"phone":"0612345678"}`},
		{"a leading zero that counts", `"IT"`, `{"phone":"02 3661 8300"}`, "+390236618300", `{}`},
		{"JSON number", `"FR"`, `{"phone":612345678}`, "+33612345678", `{}`},
		{"JSON fraction", `"FR"`, `{"phone":6123456.78}`, nil, `{"phone":6123456.78}`},
		{"Phone number", `"FR"`, `{"Phone number":"0612345678"}`, "+33612345678", `{}`},
		{"Téléphone", `"FR"`, `{"Téléphone":"0612345678"}`, "+33612345678", `{}`},
		{"the exact key wins", `"FR"`, `{"PHONE":"0712345678","phone":"0612345678"}`, "+33612345678", `{"phone":"0712345678"}`},
		{"an unreadable one gives way", `"FR"`, `{"phone":"on request","Mobile":"0612345678"}`, "+33612345678", `{"phone":"on request"}`},
		{"too short", `"FR"`, `{"Phone":"12"}`, nil, `{"phone":"12"}`},
		{"not listed", `"US"`, `{"phone":"+1 555 555 5555"}`, "+15555555555", `{}`},
		{"not listed and national", `"US"`, `{"phone":"555 555 5555"}`, nil, `{"phone":"555 555 5555"}`},
		{"a trunk prefix behind the code", `"GB"`, `{"phone":"+44 07400 123456"}`, "+447400123456", `{}`},
		{"narrow no-break spaces", `"FR"`, `{"phone":"+33\u202f6\u202f12\u202f34\u202f56\u202f78"}`, "+33612345678", `{}`},
		{"the code of the country without a plus", `"DE"`, `{"phone":"49 171 2345678"}`, "+491712345678", `{}`},
		{"in doubt", `"DE"`, `{"phone":"33612345678"}`, nil, `{"phone":"33612345678"}`},
		{"UK", `"UK"`, `{"phone":"020 7946 0018"}`, "+442079460018", `{}`},
		{"a number behind WhatsApp", `"DE"`, `{"WhatsApp":"0171 2345678"}`, "+491712345678", `{}`},
		{"an extension is kept", `"US"`, `{"phone":"212-555-2368 ext. 5"}`, "+12125552368", `{"phone":"212-555-2368 ext. 5"}`},
		{"a link", `"FR"`, `{"phone":"tel:06-12-34-56-78"}`, "+33612345678", `{}`},
		{"letters for digits", `"US"`, `{"phone":"1-800-FLOWERS"}`, nil, `{"phone":"1-800-FLOWERS"}`},
		{"two numbers", `"FR"`, `{"phone":"0612345678 / 0712345678"}`, nil, `{"phone":"0612345678 / 0712345678"}`},
		{"a list", `"FR"`, `{"phone":["0612345678"]}`, nil, `{"phone":["0612345678"]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := fmt.Sprintf(`{"country_code":%s,"fields":%s}`, tc.country, tc.fields)
			record := normalise(parseContact(t, raw), contactOrigin{id: "id"}, contactOptions{})
			assert.Equal(t, tc.phone, record[colPhone])
			rest, err := json.Marshal(record[colFields])
			require.NoError(t, err)
			assert.JSONEq(t, tc.rest, string(rest))
		})
	}
}

func TestFieldValuesAreUntouched(t *testing.T) {
	const fields = `{"a":null,"b":12345678901234567890,"c":1.50,"d":true,"e":{"Inner Key":[1,"x",null]},"f":[],"g":" padded ","h":"<&>"}`
	record := normalise(parseContact(t, `{"fields":`+fields+`}`), contactOrigin{id: "id"}, contactOptions{})
	assert.Equal(t, parseContact(t, fields), record[colFields])
}

func TestFlattenedFieldsNeverReplaceAColumn(t *testing.T) {
	const contact = `{"ip":"203.0.113.9","event":"e","fields":{"IP":"typed","Email":"a@x","EMAIL":"b@x","City":"Lyon","Fields":1}}`
	for name, tc := range map[string]struct {
		drop []string
		want string
	}{
		"nothing dropped": {nil, `{"contact_id":"id","collected_at":null,"wisepop_id":null,"event":null,"form_session":null,
			"ip":"203.0.113.9","country_code":null,"email":"b@x","phone":null,
			"field_ip":"typed","field_email":"a@x","field_event":"e","city":"Lyon","field_fields":1}`},
		"a dropped column's name stays taken": {[]string{colIP}, `{"contact_id":"id","collected_at":null,"wisepop_id":null,"event":null,"form_session":null,
			"country_code":null,"email":"b@x","phone":null,
			"field_ip":"typed","field_email":"a@x","field_event":"e","city":"Lyon","field_fields":1}`},
		"fields dropped": {[]string{colFields}, `{"contact_id":"id","collected_at":null,"wisepop_id":null,"event":null,"form_session":null,
			"ip":"203.0.113.9","country_code":null,"email":"b@x","phone":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.JSONEq(t, tc.want, recordOf(t, contact, mustOptions(t, tc.drop, nil, true)))
		})
	}
}

func TestOptionsRefuseWhatIsNoColumn(t *testing.T) {
	for name, tc := range map[string]struct {
		drop, hash []string
		want       []string
	}{
		"drop unknown":       {[]string{"ip", "Email"}, nil, []string{"drop", `"Email"`, "contact_id", "fields"}},
		"drop empty":         {[]string{""}, nil, []string{"drop", `""`, "contact_id"}},
		"hash unknown":       {nil, []string{"city"}, []string{"hash", `"city"`, "contact_id", "phone"}},
		"hash fields":        {nil, []string{"fields"}, []string{"hash", "fields", "drop"}},
		"dropped and hashed": {[]string{"email"}, []string{"email"}, []string{"drop", "hash", "email"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newContactOptions(tc.drop, tc.hash, false)
			require.Error(t, err)
			for _, part := range tc.want {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}

// keyGen draws keys that often clash with each other and with columns.
func keyGen() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"email", "Email", "EMAIL", "E-mail", "Email?", "phone", "Phone", "PHONE NUMBER", "mobile", "tel",
			"Prénom", "prenom", "prenom_2", "Prenom", "", "?", "field", "field_2", "field_email", "ip", "IP",
			"contact_id", "fields", "event",
		}),
		rapid.String(),
	)
}

// membersGen draws an object whose values differ from each other and from those
// of an object drawn from another number on, and are spelled as a record has them.
func membersGen(from int) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		members := map[string]any{}
		for i, key := range rapid.SliceOfNDistinct(keyGen(), 0, 12, rapid.ID[string]).Draw(t, "keys") {
			tag := strconv.Itoa(from + i)
			members[key] = rapid.SampledFrom([]any{
				"text" + tag, tag + "@x", "+336123450" + tag, "06123450" + tag + " ext. 5",
				[]any{tag},
				map[string]any{"Inner Key": tag},
			}).Draw(t, "value")
		}
		return members
	})
}

func TestNoFieldIsEverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		contact := membersGen(10).Draw(t, "members")
		fields := membersGen(50).Draw(t, "fields")
		opts := contactOptions{flatten: rapid.Bool().Draw(t, "flatten")}
		contact[colCountryCode], contact[colFields] = "FR", fields
		before := encode(t, contact)

		record := normalise(contact, contactOrigin{id: "id"}, opts)

		require.Equal(t, before, encode(t, contact), "the contact was changed")
		require.Equal(t, record, normalise(contact, contactOrigin{id: "id"}, opts), "another order of the map, another record")

		found := map[string]int{}
		for _, v := range record {
			found[encode(t, v)]++
		}
		rest, _ := record[colFields].(map[string]any)
		for _, v := range rest {
			found[encode(t, v)]++
		}
		delete(contact, colFields)
		for _, members := range []map[string]any{contact, fields} {
			for key, v := range members {
				require.Equal(t, 1, found[encode(t, v)], "value of key %q", key)
			}
		}
	})
}

func encode(t require.TestingT, v any) string {
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return string(out)
}

func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"ip":"127.0.0.1","country_code":"US","fields":{"email":"example@example.com","Gender":"male"}}`,
		`{"country_code":"fr","fields":{"Phone":"06 12 34 56 78","phone":"0033612345678","PHONE":"tel:+33-6;ext=5"}}`,
		`{"collected_at":"yesterday","wisepop_id":"007","ip":{},"country_code":[],"fields":[]}`,
		`{"fields":{"":1,"?":2,"Größe":3,"名前":4,"1️⃣":5,"email":null,"E-mail":"a@b"}}`,
		`{"country_code":"US","fields":{"phone":"1-800-FLOWERS","mobile":6.1e9}}`,
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, raw string, flatten bool) {
		dec := json.NewDecoder(bytes.NewReader([]byte(raw)))
		dec.UseNumber()
		var contact map[string]any
		if dec.Decode(&contact) != nil || contact == nil {
			return
		}
		before, err := json.Marshal(contact)
		require.NoError(t, err)

		record := normalise(contact, contactOrigin{id: "id"}, contactOptions{flatten: flatten})

		for _, column := range contactColumns {
			_, present := record[column]
			require.Equal(t, column != colFields || !flatten, present, column)
		}
		if phone, ok := record[colPhone].(string); ok {
			require.Regexp(t, `^\+[1-9][0-9]{3,18}$`, phone)
		}
		if at, ok := record[colCollectedAt].(string); ok {
			require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, at)
		}
		require.Equal(t, record, normalise(contact, contactOrigin{id: "id"}, contactOptions{flatten: flatten}))
		after, err := json.Marshal(contact)
		require.NoError(t, err)
		require.Equal(t, string(before), string(after))
	})
}

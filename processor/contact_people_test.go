package processor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wisepops-connect/wisepops-connect/internal/identity"
)

func TestLabelsAreKnownInTheLanguagesOfWebsites(t *testing.T) {
	for _, key := range []string{
		"Email", "E-Mail", "eMail", "Email:", "Email *", "📧 Email", "Your email", "Your email (required)", "Enter your e-mail address", "Work email", "EMAIL ADDRESS",
		"Adresse e-mail", "Adresse email *", "Votre adresse e-mail (obligatoire)", "Courriel", "Adresse électronique", "Mél",
		"E-Mail-Adresse", "E-Mail-Adresse*", "Deine E-Mail", "Ihre E-Mail-Adresse (Pflichtfeld)", "Mailadresse",
		"Correo electrónico", "Tu correo electrónico", "Dirección de correo electrónico",
		"Indirizzo e-mail", "La tua email", "Posta elettronica (facoltativo)",
		"Endereço de e-mail", "Correio eletrônico", "Seu e-mail",
		"E-mailadres", "Je e-mailadres", "Adres e-mail", "Twój adres e-mail (wymagane)",
		"E-post", "E-postadress", "Din e-postadresse", "E-mailadresse", "Sähköposti", "Sähköpostiosoite", "Netfang",
	} {
		record := normalise(map[string]any{"fields": map[string]any{key: "a@x.example"}}, contactOrigin{}, contactOptions{})
		assert.Equal(t, "a@x.example", record[colEmail], "%q", key)
		assert.Empty(t, record[colFields], "%q", key)
	}
	for _, key := range []string{
		"Phone", "Phone number (optional)", "Your phone number", "Mobile", "Cell phone", "WhatsApp", "WhatsApp number", "📱 Mobile number", "Work phone",
		"Téléphone", "Numéro de téléphone", "N° de téléphone", "Nº de téléphone", "Votre téléphone portable", "Portable", "Tél.",
		"Telefon", "Telefonnummer", "Telefon-Nr.", "Handynummer", "Deine Handynummer (optional)", "Mobilnummer", "Rufnummer", "Telefon / Handy",
		"Teléfono", "Número de teléfono", "Móvil", "Celular", "Telefono cellulare", "Numero di telefono", "Il tuo cellulare",
		"Telemóvel", "Número de telefone", "Telefone celular", "Telefoonnummer", "Mobiele nummer", "Je telefoonnummer", "Numer telefonu", "Nr telefonu", "Telefon komórkowy",
		"Mobiltelefon", "Tlf.", "Puhelinnumero", "Matkapuhelin", "Farsími",
	} {
		record := normalise(map[string]any{"country_code": "FR", "fields": map[string]any{key: "06 12 34 56 78"}}, contactOrigin{}, contactOptions{})
		assert.Equal(t, "+33612345678", record[colPhone], "%q", key)
		assert.Empty(t, record[colFields], "%q", key)
	}
	for _, key := range []string{
		"Email of a friend", "Email consent", "Newsletter", "Phone of my boss", "Country code", "Your", "required", "Company", "Best time to call", "Numéro de commande", "Mobile app",
	} {
		record := normalise(map[string]any{"country_code": "FR", "fields": map[string]any{key: "a@x.example", key + "2": "0612345678"}}, contactOrigin{}, contactOptions{})
		assert.Nil(t, record[colEmail], "%q", key)
		assert.Nil(t, record[colPhone], "%q", key)
	}
}

func TestUsersLabelsComeFirst(t *testing.T) {
	p := newTestProcessor(t, `{ email_fields: [ Kontakt ], phone_fields: [ "Wie erreichen wir dich?" ] }`)
	record := normalise(parseContact(t, `{"country_code":"DE","fields":{"email":"b@x","KONTAKT":"a@x","Phone":"030 123456","Wie erreichen wir dich":"0171 2345678"}}`), contactOrigin{}, p.opts)
	assert.Equal(t, "a@x", record[colEmail])
	assert.Equal(t, "+491712345678", record[colPhone])
	assert.Equal(t, map[string]any{"email": "b@x", "phone": "030 123456"}, record[colFields])

	record = normalise(parseContact(t, `{"fields":{"email":"b@x","Kontakt":"call me"}}`), contactOrigin{}, p.opts)
	assert.Equal(t, "b@x", record[colEmail])

	parsed, err := contactProcessorSpec().ParseYAML(`{ email_fields: [ Kontakt ], phone_fields: [ kontakt ] }`, nil)
	require.NoError(t, err)
	_, err = newContactProcessor(parsed, service.MockResources())
	require.ErrorContains(t, err, `"Kontakt" is in both`)
}

// The hashes were computed with sha256sum.
func TestHashTakesTheNormalisedValue(t *testing.T) {
	opts := mustOptions(t, nil, []string{colEmail, colPhone, colWisepopID, colIP, colFormSession}, false)
	assert.JSONEq(t, `{"contact_id":"id","collected_at":null,"event":null,"country_code":"FR",
		"wisepop_id":"6ed645ef0e1abea1bf1e4e935ff04f9e18d39812387f63cda3415b46240f0405",
		"email":"b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72",
		"phone":"42d573cfc315801d4cd8eddd5416b416a0bf298b9b9e12d6b07442c91db42bd8",
		"ip":"d861b7e91033ebc1c1e8e7af3929010158b3241b54ca87ef73e79c32f26400ec",
		"form_session":null,"fields":{"city":"Lyon"}}`,
		recordOf(t, `{"wisepop_id":12345678901234567890,"ip":"203.0.113.9","country_code":"FR",
			"fields":{"Email":" ADA@example.com","phone":"06 12 34 56 78","City":"Lyon"}}`, opts))
}

func TestWhatIsHashedOrDroppedDoesNotComeBackInFields(t *testing.T) {
	const contact = `{"ip":{"v4":"203.0.113.9"},"fields":{"email":"ada@example.com","EMAIL":" Second@example.com",
		"Phone":" not a phone","Mobile":null,"City":"Lyon"}}`

	hashed := normalise(parseContact(t, contact), contactOrigin{id: "id"}, mustOptions(t, nil, []string{colEmail, colPhone, colIP}, false))
	assert.Equal(t, map[string]any{
		"email":  "27b677683f02ace63b1225173599516abb50f1576c5bd3904eb648eb90e6ab71",
		"phone":  "f107ea8edefcd3ca05da2b0c8dcf7cbfd15e1537dcc7645964676c7db52eceb5",
		"mobile": nil,
		"city":   "Lyon",
		"ip":     "21203ae29280c03b90a038b8c144c7100b49c6e8ec6221e4b192d6750406354c",
	}, hashed[colFields])

	assert.JSONEq(t, `{"contact_id":"id","collected_at":null,"wisepop_id":null,"event":null,"form_session":null,
		"country_code":null,"city":"Lyon"}`,
		recordOf(t, contact, mustOptions(t, []string{colEmail, colPhone, colIP}, nil, true)))
}

// The first hash is of `printf %s ada@example.com | sha256sum`, the second of
// +33612345678.
func TestPeopleDoNotStandBesideWhatIsHashedOrDropped(t *testing.T) {
	const (
		adasHash   = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72"
		phonesHash = "42d573cfc315801d4cd8eddd5416b416a0bf298b9b9e12d6b07442c91db42bd8"
		contact    = `{"country_code":"FR","fields":{"email":"ada@example.com","phone":"0612345678",
			"Name":" ADA@example.com","Who":"Ada <ada@example.com>","Order":"06 12 34 56 78","Call":612345678,"Desk":"06 12 34 56 78 poste 5",
			"List":["x","ada@example.com"],"Deep":{"a":{"b":["+33 6 12 34 56 78"]}},
			"City":"Lyon","Zip":"69001","Age":42,"Said":"write to ada@example.com","Nothing":null},"referrer":"ada@example.com"}`
	)
	both := normalise(parseContact(t, contact), contactOrigin{}, mustOptions(t, nil, []string{colEmail, colPhone}, false))
	assert.Equal(t, adasHash, both[colEmail])
	assert.Equal(t, phonesHash, both[colPhone])
	assert.Equal(t, map[string]any{
		"name": adasHash, "who": adasHash, "order": phonesHash, "call": phonesHash, "desk": phonesHash,
		"list": []any{"x", adasHash}, "deep": map[string]any{"a": map[string]any{"b": []any{phonesHash}}}, "referrer": adasHash,
		"city": "Lyon", "zip": "69001", "age": json.Number("42"), "said": "write to ada@example.com", "nothing": nil,
	}, both[colFields])

	dropped := normalise(parseContact(t, contact), contactOrigin{}, mustOptions(t, []string{colEmail, colPhone}, nil, false))
	assert.Equal(t, map[string]any{
		"city": "Lyon", "zip": "69001", "age": json.Number("42"), "said": "write to ada@example.com", "nothing": nil,
	}, dropped[colFields])

	one := normalise(parseContact(t, contact), contactOrigin{}, mustOptions(t, []string{colPhone}, nil, false))
	assert.Equal(t, "ada@example.com", one[colEmail])
	fields := one[colFields].(map[string]any)
	assert.Equal(t, " ADA@example.com", fields["name"])
	assert.NotContains(t, fields, "order")

	// An email in a field for phones goes with the emails.
	mixed := normalise(parseContact(t, `{"fields":{"Phone":"ada@example.com"}}`), contactOrigin{}, mustOptions(t, []string{colEmail}, []string{colPhone}, false))
	assert.Empty(t, mixed[colFields])
	mixed = normalise(parseContact(t, `{"fields":{"Phone":"Ada@example.com"}}`), contactOrigin{}, mustOptions(t, nil, []string{colEmail, colPhone}, false))
	assert.Equal(t, map[string]any{"phone": adasHash}, mixed[colFields])

	// Spellings of one person have one hash, in the column and beside it.
	for _, spelled := range []string{`"\u200eAda@Example.com"`, `"mailto:ada@example.com"`, `"ada＠example.com."`} {
		record := normalise(parseContact(t, `{"fields":{"Email":`+spelled+`,"Name":`+spelled+`}}`), contactOrigin{}, mustOptions(t, nil, []string{colEmail}, false))
		assert.Equal(t, adasHash, record[colEmail], spelled)
		assert.Equal(t, map[string]any{"name": adasHash}, record[colFields], spelled)
	}
}

// The contact itself may belong to others.
func TestConcealingChangesNothingOfTheContact(t *testing.T) {
	contact := parseContact(t, `{"fields":{"List":["ada@example.com"],"NULs":["y\u0000"],"Deep":{"a":"ada@example.com","b":"x\u0000"}}}`)
	before := encode(t, contact)
	stripped, found := withoutNULInObject(contact)
	require.True(t, found)
	normalise(stripped, contactOrigin{}, mustOptions(t, nil, []string{colEmail}, false))
	assert.Equal(t, before, encode(t, contact))
}

// What stands in the columns of a record, a deletion asks for, whatever its country.
func TestDeletionAsksForWhatStandsInTheColumns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		country := rapid.SampledFrom([]string{"FR", "DE", "US", "IT", "MX", "GB", "UK", "ZZ", ""}).Draw(t, "country")
		fields := map[string]any{
			"Email": rapid.OneOf(rapid.StringMatching(`[A-Za-zİßé.'<>" -]{0,8}@[a-zA-Zü.-]{0,8}(\.[a-z]{2})?>?`), rapid.String()).Draw(t, "email"),
			"Phone": rapid.OneOf(rapid.StringMatching(`(\+|00|\(?\+)?[0-9]{0,4}[ ./-]?(\(0\))?[0-9 ]{5,12}( ext\. 5|;)?`), rapid.String()).Draw(t, "phone"),
		}
		record := normalise(map[string]any{"country_code": country, "fields": fields}, contactOrigin{}, contactOptions{})
		email, _ := record[colEmail].(string)
		phone, _ := record[colPhone].(string)
		if email == "" && phone == "" {
			return
		}
		for _, with := range []string{"", "FR", "US", "DE"} {
			who, err := identity.Read(email, phone, with)
			require.NoError(t, err)
			require.Equal(t, email, who.Email)
			require.Equal(t, phone, who.Phone)
		}
	})
}

func TestNULCharactersAreStripped(t *testing.T) {
	p := newTestProcessor(t, ``)
	const raw = `{"form_session":"s\u0000","fields":{"Em\u0000ail":"a\u0000@x","City":"Ly\u0000on","Tags":["\u0000",{"k\u0000":1,"k":2,"k\u0000\u0000":3}],"ok":["same"]}}`
	msg := service.NewMessage([]byte(raw))
	out := processOne(t, p, msg)
	record := structuredOf(t, out)
	assert.Equal(t, "s", record[colFormSession])
	assert.Equal(t, "a@x", record[colEmail])
	assert.Equal(t, map[string]any{
		"city": "Lyon", "ok": []any{"same"},
		"tags": []any{"", map[string]any{"k": json.Number("2"), "k_2": json.Number("1"), "k_3": json.Number("3")}},
	}, record[colFields])
	content, err := out.AsBytes()
	require.NoError(t, err)
	assert.NotContains(t, string(content), `\u0000`)
	// The id is that of the contact as it came.
	assert.Equal(t, structuredOf(t, processOne(t, newTestProcessor(t, `strip_nul: false`), service.NewMessage([]byte(raw))))[colContactID], record[colContactID])

	assert.EqualValues(t, 1, countsOf(t, `wisepops_contact: {}`, raw, rawContact)["wisepops_contact_nul_stripped"])

	record = structuredOf(t, processOne(t, newTestProcessor(t, `strip_nul: false`), service.NewMessage([]byte(`{"fields":{"City":"Ly\u0000on"}}`))))
	assert.Equal(t, map[string]any{"city": "Ly\x00on"}, record[colFields])
}

func TestEventIsInferredBesideTheEvent(t *testing.T) {
	for fields, want := range map[string]any{
		`{"email":"a@x","phone":"+33612345678","q":"1"}`: "email",
		`{"Telefon":"+33612345678","q":"1"}`:             "phone",
		`{"email":"none"}`:                               "email",
		`{"phone":"12"}`:                                 "phone",
		`{"email":" ","How?":"so"}`:                      "survey",
		`{"How?":"so"}`:                                  "survey",
		`{}`:                                             nil,
		`[]`:                                             nil,
	} {
		record := normalise(parseContact(t, `{"fields":`+fields+`}`), contactOrigin{event: "hooked"}, contactOptions{inferEvent: true})
		assert.Equal(t, want, record[colEventInferred], fields)
		assert.Equal(t, "hooked", record[colEvent])
	}
	record := normalise(parseContact(t, `{"fields":{"email":"a@x"}}`), contactOrigin{}, contactOptions{})
	assert.NotContains(t, record, colEventInferred)
	assert.NotContains(t, record, colWebsite)
	assert.Nil(t, record[colEvent])

	// Also where the email is dropped.
	opts := mustOptions(t, []string{colEmail}, nil, true)
	opts.inferEvent = true
	record = normalise(parseContact(t, `{"fields":{"email":"a@x","Event inferred":"b"}}`), contactOrigin{}, opts)
	assert.Equal(t, eventEmail, record[colEventInferred])
	assert.Equal(t, "b", record["field_event_inferred"])
}

func TestWebsiteIsAColumn(t *testing.T) {
	msg := service.NewMessage([]byte(`{"fields":{"Website":"https://a.example"}}`))
	msg.MetaSet("website", "shop.example.de")
	record := structuredOf(t, processOne(t, newTestProcessor(t, "website: ${! @website }\nflatten_fields: true"), msg.Copy()))
	assert.Equal(t, "shop.example.de", record[colWebsite])
	assert.Equal(t, "https://a.example", record["field_website"])

	record = structuredOf(t, processOne(t, newTestProcessor(t, "website: shop.example.fr"), msg.Copy()))
	assert.Equal(t, "shop.example.fr", record[colWebsite])
	record = structuredOf(t, processOne(t, newTestProcessor(t, "website: ${! @nothing.or(\"\") }"), msg.Copy()))
	assert.Nil(t, record[colWebsite])
	assert.Contains(t, record, colWebsite)

	_, err := newTestProcessor(t, "website: ${! this.fields.Website.number() }").Process(t.Context(), msg)
	require.EqualError(t, err, "reading contact: website cannot be read from the message")
}

func BenchmarkNormalise(b *testing.B) {
	fields := []string{`"Adresse e-mail":"Ada@Example.com"`, `"Téléphone":"06 12 34 56 78"`}
	for i := range 8 {
		fields = append(fields, fmt.Sprintf(`"Question %d":"Answer %d"`, i, i))
	}
	contact := parseContact(b, `{"country_code":"FR","fields":{`+strings.Join(fields, ",")+`}}`)
	for name, opts := range map[string]contactOptions{"Plain": {}, "Hashed": mustOptions(b, nil, []string{colEmail, colPhone}, false)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				normalise(contact, contactOrigin{id: "id"}, opts)
			}
		})
	}
}

package processor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
)

func contactProcessorSpec() *service.ConfigSpec {
	droppable := slices.Clone(contactColumns)
	hashable := slices.DeleteFunc(slices.Clone(contactColumns), func(c string) bool { return c == colFields })

	return service.NewConfigSpec().
		Stable().
		Categories("Mapping", "Services").
		Version("0.1.0").
		Summary("Turns a raw Wisepops contact, as `wisepops_contacts` and `wisepops_webhook` emit it, into a flat record whose columns never change.").
		Description(contactDescription).
		Footnotes(`
== Errors

- `+"`message is not JSON`, `message is not a JSON object`"+`: what came is no contact. It is passed on as it is, with this error, for `+"`catch`, `switch` or `reject_errored`"+`: look at what is in front of the processor.
- `+"`website cannot be read from the message`"+`: the mapping in `+"`website`"+` fails for this message.
`).
		Fields(
			service.NewStringListField(wcpFieldDrop).
				Description("Columns to leave out of the record: "+codeList(droppable)+
					". Dropping `email` or `phone` also leaves out every field that is labelled as one, and any other whose whole text is an email or a phone, also deep inside it: what was to go does not stand beside. `fields` leaves out all of them, flattened or not.").
				Default([]any{}).
				Example([]any{"ip"}).
				Example([]any{"ip", "form_session"}).
				LintRule(unknownColumnLint(droppable)),
			service.NewStringListField(wcpFieldHash).
				Description("Columns whose value is replaced by its SHA-256 in 64 lower-case hex digits: "+codeList(hashable)+
					". It is taken of the normalised value, so that the same person gives the same hash whatever the spelling; null stays null. Hashing `email` or `phone` also hashes every other field that is labelled as one, and each text in other fields that is an email or a phone as a whole, to the same hash as in the column. A plain hash of an email, phone or IP address can be guessed: it is a pseudonym, not an anonymisation. A column cannot be both dropped and hashed.").
				Default([]any{}).
				Example([]any{"email"}).
				Example([]any{"email", "phone"}).
				LintRule(unknownColumnLint(hashable)),
			service.NewBoolField(wcpFieldFlattenFields).
				Description("Put each of `fields` at the top of the record, under its snake_case name, instead of in the column `fields`. A name that is also the name of a column (dropped or not) gets `field_` in front.").
				Default(false),
			service.NewStringListField(wcpFieldEmailFields).
				Description("More labels of fields that hold the email, beside the known ones and before them. Case, accents and punctuation do not count.").
				Default([]any{}).
				Example([]any{"Kontakt", "Votre contact"}),
			service.NewStringListField(wcpFieldPhoneFields).
				Description("The same for the phone.").
				Default([]any{}),
			service.NewInterpolatedStringField(wcpFieldWebsite).
				Description("Adds a column `website` with this text, for pipelines of several websites. Empty adds none.").
				Default("").
				Example("shop.example.fr").
				Example(`${! @website }`),
			service.NewBoolField(wcpFieldInferEvent).
				Description("Whether to add a column `event_inferred`: `email` where the contact has an email, else `phone` where it has a phone, else `survey` where it has fields at all, else null. It is a guess, for polled contacts, and never mixed with `event`.").
				Default(false),
			service.NewBoolField(wcpFieldStripNUL).
				Description("Whether to take NUL characters out of texts and keys, which PostgreSQL and others reject together with all contacts beside. Contacts that had some are counted. The id of a contact does not change by it.").
				Default(true),
		).
		LintRule(`root = if this.drop.or([]).any(c -> this.hash.or([]).contains(c)) {
  [ "a column cannot be both in `+"`drop` and in `hash`"+`" ]
}`).
		Example(
			"Leads in a table",
			"Inserts each contact into PostgreSQL once, known by its id, without the IP address. Columns that are unknown are null. A contact that the table rejects for what it holds, by an error of the classes 22, 23 and 54, is kept aside in a file, and holds up no other; while the database is away, all wait.",
			`
pipeline:
  processors:
    - wisepops_contact:
        drop: [ ip ]

output:
  fallback:
    - sql_raw:
        driver: postgres
        dsn: ${POSTGRES_DSN:postgres://localhost:5432/leads}
        query: |
          INSERT INTO contacts (contact_id, collected_at, wisepop_id, email, phone, fields)
          VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (contact_id) DO NOTHING
        args_mapping: |
          root = if errored() { throw("not a contact") } else {
            [ this.contact_id, this.collected_at, this.wisepop_id, this.email, this.phone, this.fields.format_json(no_indent: true).string() ]
          }
    - switch:
        cases:
          - check: errored() || @fallback_error.or("").re_match("""\((22|23|54)[0-9A-Z]{3}\)$""")
            output:
              file:
                path: contacts_aside.jsonl
          - output:
              reject: ${! @fallback_error }
`,
		).
		Example(
			"Analytics without identities",
			"Keeps one row a lead, joinable by a pseudonym, with the marketer's own fields as columns.",
			`
pipeline:
  processors:
    - wisepops_contact:
        drop: [ ip, phone, form_session ]
        hash: [ email ]
        flatten_fields: true
`,
		)
}

// contactDescription has ' where Markdown wants a back quote, which Go's raw
// strings cannot hold.
var contactDescription = strings.ReplaceAll(`
The message must be the JSON object of one contact. It is replaced by a record in
which every column below is always present, with null where nothing is known, so
that a mapping to table columns never meets a missing one. Metadata is kept.

- 'contact_id': the metadata 'wisepops_contact_id' where it is set (both inputs set
  it), so that a contact keeps its id whatever was changed before; otherwise computed
  from the message. The key for upserts.
- 'collected_at': RFC 3339 in UTC with exactly three fraction digits, as in
  '2019-10-10T10:10:58.389Z'.
- 'wisepop_id': the number, digit for digit, however long.
- 'event': the metadata 'wisepops_event' ('email', 'phone' or 'survey', set by
  'wisepops_webhook'). The API does not tell the event, so that a polled contact has
  null: it is never guessed here.
- 'form_session' and 'ip': text without surrounding white space.
- 'country_code': the same, in upper case, 'GB' for 'UK' and 'GR' for 'EL'.
- 'email': one address, in lower case, its domain in ASCII ('xn--…').
- 'phone': E.164; the number is read with the country of the contact. Where the country is
  missing or unknown, international numbers alone can be read, with '+' or '00' in front.
- 'fields': an object with everything else, values untouched, keys in snake_case. It
  is empty for a contact whose fields are missing, null or empty; fields that are
  not an object stand in it under 'fields'.
- 'event_inferred' and 'website', with the options 'infer_event' and 'website' alone.

**Email and phone** are looked for among the fields of the contact, by their labels in
English, French, German, Spanish, Italian, Portuguese, Dutch, Polish and the Nordic
languages ('E-Mail-Adresse', 'Numéro de téléphone', 'WhatsApp'), with remarks such as
'Your email (required)', and by those in 'email_fields' and 'phone_fields'. The key
'email' comes first, then the same in other case or punctuation ('EMAIL', 'Email *'), then
the other labels, those with remarks last; among equals, the keys are tried in byte
order. The first whose value can be read is taken, and read as 'wisepops_privacy_delete'
reads it: a deletion of what stands in the column asks for exactly that. Characters that
nobody sees do not count. Where a text can mean two numbers, none is taken. 'docs/people.md'
tells the rules.

**Nothing is lost.** Only the field that became a column leaves 'fields'. A second
email, an email or a phone that cannot be read, or one with more around it than
itself (a name, an extension) stays there as it came. So does a value that
its column cannot hold (such as a 'collected_at' that is no date), under its own name,
and any member of the contact that has no column. NUL characters alone are taken out.

**Keys in snake_case.** Words end at anything that is neither letter nor digit and at
camelCase humps; Latin letters lose their accents and ligatures are spelled out; other
scripts are kept; a key without letters or digits becomes 'field'. So 'Prénom' is 'prenom',
'Größe' is 'grosse', 'E-mail address' is 'e_mail_address', 'userID' is 'user_id', and
'2nd choice' is '2nd_choice'. Where several keys become one name, the key that already is
that name has it, or else the first in byte order; the next get '_2', '_3' and so on, passing over names that another
key has without a number. Members of the contact without a column are named after its fields.

== Metrics

- 'wisepops_contact_nul_stripped': contacts whose texts had NUL characters

A message that is not a JSON object fails and is passed on unchanged, for 'catch',
'switch' or 'reject_errored' to handle. The error never holds its content.
`, "'", "`")

func codeList(names []string) string {
	return "`" + strings.Join(names, "`, `") + "`"
}

// unknownColumnLint is a rule for a list field. Benthos runs it on the list and
// on each of its values; it judges the values.
func unknownColumnLint(allowed []string) string {
	return fmt.Sprintf(`root = if this.type() == "string" && !["%s"].contains(this) {
  [ "%%v is not a column, expected one of %s".format(this) ]
}`, strings.Join(allowed, `","`), strings.Join(allowed, ", "))
}

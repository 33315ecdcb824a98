// Package processor holds the Benthos processors of Wisepops Connect. Importing
// it registers them.
package processor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	wcpFieldDrop          = "drop"
	wcpFieldHash          = "hash"
	wcpFieldFlattenFields = "flatten_fields"

	wcpMetaContactID = "wisepops_contact_id"
	wcpMetaEvent     = "wisepops_event"
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
`).
		Fields(
			service.NewStringListField(wcpFieldDrop).
				Description("Columns to leave out of the record: "+codeList(droppable)+
					". Dropping `email` or `phone` also leaves out every field that is read as one, so that it does not come back in `fields`; other fields are not searched. `fields` leaves out all of them, flattened or not.").
				Default([]any{}).
				Example([]any{"ip"}).
				Example([]any{"ip", "form_session"}).
				LintRule(unknownColumnLint(droppable)),
			service.NewStringListField(wcpFieldHash).
				Description("Columns whose value is replaced by its SHA-256 in 64 lower-case hex digits: "+codeList(hashable)+
					". It is taken of the normalised value, so that the same person gives the same hash whatever the spelling; null stays null. Hashing `email` or `phone` also hashes every other field that is read as one (trimmed, an email in lower case); other fields are not searched. A plain hash of an email, phone or IP address can be guessed: it is a pseudonym, not an anonymisation. A column cannot be both dropped and hashed.").
				Default([]any{}).
				Example([]any{"email"}).
				Example([]any{"email", "phone"}).
				LintRule(unknownColumnLint(hashable)),
			service.NewBoolField(wcpFieldFlattenFields).
				Description("Put each of `fields` at the top of the record, under its snake_case name, instead of in the column `fields`. A name that is also the name of a column (dropped or not) gets `field_` in front.").
				Default(false),
		).
		LintRule(`root = if this.drop.or([]).any(c -> this.hash.or([]).contains(c)) {
  [ "a column cannot be both in `+"`drop` and in `hash`"+`" ]
}`).
		Example(
			"Leads in a table",
			"Inserts each contact into PostgreSQL once, known by its id, without the IP address. Columns that are unknown are null.",
			`
pipeline:
  processors:
    - wisepops_contact:
        drop: [ ip ]

output:
  sql_insert:
    driver: postgres
    dsn: ${POSTGRES_DSN:postgres://localhost:5432/leads}
    table: contacts
    columns: [ contact_id, collected_at, wisepop_id, email, phone, fields ]
    args_mapping: |
      root = [ this.contact_id, this.collected_at, this.wisepop_id, this.email, this.phone, this.fields.format_json(no_indent: true).string() ]
    suffix: ON CONFLICT (contact_id) DO NOTHING
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
  null: it is never guessed.
- 'form_session' and 'ip': text without surrounding white space.
- 'country_code': the same, in upper case.
- 'email': trimmed and in lower case, not judged any further.
- 'phone': E.164; the number is read with the country of the contact. Where the country is
  missing or unknown, international numbers alone can be read, with '+' or '00' in front.
- 'fields': an object with everything else, values untouched, keys in snake_case. It
  is empty for a contact whose fields are missing, null or empty; fields that are
  not an object stand in it under 'fields'.

**Email and phone** are looked for among the fields of the contact. The key 'email' comes
first, then the same in other case or punctuation ('EMAIL', 'Email:'), then the keys whose
snake_case is 'e_mail', 'email_address' or 'e_mail_address'. For the phone these are
'phone', 'phone_number', 'telephone', 'telephone_number', 'tel', 'mobile', 'mobile_phone'
and 'mobile_number'. Among equals, the keys are tried in byte order. The first that
qualifies is taken: an email is text that is not blank and, unless its key is 'email' in
some case, holds an '@'; a phone is a valid number, as text or as a JSON integer.

**Nothing is lost.** Only the field that became a column leaves 'fields'. A second
email, a phone that cannot be read as a valid number, or one with more around it than
the number (an extension, a remark) stays there as it came. So does a value that
its column cannot hold (such as a 'collected_at' that is no date), under its own name,
and any member of the contact that has no column.

**Keys in snake_case.** Words end at anything that is neither letter nor digit and at
camelCase humps; Latin letters lose their accents and ligatures are spelled out; other
scripts are kept; a key without letters or digits becomes 'field'. So 'Prénom' is 'prenom',
'Größe' is 'grosse', 'E-mail address' is 'e_mail_address', 'userID' is 'user_id', and
'2nd choice' is '2nd_choice'. Where several keys become one name, the first in byte
order has it and the next get '_2', '_3' and so on, passing over names that another
key has without a number. Members of the contact without a column are named after its fields.

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

func init() {
	service.MustRegisterProcessor("wisepops_contact", contactProcessorSpec(),
		func(conf *service.ParsedConfig, _ *service.Resources) (service.Processor, error) {
			return newContactProcessor(conf)
		})
}

// contactProcessor holds only what its configuration says and is never written
// to, so that Process may run concurrently.
type contactProcessor struct {
	opts contactOptions
}

func newContactProcessor(conf *service.ParsedConfig) (*contactProcessor, error) {
	drop, err := conf.FieldStringList(wcpFieldDrop)
	if err != nil {
		return nil, err
	}
	hash, err := conf.FieldStringList(wcpFieldHash)
	if err != nil {
		return nil, err
	}
	flatten, err := conf.FieldBool(wcpFieldFlattenFields)
	if err != nil {
		return nil, err
	}
	opts, err := newContactOptions(drop, hash, flatten)
	if err != nil {
		return nil, err
	}
	return &contactProcessor{opts: opts}, nil
}

func newContactOptions(drop, hash []string, flatten bool) (contactOptions, error) {
	opts := contactOptions{drop: map[string]bool{}, hash: map[string]bool{}, flatten: flatten}
	for _, name := range drop {
		if !slices.Contains(contactColumns, name) {
			return opts, fmt.Errorf("field %s: %q is not a column, expected one of %s",
				wcpFieldDrop, name, strings.Join(contactColumns, ", "))
		}
		opts.drop[name] = true
	}
	for _, name := range hash {
		switch {
		case name == colFields:
			return opts, fmt.Errorf("field %s: %s is an object and cannot be hashed, leave it out with %s instead",
				wcpFieldHash, colFields, wcpFieldDrop)
		case !slices.Contains(contactColumns, name):
			return opts, fmt.Errorf("field %s: %q is not a column, expected one of %s",
				wcpFieldHash, name, strings.Join(contactColumns[:len(contactColumns)-1], ", "))
		case opts.drop[name]:
			return opts, fmt.Errorf("fields %s and %s: %s is in both, a column is either left out or hashed",
				wcpFieldDrop, wcpFieldHash, name)
		}
		opts.hash[name] = true
	}
	return opts, nil
}

// Process replaces the message's content by its record. On an error the message
// is as it came, for Benthos to flag and pass on.
func (p *contactProcessor) Process(_ context.Context, msg *service.Message) (service.MessageBatch, error) {
	// What the decoder says of bytes that are not JSON quotes them, so its error
	// goes no further.
	structured, err := msg.AsStructured()
	if err != nil {
		return nil, fmt.Errorf("reading contact: %w", errNotJSON)
	}
	contact, ok := structured.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading contact: %w, it is %s", errNotObject, jsonKind(structured))
	}

	id, _ := msg.MetaGet(wcpMetaContactID)
	if id == "" && !p.opts.drop[colContactID] {
		raw, err := msg.AsBytes()
		if err != nil {
			return nil, fmt.Errorf("reading contact: %w", errNotJSON)
		}
		if id, err = wisepops.ContactID(raw); err != nil {
			return nil, fmt.Errorf("computing contact id: %w", err)
		}
	}
	event, _ := msg.MetaGet(wcpMetaEvent)

	// The record shares nested values with the contact, which may belong to
	// others: SetStructured, unlike SetStructuredMut, has them copied before a
	// later processor changes them.
	msg.SetStructured(normalise(contact, id, event, p.opts))
	return service.MessageBatch{msg}, nil
}

func (p *contactProcessor) Close(context.Context) error { return nil }

package processor

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure" // catch and mapping
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const rawContact = `{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345678901234567890,"ip":"127.0.0.1",` +
	`"country_code":"FR","fields":{"Email":"Ada@Example.com","Phone":"06 12 34 56 78","Prénom":"Ada","Tags":["a",{"b":1}]}}`

func newTestProcessor(t testing.TB, conf string) *contactProcessor {
	t.Helper()
	parsed, err := contactProcessorSpec().ParseYAML(conf, nil)
	require.NoError(t, err)
	p, err := newContactProcessor(parsed, service.MockResources())
	require.NoError(t, err)
	return p
}

func processOne(t testing.TB, p *contactProcessor, msg *service.Message) *service.Message {
	t.Helper()
	batch, err := p.Process(t.Context(), msg)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	return batch[0]
}

func structuredOf(t testing.TB, msg *service.Message) map[string]any {
	t.Helper()
	v, err := msg.AsStructured()
	require.NoError(t, err)
	require.IsType(t, map[string]any{}, v)
	return v.(map[string]any)
}

func TestProcessWritesTheRecordAndKeepsMetadata(t *testing.T) {
	msg := service.NewMessage([]byte(rawContact))
	msg.MetaSet(wcpMetaContactID, "0123456789abcdef0123456789abcdef")
	msg.MetaSet(wcpMetaEvent, "survey")
	msg.MetaSet("kafka_key", "k")

	msg = processOne(t, newTestProcessor(t, ``), msg)

	out, err := msg.AsBytes()
	require.NoError(t, err)
	assert.Equal(t, `{"collected_at":"2019-10-10T10:10:58.389Z","contact_id":"0123456789abcdef0123456789abcdef",`+
		`"country_code":"FR","email":"ada@example.com","event":"survey","fields":{"prenom":"Ada","tags":["a",{"b":1}]},`+
		`"form_session":null,"ip":"127.0.0.1","phone":"+33612345678","wisepop_id":12345678901234567890}`, string(out))
	for key, want := range map[string]string{
		wcpMetaContactID: "0123456789abcdef0123456789abcdef", wcpMetaEvent: "survey", "kafka_key": "k",
	} {
		got, _ := msg.MetaGet(key)
		assert.Equal(t, want, got, key)
	}
}

// The ids were computed with sha256sum, as the documentation of
// wisepops.ContactID says.
func TestContactIDIsComputedWhenMetadataHasNone(t *testing.T) {
	for name, tc := range map[string]struct{ raw, want string }{
		"from the API": {
			`{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"ip":"127.0.0.1","country_code":"US",
				"fields":{"email":"Example@example.com","Gender":"male","City":"New York","Phone":"(212) 555-2368"}}`,
			"be1ea29128e1876203224987b3ed5dfd",
		},
		"with a strange date": {`{"collected_at":"x","wisepop_id":12345678901234567890,"fields":[]}`, "11d4f0fd579d88855c15b02dca5374b0"},
		"empty":               {`{}`, "44136fa355b3678a1146ad16f7e8649e"},
	} {
		t.Run(name, func(t *testing.T) {
			record := structuredOf(t, processOne(t, newTestProcessor(t, ``), service.NewMessage([]byte(tc.raw))))
			assert.Equal(t, tc.want, record[colContactID])
		})
	}
}

func TestContactThatAMappingBuiltIsRead(t *testing.T) {
	msg := service.NewMessage(nil)
	msg.SetStructured(map[string]any{"wisepop_id": int64(7), "fields": map[string]any{"email": "a@x"}})

	record := structuredOf(t, processOne(t, newTestProcessor(t, ``), msg))

	assert.Equal(t, int64(7), record[colWisepopID])
	assert.Equal(t, "a@x", record[colEmail])
	assert.Regexp(t, `^[0-9a-f]{32}$`, record[colContactID])
}

func TestMessageThatIsNoContactFailsUnchangedWithoutItsContent(t *testing.T) {
	const marker = "marker"
	for name, tc := range map[string]struct{ content, want string }{
		"text":         {`marker@example.com`, "not JSON"},
		"cut":          {`{"fields":{"email":"marker@example.com"`, "not JSON"},
		"nothing":      {``, "not JSON"},
		"two contacts": {`{"email":"marker@x"}{"email":"marker@x"}`, "not JSON"},
		"a delivery":   {`[{"fields":{"email":"marker@example.com"}}]`, "an array"},
		"a string":     {`"marker@example.com"`, "a string"},
		"a number":     {`33612345678`, "a number"},
		"a boolean":    {`true`, "a boolean"},
		"null":         {`null`, "null"},
	} {
		t.Run(name, func(t *testing.T) {
			msg := service.NewMessage([]byte(tc.content))
			_, err := newTestProcessor(t, ``).Process(t.Context(), msg)

			require.ErrorContains(t, err, tc.want)
			assert.NotContains(t, err.Error(), marker)
			assert.NotContains(t, err.Error(), "33612345678")
			content, err := msg.AsBytes()
			require.NoError(t, err)
			assert.Equal(t, tc.content, string(content))
		})
	}
}

func TestPipelineHandlesFailuresTheBenthosWay(t *testing.T) {
	builder := service.NewStreamBuilder()
	require.NoError(t, builder.SetLoggerYAML(`level: none`))
	send, err := builder.AddBatchProducerFunc()
	require.NoError(t, err)
	require.NoError(t, builder.AddProcessorYAML(`wisepops_contact: { drop: [ ip ], hash: [ email ], flatten_fields: true }`))
	require.NoError(t, builder.AddProcessorYAML(`catch: [ { mapping: 'root.failed = error()' } ]`))
	var got []string
	require.NoError(t, builder.AddBatchConsumerFunc(func(_ context.Context, batch service.MessageBatch) error {
		for _, msg := range batch {
			content, err := msg.AsBytes()
			if err != nil {
				return err
			}
			got = append(got, string(content))
		}
		return nil
	}))
	stream, err := builder.Build()
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(ctx) }()
	contact := service.NewMessage([]byte(rawContact))
	contact.MetaSet(wcpMetaContactID, "id")
	require.NoError(t, send(ctx, service.MessageBatch{service.NewMessage([]byte(`["marker@x"]`)), contact}))
	require.NoError(t, stream.Stop(ctx))
	require.NoError(t, <-ended)

	require.Len(t, got, 2)
	assert.Contains(t, got[0], `"failed":"reading contact: `)
	assert.NotContains(t, got[0], "marker")
	assert.JSONEq(t, `{"contact_id":"id","collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345678901234567890,
		"event":null,"form_session":null,"country_code":"FR","phone":"+33612345678",
		"email":"b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72",
		"prenom":"Ada","tags":["a",{"b":1}]}`, got[1])
}

func TestRecordSharesNothingThatLaterProcessorsChange(t *testing.T) {
	original := service.NewMessage([]byte(rawContact))
	before := structuredOf(t, original)

	out, err := processOne(t, newTestProcessor(t, ``), original.Copy()).AsStructuredMut()
	require.NoError(t, err)
	out.(map[string]any)[colFields].(map[string]any)["tags"].([]any)[0] = "changed"

	var want map[string]any
	require.NoError(t, json.Unmarshal([]byte(rawContact), &want))
	assert.Equal(t, want["fields"].(map[string]any)["Tags"].([]any)[0], before["fields"].(map[string]any)["Tags"].([]any)[0])
}

func TestProcessMayRunConcurrently(t *testing.T) {
	p := newTestProcessor(t, `{ drop: [ ip ], hash: [ email, phone ], flatten_fields: true }`)
	original := service.NewMessage([]byte(rawContact))
	structuredOf(t, original)
	want, err := processOne(t, p, original.Copy()).AsBytes()
	require.NoError(t, err)

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				batch, err := p.Process(t.Context(), original.Copy())
				if !assert.NoError(t, err) {
					return
				}
				got, err := batch[0].AsBytes()
				assert.NoError(t, err)
				assert.Equal(t, string(want), string(got))
			}
		})
	}
	wg.Wait()
}

func TestConfigThatNamesNoColumnIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ conf, want string }{
		"drop":            {`drop: [ ip, phon ]`, `"phon" is not a column`},
		"hash":            {`hash: [ Email ]`, `"Email" is not a column`},
		"hash fields":     {`hash: [ fields ]`, `fields is an object`},
		"drop and hash":   {`{ drop: [ ip, email ], hash: [ email ] }`, `email is in both`},
		"drop no list":    {`drop: { ip: true }`, `drop`},
		"flatten no flag": {`flatten_fields: maybe`, `flatten_fields`},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := contactProcessorSpec().ParseYAML(tc.conf, nil)
			if err == nil {
				_, err = newContactProcessor(parsed, service.MockResources())
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestLinterFindsWhatTheConstructorRefuses(t *testing.T) {
	linter := service.NewEnvironment().NewComponentConfigLinter()
	for name, tc := range map[string]struct {
		conf string
		want []string
	}{
		"nothing set":        {`wisepops_contact: {}`, nil},
		"all columns":        {`wisepops_contact: { drop: [ ` + strings.Join(contactColumns, ", ") + ` ] }`, nil},
		"drop and hash":      {`wisepops_contact: { drop: [ ip ], hash: [ email ], flatten_fields: true }`, nil},
		"drop unknown":       {`wisepops_contact: { drop: [ ip, phon ] }`, []string{"phon is not a column, expected one of contact_id, "}},
		"hash fields":        {`wisepops_contact: { hash: [ fields ] }`, []string{"fields is not a column, expected one of contact_id, "}},
		"dropped and hashed": {`wisepops_contact: { drop: [ email ], hash: [ email ] }`, []string{"both in `drop` and in `hash`"}},
		"unknown option":     {`wisepops_contact: { flatten: true }`, []string{"flatten"}},
	} {
		t.Run(name, func(t *testing.T) {
			lints, err := linter.LintProcessorYAML([]byte(tc.conf))
			require.NoError(t, err)
			require.Len(t, lints, len(tc.want))
			for i, want := range tc.want {
				assert.Contains(t, lints[i].What, want)
			}
		})
	}
}

func TestSpecIsDescribedAndItsExamplesLint(t *testing.T) {
	view, exists := service.GlobalEnvironment().GetProcessorConfig("wisepops_contact")
	require.True(t, exists)
	data, err := view.TemplateData()
	require.NoError(t, err)

	assert.NotEmpty(t, data.Summary)
	for _, column := range contactColumns {
		assert.Contains(t, data.Description, "`"+column+"`")
	}
	require.Len(t, data.Fields, 8)
	for _, field := range data.Fields {
		assert.NotEmpty(t, field.Description, field.FullName)
	}
	require.NotEmpty(t, data.Examples)
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().SetSkipEnvVarCheck(true)
	for _, example := range data.Examples {
		// Sinks are not linked into this test, so only the pipeline is linted.
		pipeline, _, _ := strings.Cut(example.Config, "\noutput:")
		lints, err := linter.LintYAML([]byte(pipeline))
		require.NoError(t, err)
		assert.Empty(t, lints, example.Title)
	}
}

func BenchmarkProcess(b *testing.B) {
	for name, id := range map[string]string{"IDInMetadata": "0123456789abcdef0123456789abcdef", "IDComputed": ""} {
		b.Run(name, func(b *testing.B) {
			p := newTestProcessor(b, `hash: [ email ]`)
			b.ReportAllocs()
			for b.Loop() {
				msg := service.NewMessage([]byte(rawContact))
				msg.MetaSet(wcpMetaContactID, id)
				if _, err := p.Process(b.Context(), msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

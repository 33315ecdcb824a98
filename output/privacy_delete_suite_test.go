package output

import (
	"context"
	"errors"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service/integration"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// TestPrivacyDeleteInBenthosOwnSuite runs Benthos' tests of outputs: a message has
// arrived where the person whom it names is gone from the website.
func TestPrivacyDeleteInBenthosOwnSuite(t *testing.T) {
	const people = 50
	site := sandbox.New(sandbox.Options{})
	server := httptest.NewServer(site)
	t.Cleanup(server.Close)

	gone := func(_ context.Context, testID, messageID string) (string, []string, error) {
		email := testID + "." + messageID + "@example.com"
		if site.Suppress(email, "") > 0 {
			return "", nil, errors.New("the person is still there")
		}
		return `{"content":"hello world","id":` + messageID + `}`, nil, nil
	}
	integration.StreamTests(
		integration.StreamTestOutputOnlySendSequential(people, gone),
		integration.StreamTestOutputOnlySendBatch(people, gone),
	).Run(t, `
output:
  wisepops_privacy_delete:
    api_key: demo
    base_url: $URL
    email: $ID.${! this.id }@example.com
`,
		integration.StreamTestOptVarSet("URL", server.URL+"/api2"),
		integration.StreamTestOptTimeout(time.Minute),
		integration.StreamTestOptPreTest(func(_ testing.TB, _ context.Context, vars *integration.StreamTestConfigVars) {
			for i := range people {
				site.Add(sandbox.Contact{Email: vars.ID + "." + strconv.Itoa(i) + "@example.com"})
			}
		}))
}

package wisepops_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// The first page of contacts since an instant. For the next one, CollectedAfter
// is the time of the last contact.
func ExampleClient_Contacts() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[{"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"fields":{"email":"a@example.com"}}]`))
	}))
	defer srv.Close()

	client, err := wisepops.New(wisepops.Options{
		APIKey:     "the-key-of-the-website",
		BaseURL:    srv.URL, // not needed: the API of Wisepops is the default
		MaxRetries: wisepops.DefaultMaxRetries,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()

	page, err := client.Contacts(context.Background(), wisepops.ContactsRequest{
		CollectedAfter: time.Date(2019, 10, 1, 0, 0, 0, 0, time.UTC),
		PageSize:       wisepops.MaxPageSize,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range page.Contacts {
		fmt.Println(c.ID, c.CollectedAt, c.WisepopID)
		fmt.Println(string(c.Raw))
	}
	// Output:
	// 1b8f3c23cc9169825447499685b13da2 2019-10-10 10:10:58.389 +0000 UTC 12345
	// {"collected_at":"2019-10-10T10:10:58.389Z","wisepop_id":12345,"fields":{"email":"a@example.com"}}
}

// Errors are told apart with errors.Is and errors.AsType. Their texts can be
// logged as they are.
func ExampleAPIError() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer srv.Close()

	client, err := wisepops.New(wisepops.Options{APIKey: "the-key-of-the-website", BaseURL: srv.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()

	_, err = client.Contacts(context.Background(), wisepops.ContactsRequest{})
	if errors.Is(err, wisepops.ErrUnauthorized) {
		fmt.Println("another key is needed")
	}
	if apiErr, ok := errors.AsType[*wisepops.APIError](err); ok {
		fmt.Println(apiErr.Status, "come back in", apiErr.RetryAfter)
	}
	fmt.Println(err)
	// Output:
	// 429 come back in 1h0m0s
	// GET /contacts: status 429 Too Many Requests: the call budget is spent (retry after 1h0m0s)
}

// The same contact, as a hook and as the API may write it.
func ExampleContactID() {
	for _, contact := range []string{
		`{"collected_at":"2019-10-10T12:10:58.389+02:00","wisepop_id":12345,"ip":"203.0.113.7","fields":{"Name":"Zo\u00eb","email":"a@example.com"}}`,
		`{"wisepop_id":12345,"fields":{"email":"a@example.com","Name":"Zoë"},"ip":"203.0.113.7","collected_at":"2019-10-10T10:10:58.389Z"}`,
	} {
		id, err := wisepops.ContactID([]byte(contact))
		fmt.Println(id, err)
	}
	// Output:
	// bcee0b16a0aeb5a5b49cca1dcb6fa71d <nil>
	// bcee0b16a0aeb5a5b49cca1dcb6fa71d <nil>
}

// The other endpoints: performance data, hooks, and the deletion of a person's data.
func Example() {
	answers := map[string]string{
		"GET /wisepops":        `[{"id":12345,"label":"Live Wisepop","created_at":"2017-02-27 15:29:43","activated":true,"display_count":100,"click_count":20,"email_count":20}]`,
		"GET /hooks":           `[]`,
		"POST /hooks":          `{"id":42}`,
		"DELETE /data-privacy": `{"deleted":1}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(answers[r.Method+" "+r.URL.Path]))
	}))
	defer srv.Close()

	client, err := wisepops.New(wisepops.Options{APIKey: "the-key-of-the-website", BaseURL: srv.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	ctx := context.Background()

	campaigns, err := client.Campaigns(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range campaigns {
		fmt.Println(c.ID, c.Label, c.CreatedAt, *c.DisplayCount)
	}
	hooks, err := client.Hooks(ctx)
	fmt.Println(len(hooks), err)
	id, err := client.CreateHook(ctx, wisepops.Hook{Event: wisepops.EventEmail, TargetURL: "https://leads.example.com/wisepops/email"})
	fmt.Println(id, err)
	deleted, err := client.DeleteData(ctx, wisepops.Identity{Email: "zoe@example.com", Phone: "+33612345678"})
	fmt.Println(deleted, err)
	// Output:
	// 12345 Live Wisepop 2017-02-27 15:29:43 +0000 UTC 100
	// 0 <nil>
	// 42 <nil>
	// 1 <nil>
}

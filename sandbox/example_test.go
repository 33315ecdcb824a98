package sandbox_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// A test mounts the service on a server of its own and, at the end, compares
// what it read with what the service knows.
func Example() {
	service := sandbox.New(sandbox.Options{APIKey: "secret", Contacts: 3})
	server := httptest.NewServer(service)
	defer server.Close()

	r, err := http.NewRequest(http.MethodGet, server.URL+"/api2/contacts?page_size=1", http.NoBody)
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("Authorization", `WISEPOPS-API key="secret"`)
	response, err := server.Client().Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(response.Status, response.Header.Get("Content-Type"))
	fmt.Println(string(page) == "["+string(service.Contacts()[0].Raw)+"]")
	fmt.Println(service.Len(), "contacts,", service.Calls().Total, "call")
	// Output:
	// 200 OK application/json
	// true
	// 3 contacts, 1 call
}

// The control function makes the first call fail, and the later ones succeed.
func ExampleService_Control() {
	service := sandbox.New(sandbox.Options{})
	service.Control(func(*http.Request) *sandbox.Fault {
		if service.Calls().Total == 1 {
			return &sandbox.Fault{Status: http.StatusTooManyRequests, RetryAfter: "30"}
		}
		return nil
	})

	for range 2 {
		r := httptest.NewRequest(http.MethodGet, "/api2/contacts", http.NoBody)
		r.Header.Set("Authorization", `WISEPOPS-API key="demo"`)
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	// Output:
	// 429 30 {"error":"Too Many Requests"}
	// 200  []
}

// Package wisepops is a client of the Wisepops API, which serves what pop-ups
// collect on websites. It stands alone: a Go program can use it without
// Benthos.
//
// An API key belongs to one website and carries a budget, 1,500 calls in 30
// days unless the contract says otherwise, so a [Client] asks its [Limiter]
// before every attempt, retries included.
//
// Errors are typed ([APIError], [TransportError], [FormatError],
// [ErrUnauthorized]) and never hold the key, a body, a query string, an email
// address or a phone number: they can be logged as they are.
//
// The API is documented by Wisepops at
// https://support.wisepops.com/en/articles/wisepops-api-documentation.
package wisepops

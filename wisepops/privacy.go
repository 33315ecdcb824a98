package wisepops

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// Identity names a person whose data is to be deleted. One of the two is enough;
// with both, every record that has either is deleted.
type Identity struct {
	Email string // as it was typed, without white space around it
	Phone string // E.164: a plus and digits
}

// DeleteData deletes what the website collected about a person, and has it
// suppressed from then on (DELETE /data-privacy). It returns how many records were
// deleted: 0 where there were none, or none any more. It is safe to repeat, and
// retried like any other call.
//
// Errors: [APIError], [TransportError], [FormatError], or those of the
// [Limiter] and the context. After a TransportError or a FormatError the data may
// be deleted all the same.
func (c *Client) DeleteData(ctx context.Context, who Identity) (deleted int, err error) {
	if who.Email == "" && who.Phone == "" {
		return 0, errors.New("an email or a phone is needed")
	}
	body, err := json.Marshal(struct {
		Email string `json:"email,omitempty"`
		Phone string `json:"phone,omitempty"`
	}{who.Email, who.Phone})
	if err != nil {
		return 0, errors.New("the identity has no JSON")
	}
	req := &request{method: http.MethodDelete, path: "/data-privacy", body: body, maxRetries: c.opts.MaxRetries}
	res, err := c.do(ctx, req)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Deleted json.RawMessage `json:"deleted"`
	}
	if json.Unmarshal(res.body, &answer) == nil {
		// A number that is written as a string is taken, too.
		deleted, err = strconv.Atoi(strings.Trim(string(answer.Deleted), `"`))
		if err == nil && deleted >= 0 {
			return deleted, nil
		}
	}
	return 0, &FormatError{Endpoint: req.endpoint(), Reason: "the answer does not say how many records were deleted"}
}

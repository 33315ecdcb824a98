package wisepops

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The events that a hook can be for, one each: sign-up, phone and survey blocks.
const (
	EventEmail  = "email"
	EventPhone  = "phone"
	EventSurvey = "survey"
)

// Events lists all events that a hook can be for.
func Events() []string { return []string{EventEmail, EventPhone, EventSurvey} }

// Hook is a webhook of the website (GET /hooks): where contacts that one event
// brings are posted.
type Hook struct {
	ID        int64  `json:"id,omitempty"`
	Event     string `json:"event"` // one of [Events]
	TargetURL string `json:"target_url"`
	WisepopID int64  `json:"wisepop_id,omitempty"` // 0 where not limited to one pop-up
}

// Same tells whether both hooks bring the same deliveries, whatever their ids.
func (h Hook) Same(other Hook) bool {
	h.ID = other.ID
	return h == other
}

// Hooks lists the hooks of the website, whoever created them.
//
// Errors: [APIError], [TransportError], [FormatError], or those of the
// [Limiter] and the context.
func (c *Client) Hooks(ctx context.Context) ([]Hook, error) {
	req := &request{method: http.MethodGet, path: "/hooks", maxRetries: c.opts.MaxRetries}
	res, err := c.do(ctx, req)
	if err != nil {
		return nil, err
	}
	var answers []*hookAnswer
	if err := json.Unmarshal(res.body, &answers); err != nil || answers == nil {
		return nil, &FormatError{Endpoint: req.endpoint(), Reason: "the answer is not a list of hooks"}
	}
	hooks := make([]Hook, len(answers))
	for i, a := range answers {
		if hooks[i], err = a.hook(); err != nil {
			return nil, &FormatError{Endpoint: req.endpoint(), Reason: err.Error()}
		}
	}
	return hooks, nil
}

// CreateHook creates a hook, whose ID is ignored, and returns its id. It makes
// one attempt only: an attempt that failed may have created the hook all the
// same, so list the hooks before the next. The API is not known to refuse a hook
// that is there already.
//
// Errors: as of [Client.Hooks].
func (c *Client) CreateHook(ctx context.Context, h Hook) (id int64, err error) {
	h.ID = 0
	body, err := json.Marshal(h)
	if err != nil {
		return 0, err
	}
	req := &request{method: http.MethodPost, path: "/hooks", body: body}
	res, err := c.do(ctx, req)
	if err != nil {
		return 0, err
	}
	var answer hookAnswer
	if json.Unmarshal(res.body, &answer) != nil || answer.ID == 0 {
		return 0, &FormatError{Endpoint: req.endpoint(), Reason: errHookID.Error()}
	}
	return int64(answer.ID), nil
}

// DeleteHook deletes a hook. Of a hook that is not there, the API's answer is not
// documented.
//
// Errors: as of [Client.Hooks].
func (c *Client) DeleteHook(ctx context.Context, id int64) error {
	_, err := c.do(ctx, &request{
		method:     http.MethodDelete,
		path:       "/hooks",
		query:      url.Values{"hook_id": {strconv.FormatInt(id, 10)}},
		maxRetries: c.opts.MaxRetries,
	})
	return err
}

var errHookID = errors.New("the answer holds no id of a hook")

// hookAnswer is a hook as the API writes it.
type hookAnswer struct {
	ID        looseInt `json:"id"`
	Event     string   `json:"event"`
	TargetURL string   `json:"target_url"`
	WisepopID looseInt `json:"wisepop_id"`
}

func (a *hookAnswer) hook() (h Hook, err error) {
	if a == nil || a.ID == 0 {
		return h, errHookID
	}
	return Hook{ID: int64(a.ID), Event: a.Event, TargetURL: a.TargetURL, WisepopID: int64(a.WisepopID)}, nil
}

// looseInt takes numbers that are written as strings, too, and null and "" for 0.
type looseInt int64

func (n *looseInt) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "" || text == "null" {
		return nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return errors.New("not a whole number")
	}
	*n = looseInt(value)
	return nil
}

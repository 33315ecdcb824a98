package wisepops

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
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
	ID        int64  `json:"id"`
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
	body, err := json.Marshal(struct {
		Event     string `json:"event"`
		TargetURL string `json:"target_url"`
		WisepopID int64  `json:"wisepop_id,omitempty"`
	}{h.Event, h.TargetURL, h.WisepopID})
	if err != nil {
		return 0, err
	}
	req := &request{method: http.MethodPost, path: "/hooks", body: body}
	res, err := c.do(ctx, req)
	if err != nil {
		return 0, err
	}
	var answer hookAnswer
	if err := json.Unmarshal(res.body, &answer); err != nil {
		return 0, &FormatError{Endpoint: req.endpoint(), Reason: errHookID.Error()}
	}
	id, err = answer.ID.Int64()
	if err != nil {
		return 0, &FormatError{Endpoint: req.endpoint(), Reason: errHookID.Error()}
	}
	return id, nil
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

// hookAnswer takes numbers that are written as strings, too.
type hookAnswer struct {
	ID        json.Number  `json:"id"`
	Event     string       `json:"event"`
	TargetURL string       `json:"target_url"`
	WisepopID *json.Number `json:"wisepop_id"`
}

func (a *hookAnswer) hook() (h Hook, err error) {
	if a == nil {
		return h, errHookID
	}
	h = Hook{Event: a.Event, TargetURL: a.TargetURL}
	if h.ID, err = a.ID.Int64(); err != nil {
		return h, errHookID
	}
	if a.WisepopID != nil && *a.WisepopID != "" {
		if h.WisepopID, err = a.WisepopID.Int64(); err != nil {
			return h, errors.New("the wisepop_id of a hook is not a whole number")
		}
	}
	return h, nil
}

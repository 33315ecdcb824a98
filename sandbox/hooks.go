package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The events of hooks.
const (
	EventEmail  = "email"
	EventPhone  = "phone"
	EventSurvey = "survey"
)

const longestHook = 64 << 10

// Hook is a webhook of the website.
type Hook struct {
	ID        int64  `json:"id"`
	Event     string `json:"event"`
	TargetURL string `json:"target_url"`
	WisepopID int64  `json:"wisepop_id,omitempty"` // 0 where not limited to one pop-up
}

// Hooks returns the hooks in the order of their creation.
func (s *Service) Hooks() []Hook {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.hooks)
}

// AddHook creates a hook as if somebody else had, and returns its id. An ID that
// is given is ignored.
func (s *Service) AddHook(h Hook) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addHook(h)
}

// addHook is called with s.mu held.
func (s *Service) addHook(h Hook) int64 {
	s.lastHook++
	h.ID = s.lastHook
	s.hooks = append(s.hooks, h)
	return h.ID
}

// RemoveHook deletes a hook, and reports whether it was there.
func (s *Service) RemoveHook(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.hooks)
	s.hooks = slices.DeleteFunc(s.hooks, func(h Hook) bool { return h.ID == id })
	return len(s.hooks) < before
}

func jsonAnswer(v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		return refusal(http.StatusInternalServerError, "the answer has no JSON")
	}
	return answer{status: http.StatusOK, contentType: "application/json", body: [][]byte{body}}
}

func (s *Service) getHooks(r *http.Request) answer {
	if s.opts.Strict && r.URL.RawQuery != "" {
		return refusal(http.StatusBadRequest, "the endpoint has no parameters")
	}
	hooks := s.Hooks()
	if hooks == nil {
		hooks = []Hook{}
	}
	return jsonAnswer(hooks)
}

func (s *Service) postHook(r *http.Request) answer {
	h, err := readHook(r, s.opts.Strict)
	if err != nil {
		return refusal(http.StatusBadRequest, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.RefuseTwinHooks {
		for _, other := range s.hooks {
			if h.ID = other.ID; h == other {
				return refusal(http.StatusConflict, "there is such a hook already")
			}
		}
	}
	return jsonAnswer(map[string]int64{"id": s.addHook(h)})
}

func readHook(r *http.Request, strict bool) (h Hook, err error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, longestHook))
	if err != nil {
		return h, errors.New("the body could not be read")
	}
	var given struct {
		Event     string          `json:"event"`
		TargetURL string          `json:"target_url"`
		WisepopID json.RawMessage `json:"wisepop_id"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(&given); err != nil || dec.More() {
		return h, errors.New("the body must be a JSON object with event, target_url and, if wanted, wisepop_id")
	}
	if !slices.Contains([]string{EventEmail, EventPhone, EventSurvey}, given.Event) {
		return h, errors.New("event must be email, phone or survey")
	}
	target, err := url.Parse(given.TargetURL)
	if err != nil || target.Host == "" || target.Scheme != "https" && target.Scheme != "http" {
		return h, errors.New("target_url must be the URL of a web server")
	}
	h = Hook{Event: given.Event, TargetURL: given.TargetURL}
	id := string(given.WisepopID)
	if !strict {
		id = strings.Trim(id, `"`)
	}
	if id == "" || id == "null" {
		return h, nil
	}
	h.WisepopID, err = strconv.ParseInt(id, 10, 64)
	if err != nil || h.WisepopID < 1 {
		return h, errors.New("wisepop_id must be a positive integer")
	}
	return h, nil
}

func (s *Service) deleteHook(r *http.Request) answer {
	values, err := url.ParseQuery(r.URL.RawQuery)
	id, idErr := strconv.ParseInt(values.Get("hook_id"), 10, 64)
	if err != nil || idErr != nil || s.opts.Strict && len(values) != 1 || len(values["hook_id"]) != 1 {
		return refusal(http.StatusBadRequest, "hook_id, an integer, must be the one parameter")
	}
	if !s.RemoveHook(id) {
		return refusal(http.StatusNotFound, fmt.Sprintf("there is no hook %d", id))
	}
	return jsonAnswer(map[string]int{"deleted": 1})
}

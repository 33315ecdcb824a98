package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

const longestDeletion = 64 << 10

var phonePattern = regexp.MustCompile(`^\+[1-9][0-9]{1,17}$`)

// deleteData answers DELETE /data-privacy: whoever has the email address (in
// whatever case) or the phone is gone, and is not collected any more.
func (s *Service) deleteData(r *http.Request) answer {
	body, err := io.ReadAll(io.LimitReader(r.Body, longestDeletion))
	var given struct {
		Email string `json:"email"`
		Phone string `json:"phone"`
	}
	if err != nil || json.Unmarshal(body, &given) != nil || s.opts.Strict && r.URL.RawQuery != "" {
		return refusal(http.StatusBadRequest, "the body must be a JSON object with email, phone or both")
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != "application/json" {
		return refusal(http.StatusUnsupportedMediaType, "the body must be declared as application/json")
	}
	if given.Email == "" && given.Phone == "" {
		return refusal(http.StatusBadRequest, "email or phone is needed")
	}
	if given.Email != "" && (!strings.Contains(given.Email, "@") || given.Email != strings.TrimSpace(given.Email)) {
		return refusal(http.StatusBadRequest, "email is not an email address")
	}
	if given.Phone != "" && !phonePattern.MatchString(given.Phone) {
		return refusal(http.StatusBadRequest, "phone must be in international format, with a leading + and no white space")
	}
	return jsonAnswer(map[string]int{"deleted": s.Suppress(given.Email, given.Phone)})
}

// Suppress deletes the contacts that have an email address, in whatever case, or a
// phone in E.164, and returns how many there were. Such contacts are not kept, and
// not delivered, from then on. Either may be empty.
func (s *Service) Suppress(email, phone string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suppressedEmails == nil {
		s.suppressedEmails, s.suppressedPhones = map[string]bool{}, map[uint64]bool{}
	}
	if email != "" {
		s.suppressedEmails[strings.ToLower(email)] = true
	}
	if number := phoneNumber(phone); number != 0 {
		s.suppressedPhones[number] = true
	}
	return s.store.remove(s.isSuppressed)
}

// isSuppressed is called with s.mu held.
func (s *Service) isSuppressed(r row) bool {
	return len(s.suppressedEmails) > 0 && r.emailLen > 0 && s.suppressedEmails[strings.ToLower(string(s.store.email(r)))] ||
		r.phone != 0 && s.suppressedPhones[r.phone]
}

// phoneNumber is the digits of a phone in E.164; 0 where there are none.
func phoneNumber(e164 string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(e164, "+"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

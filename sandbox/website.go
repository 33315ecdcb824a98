package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Contact is one contact that the service knows.
type Contact struct {
	// CollectedAt is in UTC, in the precision that the service keeps:
	// milliseconds, or seconds with [Switches.SecondTimes].
	CollectedAt time.Time

	WisepopID int64

	// Email is the contact's email address, unique among generated contacts; empty in
	// an anonymous answer.
	Email string

	// Phone is the contact's phone in E.164, of generated contacts; empty without
	// one.
	Phone string

	// Raw is the contact's JSON as it is served. It must not be modified.
	Raw []byte
}

// Add makes contacts appear now, in their place by CollectedAt, even where later
// ones were served already. The zero CollectedAt means the clock's time. Where
// Raw is nil the contact is made up around what is given, and has an email; otherwise Raw is served
// as it is.
func (s *Service) Add(contacts ...Contact) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := make([]row, 0, len(contacts))
	for _, c := range contacts {
		if c.CollectedAt.IsZero() {
			c.CollectedAt = now
		}
		if c.Raw != nil {
			rows = append(rows, s.keepRaw(c))
			continue
		}
		v := s.gen.customer()
		if c.WisepopID == 0 {
			c.WisepopID = v.popup.id
		}
		rows = append(rows, s.gen.contactOf(&s.store, v, 0, c.CollectedAt.UnixMilli(), c.WisepopID, c.Email))
	}
	s.store.insert(slices.DeleteFunc(rows, s.isSuppressed)...)
}

// AddRaw adds a contact of any bytes, such as one with a malformed timestamp, at
// the place that collectedAt gives it. Its pop-up and email address are read from
// the bytes where these can be read.
func (s *Service) AddRaw(collectedAt time.Time, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.keepRaw(Contact{CollectedAt: collectedAt, Raw: raw}); !s.isSuppressed(r) {
		s.store.insert(r)
	}
}

func (s *Service) keepRaw(c Contact) row {
	r := s.store.keep(c.Raw)
	r.phone = phoneNumber(c.Phone)
	if s.opts.SecondTimes {
		c.CollectedAt = c.CollectedAt.Truncate(time.Second)
	}
	r.at = c.CollectedAt.UnixMilli()

	var read struct {
		WisepopID int64          `json:"wisepop_id"`
		Fields    map[string]any `json:"fields"`
	}
	_ = json.Unmarshal(c.Raw, &read) // what cannot be read stays zero
	r.wisepopID = c.WisepopID
	if r.wisepopID == 0 {
		r.wisepopID = read.WisepopID
	}
	for _, key := range slices.Sorted(maps.Keys(read.Fields)) {
		if value, ok := read.Fields[key].(string); ok && c.Email == "" && strings.Contains(value, "@") {
			c.Email = value
		}
	}
	if i := bytes.Index(c.Raw, []byte(c.Email)); i > 0 {
		r.emailOff, r.emailLen = uint32(i), uint32(len(c.Email))
	}
	return r
}

// Delete removes the contacts with an email address, in whatever case, and
// returns how many there were.
func (s *Service) Delete(email string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.remove(func(r row) bool {
		return r.emailLen > 0 && bytes.EqualFold(s.store.email(r), []byte(email))
	})
}

// Contacts returns all contacts, oldest first, those of one instant in the order
// of their arrival.
func (s *Service) Contacts() []Contact {
	s.mu.RLock()
	defer s.mu.RUnlock()
	contacts := make([]Contact, len(s.store.rows))
	for i, r := range s.store.rows {
		contacts[i] = s.contactOf(r)
	}
	return contacts
}

// Len returns how many contacts there are.
func (s *Service) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.store.rows)
}

// Visit lets visitors submit pop-ups until ctx ends, perSecond of them on
// average, at irregular distances. Each submission is dated at the clock, or with
// [Switches.Late] up to that long before it. Visit returns when ctx ends, at once
// where perSecond is not positive; it starts no goroutine.
func (s *Service) Visit(ctx context.Context, perSecond float64) {
	if !(perSecond > 0) {
		return
	}
	rng := rand.New(rand.NewPCG(s.opts.Seed, 0x76697369746f7273))
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due = due.Add(time.Duration(rng.ExpFloat64() / perSecond * float64(time.Second)))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.submit(rng)
		}
	}
}

func (s *Service) submit(rng *rand.Rand) {
	at := s.now()
	if s.opts.Late > 0 {
		at = at.Add(-time.Duration(rng.Int64N(int64(s.opts.Late))))
	}
	s.submitAt(at)
}

// Submit has one visitor submit a pop-up now, and returns the contacts that are
// kept of the submission: none of a suppressed person.
func (s *Service) Submit() []Contact {
	return s.submitAt(s.now())
}

func (s *Service) submitAt(at time.Time) []Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.gen.visitor()
	rows := make([]row, v.blocks)
	for block := range rows {
		rows[block] = s.gen.contact(&s.store, v, block, at.UnixMilli())
	}
	var contacts []Contact
	var kept []row
	for block, r := range rows {
		if s.isSuppressed(r) {
			continue
		}
		c := s.contactOf(r)
		s.dispatch(v.popup.event(block), c)
		contacts, kept = append(contacts, c), append(kept, r)
	}
	s.store.insert(kept...)
	return contacts
}

func (s *Service) contactOf(r row) Contact {
	return Contact{
		CollectedAt: time.UnixMilli(r.at).UTC(),
		WisepopID:   r.wisepopID,
		Email:       string(s.store.email(r)),
		Phone:       e164(r.phone),
		Raw:         s.store.raw(r),
	}
}

func e164(number uint64) string {
	if number == 0 {
		return ""
	}
	return "+" + strconv.FormatUint(number, 10)
}

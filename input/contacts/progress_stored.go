package contacts

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	progressVersion = 2

	// firstVersion has ids of another format, and an overlap of a second.
	firstVersion = 1
)

// storedProgress is a watermark as it stands in the cache. Instants are RFC 3339; ""
// is before the first contact.
type storedProgress struct {
	Version   int                 `json:"version"`
	WisepopID int64               `json:"wisepop_id"`
	Website   string              `json:"website,omitempty"`
	Position  *string             `json:"position"`
	Safe      string              `json:"safe,omitempty"`
	Before    string              `json:"before,omitempty"`
	Agreed    string              `json:"agreed,omitempty"`
	KeepFrom  string              `json:"keep_from,omitempty"`
	Lateness  int64               `json:"lateness_ms,omitempty"`
	Total     *int                `json:"total,omitempty"`
	Checked   string              `json:"checked,omitempty"`
	Proven    int                 `json:"checked_total,omitempty"`
	Doubted   string              `json:"check_unanswered,omitempty"`
	Disputed  bool                `json:"disputed,omitempty"`
	API       habits              `json:"api"`
	Tail      *storedTail         `json:"tail,omitempty"`
	Sweep     *storedCursor       `json:"sweep,omitempty"`
	Seen      map[string][]string `json:"seen"` // ids by collected_at
	Undated   []string            `json:"undated,omitempty"`

	Ordered bool `json:"ordered,omitempty"` // of format 1
}

type storedTail struct {
	After string `json:"after"`
	Total int    `json:"total"`
	First bool   `json:"first,omitempty"`
}

type storedCursor struct {
	After    string   `json:"after"`
	End      int      `json:"end"`
	Now      string   `json:"now"`
	Latest   string   `json:"latest"`
	Safe     string   `json:"safe"`
	Floor    string   `json:"keep_from"`
	Restarts int      `json:"restarts,omitempty"`
	Last     []string `json:"last"`
}

func (p *progress) encode(wisepopID int64) ([]byte, error) {
	position := formatInstant(p.position)
	s := storedProgress{
		Version:   progressVersion,
		WisepopID: wisepopID,
		Website:   p.website,
		Position:  &position,
		Safe:      formatInstant(p.safe),
		Before:    formatInstant(p.before),
		Agreed:    formatInstant(p.agreed),
		KeepFrom:  formatInstant(p.keepFrom),
		Lateness:  p.lateness,
		Checked:   formatInstant(p.checked),
		Proven:    p.proven,
		Doubted:   formatInstant(p.doubted),
		Disputed:  p.disputed,
		API:       p.habits,
		Seen:      make(map[string][]string, len(p.seen)),
		Undated:   formatIDs(sortedIDs(p.undated)),
	}
	if p.counted {
		s.Total = &p.total
	}
	if p.tail != (tail{}) {
		s.Tail = &storedTail{After: formatInstant(p.tail.after), Total: p.tail.total, First: p.tail.first}
	}
	if c := p.cursor; c.end > 0 {
		s.Sweep = &storedCursor{
			After: formatInstant(c.after), End: c.end, Now: formatInstant(c.now), Latest: formatInstant(c.latest),
			Safe: formatInstant(c.safe), Floor: formatInstant(c.floor), Restarts: c.restarts, Last: formatIDs(c.last),
		}
	}
	texts := make(map[int64]string, len(p.seen))
	for id, at := range p.seen {
		text, ok := texts[at]
		if !ok {
			text = formatInstant(at)
			texts[at] = text
		}
		s.Seen[text] = append(s.Seen[text], id.String())
	}
	for _, ids := range s.Seen {
		slices.Sort(ids)
	}
	return json.Marshal(s)
}

var errNotWatermark = errors.New("it is not the JSON of a watermark")

func decodeProgress(data []byte, wisepopID int64) (progress, error) {
	p := newProgress()
	if len(data) == 0 {
		return p, errors.New("it is empty")
	}
	if err := state.CheckVersion(data, progressVersion); err != nil {
		return p, err
	}
	var s storedProgress
	if err := json.Unmarshal(data, &s); err != nil {
		return p, errNotWatermark
	}
	switch {
	case s.Version != progressVersion && s.Version != firstVersion:
		return p, errNotWatermark
	case s.WisepopID != wisepopID:
		return p, fmt.Errorf("it belongs to wisepop_id %d, and the input is configured for %d", s.WisepopID, wisepopID)
	case s.Position == nil:
		return p, errors.New("it holds no position")
	}
	d := decoder{}
	p.position = d.instant(*s.Position, "position")
	p.website = s.Website
	for text, ids := range s.Seen {
		at := d.instant(text, "instant")
		for _, id := range ids {
			p.seen[d.id(id)] = at
		}
	}
	for _, id := range s.Undated {
		p.undated[d.id(id)] = struct{}{}
	}
	if s.Version == firstVersion {
		p.migrate(s.Ordered)
		return p, d.err
	}
	p.safe = d.instant(s.Safe, "position")
	p.before = d.instant(s.Before, "position")
	p.agreed = d.instant(s.Agreed, "position")
	p.keepFrom = d.instant(s.KeepFrom, "position")
	p.checked = d.instant(s.Checked, "time of a check")
	p.doubted = d.instant(s.Doubted, "time of a check")
	p.proven = max(0, s.Proven)
	p.disputed = s.Disputed
	p.lateness = max(0, s.Lateness)
	p.habits = s.API
	p.counted = s.Total != nil
	if p.counted {
		p.total = max(0, *s.Total)
	}
	if s.Tail != nil {
		p.tail = tail{after: d.instant(s.Tail.After, "tail"), total: max(0, s.Tail.Total), first: s.Tail.First}
	}
	if c := s.Sweep; c != nil && c.End > 0 {
		p.cursor = cursor{
			after: d.instant(c.After, "sweep"), end: c.End, now: d.instant(c.Now, "sweep"),
			latest: d.instant(c.Latest, "sweep"), safe: d.instant(c.Safe, "sweep"), floor: d.instant(c.Floor, "sweep"), restarts: max(0, c.Restarts),
		}
		for _, id := range c.Last {
			p.cursor.last = append(p.cursor.last, d.id(id))
		}
	}
	return p, d.err
}

// migrate makes format 1 go on: everything up to the position was read, but its ids
// say nothing about today's, and its overlap was a second.
func (p *progress) migrate(ordered bool) {
	p.migrated = p.position != beginning
	clear(p.seen)
	clear(p.undated)
	p.habits.Ascending = ordered
	p.counted = p.position == beginning
	p.safe = p.position
	p.keepFrom = beginning
	if p.position != beginning {
		p.keepFrom = whole(p.position - minReach)
	}
}

// decoder keeps the first error.
type decoder struct{ err error }

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) instant(s, what string) int64 {
	if s == "" {
		return beginning
	}
	t, err := wisepops.ParseTime(s)
	if err != nil {
		d.fail(errors.New("its " + what + " is not a time"))
	}
	return t.UnixMilli()
}

func (d *decoder) id(s string) (id wisepops.ID) {
	if len(s) != hex.EncodedLen(len(id)) {
		d.fail(errors.New("it holds a contact id that is not one"))
		return id
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		d.fail(errors.New("it holds a contact id that is not one"))
	}
	return id
}

func formatInstant(at int64) string {
	if at == beginning {
		return ""
	}
	return wisepops.FormatTime(time.UnixMilli(at))
}

func formatIDs(ids []wisepops.ID) []string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return texts
}

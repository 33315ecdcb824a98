package contacts

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	progressVersion = 1

	// beginning is the position of a watermark that has not moved yet.
	beginning = math.MinInt64

	// maxUndated bounds the contacts without a readable time that are
	// remembered. Nothing tells when the API stops returning one.
	maxUndated = 1000
)

// progress is how far contacts were read, or acknowledged: everything dated up
// to the position, and the contacts in seen. All instants are in milliseconds
// since 1970.
type progress struct {
	position int64 // or beginning

	// seen holds the contacts that a request reaching back behind the position
	// returns again.
	seen map[wisepops.ID]int64

	undated []wisepops.ID // contacts without a readable time, oldest first

	// website tells the API key apart from others, and not more.
	website string

	// ordered says that the API was seen to serve oldest contacts first.
	ordered bool
}

func newProgress() progress {
	return progress{position: beginning, seen: map[wisepops.ID]int64{}}
}

func (p *progress) clone() progress {
	c := *p
	c.seen = maps.Clone(p.seen)
	c.undated = append([]wisepops.ID(nil), p.undated...)
	return c
}

// size is how many contacts are remembered.
func (p *progress) size() int { return len(p.seen) + len(p.undated) }

func (p *progress) hasUndated(id wisepops.ID) bool { return slices.Contains(p.undated, id) }

func (p *progress) addUndated(ids ...wisepops.ID) {
	p.undated = append(p.undated, ids...)
	if extra := len(p.undated) - maxUndated; extra > 0 {
		p.undated = append([]wisepops.ID(nil), p.undated[extra:]...)
	}
}

// moveTo sets the position and forgets the contacts that no request returns
// again.
func (p *progress) moveTo(position int64, overlap time.Duration) {
	if position == p.position {
		return
	}
	p.position = position
	horizon := reachBack(position, overlap)
	for id, at := range p.seen {
		if at < horizon {
			delete(p.seen, id)
		}
	}
}

// reachBack is the earliest instant that a request for what came after position
// may return: the API may cut the bound to whole seconds.
func reachBack(position int64, overlap time.Duration) int64 {
	if position == beginning {
		return beginning
	}
	bound := position - overlap.Milliseconds()
	const second = 1000
	return bound - ((bound%second)+second)%second
}

// storedProgress is a watermark as it stands in the cache.
type storedProgress struct {
	Version   int                 `json:"version"`
	WisepopID int64               `json:"wisepop_id"`
	Website   string              `json:"website,omitempty"`
	Position  *string             `json:"position"` // RFC 3339; "" before the first contact
	Ordered   bool                `json:"ordered"`
	Seen      map[string][]string `json:"seen"` // ids by collected_at
	Undated   []string            `json:"undated,omitempty"`
}

func (p *progress) encode(wisepopID int64) ([]byte, error) {
	s := storedProgress{
		Version:   progressVersion,
		WisepopID: wisepopID,
		Website:   p.website,
		Ordered:   p.ordered,
		Seen:      make(map[string][]string, len(p.seen)),
	}
	position := ""
	if p.position != beginning {
		position = wisepops.FormatTime(time.UnixMilli(p.position))
	}
	s.Position = &position
	texts := make(map[int64]string, len(p.seen))
	for id, at := range p.seen {
		text, ok := texts[at]
		if !ok {
			text = wisepops.FormatTime(time.UnixMilli(at))
			texts[at] = text
		}
		s.Seen[text] = append(s.Seen[text], id.String())
	}
	for _, id := range p.undated {
		s.Undated = append(s.Undated, id.String())
	}
	return json.Marshal(s)
}

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
		return p, errors.New("it is not the JSON of a watermark")
	}
	switch {
	case s.Version != progressVersion:
		return p, errors.New("it is not the JSON of a watermark")
	case s.WisepopID != wisepopID:
		return p, fmt.Errorf("it belongs to wisepop_id %d, and the input is configured for %d", s.WisepopID, wisepopID)
	case s.Position == nil:
		return p, errors.New("it holds no position")
	}
	if *s.Position != "" {
		t, err := wisepops.ParseTime(*s.Position)
		if err != nil {
			return p, errors.New("its position is not a time")
		}
		p.position = t.UnixMilli()
	}
	p.website, p.ordered = s.Website, s.Ordered
	for text, ids := range s.Seen {
		t, err := wisepops.ParseTime(text)
		if err != nil {
			return p, errors.New("it holds an instant that is not a time")
		}
		for _, hexID := range ids {
			id, err := parseID(hexID)
			if err != nil {
				return p, err
			}
			p.seen[id] = t.UnixMilli()
		}
	}
	for _, hexID := range s.Undated {
		id, err := parseID(hexID)
		if err != nil {
			return p, err
		}
		p.undated = append(p.undated, id)
	}
	return p, nil
}

func parseID(s string) (id wisepops.ID, err error) {
	if len(s) != hex.EncodedLen(len(id)) {
		return id, errors.New("it holds a contact id that is not one")
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, errors.New("it holds a contact id that is not one")
	}
	return id, nil
}

package performance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const snapshotVersion = 1

// countNames are the totals of a pop-up, in the order of popupCounts.
var countNames = [...]string{"display_count", "click_count", "email_count"}

// popupCounts are nil where a total is not known.
type popupCounts [len(countNames)]*int64

// popupState is what is remembered of a pop-up: that of the last snapshot which
// had it. Without a digest none was delivered yet.
type popupState struct {
	Counts popupCounts `json:"counts"`
	Digest string      `json:"digest"`
}

// snapshotState is what snapshots are compared with. It is pure: no I/O and no
// clock.
type snapshotState struct {
	known  bool // there was a snapshot
	popups map[int64]popupState
}

// popupMessage is one pop-up of a snapshot, ready to be delivered.
type popupMessage struct {
	id      int64 // 0 where unknown
	content []byte
}

// next compares a new snapshot with the state. It returns what to deliver, and
// the state once that was delivered. A pop-up that is in no earlier snapshot grew
// from nothing; one that vanished is remembered, for it may come back.
func (s snapshotState) next(campaigns []wisepops.Campaign, at time.Time, changedOnly bool) ([]popupMessage, snapshotState, error) {
	after := snapshotState{known: true, popups: maps.Clone(s.popups)}
	if after.popups == nil {
		after.popups = map[int64]popupState{}
	}
	messages := make([]popupMessage, 0, len(campaigns))
	for i := range campaigns {
		c := &campaigns[i]
		digest, err := digestOf(c.Raw)
		if err != nil {
			return nil, s, err
		}
		counts := popupCounts{c.DisplayCount, c.ClickCount, c.EmailCount}
		before, seen := s.popups[c.ID]
		if changedOnly && seen && c.ID != 0 && before.Digest == digest {
			continue
		}
		var delta map[string]*int64
		switch {
		case c.ID == 0 || !s.known || seen && before.Digest == "":
		case seen:
			delta = growth(before.Counts, counts)
		default:
			delta = growth(popupCounts{new(int64), new(int64), new(int64)}, counts)
		}
		content, err := popupContent(c, at, delta)
		if err != nil {
			return nil, s, err
		}
		messages = append(messages, popupMessage{id: c.ID, content: content})
		if c.ID != 0 {
			after.popups[c.ID] = popupState{Counts: counts.or(before.Counts), Digest: digest}
		}
	}
	return messages, after, nil
}

// or fills in what is not known.
func (c popupCounts) or(other popupCounts) popupCounts {
	for i := range c {
		if c[i] == nil {
			c[i] = other[i]
		}
	}
	return c
}

// growth is null for a total that is not known. One that fell was reset, and grew
// from nothing since.
func growth(before, now popupCounts) map[string]*int64 {
	delta := make(map[string]*int64, len(countNames))
	for i, name := range countNames {
		switch {
		case now[i] == nil || before[i] == nil:
			delta[name] = nil
		case *now[i] < *before[i]:
			delta[name] = now[i]
		default:
			grown := *now[i] - *before[i]
			delta[name] = &grown
		}
	}
	return delta
}

// popupContent is the API's object and what is added to it.
func popupContent(c *wisepops.Campaign, at time.Time, delta map[string]*int64) ([]byte, error) {
	var members map[string]any
	if err := unmarshalExact(c.Raw, &members); err != nil {
		return nil, err
	}
	members["snapshot_at"] = wisepops.FormatTime(at)
	members["created_at_utc"] = nil
	if !c.CreatedAt.IsZero() {
		members["created_at_utc"] = c.CreatedAt.Format(time.RFC3339Nano)
	}
	if delta != nil {
		members["delta"] = delta
	}
	return marshalExact(members)
}

// digestOf is the same for the same members in another order or spelling.
func digestOf(raw []byte) (string, error) {
	var value any
	if err := unmarshalExact(raw, &value); err != nil {
		return "", err
	}
	canonical, err := marshalExact(value)
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:8]), err
}

// unmarshalExact keeps every digit of numbers.
func unmarshalExact(data []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec.Decode(to)
}

func marshalExact(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// storedSnapshot is how a state is kept.
type storedSnapshot struct {
	Version int                  `json:"version"`
	Website string               `json:"website"` // tells the API key apart from others
	Popups  map[int64]popupState `json:"popups"`
}

func (s snapshotState) encode(website string) ([]byte, error) {
	return json.Marshal(storedSnapshot{Version: snapshotVersion, Website: website, Popups: s.popups})
}

func decodeSnapshot(data []byte) (s snapshotState, website string, err error) {
	if len(data) == 0 {
		return s, "", errors.New("it is empty")
	}
	if err := state.CheckVersion(data, snapshotVersion); err != nil {
		return s, "", err
	}
	var stored storedSnapshot
	if json.Unmarshal(data, &stored) != nil || stored.Version != snapshotVersion || stored.Popups == nil {
		return s, "", errors.New("it is damaged, or not a snapshot")
	}
	return snapshotState{known: true, popups: stored.Popups}, stored.Website, nil
}

package sandbox

import (
	"net/http"
	"slices"
	"time"
)

// Campaign is a pop-up and its totals since creation.
type Campaign struct {
	ID           int64   `json:"id"`
	Label        string  `json:"label"`
	CreatedAt    *string `json:"created_at"` // in UTC, without saying so, such as 2017-02-27 15:29:43; nil is null
	Activated    bool    `json:"activated"`
	DisplayCount int64   `json:"display_count"`
	ClickCount   int64   `json:"click_count"`
	EmailCount   int64   `json:"email_count"`
}

// Campaigns returns what GET /wisepops answers: the pop-ups of the shop, whose
// totals follow from the contacts they ever collected, or those of
// [Service.SetCampaigns].
func (s *Service) Campaigns() []Campaign {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.campaigns != nil {
		return slices.Clone(s.campaigns)
	}
	all := slices.Concat(popups, surveys)
	campaigns := make([]Campaign, len(all))
	for i, p := range all {
		createdAt := s.opts.Start.AddDate(0, 0, -7*(i+1)).UTC().Format(time.DateTime)
		collected := s.store.collected[p.id]
		emails := collected
		if !p.asksFor(0, kindEmail) {
			emails = 0
		}
		campaigns[i] = Campaign{
			ID:           p.id,
			Label:        p.label,
			CreatedAt:    &createdAt,
			Activated:    true,
			DisplayCount: 40*collected + collected/3,
			ClickCount:   2*collected + collected/7,
			EmailCount:   emails,
		}
	}
	return campaigns
}

// SetCampaigns replaces the pop-ups that GET /wisepops answers, from now on and
// whatever contacts come.
func (s *Service) SetCampaigns(campaigns ...Campaign) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.campaigns = append([]Campaign{}, campaigns...)
}

func (s *Service) getWisepops(r *http.Request) answer {
	if s.opts.Strict && r.URL.RawQuery != "" {
		return refusal(http.StatusBadRequest, "the endpoint has no parameters")
	}
	if page := r.URL.Query().Get("page"); page != "" && page != "1" {
		return jsonAnswer([]Campaign{}) // all of them are on the first page
	}
	return jsonAnswer(s.Campaigns())
}

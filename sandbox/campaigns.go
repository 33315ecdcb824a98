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
	campaigns := make([]Campaign, len(popups))
	for i, p := range popups {
		createdAt := s.opts.Start.AddDate(0, 0, -7*(i+1)).UTC().Format(time.DateTime)
		emails := s.store.collected[p.id]
		campaigns[i] = Campaign{
			ID:           p.id,
			Label:        p.label,
			CreatedAt:    &createdAt,
			Activated:    true,
			DisplayCount: 40*emails + emails/3,
			ClickCount:   2*emails + emails/7,
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
	if r.URL.RawQuery != "" {
		return refusal(http.StatusBadRequest, "the endpoint has no parameters")
	}
	return jsonAnswer(s.Campaigns())
}

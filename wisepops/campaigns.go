package wisepops

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Campaign is a pop-up of the website with its totals since creation (GET
// /wisepops, the performance data).
type Campaign struct {
	// Raw is the API's own object, byte for byte, with all its members.
	Raw json.RawMessage

	ID        int64     // 0 where missing
	Label     string    // empty where missing
	CreatedAt time.Time // UTC; zero where missing, null or not a time
	Activated bool

	// The totals; nil where one is missing, null or not a whole number.
	DisplayCount, ClickCount, EmailCount *int64
}

// Campaigns returns all pop-ups of the website. That the answer comes in pages is
// not documented.
//
// Errors: [APIError], [TransportError], [FormatError], or those of the
// [Limiter] and the context.
func (c *Client) Campaigns(ctx context.Context) ([]Campaign, error) {
	req := &request{method: http.MethodGet, path: "/wisepops", maxRetries: c.opts.MaxRetries}
	res, err := c.do(ctx, req)
	if err != nil {
		return nil, err
	}
	var objects []json.RawMessage
	if json.Unmarshal(res.body, &objects) != nil || objects == nil {
		return nil, &FormatError{Endpoint: req.endpoint(), Reason: "the answer is not a list of pop-ups"}
	}
	campaigns := make([]Campaign, len(objects))
	for i, raw := range objects {
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil || members == nil {
			return nil, &FormatError{Endpoint: req.endpoint(), Reason: "the answer is a list of something else than pop-ups"}
		}
		campaigns[i] = newCampaign(raw, members)
	}
	return campaigns, nil
}

// newCampaign leaves out what is of another type than documented: one odd member
// must not cost the whole answer.
func newCampaign(raw json.RawMessage, members map[string]json.RawMessage) Campaign {
	campaign := Campaign{Raw: raw}
	if id := wholeNumber(members["id"]); id != nil {
		campaign.ID = *id
	}
	_ = json.Unmarshal(members["label"], &campaign.Label)
	_ = json.Unmarshal(members["activated"], &campaign.Activated)
	var createdAt string
	if json.Unmarshal(members["created_at"], &createdAt) == nil {
		campaign.CreatedAt, _ = ParseTime(strings.TrimSpace(createdAt))
	}
	campaign.DisplayCount = wholeNumber(members["display_count"])
	campaign.ClickCount = wholeNumber(members["click_count"])
	campaign.EmailCount = wholeNumber(members["email_count"])
	return campaign
}

// wholeNumber reads a number, also one that is written as a string.
func wholeNumber(raw json.RawMessage) *int64 {
	n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

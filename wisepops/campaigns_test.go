package wisepops

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCampaigns(t *testing.T) {
	const first = `{"id":12345,"label":"Live Wisepop","created_at":"2017-02-27 15:29:43","activated":true,"display_count":100,"click_count":20,"email_count":20}`
	c, asked := answering(t, 200, `[`+first+`,
		{"id":"7","label":null,"created_at":null,"activated":null,"display_count":"9","click_count":null,"email_count":1.5,"more":[1]},
		{"label":5,"created_at":"yesterday"}]`)
	campaigns, err := c.Campaigns(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"GET /wisepops"}, *asked)
	require.Len(t, campaigns, 3)
	require.Equal(t, Campaign{
		Raw: []byte(first), ID: 12345, Label: "Live Wisepop", Activated: true,
		CreatedAt:    time.Date(2017, 2, 27, 15, 29, 43, 0, time.UTC),
		DisplayCount: new(int64(100)), ClickCount: new(int64(20)), EmailCount: new(int64(20)),
	}, campaigns[0])
	campaigns[1].Raw, campaigns[2].Raw = nil, nil
	require.Equal(t, Campaign{ID: 7, DisplayCount: new(int64(9))}, campaigns[1])
	require.Equal(t, Campaign{}, campaigns[2])
}

func TestCampaignsOfNoneIsAnEmptyList(t *testing.T) {
	c, _ := answering(t, 200, `[]`)
	campaigns, err := c.Campaigns(t.Context())
	require.NoError(t, err)
	require.NotNil(t, campaigns)
	require.Empty(t, campaigns)
}

// Taking such an answer for an empty list would have every pop-up vanish.
func TestCampaignsThatAreNotAList(t *testing.T) {
	for _, body := range []string{``, `null`, `{}`, `<html>secret@example.com`, `[null]`, `[1]`, `["a"]`, `[[]]`, `[{}`} {
		c, asked := answering(t, 200, body)
		_, err := c.Campaigns(t.Context())
		var format *FormatError
		require.ErrorAs(t, err, &format, body)
		require.NotContains(t, err.Error(), "secret")
		require.Len(t, *asked, 1, "a call that cannot get better is not retried")
	}
}

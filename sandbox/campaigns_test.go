package sandbox_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestCampaignsAreServedAsDocumented(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	at := "2017-02-27 15:29:43"
	s.SetCampaigns(sandbox.Campaign{
		ID: 12345, Label: "Live Wisepop", CreatedAt: &at, Activated: true,
		DisplayCount: 100, ClickCount: 20, EmailCount: 20,
	}, sandbox.Campaign{ID: 1})
	require.JSONEq(t, `[
		{"id":12345,"label":"Live Wisepop","created_at":"2017-02-27 15:29:43","activated":true,"display_count":100,"click_count":20,"email_count":20},
		{"id":1,"label":"","created_at":null,"activated":false,"display_count":0,"click_count":0,"email_count":0}]`,
		call(s, http.MethodGet, "/wisepops").Body.String())
	s.SetCampaigns()
	require.JSONEq(t, `[]`, call(s, http.MethodGet, "/wisepops").Body.String())
	require.Equal(t, http.StatusBadRequest, call(sandbox.New(sandbox.Options{Switches: sandbox.Switches{Strict: true}}), http.MethodGet, "/wisepops?page=1").Code)
	require.Equal(t, http.StatusMethodNotAllowed, call(s, http.MethodPost, "/wisepops").Code)
}

func TestTotalsGrowWithContactsAndNeverFall(t *testing.T) {
	s := sandbox.New(sandbox.Options{Contacts: 500})
	named := 0
	for _, c := range s.Contacts() {
		if c.Email != "" {
			named++
		}
	}
	emails := func() (total int64) {
		var campaigns []sandbox.Campaign
		require.NoError(t, json.Unmarshal(call(s, http.MethodGet, "/wisepops").Body.Bytes(), &campaigns))
		for _, c := range campaigns {
			require.Greater(t, c.DisplayCount, c.ClickCount)
			require.Greater(t, c.ClickCount, c.EmailCount)
			total += c.EmailCount
		}
		return total
	}
	require.EqualValues(t, named, emails())
	s.Add(sandbox.Contact{}, sandbox.Contact{})
	require.EqualValues(t, named+2, emails())
	for _, c := range s.Contacts() {
		s.Suppress(c.Email, "")
	}
	require.EqualValues(t, named+2, emails(), "totals are since creation")
}

// A client that turns pages until there are no more comes to an end.
func TestCampaignsStandOnTheFirstPage(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	all := call(s, http.MethodGet, "/wisepops").Body.String()
	require.Equal(t, all, call(s, http.MethodGet, "/wisepops/?page=1&page_size=100").Body.String())
	require.JSONEq(t, `[]`, call(s, http.MethodGet, "/wisepops?page=2").Body.String())
}

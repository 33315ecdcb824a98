package processor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func campaignSandbox(t *testing.T) (s *sandbox.Service, baseURL string) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	s = sandbox.New(sandbox.Options{})
	createdAt := "2017-02-27 15:29:43"
	s.SetCampaigns(sandbox.Campaign{ID: 12345, Label: "Live Wisepop", Activated: true, CreatedAt: &createdAt}, sandbox.Campaign{ID: 7})
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Release()
		server.Close()
	})
	return s, server.URL + "/api2"
}

func openCampaign(t *testing.T, mgr *service.Resources, url, conf string) *campaignProcessor {
	t.Helper()
	parsed, err := campaignSpec().ParseYAML("api_key: demo\nbase_url: "+url+"\nbackoff: {initial_interval: 1ms, max_interval: 1ms}\n"+conf, nil)
	require.NoError(t, err)
	p, err := newCampaignProcessor(parsed, mgr)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close(context.Background())) })
	return p
}

// campaign processes a message and returns it as JSON.
func campaign(t *testing.T, p *campaignProcessor, message string, meta ...string) string {
	t.Helper()
	msg := service.NewMessage([]byte(message))
	for i := 0; i < len(meta); i += 2 {
		msg.MetaSet(meta[i], meta[i+1])
	}
	batch, err := p.Process(t.Context(), msg)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	out, err := batch[0].AsBytes()
	require.NoError(t, err)
	return string(out)
}

const liveWisepop = `"campaign":{"label":"Live Wisepop","activated":true,"created_at":"2017-02-27 15:29:43"}`

func TestLeadsGetTheirCampaign(t *testing.T) {
	s, url := campaignSandbox(t)
	p := openCampaign(t, service.MockResources(), url, "")
	for lead, want := range map[string]string{
		`{"wisepop_id":12345,"fields":{"n":12345678901234567890}}`:                           `{"wisepop_id":12345,"fields":{"n":12345678901234567890},` + liveWisepop + `}`,
		`{"wisepop_id":" 12345 "}`:                                                           `{"wisepop_id":" 12345 ",` + liveWisepop + `}`,
		`{"wisepop_id":7}`:                                                                   `{"wisepop_id":7,"campaign":{"label":"","activated":false,"created_at":null}}`,
		`{"wisepop_id":1.2345e4}`:                                                            `{"wisepop_id":1.2345e4,` + liveWisepop + `}`,
		`{"wisepop_id":12345,"campaign":"spring","field_campaign":1}`:                        `{"wisepop_id":12345,"field_campaign":1,"field_campaign_2":"spring",` + liveWisepop + `}`,
		`{"wisepop_id":12345,"campaign":"spring"}`:                                           `{"wisepop_id":12345,"field_campaign":"spring",` + liveWisepop + `}`,
		`{"wisepop_id":12345,"campaign":{"label":"Old","activated":true,"created_at":null}}`: `{"wisepop_id":12345,` + liveWisepop + `}`,
		`{"wisepop_id":null}`:                                                                `{"wisepop_id":null,"campaign":null}`,
		`{}`:                                                                                 `{"campaign":null}`,
	} {
		require.JSONEq(t, want, campaign(t, p, lead))
	}
	require.JSONEq(t, `{"a":1,`+liveWisepop+`}`, campaign(t, p, `{"a":1}`, "wisepops_wisepop_id", "12345"))
	require.Equal(t, 1, s.Calls().Total)
}

// What a pipeline does to the campaign of one lead shows in no other.
func TestLeadsShareNoCampaign(t *testing.T) {
	_, url := campaignSandbox(t)
	p := openCampaign(t, service.MockResources(), url, "")
	for range 3 { // the first waits for the answer, the others find it
		batch, err := p.Process(t.Context(), service.NewMessage([]byte(`{"wisepop_id":12345}`)))
		require.NoError(t, err)
		lead, err := batch[0].AsStructuredMut()
		require.NoError(t, err)
		campaign := lead.(map[string]any)["campaign"].(map[string]any)
		require.Equal(t, "Live Wisepop", campaign["label"])
		campaign["label"] = "changed"
	}
}

func TestProcessorsOfOneWebsiteShareTheirCalls(t *testing.T) {
	s, url := campaignSandbox(t)
	mgr := service.MockResources()
	var together sync.WaitGroup
	for range 4 {
		p := openCampaign(t, mgr, url, "")
		for range 8 {
			together.Go(func() {
				assert.Contains(t, campaign(t, p, `{"wisepop_id":12345}`), "Live Wisepop")
			})
		}
	}
	together.Wait()
	require.Equal(t, 1, s.Calls().Total)
}

func TestWhatIsNoObjectFailsAndIsKept(t *testing.T) {
	_, url := campaignSandbox(t)
	p := openCampaign(t, service.MockResources(), url, "")
	for _, message := range []string{`[1]`, `secret@example.com`, ``} {
		_, err := p.Process(t.Context(), service.NewMessage([]byte(message)))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestUnknownPopupCausesOneEarlyRefreshAnHour(t *testing.T) {
	s, url := campaignSandbox(t)
	p := openCampaign(t, service.MockResources(), url, "")
	require.Contains(t, campaign(t, p, `{"wisepop_id":12345}`), "Live Wisepop")
	s.SetCampaigns(sandbox.Campaign{ID: 99, Label: "New"})
	require.Contains(t, campaign(t, p, `{"wisepop_id":99}`), "New", "the message that causes a refresh waits for it")
	for range 5 {
		require.Contains(t, campaign(t, p, `{"wisepop_id":100}`), `"campaign":null`)
	}
	require.Equal(t, 2, s.Calls().Total)

	anHourLater := func() {
		p.directory.mu.Lock()
		defer p.directory.mu.Unlock()
		p.directory.early = p.directory.early.Add(-time.Hour)
	}
	anHourLater()
	for range 5 {
		require.Contains(t, campaign(t, p, `{"wisepop_id":100}`), `"campaign":null`)
	}
	require.Equal(t, 3, s.Calls().Total)
	anHourLater()
	for range 5 {
		require.Contains(t, campaign(t, p, `{"wisepop_id":100}`), `"campaign":null`)
	}
	require.Equal(t, 3, s.Calls().Total, "it was missing in an answer: it was deleted")
}

func TestLastAnswerServesWhileTheApiIsAway(t *testing.T) {
	s, url := campaignSandbox(t)
	p := openCampaign(t, service.MockResources(), url, "refresh_interval: 1ns")
	require.Contains(t, campaign(t, p, `{"wisepop_id":12345}`), "Live Wisepop")
	for _, fault := range []sandbox.Fault{{Status: 500}, {Status: 401}, {Body: []byte("<html>")}, {CutBody: true}, {DropConnection: true}, {Hang: true}} {
		s.Control(func(*http.Request) *sandbox.Fault { return &fault })
		require.Contains(t, campaign(t, p, `{"wisepop_id":12345}`), "Live Wisepop")
		require.Contains(t, campaign(t, p, `{"wisepop_id":8}`), `"campaign":null`)
	}
}

// A message waits for the first call alone, and that no longer than max_wait.
func TestNoMessageIsHeldUpByAnApiThatHangs(t *testing.T) {
	s, url := campaignSandbox(t)
	s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Hang: true} })
	p := openCampaign(t, service.MockResources(), url, "max_wait: 50ms")
	begun := time.Now()
	for range 1000 {
		require.Contains(t, campaign(t, p, `{"wisepop_id":12345}`), `"campaign":null`)
	}
	require.Less(t, time.Since(begun), 20*time.Second, "a thousand waits are 50 s")
	require.Equal(t, 1, s.Calls().Total)
	require.NoError(t, p.Close(t.Context()), "closing ends the call")
	require.Contains(t, campaign(t, p, `{"wisepop_id":12345}`), `"campaign":null`)
}

func TestSpentBudgetHoldsUpNoMessage(t *testing.T) {
	s, url := campaignSandbox(t)
	p := openCampaign(t, service.MockResources(service.MockResourcesOptAddRateLimit("spent", func(context.Context) (time.Duration, error) {
		return 24 * time.Hour, nil
	})), url, "rate_limit: spent\nmax_wait: 1h")
	for range 10 {
		require.Contains(t, campaign(t, p, `{"wisepop_id":12345}`), `"campaign":null`)
	}
	require.Zero(t, s.Calls().Total)
}

func TestADayWithoutTheApiCostsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		d := &campaignDirectory{all: &campaignDirectories{}, users: 1, log: service.MockResources().Logger()}
		d.ctx, d.cancel = t.Context(), func() {}
		var err error
		d.client, err = wisepops.New(wisepops.Options{APIKey: "demo", MaxRetries: 3, Transport: transport(func(*http.Request) (*http.Response, error) {
			calls++
			return nil, errors.New("no route")
		})})
		require.NoError(t, err)
		for begun := time.Now(); time.Since(begun) < 24*time.Hour; {
			campaign, err := d.lookup(t.Context(), "1", time.Hour, time.Second)
			require.NoError(t, err)
			require.Nil(t, campaign)
			time.Sleep(500 * time.Millisecond) //nolint:forbidigo // a lead each half second, of synctest's clock
		}
		d.fetches.Wait()
		require.Less(t, calls, 100)
		require.Greater(t, calls, 20)
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCampaignConfigErrors(t *testing.T) {
	for conf, want := range map[string]string{
		"api_key: ' '":                         "api_key is empty",
		"api_key: demo\nrefresh_interval: 0s":  "refresh_interval must be longer than zero",
		"api_key: demo\nmax_wait: -1s":         "max_wait must not be negative",
		"api_key: demo\nbase_url: http://a.b/": "https",
		"api_key: demo\nrate_limit: nobody":    "nobody",
	} {
		parsed, err := campaignSpec().ParseYAML(conf, nil)
		require.NoError(t, err)
		_, err = newCampaignProcessor(parsed, service.MockResources())
		require.ErrorContains(t, err, want)
	}
}

func TestPopupIDs(t *testing.T) {
	for _, v := range []any{json.Number("12345"), json.Number("12345.0"), json.Number("1.2345e4"), "12345", " 12345 ", int64(12345), 12345, 12345.0} {
		require.Equal(t, "12345", popupID(v))
	}
	for _, v := range []any{nil, true, 1.5, []any{}, ""} {
		require.Empty(t, popupID(v))
	}
}

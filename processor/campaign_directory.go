package processor

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	earlyRefreshInterval = time.Hour

	// mostMissing bounds the pop-ups that are remembered as missing.
	mostMissing = 10_000

	lastRefreshRetry = time.Hour
)

// campaignMembers are what a lead gets of a pop-up.
var campaignMembers = []string{"label", "activated", "created_at"}

// campaignDirectories are those of this process.
type campaignDirectories struct {
	mu   sync.Mutex
	open map[website]*campaignDirectory
}

type website struct{ baseURL, key string }

type campaignDirectoriesKey struct{}

// campaignDirectory keeps what the API last answered about the pop-ups of one
// website. Calls are made in the background, one at a time.
type campaignDirectory struct {
	all    *campaignDirectories
	of     website
	users  int // under all.mu
	client *wisepops.Client
	log    *service.Logger

	ctx     context.Context //nolint:containedctx // the life of the directory, which outlasts every message
	cancel  context.CancelFunc
	fetches sync.WaitGroup

	mu        sync.Mutex
	campaigns map[string]map[string]any // by id; nil until there was an answer
	answered  time.Time                 // when that was
	early     time.Time                 // when an unknown pop-up last caused a call
	missing   map[string]bool           // pop-ups that an answer did not have although they were asked for
	retryAt   time.Time                 // when to call again after a failure
	failures  int                       // in a row
	fetch     *campaignFetch            // under way
}

// campaignFetch is a call under way. Messages wait for its end, as long as it
// does not become clear that it takes longer.
type campaignFetch struct {
	begun  time.Time
	ended  chan struct{}
	slow   chan struct{} // closed when none should wait any more
	slowly sync.Once
}

func (f *campaignFetch) giveUpWaiting() { f.slowly.Do(func() { close(f.slow) }) }

// openCampaignDirectory returns the directory that all processors with the same
// key and API share. The first of them says how the API is called. It makes no
// call. Each use ends with close.
func openCampaignDirectory(conf *service.ParsedConfig, mgr *service.Resources, key string) (*campaignDirectory, error) {
	baseURL, err := apiconfig.BaseURL(conf)
	if err != nil {
		return nil, err
	}
	shared, _ := mgr.GetOrSetGeneric(campaignDirectoriesKey{}, &campaignDirectories{open: map[website]*campaignDirectory{}})
	all, ok := shared.(*campaignDirectories)
	if !ok {
		return nil, errors.New("the directories of campaigns are of another type")
	}
	d := &campaignDirectory{all: all, of: website{baseURL, key}, log: mgr.Logger()}
	// Also where it is not needed: each processor's own fields are checked.
	if d.client, err = apiconfig.NewClient(conf, mgr, d.waitingForBudget); err != nil {
		return nil, err
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if there := all.open[d.of]; there != nil {
		d = there
	} else {
		d.ctx, d.cancel = context.WithCancel(context.Background())
		all.open[d.of] = d
	}
	d.users++
	return d, nil
}

// close ends what is under way when the last user has gone.
func (d *campaignDirectory) close(ctx context.Context) error {
	d.all.mu.Lock()
	d.users--
	last := d.users == 0
	if last {
		delete(d.all.open, d.of)
	}
	d.all.mu.Unlock()
	if !last {
		return nil
	}
	d.cancel()
	ended := make(chan struct{})
	go func() {
		d.fetches.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		d.client.CloseIdleConnections()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lookup returns the campaign of a pop-up, or nil where it is not known. It waits at
// most maxWait. The error is that of ctx.
func (d *campaignDirectory) lookup(ctx context.Context, id string, refresh, maxWait time.Duration) (map[string]any, error) {
	campaign, known, fetch := d.look(id, refresh)
	if known || fetch == nil {
		return campaign, nil
	}
	wait := maxWait - time.Since(fetch.begun)
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-fetch.ended:
		case <-fetch.slow:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	campaign, known = d.campaigns[id]
	if !known && d.answered.After(fetch.begun) {
		// It was deleted: asking for it again and again would be in vain.
		if d.missing == nil || len(d.missing) >= mostMissing {
			d.missing = map[string]bool{}
		}
		d.missing[id] = true
	}
	return maps.Clone(campaign), nil
}

// look has the pop-ups looked up where that is due. The fetch is nil where there
// is none to wait for.
func (d *campaignDirectory) look(id string, refresh time.Duration) (campaign map[string]any, known bool, fetch *campaignFetch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	campaign, known = d.campaigns[id]
	now := time.Now()
	stale := d.campaigns == nil || now.Sub(d.answered) >= refresh
	early := !known && !stale && !d.missing[id] && (d.early.IsZero() || now.Sub(d.early) >= earlyRefreshInterval)
	if d.fetch == nil && (stale || early) && !now.Before(d.retryAt) && d.ctx.Err() == nil {
		if early {
			d.early = now
		}
		f := &campaignFetch{begun: now, ended: make(chan struct{}), slow: make(chan struct{})}
		if d.failures > 0 {
			f.giveUpWaiting() // the API was away: it may still be
		}
		d.fetch = f
		d.fetches.Go(func() { d.run(f) })
	}
	return maps.Clone(campaign), known, d.fetch
}

func (d *campaignDirectory) run(f *campaignFetch) {
	// Messages may wait for the first attempt of an outage, which is therefore not
	// retried at once. The second one is, and those that follow are not.
	client := d.client
	d.mu.Lock()
	if d.failures != 1 {
		client = client.WithMaxRetries(0)
	}
	d.mu.Unlock()
	answer, err := client.Campaigns(d.ctx)

	d.mu.Lock()
	defer d.mu.Unlock()
	defer close(f.ended)
	d.fetch = nil
	now := time.Now()
	switch {
	case d.ctx.Err() != nil:
	case err != nil:
		d.failures++
		d.retryAt = now.Add(apiconfig.WaitAfter(err, d.failures, lastRefreshRetry))
		d.log.Errorf("%v: leads go on with the campaigns that are known, and it is tried again later", err)
	default:
		d.failures = 0
		d.retryAt = time.Time{}
		d.answered = now
		d.campaigns = campaignsByID(answer)
	}
}

// waitingForBudget lets messages go on: the budget may be spent for days.
func (d *campaignDirectory) waitingForBudget(wait time.Duration) {
	d.log.Debugf("The rate limit grants no call for %s", wait)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fetch != nil {
		d.fetch.giveUpWaiting()
	}
}

func campaignsByID(answer []wisepops.Campaign) map[string]map[string]any {
	campaigns := make(map[string]map[string]any, len(answer))
	for i := range answer {
		var members map[string]any
		if answer[i].ID == 0 || json.Unmarshal(answer[i].Raw, &members) != nil {
			continue
		}
		campaign := make(map[string]any, len(campaignMembers))
		for _, name := range campaignMembers {
			switch value := members[name].(type) {
			case map[string]any, []any: // would be shared between messages
				campaign[name] = nil
			default:
				campaign[name] = value
			}
		}
		campaigns[strconv.FormatInt(answer[i].ID, 10)] = campaign
	}
	return campaigns
}

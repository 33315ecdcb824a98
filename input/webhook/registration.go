package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// A day of a refused key costs about 40 calls with this.
	registerLastWait = time.Hour

	lastLookVersion = 1
)

// hookPlan is what brings the hooks of a website to what is wanted.
type hookPlan struct {
	present int             // wanted hooks that are there
	create  []wisepops.Hook // wanted hooks that are not
	remove  []int64         // twins of wanted hooks
}

// planHooks compares what is there with what is wanted. Of identical hooks the
// one with the lowest id stays, so that replicas that created them at the same
// time agree. Hooks that are not wanted are somebody else's.
func planHooks(there, wanted []wisepops.Hook) hookPlan {
	var plan hookPlan
	for _, want := range wanted {
		var ids []int64
		for _, h := range there {
			h.TargetURL = normaliseURL(h.TargetURL)
			if h.Same(want) {
				ids = append(ids, h.ID)
			}
		}
		if len(ids) == 0 {
			plan.create = append(plan.create, want)
			continue
		}
		plan.present++
		slices.Sort(ids)
		plan.remove = append(plan.remove, slices.Compact(ids)[1:]...)
	}
	return plan
}

// normaliseURL spells a URL in one way, as the API may do when it lists it: scheme
// and host in lower case, and no default port.
func normaliseURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		host += ":" + port
	}
	u.Host = host
	return u.String()
}

// wantedHooks are those that bring each event to its own URL.
func wantedHooks(publicURL string, events []string, wisepopIDs []int64) []wisepops.Hook {
	if len(wisepopIDs) == 0 {
		wisepopIDs = []int64{0}
	}
	var wanted []wisepops.Hook
	for _, event := range events {
		for _, id := range wisepopIDs {
			wanted = append(wanted, wisepops.Hook{Event: event, TargetURL: publicURL + "/" + event, WisepopID: id})
		}
	}
	return wanted
}

// lastLook is what is remembered of the last look at the hooks. It is written
// before the calls are made, so that a crash loop makes few.
type lastLook struct {
	Version  int       `json:"version"`
	Next     time.Time `json:"next"` // no look before then
	Failures int       `json:"failures"`
	Present  int       `json:"present"` // wanted hooks that were there
}

// registrar keeps the hooks registered.
type registrar struct {
	client   *wisepops.Client
	wanted   []wisepops.Hook
	interval time.Duration
	memory   *state.Slot // of the last look; nil: nothing is remembered
	log      *service.Logger
	hooks    *service.MetricGauge
	present  int // wanted hooks that are there, for all that is known
}

// run looks at the hooks at once, unless the last look was less than the interval
// ago, and then again and again until the context ends.
func (r *registrar) run(ctx context.Context) {
	failures := 0
	for {
		last, err := r.recall(ctx)
		if err == nil {
			failures = max(failures, last.Failures)
			r.setPresent(max(r.present, last.Present))
			// A clock that was wrong must not put the next look off for long.
			if !apiconfig.Sleep(ctx, min(time.Until(last.Next), r.interval)) {
				return
			}
			err = r.remember(ctx, lastLook{Next: time.Now().Add(apiconfig.Wait(failures+1, registerLastWait)), Failures: failures + 1})
		}
		if err == nil {
			err = r.look(ctx, failures)
		}
		if ctx.Err() != nil {
			return
		}
		wait := r.interval
		next := lastLook{Next: time.Now().Add(wait)}
		if err != nil {
			failures++
			wait = apiconfig.WaitAfter(err, failures, registerLastWait)
			next = lastLook{Next: time.Now().Add(wait), Failures: failures}
			r.log.Errorf("Registering hooks: %v: next attempt in %s", err, wait)
		} else {
			failures = 0
		}
		if err := r.remember(ctx, next); err != nil {
			r.log.Errorf("Remembering when hooks were registered: %v", err)
		}
		if !apiconfig.Sleep(ctx, wait) {
			return
		}
	}
}

// look lists the hooks, and creates and removes what the plan says. Where it
// created any it looks again, since a replica may have done the same. One that was
// created and is not listed yet counts as there: to create it again would end in
// twins.
func (r *registrar) look(ctx context.Context, failures int) error {
	client := r.client
	if failures > 0 {
		client = client.WithMaxRetries(0)
	}
	created, removed := 0, 0
	for {
		there, err := client.Hooks(ctx)
		if err != nil {
			return err
		}
		plan := planHooks(there, r.wanted)
		r.setPresent(plan.present)
		for _, id := range plan.remove {
			if err := removeHook(ctx, client, id); err != nil {
				return err
			}
			removed++
		}
		if created > 0 || len(plan.create) == 0 {
			r.setPresent(len(r.wanted))
			break
		}
		for _, h := range plan.create {
			if _, err := client.CreateHook(ctx, h); err != nil {
				return err
			}
			created++
		}
	}
	r.log.Infof("%d hooks are registered: %d created, %d twins removed", len(r.wanted), created, removed)
	return nil
}

// removeHook takes a hook that is not there for removed: a replica was faster.
func removeHook(ctx context.Context, client *wisepops.Client, id int64) error {
	err := client.DeleteHook(ctx, id)
	if apiErr, ok := errors.AsType[*wisepops.APIError](err); ok && apiErr.Status == 404 {
		return nil
	}
	return err
}

// unregister deletes the hooks, and forgets that they were registered.
func (r *registrar) unregister(ctx context.Context) error {
	there, err := r.client.Hooks(ctx)
	if err != nil {
		return err
	}
	for _, h := range there {
		h.TargetURL = normaliseURL(h.TargetURL)
		if slices.ContainsFunc(r.wanted, h.Same) {
			if err := removeHook(ctx, r.client, h.ID); err != nil {
				return err
			}
		}
	}
	r.setPresent(0)
	return r.remember(ctx, lastLook{})
}

func (r *registrar) setPresent(n int) {
	r.present = n
	r.hooks.Set(int64(n))
}

func (r *registrar) recall(ctx context.Context) (last lastLook, err error) {
	if r.memory == nil {
		return last, nil
	}
	data, _, err := r.memory.Get(ctx)
	if err != nil {
		return last, fmt.Errorf("reading from cache %q when hooks were registered: %w", r.memory.Cache, err)
	}
	if err := json.Unmarshal(data, &last); err != nil || last.Version != lastLookVersion {
		last = lastLook{} // which costs one look more
	}
	return last, nil
}

func (r *registrar) remember(ctx context.Context, last lastLook) error {
	if r.memory == nil {
		return nil
	}
	last.Version, last.Present = lastLookVersion, r.present
	data, err := json.Marshal(last)
	if err != nil {
		return err
	}
	if err := r.memory.Set(ctx, data); err != nil {
		return fmt.Errorf("writing to cache %q when hooks are registered: %w", r.memory.Cache, err)
	}
	return nil
}

// Package contacts is the wisepops_contacts input: past and new contacts, by polling with
// a watermark.
package contacts

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/metadata"
	"github.com/wisepops-connect/wisepops-connect/internal/poll"
	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// maxStoredMidRun bounds the ids that are stored while the position cannot move, which is as
// long as an API without order is read for the first time. Past it a crash in that run
// repeats the run.
const maxStoredMidRun = 100_000

func init() {
	service.MustRegisterBatchInput("wisepops_contacts", spec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchInput, error) {
			return newInput(conf, mgr)
		})
}

// input polls contacts.
type input struct {
	*poll.Input
	client *wisepops.Client
	conf   config
}

func newInput(conf *service.ParsedConfig, mgr *service.Resources) (*input, error) {
	c, err := parseConfig(conf)
	if err != nil {
		return nil, err
	}
	in := &input{conf: c}
	onWait := func(wait time.Duration) { in.Waiting(wait) }
	if in.client, err = apiconfig.NewClient(conf, mgr, onWait); err != nil {
		return nil, err
	}
	opts := poll.Options{
		Interval:    c.pollInterval,
		LongestWait: c.pollInterval,
		MaxMessages: c.checkpointLimit,
		MaxBytes:    c.checkpointBytes,
		StateName:   "watermark",
		Items:       "contacts",
		Identity:    c.website + c.cacheKey,
		WriteErrors: mgr.Metrics().NewCounter("wisepops_watermark_write_errors"),
	}
	if c.cache != "" {
		if err := state.CheckCache(mgr, fieldCheckpointCache, c.cache); err != nil {
			return nil, err
		}
		opts.Slot = state.NewSlot(mgr, c.cache, c.cacheKey)
	}
	in.Input, err = poll.New(newSource(c, in.client, opts.Slot, mgr), opts, mgr)
	return in, err
}

// ConnectionTest costs one call.
func (in *input) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	_, err := in.client.Contacts(ctx, wisepops.ContactsRequest{WisepopID: in.conf.wisepopID, PageSize: 1, NoRetry: true})
	if err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	return service.ConnectionTestSucceeded().AsList()
}

// Close is safe before Connect and twice.
func (in *input) Close(ctx context.Context) error {
	defer in.client.CloseIdleConnections()
	return in.Input.Close(ctx)
}

// source is a [poll.Source]: its watermark says what to read next, and its committed
// progress follows behind.
type source struct {
	conf   config
	client *wisepops.Client
	slot   *state.Slot
	log    *service.Logger

	mark      *watermark
	twins     twins
	pageBytes int // length of the last page

	// Guarded by the engine.
	committed  progress
	completeTo int64         // everything up to this instant was read; 0 before the first run has ended
	midRun     bool          // the last page neither moved the position nor ended a run
	ahead      time.Duration // by which the server's clock was ahead of ours

	received    *service.MetricCounter
	duplicates  *service.MetricCounter
	undated     *service.MetricCounter
	seenSize    *service.MetricGauge
	lag         *service.MetricGauge
	lastSuccess *service.MetricGauge
}

func newSource(conf config, client *wisepops.Client, slot *state.Slot, mgr *service.Resources) *source {
	m := mgr.Metrics()
	return &source{
		conf:        conf,
		client:      client,
		slot:        slot,
		log:         mgr.Logger(),
		received:    m.NewCounter("wisepops_contacts_received"),
		duplicates:  m.NewCounter("wisepops_contacts_duplicates"),
		undated:     m.NewCounter("wisepops_contacts_undated"),
		seenSize:    m.NewGauge("wisepops_seen_size"),
		lag:         m.NewGauge("wisepops_watermark_lag_seconds"),
		lastSuccess: m.NewGauge("wisepops_last_poll_success_seconds"),
	}
}

// Next reads one page.
func (s *source) Next(ctx context.Context, retry bool) (poll.Page, error) {
	q := s.mark.next
	req := wisepops.ContactsRequest{
		WisepopID: s.conf.wisepopID,
		PageSize:  q.size,
		Page:      q.page,
		NoRetry:   retry,
		SizeHint:  s.pageBytes,
	}
	if q.after != beginning {
		req.CollectedAfter = time.UnixMilli(q.after)
	}
	res, err := s.client.Contacts(ctx, req)
	if err != nil {
		return poll.Page{}, err
	}
	s.pageBytes = res.Size
	now := time.Now()
	if res.Date.IsZero() {
		res.Date = now
	}
	s.twins.number(res.Contacts, q, s.mark.ordered)
	a, err := s.mark.take(res.Contacts, res.Date)
	if err != nil {
		return poll.Page{}, err
	}
	s.lastSuccess.Set(now.Unix())
	s.report(&a)
	ahead := res.Date.Sub(now)
	fresh, delta := release(a.fresh, res.Size), a.delta // no more of the answer is kept
	return poll.Page{
		Len:    len(fresh),
		Bytes:  heldBytes(fresh, res.Size),
		Oldest: oldestOf(fresh),
		Messages: func(from, to int) service.MessageBatch {
			return metadata.Contacts(fresh[from:to], metadata.SourceContacts, "")
		},
		Commit:   func() { s.commit(&delta, ahead) },
		CaughtUp: a.caughtUp,
		Last:     a.caughtUp && (a.finished || !s.conf.follow),
	}, nil
}

// smallShare is a quarter: contacts that are less of their page than that are copied, so
// that they do not keep all of it in memory.
const smallShare = 4

// release returns contacts that hold no more than smallShare times their own size of a page.
func release(contacts []wisepops.Contact, body int) []wisepops.Contact {
	size := 0
	for i := range contacts {
		size += len(contacts[i].Raw)
	}
	if smallShare*size >= body {
		return contacts
	}
	contacts = slices.Clone(contacts)
	for i := range contacts {
		contacts[i].Raw = bytes.Clone(contacts[i].Raw)
	}
	return contacts
}

// heldBytes is how much memory released contacts hold at most.
func heldBytes(contacts []wisepops.Contact, body int) (n int) {
	for i := range contacts {
		n += len(contacts[i].Raw)
	}
	return min(smallShare*n, body)
}

func oldestOf(contacts []wisepops.Contact) (oldest time.Time) {
	for i := range contacts {
		if at := contacts[i].CollectedAt; !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	return oldest
}

func (s *source) report(a *answer) {
	s.received.Incr(int64(len(a.fresh)))
	s.duplicates.Incr(int64(a.duplicates))
	if a.undated > 0 {
		s.undated.Incr(int64(a.undated))
		s.log.Warnf("%d contacts have no readable collected_at: they are delivered, and do not move the watermark", a.undated)
	}
	if a.disorder {
		s.log.Warn("The API no longer serves oldest contacts first: this run starts over, and may repeat contacts")
	}
	if a.clockBack {
		s.log.Warn("The watermark lies ahead of the clock of the API: it is set back to that clock")
	}
}

func (s *source) commit(d *delta, ahead time.Duration) {
	before := s.committed.position
	s.committed.apply(d, s.mark.overlap)
	s.midRun = s.committed.position == before && d.completeTo == 0
	if d.completeTo != 0 {
		s.completeTo = d.completeTo
	}
	s.ahead = ahead
	s.seenSize.Set(int64(s.committed.size()))
}

// Report sets the lag: the age of the oldest contact that was read and is not delivered
// or, where there is none, of the instant up to which everything was.
func (s *source) Report(oldest time.Time) {
	if oldest.IsZero() {
		at := max(s.committed.position, s.completeTo)
		if at == beginning || at == 0 {
			return
		}
		oldest = time.UnixMilli(at)
	}
	s.lag.Set(int64(max(0, time.Since(oldest)+s.ahead).Seconds()))
}

// Encode returns the watermark as it is stored.
func (s *source) Encode() ([]byte, error) {
	if s.midRun && len(s.committed.seen) > maxStoredMidRun {
		return nil, nil
	}
	return s.committed.encode(s.conf.wisepopID)
}

// Load goes on from a stored watermark.
func (s *source) Load(data []byte, found bool) error {
	p, err := s.decode(data, found)
	if err != nil {
		return err
	}
	p.website = s.conf.website
	s.committed = p
	s.mark = newWatermark(p.clone(), s.conf.pageSize, s.conf.overlap, s.conf.collectedAfter, s.conf.collectedBefore)
	if s.conf.autoOverlap {
		s.mark.auto = true
		s.mark.startRun()
	}
	return nil
}

func (s *source) decode(data []byte, found bool) (progress, error) {
	if !found {
		if s.conf.collectedAfter.IsZero() {
			s.log.Info("No watermark is stored: reading begins with the first contact")
		} else {
			s.log.Infof("No watermark is stored: reading begins with the contacts collected at %s", wisepops.FormatTime(s.conf.collectedAfter))
		}
		return newProgress(), nil
	}
	p, err := decodeProgress(data, s.conf.wisepopID)
	if err != nil {
		return p, fmt.Errorf("the watermark %q in cache %q cannot be used: %w: to start over from collected_after, delete that key or set another checkpoint_cache_key; to go on from a known instant, set collected_after to it as well", s.slot.Key, s.slot.Cache, err)
	}
	if p.website != "" && p.website != s.conf.website {
		s.log.Warnf("The watermark %q in cache %q was stored with another API key: if that is the key of another website, the past contacts of this one are left out, and it needs a %s of its own",
			s.slot.Key, s.slot.Cache, fieldCheckpointCacheKey)
	}
	if p.position == beginning {
		return p, nil
	}
	at := wisepops.FormatTime(time.UnixMilli(p.position))
	if s.conf.collectedAfter.IsZero() {
		s.log.Infof("Going on from the stored watermark %s", at)
		return p, nil
	}
	s.log.Infof("Going on from the stored watermark %s, which takes precedence over %s: to start over, delete the key %q from the cache %q or set another %s",
		at, fieldCollectedAfter, s.slot.Key, s.slot.Cache, fieldCheckpointCacheKey)
	return p, nil
}

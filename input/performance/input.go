// Package performance is the wisepops_performance input: snapshots of the performance of
// pop-ups, and how much it grew.
package performance

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/metadata"
	"github.com/wisepops-connect/wisepops-connect/internal/poll"
	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	// longestWait bounds the wait after failures, which would otherwise grow to a day.
	longestWait = time.Hour

	// maxInFlight and maxInFlightBytes bound the snapshots that are not delivered. They
	// follow each other once a day.
	maxInFlight      = 100_000
	maxInFlightBytes = 64 << 20
)

func init() {
	service.MustRegisterBatchInput("wisepops_performance", spec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchInput, error) {
			return newInput(conf, mgr)
		})
}

// input polls snapshots.
type input struct {
	*poll.Input
	client *wisepops.Client
}

func newInput(conf *service.ParsedConfig, mgr *service.Resources) (*input, error) {
	c, err := parseConfig(conf)
	if err != nil {
		return nil, err
	}
	in := &input{}
	onWait := func(wait time.Duration) { in.Waiting(wait) }
	if in.client, err = apiconfig.NewClient(conf, mgr, onWait); err != nil {
		return nil, err
	}
	opts := poll.Options{
		Interval:    c.pollInterval,
		LongestWait: min(c.pollInterval, longestWait),
		MaxMessages: maxInFlight,
		MaxBytes:    maxInFlightBytes,
		StateName:   "last snapshot",
		Items:       "pop-ups",
		Identity:    c.website + c.cacheKey,
		WriteErrors: mgr.Metrics().NewCounter("wisepops_snapshot_write_errors"),
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
	if _, err := in.client.WithMaxRetries(0).Campaigns(ctx); err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	return service.ConnectionTestSucceeded().AsList()
}

// Close is safe before Connect and twice.
func (in *input) Close(ctx context.Context) error {
	defer in.client.CloseIdleConnections()
	return in.Input.Close(ctx)
}

// source is a [poll.Source]: each page is a snapshot, compared with the one that was read
// before it.
type source struct {
	conf   config
	client *wisepops.Client
	slot   *state.Slot
	log    *service.Logger

	last snapshotState // that was read

	committed snapshotState // guarded by the engine

	snapshots   *service.MetricCounter
	lastSuccess *service.MetricGauge
}

func newSource(conf config, client *wisepops.Client, slot *state.Slot, mgr *service.Resources) *source {
	m := mgr.Metrics()
	return &source{
		conf:        conf,
		client:      client,
		slot:        slot,
		log:         mgr.Logger(),
		snapshots:   m.NewCounter("wisepops_performance_snapshots"),
		lastSuccess: m.NewGauge("wisepops_last_poll_success_seconds"),
	}
}

// Load takes over the last snapshot.
func (s *source) Load(data []byte, found bool) error {
	if !found {
		return nil
	}
	snapshot, website, err := decodeSnapshot(data)
	if err != nil {
		return fmt.Errorf("the last snapshot %q in cache %q cannot be used: %w: to start over, without deltas in the first snapshot, delete that key or set another %s",
			s.slot.Key, s.slot.Cache, err, fieldCheckpointCacheKey)
	}
	if website != s.conf.website {
		s.log.Warnf("The last snapshot %q in cache %q was stored with another API key: if that is the key of another website, this one needs a %s of its own",
			s.slot.Key, s.slot.Cache, fieldCheckpointCacheKey)
	}
	s.last, s.committed = snapshot, snapshot
	return nil
}

// Next takes a snapshot.
func (s *source) Next(ctx context.Context, retry bool) (poll.Page, error) {
	client := s.client
	if retry {
		client = client.WithMaxRetries(0)
	}
	campaigns, err := client.Campaigns(ctx)
	if err != nil {
		return poll.Page{}, err
	}
	at := time.Now()
	messages, after, err := s.last.next(campaigns, at, s.conf.changedOnly)
	if err != nil {
		return poll.Page{}, fmt.Errorf("comparing snapshots: %w", err)
	}
	s.last = after
	s.lastSuccess.Set(at.Unix())
	s.snapshots.Incr(1)
	bytes := 0
	for i := range messages {
		bytes += len(messages[i].content)
	}
	return poll.Page{
		Len:      len(messages),
		Bytes:    bytes,
		Messages: func(from, to int) service.MessageBatch { return batch(messages[from:to], at) },
		Commit:   func() { s.committed = after },
		CaughtUp: true,
		Last:     !s.conf.follow,
	}, nil
}

// Encode returns the last snapshot that was delivered, as it is stored.
func (s *source) Encode() ([]byte, error) { return s.committed.encode(s.conf.website) }

// Report does nothing: a snapshot has no lag.
func (*source) Report(time.Time) {}

// batch makes a batch of the pop-ups of one snapshot.
func batch(messages []popupMessage, at time.Time) service.MessageBatch {
	batch := make(service.MessageBatch, len(messages))
	for i, m := range messages {
		msg := service.NewMessage(m.content)
		if m.id != 0 {
			msg.MetaSetMut(metadata.WisepopID, strconv.FormatInt(m.id, 10))
		}
		msg.MetaSetMut(metadata.SnapshotAt, wisepops.FormatTime(at))
		msg.MetaSetMut(metadata.Source, metadata.SourcePerformance)
		batch[i] = msg
	}
	return batch
}

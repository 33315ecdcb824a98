package input

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// pagesAhead is how many pages wait for their read, so that asking and reading
// need not keep the same pace. They count as in flight.
const pagesAhead = 2

// lagInterval is how often the lag is reported while nothing is asked for.
const lagInterval = 15 * time.Second

// page is a page of new contacts on its way to the pipeline.
type page struct {
	contacts []wisepops.Contact
	settle   func(refused map[wisepops.ID]bool)
}

// poller asks for pages in a goroutine of its own, ahead of the reads.
type poller struct {
	conf   contactsConfig
	client *wisepops.Client
	mark   *watermark
	log    *service.Logger
	pages  chan page

	kept      *wisepops.ContactsPage // fetched and not yet taken
	failures  int                    // failed polls in a row
	rewinds   int                    // rewinds since contacts were acknowledged
	progress  int                    // contacts acknowledged before the last rewind
	pause     time.Duration          // before the next request
	pageBytes int                    // length of the last page

	ahead atomic.Int64 // nanoseconds by which the server's clock was ahead of ours

	received    *service.MetricCounter
	duplicates  *service.MetricCounter
	undated     *service.MetricCounter
	lag         *service.MetricGauge
	lastSuccess *service.MetricGauge
}

func newPoller(conf contactsConfig, client *wisepops.Client, p progress, mgr *service.Resources) *poller {
	m := mgr.Metrics()
	po := &poller{
		conf:        conf,
		client:      client,
		log:         mgr.Logger(),
		pages:       make(chan page, pagesAhead),
		received:    m.NewCounter("wisepops_contacts_received"),
		duplicates:  m.NewCounter("wisepops_contacts_duplicates"),
		undated:     m.NewCounter("wisepops_contacts_undated"),
		lag:         m.NewGauge("wisepops_watermark_lag_seconds"),
		lastSuccess: m.NewGauge("wisepops_last_poll_success_seconds"),
	}
	po.start(p)
	return po
}

func (po *poller) start(p progress) {
	po.mark = newWatermark(p, po.conf.pageSize, po.conf.overlap, po.conf.collectedAfter, po.conf.collectedBefore)
	po.kept = nil
}

// prefetch fetches the page that is asked for next, and keeps it.
func (po *poller) prefetch(ctx context.Context) error {
	if po.kept != nil {
		return nil
	}
	q := po.mark.next
	req := wisepops.ContactsRequest{
		WisepopID: po.conf.wisepopID,
		PageSize:  q.size,
		Page:      q.page,
		NoRetry:   po.failures > 0,
		SizeHint:  po.pageBytes,
	}
	if q.after != beginning {
		req.CollectedAfter = time.UnixMilli(q.after)
	}
	res, err := po.client.Contacts(ctx, req)
	if err != nil {
		return err
	}
	po.pageBytes = res.Size
	if res.Date.IsZero() {
		res.Date = time.Now()
	}
	po.ahead.Store(int64(time.Until(res.Date)))
	po.kept = res
	po.failures = 0
	po.lastSuccess.Set(time.Now().Unix())
	return nil
}

// failed takes note of a failed poll, and returns how long to wait.
func (po *poller) failed(err error) time.Duration {
	po.failures++
	return apiconfig.WaitAfter(err, po.failures, po.conf.pollInterval)
}

// postpone delays the next request.
func (po *poller) postpone(wait time.Duration) { po.pause = wait }

// run polls until the context or the input ends, and then closes the pages.
func (po *poller) run(ctx context.Context, acks *checkpointer) {
	defer close(po.pages)
	for {
		if !po.sleep(ctx, acks) {
			return
		}
		if acks.refusals() > 0 {
			if !po.rewind(ctx, acks) {
				return
			}
			continue
		}
		if err := po.prefetch(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			po.postpone(po.failed(err))
			po.log.Errorf("%v: next attempt in %s", err, po.pause)
			continue
		}
		ended, err := po.deliver(ctx, acks)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRefused):
		case err != nil:
			po.postpone(po.failed(err))
			po.log.Errorf("%v: next attempt in %s", err, po.pause)
		case ended:
			// Whatever is refused until then is read again.
			if acks.drain(ctx) != nil {
				return
			}
			if acks.refusals() == 0 {
				return
			}
		}
	}
}

// deliver hands the page that is kept to the pipeline. It reports whether the
// input ends.
func (po *poller) deliver(ctx context.Context, acks *checkpointer) (ended bool, err error) {
	res := po.kept
	po.kept = nil
	a, err := po.mark.take(res.Contacts, res.Date)
	if err != nil {
		return false, err
	}
	po.report(&a)
	settle, err := acks.track(ctx, a.delta, len(a.fresh))
	if err != nil {
		return false, err
	}
	if len(a.fresh) == 0 {
		settle(nil)
	} else {
		select {
		case po.pages <- page{contacts: a.fresh, settle: func(refused map[wisepops.ID]bool) {
			settle(refused)
			po.reportLag(acks)
		}}:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	po.reportLag(acks)
	if !a.caughtUp {
		return false, nil
	}
	po.postpone(po.conf.pollInterval)
	return a.finished || !po.conf.follow, nil
}

func (po *poller) report(a *answer) {
	po.received.Incr(int64(len(a.fresh)))
	po.duplicates.Incr(int64(a.duplicates))
	if a.undated > 0 {
		po.undated.Incr(int64(a.undated))
		po.log.Warnf("%d contacts have no readable collected_at: they are delivered, and do not move the watermark", a.undated)
	}
	if a.disorder {
		po.log.Warn("The API no longer serves oldest contacts first: this run starts over, and may repeat contacts")
	}
	if a.clockBack {
		po.log.Warn("The watermark lies ahead of the clock of the API: it is set back to that clock")
	}
}

func (po *poller) reportLag(acks *checkpointer) {
	po.lag.Set(int64(acks.behind(time.Now().Add(time.Duration(po.ahead.Load()))).Seconds()))
}

// rewind goes back to the last acknowledged contact, to read again what was
// refused.
func (po *poller) rewind(ctx context.Context, acks *checkpointer) bool {
	if acks.drain(ctx) != nil {
		return false
	}
	if n := acks.progressed(); n > po.progress {
		po.rewinds, po.progress = 0, n
	}
	po.rewinds++
	wait := apiconfig.Wait(po.rewinds, po.conf.pollInterval)
	po.log.Warnf("%d contacts were refused downstream: they are read again in %s", acks.refusals(), wait)
	po.start(acks.rewind())
	po.postpone(wait)
	return true
}

// sleep waits as long as was postponed, or until contacts are refused.
func (po *poller) sleep(ctx context.Context, acks *checkpointer) bool {
	if po.pause <= 0 {
		return ctx.Err() == nil
	}
	for until := time.Now().Add(po.pause); time.Until(until) > 0; po.reportLag(acks) {
		slice, cancel := context.WithTimeout(ctx, min(time.Until(until), lagInterval))
		err := acks.await(slice, func() bool { return acks.refused > 0 })
		cancel()
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			break // contacts were refused
		}
	}
	po.pause = 0
	return true
}

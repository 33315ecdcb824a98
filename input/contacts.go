package input

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Jeffail/shutdown"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const contactsCloseBudget = 10 * time.Second

func init() {
	service.MustRegisterBatchInput("wisepops_contacts", contactsSpec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchInput, error) {
			return newContactsInput(conf, mgr)
		})
}

type contactsInput struct {
	conf   contactsConfig
	client *wisepops.Client
	store  *store // nil: nothing is kept
	mgr    *service.Resources
	log    *service.Logger
	claim  *checkpointClaim // nil: nothing is kept
	stop   *shutdown.Signaller
	again  *replays

	abortConnect atomic.Pointer[context.CancelFunc] // set while Connect fetches

	mu      sync.Mutex // held by Connect and Close
	poller  *poller    // nil until connected
	acks    *checkpointer
	polling sync.WaitGroup
	closed  bool
}

func newContactsInput(conf *service.ParsedConfig, mgr *service.Resources) (*contactsInput, error) {
	c, err := parseContactsConfig(conf)
	if err != nil {
		return nil, err
	}
	in := &contactsInput{
		conf: c,
		mgr:  mgr,
		log:  mgr.Logger(),
		stop: shutdown.NewSignaller(),

		again: newQueue[replay](),
	}
	if in.client, err = apiconfig.NewClient(conf, mgr, in.waitingForBudget); err != nil {
		return nil, err
	}
	if c.cache == "" {
		return in, nil
	}
	if err := checkCache(mgr, wciFieldCheckpointCache, c.cache); err != nil {
		return nil, err
	}
	in.store = &store{cacheSlot{mgr, c.cache, c.cacheKey}, c.wisepopID}
	if in.claim, err = claimCheckpoint(mgr, c.cache, c.cacheKey); err != nil {
		return nil, err
	}
	return in, nil
}

// ConnectionTest costs one call.
func (in *contactsInput) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	_, err := in.client.Contacts(ctx, wisepops.ContactsRequest{WisepopID: in.conf.wisepopID, PageSize: 1, NoRetry: true})
	if err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	return service.ConnectionTestSucceeded().AsList()
}

// Connect loads the watermark and fetches the first page, which the first read
// returns. While the budget is spent it succeeds at once, and the read waits.
func (in *contactsInput) Connect(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return service.ErrEndOfInput
	}
	if in.acks != nil {
		return nil
	}
	if err := in.claim.use(); err != nil {
		return service.NewErrBackOff(err, time.Minute)
	}
	if in.poller == nil {
		p, err := in.loadProgress(ctx)
		if err != nil {
			return err
		}
		in.poller = newPoller(in.conf, in.client, p, in.mgr)
	}

	ctx, cancel := in.stop.HardStopCtx(ctx)
	defer cancel()
	in.abortConnect.Store(&cancel)
	err := in.poller.prefetch(ctx)
	waiting := in.abortConnect.Swap(nil) == nil
	if err != nil && !waiting {
		wait := in.poller.failed(err)
		if apiErr, ok := errors.AsType[*wisepops.APIError](err); !ok || apiErr.RetryAfter == 0 {
			return service.NewErrBackOff(err, wait)
		}
		in.log.Errorf("%v", err)
		in.poller.postpone(wait)
	}

	in.acks = newCheckpointer(in.poller.mark.clone(), in.store, in.poller.mark.overlap, in.conf.checkpointLimit, in.mgr)
	in.polling.Go(func() {
		ctx, cancel := in.stop.HardStopCtx(context.Background())
		defer cancel()
		in.poller.run(ctx, in.acks)
	})
	return nil
}

// waitingForBudget lets Connect succeed: readiness must not depend on the budget.
func (in *contactsInput) waitingForBudget(wait time.Duration) {
	in.log.Debugf("The rate limit grants no call for %s", wait)
	if abort := in.abortConnect.Swap(nil); abort != nil {
		(*abort)()
	}
}

func (in *contactsInput) loadProgress(ctx context.Context) (progress, error) {
	if in.store == nil {
		return newProgress(), nil
	}
	p, found, err := in.store.load(ctx)
	if err != nil {
		return p, err
	}
	if p.website != "" && p.website != in.conf.website {
		in.log.Warnf("The watermark %q in cache %q was stored with another API key: if that is the key of another website, the past contacts of this one are left out, and it needs a %s of its own",
			in.store.key, in.store.cache, wciFieldCheckpointCacheKey)
	}
	p.website = in.conf.website
	if !found || p.position == beginning {
		return p, nil
	}
	at := wisepops.FormatTime(time.UnixMilli(p.position))
	if in.conf.collectedAfter.IsZero() {
		in.log.Infof("Going on from the stored watermark %s", at)
		return p, nil
	}
	in.log.Infof("Going on from the stored watermark %s, which takes precedence over %s: to start over, delete the key %q from the cache %q or set another %s",
		at, wciFieldCollectedAfter, in.store.key, in.store.cache, wciFieldCheckpointCacheKey)
	return p, nil
}

// ReadBatch returns one page of new contacts, or what was refused of one before.
func (in *contactsInput) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	in.mu.Lock()
	p := in.poller
	in.mu.Unlock()
	if p == nil {
		return nil, nil, service.ErrNotConnected
	}
	for {
		if again := in.again.take(); again != nil {
			batch, ack := again()
			return batch, ack, nil
		}
		select {
		case page, ok := <-p.pages:
			if !ok {
				return nil, nil, service.ErrEndOfInput
			}
			batch, ack := in.batch(page)
			return batch, ack, nil
		case <-in.again.ready:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// batch makes a batch of a page, and its acknowledgement, which settles the page.
func (in *contactsInput) batch(page page) (service.MessageBatch, service.AckFunc) {
	messages := func(contacts []wisepops.Contact) service.MessageBatch {
		return contactMessages(contacts, sourceContacts, "")
	}
	if in.conf.autoReplay {
		return replayed(in.again, page.contacts, messages, func(context.Context) { page.settle(nil) })
	}
	batch := messages(page.contacts)
	ids := make([]wisepops.ID, len(page.contacts))
	for i := range page.contacts {
		ids[i] = page.contacts[i].ID
	}
	indexer := batch.Index()
	return batch, func(_ context.Context, err error) error {
		if err == nil {
			page.settle(nil)
			return nil
		}
		refused := make(map[wisepops.ID]bool)
		for _, i := range refusedMessages(err, indexer, len(ids)) {
			refused[ids[i]] = true
		}
		page.settle(refused)
		return nil
	}
}

// Close stops polling and stores what was acknowledged last. It is safe before
// Connect and twice, and takes seconds at most.
func (in *contactsInput) Close(ctx context.Context) error {
	in.stop.TriggerHardStop()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	defer in.claim.release()
	defer in.client.CloseIdleConnections()
	if in.acks == nil {
		return nil
	}
	in.polling.Wait()
	ctx, cancel := context.WithTimeout(ctx, contactsCloseBudget)
	defer cancel()
	return in.acks.close(ctx)
}

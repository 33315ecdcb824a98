// Package webhook is the wisepops_webhook input: new contacts as they are submitted, from
// hooks that it registers itself.
package webhook

import (
	"context"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

func init() {
	service.MustRegisterBatchInput("wisepops_webhook", spec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchInput, error) {
			return newInput(conf, mgr)
		})
}

// input receives deliveries. It is not wrapped to replay what is refused
// downstream: the sender is to know.
type input struct {
	conf      config
	receiver  *receiver
	client    *wisepops.Client
	listeners *listeners
	mgr       *service.Resources
	log       *service.Logger

	mu                sync.Mutex // held by Connect and Close
	listener          *listener
	registrar         *registrar // nil: hooks are not registered
	endRegistration   context.CancelFunc
	registrationEnded chan struct{}
	closed            bool
}

func newInput(conf *service.ParsedConfig, mgr *service.Resources) (*input, error) {
	c, err := parseConfig(conf)
	if err != nil {
		return nil, err
	}
	in := &input{conf: c, mgr: mgr, log: mgr.Logger(), receiver: newReceiver(&c, mgr)}
	if in.client, err = apiconfig.NewClient(conf, mgr, nil); err != nil {
		return nil, err
	}
	if in.listeners, err = sharedListeners(mgr); err != nil {
		return nil, err
	}
	if c.cache != "" {
		if err := state.CheckCache(mgr, fieldCheckpointCache, c.cache); err != nil {
			return nil, err
		}
	}
	if c.wanted != nil {
		in.registrar = &registrar{
			client:   in.client,
			wanted:   c.wanted,
			interval: c.interval,
			log:      in.log,
			hooks:    mgr.Metrics().NewGauge("wisepops_hooks_registered"),
		}
		if c.cache != "" {
			in.registrar.memory = state.NewSlot(mgr, c.cache, c.cacheKey)
		}
	}
	return in, nil
}

// ConnectionTest costs one call.
func (in *input) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	if _, err := in.client.WithMaxRetries(0).Hooks(ctx); err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	return service.ConnectionTestSucceeded().AsList()
}

// Connect listens, and has the hooks registered in the background: those that are
// there already bring deliveries meanwhile.
func (in *input) Connect(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return service.ErrEndOfInput
	}
	if in.listener != nil {
		return nil
	}
	var err error
	if in.listener, err = in.listeners.attach(ctx, in); err != nil {
		return err
	}
	in.log.Infof("Receiving deliveries on %s, path %s", in.listener.address, in.conf.path)
	if in.registrar != nil {
		ctx, cancel := context.WithCancel(context.Background())
		in.endRegistration, in.registrationEnded = cancel, make(chan struct{})
		go func() {
			defer close(in.registrationEnded)
			in.registrar.run(ctx)
		}()
	}
	return nil
}

// ReadBatch returns one delivery.
func (in *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	d, err := in.receiver.next(ctx)
	if err != nil {
		return nil, nil, err
	}
	return d.messages, d.ack, nil
}

// Close refuses what comes, has the answers sent of what was acknowledged, and
// then ends the listener, unless other inputs share it. It is safe before Connect
// and twice, and takes no longer than shutdown_timeout.
func (in *input) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, in.conf.shutdownTimeout)
	defer cancel()
	in.receiver.close()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	defer in.client.CloseIdleConnections()
	if in.listener == nil {
		return nil
	}
	if in.registrar != nil {
		in.endRegistration()
		select {
		case <-in.registrationEnded:
		case <-ctx.Done():
		}
	}
	in.deleteHooks(ctx)
	in.receiver.drain(ctx)
	in.listeners.detach(ctx, in.listener, in)
	return nil
}

// deleteHooks takes half of the time that the end may take.
func (in *input) deleteHooks(ctx context.Context) {
	if in.registrar == nil || !in.conf.unregister {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, in.conf.shutdownTimeout/2)
	defer cancel()
	if err := in.registrar.unregister(ctx); err != nil {
		in.log.Errorf("Deleting the hooks: %v: delete them with wisepops-connect hooks delete", err)
	}
}

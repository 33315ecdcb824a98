package input

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	webhookHeaderTimeout  = 10 * time.Second
	webhookIdleTimeout    = 2 * time.Minute
	webhookMaxHeaderBytes = 64 << 10

	// webhookLeavingTime is how long the path of an input that has ended is answered
	// with 503 where others keep the listener: when all of them end, or when another
	// takes its place, a 404 would tell the sender that the hook is wrong.
	webhookLeavingTime = time.Minute
)

// webhookListeners are the listeners of this process, by address. Inputs that
// name the same address share one.
type webhookListeners struct {
	mu        sync.Mutex
	byAddress map[string]*webhookListener
}

type webhookListenersKey struct{}

func sharedListeners(mgr *service.Resources) (*webhookListeners, error) {
	shared, _ := mgr.GetOrSetGeneric(webhookListenersKey{}, &webhookListeners{byAddress: map[string]*webhookListener{}})
	all, ok := shared.(*webhookListeners)
	if !ok {
		return nil, errors.New("the shared listeners are of another type")
	}
	return all, nil
}

// webhookListener is an HTTP server, and who is behind each of its paths.
type webhookListener struct {
	certFile, keyFile string
	address           net.Addr
	log               *service.Logger
	server            *http.Server
	served            chan struct{} // closed when the server has ended

	mu     sync.RWMutex
	routes map[string]*webhookInput // also those that have ended, for a while

	// Guarded by the lock of all of them.
	inputs  int // those that have not ended
	closing bool

	closed chan struct{} // closed when the address is free again
}

// attach has the requests for the path of an input go to it, and binds the address
// where nobody has.
func (all *webhookListeners) attach(ctx context.Context, in *webhookInput) (*webhookListener, error) {
	all.mu.Lock()
	defer all.mu.Unlock()
	l, bound := all.byAddress[in.conf.address]
	for bound && l.closing {
		all.mu.Unlock()
		select {
		case <-l.closed:
		case <-ctx.Done():
		}
		all.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l, bound = all.byAddress[in.conf.address]
	}
	if !bound {
		var err error
		if l, err = bindWebhookListener(ctx, &in.conf, in.log); err != nil {
			return nil, err
		}
		all.byAddress[in.conf.address] = l
	}
	if l.certFile != in.conf.certFile || l.keyFile != in.conf.keyFile {
		return nil, fmt.Errorf("%s %s is shared with another wisepops_webhook, whose %s or %s differ", wwiFieldAddress, in.conf.address, wwiFieldCertFile, wwiFieldKeyFile)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for taken, other := range l.routes {
		if !pathsOverlap(taken, in.conf.path) {
			continue
		}
		if _, closed := other.receiver.ending(); !closed {
			return nil, fmt.Errorf("the inputs %s and %s both serve %s on %s: give each its own %s",
				describeComponent(other.mgr), describeComponent(in.mgr), in.conf.path, in.conf.address, wwiFieldPath)
		}
		delete(l.routes, taken)
	}
	l.routes[in.conf.path] = in
	l.inputs++
	return l, nil
}

// pathsOverlap tells whether a request could be for either path.
func pathsOverlap(a, b string) bool {
	return a == b || path.Dir(a) == b && isWebhookSubpath(path.Base(a)) || path.Dir(b) == a && isWebhookSubpath(path.Base(b))
}

// detach ends what attach began. The last input closes the listener, once its
// answers are sent or the context has ended.
func (all *webhookListeners) detach(ctx context.Context, l *webhookListener, in *webhookInput) {
	all.mu.Lock()
	l.inputs--
	last := l.inputs == 0
	l.closing = last
	all.mu.Unlock()
	if !last {
		time.AfterFunc(webhookLeavingTime, func() { l.forget(in) })
		return
	}
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
	<-l.served
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byAddress, in.conf.address)
	close(l.closed)
}

// forget has the path of an input be one of those that nobody serves.
func (l *webhookListener) forget(in *webhookInput) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.routes[in.conf.path] == in {
		delete(l.routes, in.conf.path)
	}
}

func bindWebhookListener(ctx context.Context, conf *webhookConfig, logger *service.Logger) (*webhookListener, error) {
	var tlsConf *tls.Config
	if conf.certFile != "" {
		cert, err := tls.LoadX509KeyPair(conf.certFile, conf.keyFile)
		if err != nil {
			return nil, fmt.Errorf("loading %s and %s: %w", wwiFieldCertFile, wwiFieldKeyFile, err)
		}
		tlsConf = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "tcp", conf.address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", wwiFieldAddress, err)
	}
	l := &webhookListener{
		certFile: conf.certFile,
		keyFile:  conf.keyFile,
		address:  socket.Addr(),
		log:      logger,
		served:   make(chan struct{}),
		closed:   make(chan struct{}),
		routes:   map[string]*webhookInput{},
	}
	l.server = &http.Server{
		Handler:           l,
		ReadHeaderTimeout: webhookHeaderTimeout,

		DisableGeneralOptionsHandler: true,

		IdleTimeout:    webhookIdleTimeout,
		MaxHeaderBytes: webhookMaxHeaderBytes,
		TLSConfig:      tlsConf,
		ErrorLog:       log.New(debugWriter{logger}, "", 0),
	}
	go func() {
		defer close(l.served)
		if tlsConf != nil {
			_ = l.server.ServeTLS(socket, "", "")
			return
		}
		_ = l.server.Serve(socket)
	}()
	return l, nil
}

// debugWriter takes what net/http has to say, such as that a client broke off its
// TLS handshake.
type debugWriter struct{ log *service.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}

// ServeHTTP finds the input that a request is for. Paths are taken as they are: a
// redirect to a cleaner one would lose a delivery.
func (l *webhookListener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Also for a body that is not wanted: net/http reads it before it answers.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(webhookBodyTimeout))
	}
	defer func() {
		if recover() != nil {
			// Its value may hold what was sent.
			l.log.Error("A delivery met a bug of wisepops_webhook, and was answered with 500")
			answerWebhook(w, http.StatusInternalServerError)
		}
	}()
	in, sub := l.find(r.URL.Path)
	switch {
	case in == nil:
		answerWebhook(w, http.StatusNotFound)
	case sub == webhookHealthPath:
		in.receiver.serveHealth(w, r)
	default:
		in.receiver.serveDelivery(w, r, sub)
	}
}

// find returns the input for a path, and what follows its own: an event, the
// health check, or nothing.
func (l *webhookListener) find(requested string) (in *webhookInput, sub string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if in, ok := l.routes[requested]; ok {
		return in, ""
	}
	slash := strings.LastIndexByte(requested, '/')
	if slash < 0 || !isWebhookSubpath(requested[slash+1:]) {
		return nil, ""
	}
	parent := requested[:slash]
	if parent == "" {
		parent = "/"
	}
	return l.routes[parent], requested[slash+1:]
}

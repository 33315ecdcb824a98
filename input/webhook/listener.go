package webhook

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

	"github.com/wisepops-connect/wisepops-connect/internal/state"
)

const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10

	// drainPeriod is how long the path of an input that has ended is answered
	// with 503 where others keep the listener: when all of them end, or when another
	// takes its place, a 404 would tell the sender that the hook is wrong.
	drainPeriod = time.Minute
)

// listeners are the listeners of this process, by address. Inputs that
// name the same address share one.
type listeners struct {
	mu        sync.Mutex
	byAddress map[string]*listener
}

type listenersKey struct{}

func sharedListeners(mgr *service.Resources) (*listeners, error) {
	shared, _ := mgr.GetOrSetGeneric(listenersKey{}, &listeners{byAddress: map[string]*listener{}})
	all, ok := shared.(*listeners)
	if !ok {
		return nil, errors.New("the shared listeners are of another type")
	}
	return all, nil
}

// listener is an HTTP server, and who is behind each of its paths.
type listener struct {
	certFile, keyFile string
	address           net.Addr
	log               *service.Logger
	server            *http.Server
	served            chan struct{} // closed when the server has ended

	mu     sync.RWMutex
	routes map[string]*input // also those that have ended, for a while

	// Guarded by the lock of all of them.
	inputs  int // those that have not ended
	closing bool

	closed chan struct{} // closed when the address is free again
}

// attach has the requests for the path of an input go to it, and binds the address
// where nobody has.
func (all *listeners) attach(ctx context.Context, in *input) (*listener, error) {
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
		if l, err = bindListener(ctx, &in.conf, in.log); err != nil {
			return nil, err
		}
		all.byAddress[in.conf.address] = l
	}
	if l.certFile != in.conf.certFile || l.keyFile != in.conf.keyFile {
		return nil, fmt.Errorf("%s %s is shared with another wisepops_webhook, whose %s or %s differ", fieldAddress, in.conf.address, fieldCertFile, fieldKeyFile)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for taken, other := range l.routes {
		if !pathsOverlap(taken, in.conf.path) {
			continue
		}
		if _, closed := other.receiver.ending(); !closed {
			return nil, fmt.Errorf("the inputs %s and %s both serve %s on %s: give each its own %s",
				state.Describe(other.mgr), state.Describe(in.mgr), in.conf.path, in.conf.address, fieldPath)
		}
		delete(l.routes, taken)
	}
	l.routes[in.conf.path] = in
	l.inputs++
	return l, nil
}

// pathsOverlap tells whether a request could be for either path.
func pathsOverlap(a, b string) bool {
	return a == b || path.Dir(a) == b && isSubpath(path.Base(a)) || path.Dir(b) == a && isSubpath(path.Base(b))
}

// detach ends what attach began. The last input closes the listener, once its
// answers are sent or the context has ended.
func (all *listeners) detach(ctx context.Context, l *listener, in *input) {
	all.mu.Lock()
	l.inputs--
	last := l.inputs == 0
	l.closing = last
	all.mu.Unlock()
	if !last {
		time.AfterFunc(drainPeriod, func() { l.forget(in) })
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
func (l *listener) forget(in *input) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.routes[in.conf.path] == in {
		delete(l.routes, in.conf.path)
	}
}

func bindListener(ctx context.Context, conf *config, logger *service.Logger) (*listener, error) {
	var tlsConf *tls.Config
	if conf.certFile != "" {
		cert, err := tls.LoadX509KeyPair(conf.certFile, conf.keyFile)
		if err != nil {
			return nil, fmt.Errorf("loading %s and %s: %w", fieldCertFile, fieldKeyFile, err)
		}
		tlsConf = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "tcp", conf.address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", fieldAddress, err)
	}
	l := &listener{
		certFile: conf.certFile,
		keyFile:  conf.keyFile,
		address:  socket.Addr(),
		log:      logger,
		served:   make(chan struct{}),
		closed:   make(chan struct{}),
		routes:   map[string]*input{},
	}
	l.server = &http.Server{
		Handler:           l,
		ReadHeaderTimeout: headerTimeout,

		DisableGeneralOptionsHandler: true,

		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
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
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Also for a body that is not wanted: net/http reads it before it answers.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	defer func() {
		if recover() != nil {
			// Its value may hold what was sent.
			l.log.Error("A delivery met a bug of wisepops_webhook, and was answered with 500")
			respond(w, http.StatusInternalServerError)
		}
	}()
	in, sub := l.find(r.URL.Path)
	switch {
	case in == nil:
		respond(w, http.StatusNotFound)
	case sub == healthPath:
		in.receiver.serveHealth(w, r)
	default:
		in.receiver.serveDelivery(w, r, sub)
	}
}

// find returns the input for a path, and what follows its own: an event, the
// health check, or nothing.
func (l *listener) find(requested string) (in *input, sub string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if in, ok := l.routes[requested]; ok {
		return in, ""
	}
	slash := strings.LastIndexByte(requested, '/')
	if slash < 0 || !isSubpath(requested[slash+1:]) {
		return nil, ""
	}
	parent := requested[:slash]
	if parent == "" {
		parent = "/"
	}
	return l.routes[parent], requested[slash+1:]
}

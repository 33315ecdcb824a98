package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	demoStopTimeout = 10 * time.Second

	// demoStuckTimeout is for a pipeline that cannot deliver what it has read,
	// which would use up any time.
	demoStuckTimeout = time.Second
)

// demoSite is a sandbox that is served on a loopback port.
type demoSite struct {
	service *sandbox.Service
	base    string
	server  *http.Server
	served  chan error
}

func openDemoSite(ctx context.Context, opts sandbox.Options) (*demoSite, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening on a loopback port: %w", err)
	}
	s := &demoSite{
		service: sandbox.New(opts),
		base:    "http://" + listener.Addr().String() + "/api2",
		served:  make(chan error, 1),
	}
	s.server = &http.Server{Handler: s.service, ReadHeaderTimeout: sandboxHeaderTimeout}
	go func() { s.served <- s.server.Serve(listener) }()
	return s, nil
}

func (s *demoSite) close() {
	_ = s.server.Close() // the one client has gone
	<-s.served
}

// demoPipeline is a running stream.
type demoPipeline struct {
	stream *service.Stream
	ended  chan error // receives why, where it was not stopped
	cancel context.CancelFunc
	run    chan struct{}
}

// startDemoPipeline builds the stream and starts it. What the environment of the
// process sets has no effect on it, and it listens on loopback only.
func startDemoPipeline(ctx context.Context, yaml, base, tableFile, stateFile string, progress *demoProgress) (*demoPipeline, error) {
	address, err := freeLoopbackAddress(ctx)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"DEMO_ADDRESS":      address,
		"WISEPOPS_API_KEY":  sandbox.DefaultAPIKey,
		"WISEPOPS_BASE_URL": base,
		"DEMO_DB":           sqlitePath(tableFile),
		"DEMO_STATE":        sqlitePath(stateFile),
	}
	builder := service.NewStreamBuilder()
	builder.SetEnvVarLookupFunc(func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	builder.SetLogger(slog.New(slog.NewTextHandler(progress.logs(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err := builder.SetYAML(yaml); err != nil {
		return nil, fmt.Errorf("reading the pipeline: %w", err)
	}
	builder.SetHTTPMux(http.NewServeMux()) // whatever its http section says
	stream, err := builder.Build()
	if err != nil {
		return nil, fmt.Errorf("building the pipeline: %w", err)
	}

	// It is not the context of the command: an interrupt must not cut it short.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &demoPipeline{stream: stream, ended: make(chan error, 1), cancel: cancel, run: make(chan struct{})}
	go func() {
		defer close(p.run)
		err := stream.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("its input has no more contacts")
		}
		p.ended <- err
	}()
	return p, nil
}

// freeLoopbackAddress is one that the pipeline can listen on: nobody else did a
// moment ago.
func freeLoopbackAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listening on a loopback port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// stop has the pipeline deliver what it has read, and waits for its end.
func (p *demoPipeline) stop(timeout time.Duration) error {
	p.cancel()
	<-p.run
	if err := p.stream.StopWithin(timeout); err != nil {
		return fmt.Errorf("stopping the pipeline: %w", err)
	}
	return nil
}

// sqlitePath spells an absolute path for a file: URI.
func sqlitePath(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	return (&url.URL{Path: path}).EscapedPath()
}

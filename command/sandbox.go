// Package command holds the commands that the binary adds to those of Benthos.
package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	sandboxHeaderTimeout   = 10 * time.Second
	sandboxShutdownTimeout = 3 * time.Second
)

// Sandbox returns the command that serves a stand-in of the Wisepops service
// until it is interrupted.
func Sandbox() *cli.Command {
	return &cli.Command{
		Name:  "sandbox",
		Usage: "Serve a stand-in of the Wisepops service, to try pipelines without a key",
		Description: strings.TrimSpace(`
Serves the Wisepops API of one website, with contacts that look like a shop's
and, with --rate, visitors that submit more, which are posted to the hooks that
were created. Nothing is kept when it ends.

  wisepops-connect sandbox --contacts 5000 --rate 5/s

What the documentation of the API leaves open is a flag (--order,
--exclusive-bound, --page-ignored, --past-end, ...), so that a pipeline can be
tried against either answer. Requests are taken as clients of Wisepops are known
to send them; --strict refuses what the documentation does not name.`),
		Flags:  sandboxFlags(),
		Action: runSandbox,
	}
}

func runSandbox(c *cli.Context) error {
	opts, err := sandboxOptions(c)
	if err != nil {
		return err
	}
	perSecond, err := parseRate(c.String(sbFlagRate))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.String(sbFlagAddress))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("the address %s is in use, perhaps by another sandbox: choose another with --%s", c.String(sbFlagAddress), sbFlagAddress)
	}
	if err != nil {
		return fmt.Errorf("listening on the --%s: %w", sbFlagAddress, err)
	}
	return serveSandbox(ctx, c, listener, opts, perSecond)
}

// serveSandbox takes over the listener, and returns once everything it started
// has ended.
func serveSandbox(ctx context.Context, c *cli.Context, listener net.Listener, opts sandbox.Options, perSecond float64) error {
	service := sandbox.New(opts)
	server := &http.Server{Handler: service, ReadHeaderTimeout: sandboxHeaderTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	visiting, leave := context.WithCancel(ctx)
	var visitors sync.WaitGroup
	visitors.Go(func() { service.Visit(visiting, perSecond) })
	visitors.Go(func() { service.Deliver(visiting, sandbox.DeliveryOptions{}) })
	defer visitors.Wait()
	defer leave()

	base := "http://" + reachableAddress(listener.Addr()) + "/api2"
	header := `Authorization: WISEPOPS-API key="` + opts.APIKey + `"`
	fmt.Fprintf(c.App.Writer, "Wisepops sandbox with %d past contacts and %s live submissions.\n", service.Len(), c.String(sbFlagRate))
	fmt.Fprintf(c.App.Writer, "  base_url: %s\n  api_key:  %s\n\n", base, opts.APIKey)
	fmt.Fprintf(c.App.Writer, "curl -H %s %s\n", shellQuote(header), shellQuote(base+"/contacts?page_size=2"))

	select {
	case err := <-served:
		return fmt.Errorf("serving the sandbox: %w", err)
	case <-ctx.Done():
	}

	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), sandboxShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(shutdown); err != nil {
		_ = server.Close() // whoever is still connected has had the time
	}
	<-served
	fmt.Fprintf(c.App.Writer, "\nSandbox stopped: %d calls answered, %d contacts, %d deliveries acknowledged.\n",
		service.Calls().Total, service.Len(), service.Deliveries().Delivered)
	return nil
}

// parseRate reads 5/s, 10/m, 100/h, or a bare number of submissions a second.
func parseRate(rate string) (perSecond float64, err error) {
	number, unit, slash := strings.Cut(rate, "/")
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if !slash {
		seconds, known = 1, true
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || math.IsInf(n, 0) || !(n >= 0) {
		return 0, fmt.Errorf("--%s %q is not a rate: write 5/s, 10/m, 100/h, or 0 for no visitors", sbFlagRate, rate)
	}
	return n / seconds, nil
}

// reachableAddress is where a client on this machine reaches the listener.
func reachableAddress(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr.String()
}

// shellQuote quotes an argument for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

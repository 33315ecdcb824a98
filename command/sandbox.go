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
	sbFlagAddress         = "address"
	sbFlagAPIKey          = "api-key"
	sbFlagContacts        = "contacts"
	sbFlagRate            = "rate"
	sbFlagSeed            = "seed"
	sbFlagStart           = "start"
	sbFlagSpacing         = "spacing"
	sbFlagBurst           = "burst"
	sbFlagBurstEvery      = "burst-every"
	sbFlagOrder           = "order"
	sbFlagExclusiveBound  = "exclusive-bound"
	sbFlagSecondBound     = "second-bound"
	sbFlagSecondTimes     = "second-times"
	sbFlagPageCap         = "page-cap"
	sbFlagPageCapSkips    = "page-cap-skips"
	sbFlagFailedCallsFree = "failed-calls-free"
	sbFlagPlainFields     = "plain-fields"
	sbFlagLate            = "late"
	sbFlagBudget          = "budget"
	sbFlagBudgetWindow    = "budget-window"
	sbFlagRefuseTwins     = "refuse-twin-hooks"
	sbFlagRespell         = "respell-deliveries"

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
--exclusive-bound, --page-cap, ...), so that a pipeline can be tried against
either answer.`),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: sbFlagAddress, Value: "127.0.0.1:8480", Usage: "host and port to listen on"},
			&cli.StringFlag{Name: sbFlagAPIKey, Value: sandbox.DefaultAPIKey, Usage: "the API key that requests must carry; it is printed"},
			&cli.IntFlag{Name: sbFlagContacts, Value: 5000, Usage: "how many past contacts there are"},
			&cli.StringFlag{Name: sbFlagRate, Value: "0", Usage: "live submissions, such as 5/s, 10/m or 100/h; 0 for none"},
			&cli.Uint64Flag{Name: sbFlagSeed, Usage: "what the past contacts follow from"},
			&cli.TimestampFlag{Name: sbFlagStart, Layout: time.RFC3339, DefaultText: sandbox.DefaultStart.Format(time.RFC3339), Usage: "when the past contacts begin"},
			&cli.DurationFlag{Name: sbFlagSpacing, DefaultText: "2m, less above 262800 contacts", Usage: "mean time between past submissions"},
			&cli.IntFlag{Name: sbFlagBurst, Usage: "put this many past contacts into one millisecond, in the middle"},
			&cli.IntFlag{Name: sbFlagBurstEvery, Usage: "repeat the burst at every so many submissions"},
			&cli.StringFlag{Name: sbFlagOrder, Value: sandbox.OldestFirst.String(), Usage: "oldest-first, newest-first or unsorted"},
			&cli.BoolFlag{Name: sbFlagExclusiveBound, Usage: "leave out contacts of the very instant of collected_after"},
			&cli.BoolFlag{Name: sbFlagSecondBound, Usage: "cut collected_after to whole seconds"},
			&cli.BoolFlag{Name: sbFlagSecondTimes, Usage: "serve collected_at with second precision"},
			&cli.IntFlag{Name: sbFlagPageCap, Usage: "silently cut a larger page_size to this"},
			&cli.BoolFlag{Name: sbFlagPageCapSkips, Usage: "with --page-cap, skip what lies between the cut and the size asked for"},
			&cli.BoolFlag{Name: sbFlagFailedCallsFree, Usage: "charge only calls that succeed"},
			&cli.BoolFlag{Name: sbFlagPlainFields, Usage: "only strings in the fields of contacts"},
			&cli.DurationFlag{Name: sbFlagLate, Usage: "date live submissions up to this long ago"},
			&cli.IntFlag{Name: sbFlagBudget, Usage: "answer 429 beyond so many calls (Wisepops grants 1500); 0 for no limit"},
			&cli.DurationFlag{Name: sbFlagBudgetWindow, Value: 720 * time.Hour, Usage: "the time that the budget is for"},
			&cli.BoolFlag{Name: sbFlagRefuseTwins, Usage: "refuse a hook that is there already"},
			&cli.BoolFlag{Name: sbFlagRespell, Usage: "deliver contacts in other bytes than the API serves them"},
		},
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

func sandboxOptions(c *cli.Context) (sandbox.Options, error) {
	var none sandbox.Options
	key := c.String(sbFlagAPIKey)
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' }) {
		return none, fmt.Errorf("--%s must be one or more printable ASCII characters, without spaces and quotes", sbFlagAPIKey)
	}
	for _, name := range []string{sbFlagContacts, sbFlagBurst, sbFlagBurstEvery, sbFlagPageCap, sbFlagBudget} {
		if c.Int(name) < 0 {
			return none, fmt.Errorf("--%s must not be negative", name)
		}
	}
	if c.IsSet(sbFlagSpacing) && c.Duration(sbFlagSpacing) < time.Millisecond {
		return none, fmt.Errorf("--%s must be a millisecond or more", sbFlagSpacing)
	}
	if c.Duration(sbFlagBudgetWindow) <= 0 {
		return none, fmt.Errorf("--%s must be longer than zero", sbFlagBudgetWindow)
	}
	if c.Duration(sbFlagLate) < 0 {
		return none, fmt.Errorf("--%s must not be negative", sbFlagLate)
	}
	order, err := sandbox.ParseOrder(c.String(sbFlagOrder))
	if err != nil {
		return none, fmt.Errorf("reading --%s: %w", sbFlagOrder, err)
	}
	opts := sandbox.Options{
		APIKey:     key,
		Seed:       c.Uint64(sbFlagSeed),
		Contacts:   c.Int(sbFlagContacts),
		Spacing:    c.Duration(sbFlagSpacing),
		Burst:      c.Int(sbFlagBurst),
		BurstEvery: c.Int(sbFlagBurstEvery),

		Budget:       c.Int(sbFlagBudget),
		BudgetWindow: c.Duration(sbFlagBudgetWindow),

		Switches: sandbox.Switches{
			ExclusiveBound:  c.Bool(sbFlagExclusiveBound),
			SecondBound:     c.Bool(sbFlagSecondBound),
			SecondTimes:     c.Bool(sbFlagSecondTimes),
			Order:           order,
			PageCap:         c.Int(sbFlagPageCap),
			PageCapSkips:    c.Bool(sbFlagPageCapSkips),
			FailedCallsFree: c.Bool(sbFlagFailedCallsFree),
			PlainFields:     c.Bool(sbFlagPlainFields),
			Late:            c.Duration(sbFlagLate),

			RefuseTwinHooks:   c.Bool(sbFlagRefuseTwins),
			RespellDeliveries: c.Bool(sbFlagRespell),
		},
	}
	if start := c.Timestamp(sbFlagStart); start != nil {
		opts.Start = *start
	}
	return opts, nil
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

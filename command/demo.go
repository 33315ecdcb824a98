package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

const (
	demoFlagFor      = "for"
	demoFlagContacts = "contacts"
	demoFlagRate     = "rate"
	demoFlagDB       = "db"
	demoFlagSeed     = "seed"

	demoTick = 100 * time.Millisecond

	demoHooks = 3 // one for each event
)

// demoPatience is how long the pipeline may stand still, once the visitors have
// left, before it counts as stuck: a few polls, and a page on a busy machine.
var demoPatience = 10 * time.Second

// Demo returns the command that runs a pipeline from a sandbox into SQLite, shows
// how it goes, and ends with 0 only if the table then holds exactly what the
// sandbox knows.
//
// The pipeline reads WISEPOPS_API_KEY and WISEPOPS_BASE_URL, keeps its state in
// the file DEMO_STATE, and writes a row for each contact into the table contacts
// of the file DEMO_DB, both named as SQLite's URIs want it. It receives webhooks at
// the address DEMO_ADDRESS. The columns contact_id, email, polled and hooked (how
// many times the contact came by polling, and by webhook) are looked at.
func Demo(pipelineYAML string) *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "Watch a pipeline at work, without a key or a network, and check that it loses nothing",
		Description: strings.TrimSpace(`
Starts a stand-in of the Wisepops service with past contacts and live visitors,
and a pipeline that brings its contacts into a table of SQLite: the past ones by
polling, and new ones by webhook. After a while the
visitors leave, and the table is compared with what the stand-in knows.

Exits with 0 if every contact is in the table once, and with 1 otherwise. An
interrupt makes the visitors leave early; a second one ends the demo unchecked.`),
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: demoFlagFor, Value: 15 * time.Second, Usage: "how long visitors come"},
			&cli.IntFlag{Name: demoFlagContacts, Value: 5000, Usage: "how many past contacts there are"},
			&cli.StringFlag{Name: demoFlagRate, Value: "5/s", Usage: "live submissions, such as 5/s, 10/m or 100/h; 0 for none"},
			&cli.StringFlag{Name: demoFlagDB, DefaultText: "a temporary file", Usage: "SQLite file to create and keep, for a look at its table contacts"},
			&cli.Uint64Flag{Name: demoFlagSeed, Usage: "what the contacts follow from"},
		},
		Action: func(c *cli.Context) error { return runDemo(c, pipelineYAML) },
	}
}

type demoOptions struct {
	duration  time.Duration
	contacts  int
	perSecond float64
	seed      uint64
	db        string // "": temporary
}

func parseDemoOptions(c *cli.Context) (o demoOptions, err error) {
	o = demoOptions{
		duration: c.Duration(demoFlagFor),
		contacts: c.Int(demoFlagContacts),
		seed:     c.Uint64(demoFlagSeed),
		db:       c.String(demoFlagDB),
	}
	if c.Args().Present() {
		return o, errors.New("demo takes flags only")
	}
	if o.duration < 0 {
		return o, fmt.Errorf("--%s must not be negative", demoFlagFor)
	}
	if o.contacts < 0 {
		return o, fmt.Errorf("--%s must not be negative", demoFlagContacts)
	}
	if o.perSecond, err = parseRate(c.String(demoFlagRate)); err != nil {
		return o, err
	}
	if o.db == "" {
		return o, nil
	}
	// What an earlier run left would make the verdict wrong, and is not ours to
	// delete.
	switch info, err := os.Stat(o.db); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return o, fmt.Errorf("reading the --%s: %w", demoFlagDB, err)
	case info.IsDir():
		return o, fmt.Errorf("--%s %s is a directory: name a file in it", demoFlagDB, o.db)
	case info.Size() > 0:
		return o, fmt.Errorf("--%s %s is there already, and the demo begins with a new table: remove it or name another file", demoFlagDB, o.db)
	}
	o.db, err = filepath.Abs(o.db)
	return o, err
}

func runDemo(c *cli.Context, pipelineYAML string) (err error) {
	opts, err := parseDemoOptions(c)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wisepops-demo-")
	if err != nil {
		return fmt.Errorf("creating a temporary directory: %w", err)
	}
	defer also(&err, func() error { return os.RemoveAll(dir) })
	kept := opts.db
	if opts.db == "" {
		opts.db = filepath.Join(dir, "demo.db")
	}

	early, abort, release := onInterrupts(c.Context)
	defer release()

	site, err := openDemoSite(abort, sandbox.Options{Seed: opts.seed, Contacts: opts.contacts})
	if err != nil {
		return err
	}
	defer site.close()
	table, err := openDemoTable(abort, opts.db)
	if err != nil {
		return err
	}
	defer also(&err, table.close)
	d := &demo{opts: opts, site: site, table: table, progress: newDemoProgress(c.App.Writer, c.App.ErrWriter)}

	d.progress.printf("A stand-in of Wisepops with %s contacts and %s visitors, and a pipeline that\nbrings its contacts into a table of SQLite (config/demo.yaml).\n\n",
		thousands(opts.contacts), c.String(demoFlagRate))
	caughtUp, err := d.run(early, abort, pipelineYAML, filepath.Join(dir, "demo-state.db"))
	d.progress.endLine()
	if err != nil {
		return err
	}

	rows, err := table.rows(abort)
	if err != nil {
		return err
	}
	v, err := judgeDemo(site.service.Contacts(), rows, opts.contacts, site.service.Deliveries())
	if err != nil {
		return err
	}
	d.progress.printf("\n%s", v.report(site.service.Calls().Charged))
	if kept != "" {
		d.progress.printf("\nThe table contacts is kept in %s\n", c.String(demoFlagDB))
	}
	if !v.good() {
		return cli.Exit(v.complaint(caughtUp), 1)
	}
	d.progress.printf("\nYour own contacts:  WISEPOPS_API_KEY=... %[1]s run -r resources/state_sqlite.yaml -r resources/budget.yaml config/leads_to_stdout.yaml\nThis one by hand:   %[1]s sandbox --rate 5/s, and beside it %[1]s run config/demo.yaml\n", invocation())
	return nil
}

// demo is one run of the command.
type demo struct {
	opts     demoOptions
	site     *demoSite
	table    *demoTable
	progress *demoProgress
	begun    time.Time
}

// run has visitors come for as long as the options say, or until early ends, and
// the pipeline at work until it has caught up with them. It returns once the
// pipeline has ended. That all is in the table, as far as counting shows, is
// caughtUp. An end of abort is an error.
func (d *demo) run(early, abort context.Context, pipelineYAML, stateFile string) (caughtUp bool, err error) {
	pipeline, err := startDemoPipeline(abort, pipelineYAML, d.site.base, d.opts.db, stateFile, d.progress)
	if err != nil {
		return false, err
	}
	defer func() {
		if err == nil && caughtUp {
			err = pipeline.stop(demoStopTimeout)
			return
		}
		_ = pipeline.stop(demoStuckTimeout) // there is a better reason to fail
	}()

	d.begun = time.Now()
	// Visitors come once there are hooks, so that each must arrive by one, too.
	if err := d.watch(abort, pipeline, func(demoCount) bool {
		return early.Err() != nil || len(d.site.service.Hooks()) >= demoHooks || time.Since(d.begun) > demoPatience
	}); err != nil {
		return false, err
	}
	visiting, leave := context.WithTimeout(early, d.opts.duration)
	defer leave()
	var visitors, deliveries sync.WaitGroup
	delivering, endDeliveries := context.WithCancel(context.WithoutCancel(abort))
	deliveries.Go(func() { d.site.service.Deliver(delivering, sandbox.DeliveryOptions{}) })
	visitors.Go(func() { d.site.service.Visit(visiting, d.opts.perSecond) })
	defer deliveries.Wait()
	defer endDeliveries()
	defer visitors.Wait()
	defer leave()
	if err := d.watch(abort, pipeline, func(demoCount) bool { return visiting.Err() != nil }); err != nil {
		return false, err
	}
	visitors.Wait()

	var last demoCount
	var lastDelivered int
	moved := time.Now()
	caughtUp = true
	err = d.watch(abort, pipeline, func(now demoCount) bool {
		deliveries := d.site.service.Deliveries()
		if now != last || deliveries.Delivered != lastDelivered {
			last, lastDelivered, moved = now, deliveries.Delivered, time.Now()
		}
		if now.rows >= d.site.service.Len() && deliveries.Pending == 0 {
			return true
		}
		caughtUp = time.Since(moved) < demoPatience
		return !caughtUp
	})
	return caughtUp, err
}

// watch shows the progress until something is reached.
func (d *demo) watch(abort context.Context, pipeline *demoPipeline, reached func(demoCount) bool) error {
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	for {
		count, err := d.table.count(abort)
		if abort.Err() != nil {
			return cli.Exit("Interrupted: nothing was checked.", 130)
		}
		if err != nil {
			return err
		}
		done := reached(count)
		d.progress.show(demoStatus{
			read: count.read, known: d.site.service.Len(), hooked: count.hooked, rows: count.rows,
			calls:   d.site.service.Calls().Charged,
			elapsed: time.Since(d.begun),
		}, done)
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-abort.Done():
		case err := <-pipeline.ended:
			return fmt.Errorf("the pipeline ended by itself: %w", err)
		}
	}
}

// onInterrupts returns a context that ends with the first interrupt, and one that
// ends with the second.
func onInterrupts(parent context.Context) (first, second context.Context, release func()) {
	first, endFirst := context.WithCancel(parent)
	second, endSecond := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var watching sync.WaitGroup
	watching.Go(func() {
		for _, end := range []context.CancelFunc{endFirst, endSecond} {
			select {
			case <-signals:
				end()
			case <-second.Done():
				return
			}
		}
	})
	return first, second, func() {
		signal.Stop(signals)
		endFirst()
		endSecond()
		watching.Wait()
	}
}

// also does what is deferred, and keeps its error where there is no earlier one,
// which may be an exit code and is not to be wrapped.
func also(err *error, do func() error) {
	if later := do(); *err == nil {
		*err = later
	}
}

// invocation is how this program was called.
func invocation() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ."
	}
	return os.Args[0]
}

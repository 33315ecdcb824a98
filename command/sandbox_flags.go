package command

import (
	"fmt"
	"strings"
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
	sbFlagAnonymous       = "anonymous"
	sbFlagPlainFields     = "plain-fields"
	sbFlagNullCountries   = "null-countries"
	sbFlagStrict          = "strict"
	sbFlagOrder           = "order"
	sbFlagLate            = "late"
	sbFlagExclusiveBound  = "exclusive-bound"
	sbFlagSecondBound     = "second-bound"
	sbFlagSecondBoundUp   = "second-bound-up"
	sbFlagBoundIgnored    = "bound-ignored"
	sbFlagBoundOffset     = "bound-offset"
	sbFlagSecondTimes     = "second-times"
	sbFlagPageIgnored     = "page-ignored"
	sbFlagPastEnd         = "past-end"
	sbFlagPageCap         = "page-cap"
	sbFlagPageCapSkips    = "page-cap-skips"
	sbFlagBlankEvery      = "blank-every"
	sbFlagFilterLate      = "filter-after-paging"
	sbFlagDeletePerPage   = "delete-per-page"
	sbFlagInsertPerPage   = "insert-per-page"
	sbFlagClockOffset     = "clock-offset"
	sbFlagClockJump       = "clock-jump"
	sbFlagClockJumpAfter  = "clock-jump-after"
	sbFlagDateOffset      = "date-offset"
	sbFlagBudget          = "budget"
	sbFlagBudgetWindow    = "budget-window"
	sbFlagRetryAfter      = "retry-after"
	sbFlagFailedCallsFree = "failed-calls-free"
	sbFlagRefuseTwins     = "refuse-twin-hooks"
	sbFlagRespell         = "respell-deliveries"
)

func sandboxFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: sbFlagAddress, Value: "127.0.0.1:8480", Usage: "host and port to listen on"},
		&cli.StringFlag{Name: sbFlagAPIKey, Value: sandbox.DefaultAPIKey, Usage: "the API key that requests must carry; it is printed"},
		&cli.IntFlag{Name: sbFlagContacts, Value: 5000, Usage: "how many past contacts there are"},
		&cli.StringFlag{Name: sbFlagRate, Value: "0", Usage: "live submissions, such as 5/s, 10/m or 100/h; 0 for none"},
		&cli.Uint64Flag{Name: sbFlagSeed, Usage: "what the past contacts follow from"},
		&cli.TimestampFlag{Name: sbFlagStart, Layout: time.RFC3339, DefaultText: sandbox.DefaultStart.Format(time.RFC3339), Usage: "when the past contacts begin"},
		&cli.DurationFlag{Name: sbFlagSpacing, DefaultText: "2m, less above 262800 contacts", Usage: "mean time between past submissions"},
		&cli.IntFlag{Name: sbFlagBurst, Usage: "put this many past contacts into one millisecond, in the middle"},
		&cli.IntFlag{Name: sbFlagBurstEvery, Usage: "repeat the burst at every so many submissions"},
		&cli.IntFlag{Name: sbFlagAnonymous, Value: sandbox.DefaultAnonymous, Usage: "how many of 100 submissions answer a survey without an email or a phone"},
		&cli.BoolFlag{Name: sbFlagPlainFields, Usage: "only strings in the fields of contacts"},
		&cli.BoolFlag{Name: sbFlagNullCountries, Usage: "null for some of the countries that are not known"},
		&cli.BoolFlag{Name: sbFlagStrict, Usage: "refuse what the documentation of the API does not name, such as unknown parameters"},
		&cli.StringFlag{Name: sbFlagOrder, Value: sandbox.OldestFirst.String(), Usage: "oldest-first, newest-first, unsorted or by-arrival"},
		&cli.DurationFlag{Name: sbFlagLate, Usage: "date live submissions up to this long ago; past ones arrived up to as late"},
		&cli.BoolFlag{Name: sbFlagExclusiveBound, Usage: "leave out contacts of the very instant of collected_after"},
		&cli.BoolFlag{Name: sbFlagSecondBound, Usage: "cut collected_after to whole seconds"},
		&cli.BoolFlag{Name: sbFlagSecondBoundUp, Usage: "round collected_after up to whole seconds"},
		&cli.BoolFlag{Name: sbFlagBoundIgnored, Usage: "ignore collected_after"},
		&cli.DurationFlag{Name: sbFlagBoundOffset, Usage: "read collected_after as an instant so much later, such as -2h"},
		&cli.BoolFlag{Name: sbFlagSecondTimes, Usage: "serve collected_at with second precision"},
		&cli.BoolFlag{Name: sbFlagPageIgnored, Usage: "answer the first page, whatever page is asked for"},
		&cli.StringFlag{Name: sbFlagPastEnd, Value: sandbox.PastEndEmpty.String(), Usage: "what a page past the last one is: empty, not-found (404) or last-page (again)"},
		&cli.IntFlag{Name: sbFlagPageCap, Usage: "silently cut a larger page_size to this"},
		&cli.BoolFlag{Name: sbFlagPageCapSkips, Usage: "with --page-cap, skip what lies between the cut and the size asked for"},
		&cli.IntFlag{Name: sbFlagBlankEvery, Usage: "leave one of so many places of a page empty, from 2 on: pages are short though there are more"},
		&cli.BoolFlag{Name: sbFlagFilterLate, Usage: "look for the wisepop_id on a page that was cut from the contacts of all pop-ups"},
		&cli.IntFlag{Name: sbFlagDeletePerPage, Usage: "delete so many of the contacts of each full page that was served"},
		&cli.IntFlag{Name: sbFlagInsertPerPage, Usage: "have so many visitors submit after each full page that was served"},
		&cli.DurationFlag{Name: sbFlagClockOffset, Usage: "how far the server's clock is ahead, such as 30m or -24h"},
		&cli.DurationFlag{Name: sbFlagClockJump, Usage: "by how much the clock jumps, forward or back"},
		&cli.DurationFlag{Name: sbFlagClockJumpAfter, Value: time.Minute, Usage: "when, after the start"},
		&cli.DurationFlag{Name: sbFlagDateOffset, Usage: "how far the Date header is ahead of the server's clock"},
		&cli.IntFlag{Name: sbFlagBudget, Usage: "answer 429 beyond so many calls (Wisepops grants 1500); 0 for no limit"},
		&cli.DurationFlag{Name: sbFlagBudgetWindow, Value: 720 * time.Hour, Usage: "the time that the budget is for"},
		&cli.StringFlag{Name: sbFlagRetryAfter, Value: sandbox.RetryAfterSeconds.String(), Usage: "its form once the budget is spent: seconds, decimals, doubled, http-date, iso-date or epoch"},
		&cli.BoolFlag{Name: sbFlagFailedCallsFree, Usage: "charge only calls that succeed"},
		&cli.BoolFlag{Name: sbFlagRefuseTwins, Usage: "refuse a hook that is there already"},
		&cli.BoolFlag{Name: sbFlagRespell, Usage: "deliver contacts in other bytes than the API serves them"},
	}
}

func sandboxOptions(c *cli.Context) (sandbox.Options, error) {
	opts := sandbox.Options{
		APIKey:     c.String(sbFlagAPIKey),
		Seed:       c.Uint64(sbFlagSeed),
		Contacts:   c.Int(sbFlagContacts),
		Spacing:    c.Duration(sbFlagSpacing),
		Burst:      c.Int(sbFlagBurst),
		BurstEvery: c.Int(sbFlagBurstEvery),

		Budget:       c.Int(sbFlagBudget),
		BudgetWindow: c.Duration(sbFlagBudgetWindow),
	}
	if start := c.Timestamp(sbFlagStart); start != nil {
		opts.Start = *start
	}
	if err := checkSandboxFlags(c); err != nil {
		return opts, err
	}
	var err error
	opts.Switches, err = sandboxSwitches(c)
	return opts, err
}

func checkSandboxFlags(c *cli.Context) error {
	key := c.String(sbFlagAPIKey)
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' }) {
		return fmt.Errorf("--%s must be one or more printable ASCII characters, without spaces and quotes", sbFlagAPIKey)
	}
	for _, name := range []string{
		sbFlagContacts, sbFlagBurst, sbFlagBurstEvery, sbFlagAnonymous, sbFlagPageCap, sbFlagBlankEvery,
		sbFlagDeletePerPage, sbFlagInsertPerPage, sbFlagBudget,
	} {
		if c.Int(name) < 0 {
			return fmt.Errorf("--%s must not be negative", name)
		}
	}
	if c.Int(sbFlagAnonymous) > 100 {
		return fmt.Errorf("--%s must not be above 100", sbFlagAnonymous)
	}
	if c.Int(sbFlagBlankEvery) == 1 {
		return fmt.Errorf("--%s 1 would leave nothing: 2 or more, or 0", sbFlagBlankEvery)
	}
	if c.IsSet(sbFlagSpacing) && c.Duration(sbFlagSpacing) < time.Millisecond {
		return fmt.Errorf("--%s must be a millisecond or more", sbFlagSpacing)
	}
	if c.Duration(sbFlagBudgetWindow) <= 0 {
		return fmt.Errorf("--%s must be longer than zero", sbFlagBudgetWindow)
	}
	for _, name := range []string{sbFlagLate, sbFlagClockJumpAfter} {
		if c.Duration(name) < 0 {
			return fmt.Errorf("--%s must not be negative", name)
		}
	}
	return nil
}

func sandboxSwitches(c *cli.Context) (s sandbox.Switches, err error) {
	s = sandbox.Switches{
		Strict:            c.Bool(sbFlagStrict),
		ExclusiveBound:    c.Bool(sbFlagExclusiveBound),
		SecondBound:       c.Bool(sbFlagSecondBound),
		SecondBoundUp:     c.Bool(sbFlagSecondBoundUp),
		BoundIgnored:      c.Bool(sbFlagBoundIgnored),
		BoundOffset:       c.Duration(sbFlagBoundOffset),
		SecondTimes:       c.Bool(sbFlagSecondTimes),
		PageIgnored:       c.Bool(sbFlagPageIgnored),
		PageCap:           c.Int(sbFlagPageCap),
		PageCapSkips:      c.Bool(sbFlagPageCapSkips),
		BlankEvery:        c.Int(sbFlagBlankEvery),
		FilterAfterPaging: c.Bool(sbFlagFilterLate),
		DeletePerPage:     c.Int(sbFlagDeletePerPage),
		InsertPerPage:     c.Int(sbFlagInsertPerPage),
		FailedCallsFree:   c.Bool(sbFlagFailedCallsFree),
		PlainFields:       c.Bool(sbFlagPlainFields),
		NullCountries:     c.Bool(sbFlagNullCountries),
		Anonymous:         c.Int(sbFlagAnonymous),
		Late:              c.Duration(sbFlagLate),
		ClockOffset:       c.Duration(sbFlagClockOffset),
		ClockJump:         c.Duration(sbFlagClockJump),
		ClockJumpAfter:    c.Duration(sbFlagClockJumpAfter),
		DateOffset:        c.Duration(sbFlagDateOffset),
		RefuseTwinHooks:   c.Bool(sbFlagRefuseTwins),
		RespellDeliveries: c.Bool(sbFlagRespell),
	}
	if s.Anonymous == 0 {
		s.Anonymous = -1 // 0 stands for the default there
	}
	if s.Order, err = sandbox.ParseOrder(c.String(sbFlagOrder)); err != nil {
		return s, fmt.Errorf("reading --%s: %w", sbFlagOrder, err)
	}
	if s.PastEnd, err = sandbox.ParsePastEnd(c.String(sbFlagPastEnd)); err != nil {
		return s, fmt.Errorf("reading --%s: %w", sbFlagPastEnd, err)
	}
	if s.RetryAfter, err = sandbox.ParseRetryAfter(c.String(sbFlagRetryAfter)); err != nil {
		return s, fmt.Errorf("reading --%s: %w", sbFlagRetryAfter, err)
	}
	return s, nil
}

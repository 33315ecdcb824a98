package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const (
	hooksFlagBaseURL   = "base-url"
	hooksFlagJSON      = "json"
	hooksFlagEvent     = "event"
	hooksFlagTargetURL = "target-url"
	hooksFlagWisepopID = "wisepop-id"
	hooksFlagYes       = "yes"

	// The key is never an argument: arguments show in the list of processes.
	hooksEnvAPIKey  = "WISEPOPS_API_KEY" //nolint:gosec // the name of the variable, not a key
	hooksEnvBaseURL = "WISEPOPS_BASE_URL"
)

// Hooks returns the command that manages the webhooks of a website.
func Hooks() *cli.Command {
	baseURL := &cli.StringFlag{Name: hooksFlagBaseURL, EnvVars: []string{hooksEnvBaseURL}, Value: wisepops.DefaultBaseURL, Usage: "where the API is served"}
	asJSON := &cli.BoolFlag{Name: hooksFlagJSON, Usage: "print JSON, for machines"}
	return &cli.Command{
		Name:  "hooks",
		Usage: "List, create and delete the webhooks of a website",
		Description: strings.TrimSpace(`
The API key of the website is read from the environment variable WISEPOPS_API_KEY.
Each call counts against the website's budget, failed ones too; how many a command
may make is said with it.`),
		Subcommands: []*cli.Command{
			{
				Name:   "list",
				Usage:  "List all hooks (1 call)",
				Flags:  []cli.Flag{baseURL, asJSON},
				Action: withHooksClient(listHooks),
			},
			{
				Name:  "create",
				Usage: "Create a hook, unless there is such a one (2 calls)",
				Flags: []cli.Flag{
					baseURL, asJSON,
					&cli.StringFlag{Name: hooksFlagEvent, Required: true, Usage: "email (sign-up blocks), phone or survey"},
					&cli.StringFlag{Name: hooksFlagTargetURL, Required: true, Usage: "where contacts are posted, https"},
					&cli.Int64Flag{Name: hooksFlagWisepopID, Usage: "limits the hook to one pop-up"},
				},
				Action: withHooksClient(createHook),
			},
			{
				Name:      "delete",
				Usage:     "Delete hooks by their ids (1 call each)",
				ArgsUsage: "ID...",
				Flags:     []cli.Flag{baseURL, asJSON, &cli.BoolFlag{Name: hooksFlagYes, Usage: "do not ask"}},
				Action:    withHooksClient(deleteHooks),
			},
		},
	}
}

// withHooksClient gives an action a client.
func withHooksClient(action func(context.Context, *cli.Context, *wisepops.Client) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		key := os.Getenv(hooksEnvAPIKey)
		if strings.TrimSpace(key) == "" {
			return fmt.Errorf("set the environment variable %s to the API key of the website", hooksEnvAPIKey)
		}
		// Each attempt is a call, so that what a command costs can be said.
		client, err := wisepops.New(wisepops.Options{APIKey: key, BaseURL: c.String(hooksFlagBaseURL)})
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		return action(c.Context, c, client)
	}
}

func listHooks(ctx context.Context, c *cli.Context, client *wisepops.Client) error {
	if c.Args().Present() {
		return errors.New("hooks list takes flags only")
	}
	hooks, err := client.Hooks(ctx)
	if err != nil {
		return fmt.Errorf("listing hooks: %w", err)
	}
	if c.Bool(hooksFlagJSON) {
		return printJSON(c.App.Writer, hooks)
	}
	if len(hooks) == 0 {
		fmt.Fprintln(c.App.Writer, "The website has no hooks.")
		return nil
	}
	table := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tEVENT\tPOP-UP\tTARGET")
	for _, h := range hooks {
		popup := "all"
		if h.WisepopID != 0 {
			popup = strconv.FormatInt(h.WisepopID, 10)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", h.ID, printable(h.Event), popup, printable(h.TargetURL))
	}
	return table.Flush()
}

func createHook(ctx context.Context, c *cli.Context, client *wisepops.Client) error {
	if c.Args().Present() {
		return errors.New("hooks create takes flags only")
	}
	hook := wisepops.Hook{Event: c.String(hooksFlagEvent), TargetURL: c.String(hooksFlagTargetURL), WisepopID: c.Int64(hooksFlagWisepopID)}
	if !slices.Contains(wisepops.Events(), hook.Event) {
		return fmt.Errorf("--%s must be one of %s", hooksFlagEvent, strings.Join(wisepops.Events(), ", "))
	}
	target, err := url.Parse(hook.TargetURL)
	if err != nil || target.Hostname() == "" || target.User != nil || target.Scheme != "https" && (target.Scheme != "http" || !wisepops.IsLoopback(target.Hostname())) {
		return fmt.Errorf("--%s must be a URL that begins with https:// (but for loopback addresses), without credentials", hooksFlagTargetURL)
	}
	if c.IsSet(hooksFlagWisepopID) && hook.WisepopID < 1 {
		return fmt.Errorf("--%s must be a positive number", hooksFlagWisepopID)
	}
	hooks, err := client.Hooks(ctx)
	if err != nil {
		return fmt.Errorf("listing hooks: %w", err)
	}
	note := "There is such a hook already: %d.\n"
	if i := slices.IndexFunc(hooks, hook.Same); i >= 0 {
		hook.ID = hooks[i].ID
	} else {
		if hook.ID, err = client.CreateHook(ctx, hook); err != nil {
			return fmt.Errorf("creating the hook: %w (list the hooks before you try again: it may be there all the same)", err)
		}
		note = "Created hook %d.\n"
	}
	if c.Bool(hooksFlagJSON) {
		return printJSON(c.App.Writer, hook)
	}
	fmt.Fprintf(c.App.Writer, note, hook.ID)
	return nil
}

func deleteHooks(ctx context.Context, c *cli.Context, client *wisepops.Client) error {
	var ids []int64
	for _, arg := range c.Args().Slice() {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return fmt.Errorf("%q is not the id of a hook: hooks list prints them (flags come before ids)", arg)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return errors.New("name the ids of the hooks to delete: hooks list prints them")
	}
	if !c.Bool(hooksFlagYes) {
		sure, err := confirm(c, fmt.Sprintf("Delete %s (%d of the website's calls)? Their contacts are no longer posted. [y/N] ", hookNames(ids), len(ids)))
		if err != nil || !sure {
			return err
		}
	}
	deleted := []int64{}
	for _, id := range ids {
		if err := client.DeleteHook(ctx, id); err != nil {
			return errors.Join(printDeleted(c, deleted), fmt.Errorf("deleting hook %d: %w", id, err))
		}
		deleted = append(deleted, id)
	}
	return printDeleted(c, deleted)
}

func printDeleted(c *cli.Context, ids []int64) error {
	if c.Bool(hooksFlagJSON) {
		return printJSON(c.App.Writer, map[string][]int64{"deleted": ids})
	}
	for _, id := range ids {
		fmt.Fprintf(c.App.Writer, "Deleted hook %d.\n", id)
	}
	return nil
}

// confirm asks on a terminal. Where there is nobody to ask it is an error.
func confirm(c *cli.Context, question string) (bool, error) {
	if f, ok := c.App.Reader.(*os.File); ok && !isTerminal(f) {
		return false, fmt.Errorf("there is no terminal to ask on: give --%s", hooksFlagYes)
	}
	fmt.Fprint(c.App.ErrWriter, question)
	answer, err := bufio.NewReader(c.App.Reader).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	fmt.Fprintln(c.App.ErrWriter, "Nothing was deleted.")
	return false, nil
}

func hookNames(ids []int64) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = strconv.FormatInt(id, 10)
	}
	if len(ids) == 1 {
		return "hook " + names[0]
	}
	return "hooks " + strings.Join(names, ", ")
}

// printable keeps what a server sent from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// retention is the family of operators' commands on how long is kept what goes for its age.
func (a *app) retention() *cobra.Command {
	c := &cobra.Command{
		Use: "retention", Short: "Say for how long is kept what goes for its age",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.retentionList(), a.retentionSet(), a.retentionReset())
	return c
}

func retentionTable(list []client.Retention, whole any) table {
	t := table{header: []string{"TERM", "DAYS", "BY", "BOUNDS", "NEXT", "REASON", "WHAT"}, whole: whole}
	for _, r := range list {
		next, reason := "-", "-"
		if r.From != nil {
			days := r.Setting
			if r.Said != nil {
				days = *r.Said
			}
			next = fmt.Sprintf("%d from %s", days, r.From.Format(time.RFC3339))
		}
		if len(r.Changes) > 0 {
			reason = r.Changes[0].Reason
		}
		t.rows = append(t.rows, []string{r.Term, fmt.Sprint(r.Days), r.Source, fmt.Sprintf("%d-%d", r.Least, r.Most), next, reason, r.What})
		t.names, t.items = append(t.names, r.Term), append(t.items, r)
	}
	return t
}

func (a *app) retentionList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List for how long things are kept", Args: cobra.NoArgs,
		Long: "List for how long things are kept: by a setting or by an act, and within which bounds. With\n" +
			"-o json each change is listed, with who made it and why.",
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return printAll(a, retentionTable, func(api *client.Client, _ string) ([]client.Retention, string, error) {
			list, err := api.Retentions(cmd.Context())
			return list, "", err
		})
	}
	return c
}

func (a *app) retentionSet() *cobra.Command {
	c := &cobra.Command{
		Use: "set TERM DAYS --reason TEXT", Short: "Keep something for so many days, on all nodes", Args: cobra.ExactArgs(2),
		Long: "Keep something for so many days, on all nodes and in place of the setting keep-TERM. A longer\n" +
			"time holds at once, a shorter one after seven days: until then nothing is lost, and what is\n" +
			"said can be taken back. See docs/retention.md.",
	}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		days, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return usageError{fmt.Errorf("%q is no number of days: give a whole number", args[1])}
		}
		r, err := api.SetRetention(ctx, args[0], days, reason)
		if err != nil {
			return err
		}
		return a.print(retentionTable([]client.Retention{r}, r))
	})
}

func (a *app) retentionReset() *cobra.Command {
	c := &cobra.Command{Use: "reset TERM --reason TEXT", Short: "Keep something for as long as the settings say again", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		r, err := api.ResetRetention(ctx, args[0], reason)
		if err != nil {
			return err
		}
		return a.print(retentionTable([]client.Retention{r}, r))
	})
}

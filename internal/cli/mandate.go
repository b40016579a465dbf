package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// mandate is the family of commands on what agents are for.
func (a *app) mandate() *cobra.Command {
	c := &cobra.Command{
		Use: "mandate", Short: "Open, revise, close and attest the purposes that agents act under",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.mandateOpen(), a.mandateRevise(), a.mandateClose(), a.mandateAttest(), a.mandateList(), a.mandateShow())
	return c
}

func mandateTable(list []client.Mandate, whole any) table {
	t := table{header: []string{"NAME", "STATE", "REVISION", "OWNER", "AGENTS", "STALE", "OUTCOMES", "STATEMENT"}, whole: whole}
	for _, x := range list {
		t.rows = append(t.rows, []string{
			x.Name, x.State, fmt.Sprint(x.Revision), x.Owner, fmt.Sprint(x.Agents), fmt.Sprint(x.Stale), fmt.Sprint(x.Outcomes), x.Statement,
		})
		t.names = append(t.names, x.Name)
		t.items = append(t.items, x)
	}
	return t
}

// purposeFlags are the flags of what a mandate says.
func purposeFlags(c *cobra.Command, p *client.Purpose) {
	c.Flags().StringVar(&p.Statement, "statement", "", "what is to be done, and why")
	c.Flags().StringVar(&p.Success, "success", "", "how it is known that it is done")
	c.Flags().StringVar(&p.Stop, "stop", "", "when it has to end whatever is done")
	c.Flags().StringVar(&p.ExpiresAt, "expires", "", "when the mandate ends, like 2027-01-31T12:00:00Z")
}

func (a *app) mandateOpen() *cobra.Command {
	var p client.Purpose
	var owner string
	var grace time.Duration
	c := &cobra.Command{Use: "open NAME --owner OWNER --statement TEXT", Short: "Open a mandate", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	purposeFlags(c, &p)
	c.Flags().StringVar(&owner, "owner", "", "who answers for it, and for its agents")
	c.Flags().DurationVar(&grace, "grace", 0, "how long stale agents wait to be attested before they end (default a day)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if owner == "" || p.Statement == "" {
			return usageError{errors.New("give --owner and --statement")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		m, err := api.OpenMandate(cmd.Context(), args[0], owner, p, int64(grace/time.Second))
		if err != nil {
			return err
		}
		return a.print(mandateTable([]client.Mandate{m}, m))
	}
	return c
}

// reasonedMandate lets a command find a mandate by name or id, and do something to it for a
// reason.
func (a *app) reasonedMandate(c *cobra.Command, do func(ctx context.Context, api *client.Client, m client.Mandate, reason string) (client.Mandate, error)) *cobra.Command {
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		m, err := api.Mandate(ctx, args[0])
		if err != nil {
			return err
		}
		if m, err = do(ctx, api, m, reason); err != nil {
			return err
		}
		return a.print(mandateTable([]client.Mandate{m}, m))
	})
}

func (a *app) mandateRevise() *cobra.Command {
	var p client.Purpose
	c := &cobra.Command{
		Use: "revise NAME --statement TEXT --reason TEXT", Short: "Say a mandate anew; its agents are stale until they are attested", Args: cobra.ExactArgs(1),
		Long: "Say anew what a mandate is for. Its agents stop at once: they may act again when somebody\n" +
			"who answers for them attests them (reef mandate attest), and end when nobody does in time.",
	}
	purposeFlags(c, &p)
	return a.reasonedMandate(c, func(ctx context.Context, api *client.Client, m client.Mandate, reason string) (client.Mandate, error) {
		if p.Statement == "" {
			return m, usageError{errors.New("give --statement: it says what is to be done from now on")}
		}
		return api.ReviseMandate(ctx, m.ID, p, reason)
	})
}

func (a *app) mandateClose() *cobra.Command {
	c := &cobra.Command{Use: "close NAME --reason TEXT", Short: "Close a mandate; its agents stop, and end when their grace is over", Args: cobra.ExactArgs(1)}
	return a.reasonedMandate(c, func(ctx context.Context, api *client.Client, m client.Mandate, reason string) (client.Mandate, error) {
		return api.CloseMandate(ctx, m.ID, reason)
	})
}

func (a *app) mandateAttest() *cobra.Command {
	var agent string
	c := &cobra.Command{Use: "attest NAME --reason TEXT", Short: "Let stale agents go on under what a mandate says now", Args: cobra.ExactArgs(1)}
	c.Flags().StringVar(&agent, "agent", "", "only this one, by its name or id (default all)")
	return a.reasonedMandate(c, func(ctx context.Context, api *client.Client, m client.Mandate, reason string) (client.Mandate, error) {
		id := ""
		if agent != "" {
			one, err := api.Agent(ctx, agent)
			if err != nil {
				return m, err
			}
			id = one.ID
		}
		if _, err := api.Attest(ctx, m.ID, id, reason); err != nil {
			return m, err
		}
		return api.Mandate(ctx, m.ID)
	})
}

func (a *app) mandateList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List mandates", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return printAll(a, mandateTable, func(api *client.Client, cursor string) ([]client.Mandate, string, error) {
			page, err := api.Mandates(cmd.Context(), cursor)
			return page.Items, page.Next, err
		})
	}
	return c
}

func (a *app) mandateShow() *cobra.Command {
	c := &cobra.Command{Use: "show NAME", Short: "Show a mandate and what its agents have recorded for it", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		m, err := api.Mandate(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		page, err := api.Outcomes(cmd.Context(), m.ID, "")
		if err != nil {
			return err
		}
		whole := struct {
			client.Mandate
			Recent []client.Outcome `json:"recent_outcomes"`
		}{m, page.Items}
		if a.output != "table" {
			return a.print(mandateTable([]client.Mandate{m}, whole))
		}
		t := table{header: []string{"FIELD", "VALUE"}, rows: [][]string{
			{"name", m.Name}, {"state", m.State}, {"revision", fmt.Sprint(m.Revision)}, {"owner", m.Owner}, {"statement", m.Statement},
			{"success", orDash(m.Success)}, {"stop", orDash(m.Stop)}, {"agents", fmt.Sprintf("%d, %d stale", m.Agents, m.Stale)}, {"reason", orDash(m.Reason)},
		}}
		for _, o := range page.Items {
			t.rows = append(t.rows, []string{
				fmt.Sprintf("outcome %d", o.N),
				fmt.Sprintf("%s = %d by %s under revision %d, %s", o.Metric, o.Value, o.Agent, o.Revision, o.MadeAt.Format(time.RFC3339)),
			})
		}
		return a.print(t)
	}
	return c
}

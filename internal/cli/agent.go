package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// agent is the family of operators' commands on agents.
func (a *app) agent() *cobra.Command {
	c := &cobra.Command{
		Use: "agent", Short: "Ask for, invite, enrol, list, show, claim, pause, quarantine and kill agents",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(
		a.agentInvite(), a.agentEnroll(), a.agentRecover(), a.agentList(), a.agentShow(), a.agentClaim(),
		a.agentRequest(), a.agentBudget(), a.agentOrphans(), a.agentNotices(), a.agentProcesses(), a.agentAdopt(), a.agentTrust(),
		a.agentOrder("pause", "Stop an agent until it is resumed", (*client.Client).Pause),
		a.agentOrder("resume", "Let a paused agent act again", (*client.Client).Resume),
		a.agentOrder("appeal", "Let an agent go on that a rule of its class has stopped", (*client.Client).Appeal),
		a.agentOrder("quarantine", "Hold an agent for examination; returns when every node refuses it", (*client.Client).Quarantine),
		a.agentOrder("release", "End a quarantine; an agent that is also paused stays paused", (*client.Client).Release),
		a.agentOrder("kill", "End an agent for good; returns when every node refuses it", (*client.Client).Kill),
	)
	return c
}

func (a *app) agentInvite() *cobra.Command {
	var owner string
	var validFor time.Duration
	c := &cobra.Command{
		Use: "invite", Short: "Make a code with which one agent can register", Args: cobra.NoArgs,
		Long: "Make a one-use code. The agent sends it when it registers, as the field \"invite\" or the\n" +
			"header X-Reef-Invite. The code is printed once; the network keeps only its hash.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&owner, "owner", "", "who will answer for the agent")
	c.Flags().DurationVar(&validFor, "valid-for", 0, "how long the code is good (default seven days)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		in, err := api.Invite(cmd.Context(), owner, validFor)
		if err != nil {
			return err
		}
		return a.print(table{
			header: []string{"CODE", "EXPIRES"}, rows: [][]string{{in.Code, in.ExpiresAt.Format(time.RFC3339)}},
			names: []string{in.Code}, items: []any{in}, whole: in,
		})
	}
	return c
}

func agentTable(list []client.AgentInfo, whole any) table {
	t := table{header: []string{"NAME", "STANDING", "OWNER", "SINCE", "REASON"}, whole: whole}
	for _, x := range list {
		standing := x.Standing
		if x.Beneath != "" && x.Beneath != "active" {
			standing += " (" + x.Beneath + ")"
		}
		t.rows = append(t.rows, []string{x.Name, standing, x.Owner, x.ChangedAt.Format(time.RFC3339), x.Reason})
		t.names = append(t.names, x.Name)
		t.items = append(t.items, x)
	}
	return t
}

func (a *app) agentList() *cobra.Command {
	var q client.AgentQuery
	c := &cobra.Command{Use: "list", Short: "List agents", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.Flags().StringVar(&q.Owner, "owner", "", "only this owner's")
	c.Flags().StringVar(&q.Standing, "standing", "", "only these: requested, active, paused, killed, …")
	c.Flags().IntVar(&q.Limit, "limit", 0, "at most so many (default all)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		all, left := []client.AgentInfo{}, q.Limit
		for {
			q.Limit = 100
			if left > 0 {
				q.Limit = min(left-len(all), 100)
			}
			page, err := api.Agents(cmd.Context(), q)
			if err != nil {
				return err
			}
			all = append(all, page.Items...)
			if page.Next == "" || (left > 0 && len(all) >= left) {
				return a.print(agentTable(all, all))
			}
			q.Cursor = page.Next
		}
	}
	return c
}

func (a *app) agentShow() *cobra.Command {
	c := &cobra.Command{Use: "show NAME|ID", Short: "Show one agent", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.agentAs(shownTable, func(api *client.Client) (client.AgentInfo, error) {
			return api.Agent(cmd.Context(), args[0])
		})
	}
	return c
}

func (a *app) agentClaim() *cobra.Command {
	var owner string
	c := &cobra.Command{Use: "claim NAME|ID", Short: "Make an owner answer for an agent, which may act from then on", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().StringVar(&owner, "owner", "", "who answers for it (default: the owner of its invite)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.oneAgent(func(api *client.Client) (client.AgentInfo, error) {
			id, err := agentID(cmd.Context(), api, args[0])
			if err != nil {
				return client.AgentInfo{}, err
			}
			return api.Claim(cmd.Context(), id, owner)
		})
	}
	return c
}

func (a *app) agentOrder(verb, short string, do func(*client.Client, context.Context, string, string) (client.AgentInfo, error)) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: verb + " NAME|ID --reason TEXT", Short: short, Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError{fmt.Errorf("--reason is required: it goes on record")}
		}
		return a.oneAgent(func(api *client.Client) (client.AgentInfo, error) {
			id, err := agentID(cmd.Context(), api, args[0])
			if err != nil {
				return client.AgentInfo{}, err
			}
			return do(api, cmd.Context(), id, reason)
		})
	}
	return c
}

// agentID finds the id of an agent by its exact name: an order must not hit an
// agent whose name only looks like the one that was typed.
func agentID(ctx context.Context, api *client.Client, nameOrID string) (string, error) {
	x, err := api.Agent(ctx, nameOrID)
	if err != nil {
		return "", err
	}
	if x.Name != nameOrID && !strings.EqualFold(x.ID, nameOrID) {
		return "", act.Errorf(act.NotFound, "no agent is called %q", nameOrID).
			WithRule("agent.name").WithHint("there is one called " + x.Name + ", which only looks alike")
	}
	return x.ID, nil
}

func (a *app) oneAgent(get func(*client.Client) (client.AgentInfo, error)) error {
	return a.agentAs(func(x client.AgentInfo) table { return agentTable([]client.AgentInfo{x}, x) }, get)
}

// agentAs prints an agent as a table of some form.
func (a *app) agentAs(form func(client.AgentInfo) table, get func(*client.Client) (client.AgentInfo, error)) error {
	api, err := a.client()
	if err != nil {
		return err
	}
	x, err := get(api)
	if err != nil {
		return err
	}
	if x.KillEpoch != "" {
		fmt.Fprintln(a.diag, "kill epoch", x.KillEpoch, "(keep it elsewhere: it tells a network that was restored to a time before)")
	}
	return a.print(form(x))
}

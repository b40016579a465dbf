package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// approval is the family of operators' commands on held acts.
func (a *app) approval() *cobra.Command {
	c := &cobra.Command{
		Use: "approval", Short: "List, show, approve and deny acts that wait for a human",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(
		a.approvalList(), a.approvalShow(),
		a.approvalVerdict("approve", "Let a held act be done, once, as its agent asked for it", (*client.Client).Approve),
		a.approvalVerdict("deny", "End a held act; nothing of it is done", (*client.Client).Deny),
	)
	return c
}

func approvalTable(list []client.Approval, whole any) table {
	t := table{header: []string{"ID", "STATE", "ACT", "AGENT", "DEMAND", "RISK", "ALIKE", "PAST", "EXPIRES", "REASON"}, whole: whole}
	for _, x := range list {
		demand := x.Demand
		if x.Asks != "" {
			demand += ":" + x.Asks
		}
		t.rows = append(t.rows, []string{x.ID, x.State, x.Act, x.Agent, demand, x.Risk, fmt.Sprint(max(1, x.Alike)), pastOf(x), x.ExpiresAt.Format(time.RFC3339), x.Reason})
		t.names = append(t.names, x.ID)
		t.items = append(t.items, x)
	}
	return t
}

// pastOf is how the same act of the same agent was decided before.
func pastOf(x client.Approval) string {
	return fmt.Sprintf("%d yes, %d no", x.Past.Approved, x.Past.Denied)
}

// cards leaves one of those that are alike, and puts what is of high risk in front: who
// decides sees few lines, and the ones that matter first.
func cards(list []client.Approval) (out []client.Approval) {
	type alike struct{ agent, act, policy, state string }
	seen := make(map[alike]bool)
	for _, x := range list {
		k := alike{x.AgentID, x.Act, x.Policy, x.State}
		if x.State == "pending" && x.Alike > 1 && seen[k] {
			continue
		}
		seen[k] = true
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b client.Approval) int { return cmp.Compare(rankOf(a), rankOf(b)) })
	return out
}

func rankOf(x client.Approval) int {
	if x.State == "pending" && x.Risk == "high" {
		return 0
	}
	return 1
}

func (a *app) approvalList() *cobra.Command {
	var q client.ApprovalQuery
	var every bool
	c := &cobra.Command{
		Use: "list", Short: "List held acts, what is of high risk first", Args: cobra.NoArgs,
		Long: "List held acts, what is of high risk first, then the newest. Of those that are alike (of one\n" +
			"agent, act and policy) one stands for all that wait; --every lists each.",
	}
	a.outputFlag(c)
	c.Flags().BoolVar(&every, "every", false, "list each of those that are alike")
	c.Flags().StringVar(&q.State, "state", "pending", `only these: pending, executed, denied, …; "" is all`)
	c.Flags().IntVar(&q.Limit, "limit", 0, "at most so many (default all)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		all, left := []client.Approval{}, q.Limit
		for {
			q.Limit = 100
			if left > 0 {
				q.Limit = min(left-len(all), 100)
			}
			page, err := api.Approvals(cmd.Context(), q)
			if err != nil {
				return err
			}
			all = append(all, page.Items...)
			if page.Next == "" || (left > 0 && len(all) >= left) {
				if !every && a.output == "table" {
					all = cards(all)
				}
				return a.print(approvalTable(all, all))
			}
			q.Cursor = page.Next
		}
	}
	return c
}

func (a *app) approvalShow() *cobra.Command {
	c := &cobra.Command{Use: "show ID", Short: "Show one held act with what would be done", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		x, err := api.Approval(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if a.output != "table" {
			return a.print(approvalTable([]client.Approval{x}, x))
		}
		t := table{header: []string{"FIELD", "VALUE"}, rows: [][]string{
			{"id", x.ID}, {"state", x.State}, {"act", x.Act}, {"agent", x.Agent}, {"policy", x.Policy}, {"asks", x.Asks}, {"risk", x.Risk},
			{"expires", x.ExpiresAt.Format(time.RFC3339)}, {"reason", x.Reason},
		}}
		if x.Score != nil {
			t.rows = append(t.rows, []string{"risk score", fmt.Sprint(x.Score.Points, " of 100")})
			for _, p := range x.Score.Parts {
				t.rows = append(t.rows, []string{"risk of " + p.Name, fmt.Sprint(p.Points, ": ", p.Why)})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(x.Input)) {
			t.rows = append(t.rows, []string{"input " + name, fmt.Sprint(x.Input[name])})
		}
		return a.print(t)
	}
	return c
}

func (a *app) approvalVerdict(verb, short string, do func(*client.Client, context.Context, string, string, string) (client.Approval, error)) *cobra.Command {
	var reason, owner string
	c := &cobra.Command{Use: verb + " ID --reason TEXT", Short: short, Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.Flags().StringVar(&owner, "owner", "", "the agent's owner, for whom you act")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError{fmt.Errorf("--reason is required: it goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		x, err := do(api, cmd.Context(), args[0], owner, reason)
		if err != nil {
			return err
		}
		return a.print(approvalTable([]client.Approval{x}, x))
	}
	return c
}

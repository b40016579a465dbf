package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// quota is the family of operators' commands on what many agents use up together.
func (a *app) quota() *cobra.Command {
	c := &cobra.Command{
		Use: "quota", Short: "Bound what all agents of the network, of a team or of a class use up together",
		Long: "A SCOPE is network, team:NAME or class:NAME, a KIND acts, tokens, money_micros or cpu_ms.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.quotaSet(), a.quotaList(), a.quotaShow(), a.quotaDrop())
	return c
}

func quotaTable(list []client.Quota, whole any) table {
	t := table{header: []string{"SCOPE", "KIND", "LIMIT", "USED", "GIVEN", "LEFT", "RENEWS", "REASON"}, whole: whole}
	for _, q := range list {
		renews := "-"
		if q.RenewsAt != nil {
			renews = q.RenewsAt.Format(time.RFC3339)
		}
		t.rows = append(t.rows, []string{q.Scope, q.Kind, fmt.Sprint(q.Limit), fmt.Sprint(q.Used), fmt.Sprint(q.Given), fmt.Sprint(q.Left), renews, q.Reason})
		t.names = append(t.names, q.Scope+" "+q.Kind)
		t.items = append(t.items, q)
	}
	return t
}

func (a *app) quotaSet() *cobra.Command {
	var period string
	c := &cobra.Command{
		Use: "set SCOPE KIND LIMIT [--period hour|day] --reason TEXT", Short: "Set a quota, in place of what there is", Args: cobra.ExactArgs(3),
		Long: "Set how much agents use up together at most. With a period it renews with each hour or day\n" +
			"of UTC, without one it is used up for good. From the answer on no node goes beyond it.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&period, "period", "", "hour or day; for good without it")
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		limit, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return usageError{fmt.Errorf("%q is no limit: give a whole number", args[2])}
		}
		q, err := api.SetQuota(ctx, args[0], args[1], limit, period, reason)
		if err != nil {
			return err
		}
		return a.print(quotaTable([]client.Quota{q}, q))
	})
}

func (a *app) quotaList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the quotas, and what is left of each", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Quotas(cmd.Context())
		if err != nil {
			return err
		}
		return a.print(quotaTable(list, list))
	}
	return c
}

func (a *app) quotaShow() *cobra.Command {
	c := &cobra.Command{Use: "show SCOPE KIND", Short: "Show a quota: what is left of it, and when it renews", Args: cobra.ExactArgs(2)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		q, err := api.Quota(cmd.Context(), args[0], args[1])
		if err != nil {
			return err
		}
		return a.print(quotaTable([]client.Quota{q}, q))
	}
	return c
}

func (a *app) quotaDrop() *cobra.Command {
	c := &cobra.Command{Use: "drop SCOPE KIND --reason TEXT", Short: "End a quota: what it bounded is bounded no more", Args: cobra.ExactArgs(2)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		q, err := api.DropQuota(ctx, args[0], args[1], reason)
		if err != nil {
			return err
		}
		return a.print(quotaTable([]client.Quota{q}, q))
	})
}

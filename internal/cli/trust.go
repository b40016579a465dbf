package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// agentTrust shows how an agent's trust has changed, or says how far it is trusted.
func (a *app) agentTrust() *cobra.Command {
	var level, reason string
	var limit int
	c := &cobra.Command{
		Use: "trust NAME|ID [--level LEVEL --reason TEXT]", Short: "Show how an agent's trust has changed and why, or say how far it is trusted", Args: cobra.ExactArgs(1),
		Long: "List how far an agent was trusted since when, by which rule and why, the newest first. With\n" +
			"--level (low, normal or high) you say how far it is trusted, in the place of what it earns,\n" +
			"until you take that back with --level earned. See docs/trust.md.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&level, "level", "", "say how far it is trusted: low, normal, high, or earned")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.Flags().IntVar(&limit, "limit", 20, "list so many changes")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if (level == "") != (reason == "") {
			return usageError{errors.New("--level and --reason belong together")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		id, err := agentID(cmd.Context(), api, args[0])
		if err != nil {
			return err
		}
		if level != "" {
			if _, err := api.Entrust(cmd.Context(), id, level, reason); err != nil {
				return err
			}
		}
		page, err := api.TrustChanges(cmd.Context(), id, limit, "")
		if err != nil {
			return err
		}
		t := table{header: []string{"LEVEL", "EARNED", "SINCE", "RULE", "BY", "WHY"}, whole: page.Items}
		for _, x := range page.Items {
			t.rows = append(t.rows, []string{x.Level, x.Earned, x.At.Format(time.RFC3339), x.Rule, x.By, x.Reason})
			t.names = append(t.names, x.Level)
			t.items = append(t.items, x)
		}
		return a.print(t)
	}
	return c
}

// shownTable is one agent with how far it is trusted, since when and why.
func shownTable(x client.AgentInfo) table {
	t := agentTable([]client.AgentInfo{x}, x)
	since, why := "", "too little is known of it"
	if x.Trusted != nil {
		since, why = x.Trusted.At.Format(time.RFC3339), x.Trusted.Rule+": "+x.Trusted.Reason
	}
	t.header = append(t.header, "TRUST", "TRUSTED SINCE", "WHY")
	t.rows[0] = append(t.rows[0], x.Trust, since, why)
	return t
}

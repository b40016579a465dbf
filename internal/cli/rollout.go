package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// classRollout is the family of commands on roll-outs.
func (a *app) classRollout() *cobra.Command {
	c := &cobra.Command{
		Use: "rollout", Short: "Bind the agents of a class to another version of it, by and by",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		a.rolloutStart(), a.rolloutShow(),
		a.rolloutOrder("pause", "Bind no more agents for now", (*client.Client).PauseRollout),
		a.rolloutOrder("resume", "Go on with a roll-out that was paused", (*client.Client).ResumeRollout),
		a.rolloutOrder("abort", "Take a roll-out back: its agents are bound again to what they had", (*client.Client).AbortRollout),
	)
	return c
}

// rolloutText is a roll-out as a person reads it, with those who stay what they are.
func rolloutText(r client.Rollout) table {
	t := table{header: []string{"CLASS", "VERSION", "STATE", "STEP", "BOUND", "WANTED", "UNHEALTHY", "WHY"}, names: []string{r.Class}, items: []any{r}, whole: r}
	why := r.Reason
	if r.Rule != "" {
		why = r.Rule + ": " + r.Evidence
	}
	step := fmt.Sprintf("%d/%d (%s)", r.Step, len(r.Steps), r.Steps[r.Step-1])
	t.rows = append(t.rows, []string{r.Class, fmt.Sprint(r.Version), r.State, step, fmt.Sprint(r.Bound), fmt.Sprint(r.Wanted), fmt.Sprint(r.Unhealthy), why})
	for _, s := range r.Stragglers {
		t.rows = append(t.rows, []string{"  " + s.Agent, fmt.Sprint(s.Version), "stays", "", "", "", "", s.Why})
	}
	return t
}

func (a *app) rolloutStart() *cobra.Command {
	in := client.NewRollout{Most: 10}
	var steps string
	var bake, window time.Duration
	c := &cobra.Command{
		Use: "start NAME --reason TEXT", Short: "Roll a version of a class out", Args: cobra.ExactArgs(1),
		Long: "Bind the agents of a class to another version of it, step by step. Where more of them than\n" +
			"--max-unhealthy percent are stopped within the window, all are bound back at once. Agents keep\n" +
			"what they were granted at most: what a version adds is for agents that are asked for by it.",
	}
	a.outputFlag(c)
	c.Flags().Int64Var(&in.Version, "version", 0, "this version (default the newest)")
	c.Flags().StringVar(&steps, "steps", "", `how many agents have it by and by, like 1,10%,100% (default 10%,50%,100%)`)
	c.Flags().DurationVar(&bake, "bake", 0, "how long each step is looked at (default 10m)")
	c.Flags().DurationVar(&window, "window", 0, "the time in which stopped agents count (default that of --bake)")
	c.Flags().Int64Var(&in.Most, "max-unhealthy", in.Most, "percent of those bound that may be stopped within the window")
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		if steps != "" {
			in.Steps = strings.Split(steps, ",")
		}
		in.Bake, in.Window, in.Reason = int64(bake/time.Second), int64(window/time.Second), reason
		r, err := api.StartRollout(ctx, args[0], in)
		return a.printRollout(r, err)
	})
}

func (a *app) rolloutShow() *cobra.Command {
	c := &cobra.Command{Use: "show NAME", Short: "Show how far the last roll-out of a class is, and who stays what it is", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		r, err := api.Rollout(cmd.Context(), args[0])
		return a.printRollout(r, err)
	}
	return c
}

func (a *app) rolloutOrder(verb, short string, do func(*client.Client, context.Context, string, string) (client.Rollout, error)) *cobra.Command {
	c := &cobra.Command{Use: verb + " NAME --reason TEXT", Short: short, Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		r, err := do(api, ctx, args[0], reason)
		return a.printRollout(r, err)
	})
}

// printRollout prints what a call was answered, unless it failed.
func (a *app) printRollout(r client.Rollout, err error) error {
	if err != nil {
		return err
	}
	return a.print(rolloutText(r))
}

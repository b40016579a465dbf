package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// process is the family of commands of a runtime that holds agents, as one of these.
func (a *app) process() *cobra.Command {
	c := &cobra.Command{
		Use: "process", Short: "Say which agents a runtime holds, and that it is alive",
		Long: "Say, as an agent of this machine, which agents a runtime holds, and renew its lease for all of\n" +
			"them. When it is silent for longer than that they are paused, and ended when their grace is\n" +
			"over. reef agent processes lists what there is.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.processOpen(), a.processRenew())
	return c
}

func (a *app) processOpen() *cobra.Command {
	var lease time.Duration
	var hosted []string
	c := &cobra.Command{Use: "open NAME --agent NAME", Short: "Say which agents a runtime holds; said again it changes that", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	a.agentFlag(c, "the agent that renews the lease for all")
	c.Flags().DurationVar(&lease, "lease", 10*time.Second, "how long it may be silent, 2s to 10m")
	c.Flags().StringSliceVar(&hosted, "hosts", nil, "ids of the agents that it holds beside that one")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		h, err := a.holder(cmd.Context(), "")
		if err != nil {
			return err
		}
		defer h.Close()
		p, err := h.Client().OpenProcess(cmd.Context(), args[0], lease, hosted)
		if err != nil {
			return err
		}
		return a.print(table{
			header: []string{"ID", "NAME", "AGENTS", "LEASE", "UNTIL"},
			rows:   [][]string{{p.ID, p.Name, fmt.Sprint(p.Agents), (time.Duration(p.Lease) * time.Second).String(), p.UntilAt.Format(time.RFC3339)}},
			names:  []string{p.ID}, items: []any{p}, whole: p,
		})
	}
	return c
}

func (a *app) processRenew() *cobra.Command {
	c := &cobra.Command{
		Use: "renew ID --agent NAME", Short: "Renew the lease of a runtime again and again, until a signal", Args: cobra.ExactArgs(1),
		Long: "Renew the lease of a runtime three times within it, until SIGINT or SIGTERM; so it runs beside\n" +
			"the runtime and ends with it. It ends by itself, with an error, when the lease is lost.",
	}
	a.agentFlag(c, "the agent that opened the process")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		h, err := a.holder(cmd.Context(), "")
		if err != nil {
			return err
		}
		defer h.Close()
		if err = a.renew(cmd.Context(), h.Client(), args[0]); cmd.Context().Err() != nil {
			return nil // told to end
		}
		return err
	}
	return c
}

const (
	renewals   = 3 // within a lease
	renewAgain = time.Second
)

// renew renews a lease until it is lost or ctx is done. A network that cannot be reached is
// asked again: it may be back before the lease is over.
func (a *app) renew(ctx context.Context, api *client.Client, id string) error {
	said := false
	for wait := renewAgain; ; {
		p, err := api.RenewProcess(ctx, id)
		switch {
		case err == nil:
			if wait = time.Duration(p.Lease) * time.Second / renewals; !said {
				said = true
				fmt.Fprintf(a.out, "renewing the lease of %s every %s\n", p.Name, wait.Round(time.Millisecond))
			}
		case !passes(err) || ctx.Err() != nil:
			return err
		default:
			fmt.Fprintln(a.diag, "not renewed, trying again:", err)
			wait = min(wait, renewAgain)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// passes reports whether what kept a lease from being renewed may pass.
func passes(err error) bool {
	var known *act.Error
	if !errors.As(err, &known) {
		return true // no answer
	}
	return known.Code == act.Unavailable || known.Code == act.RateLimited || known.Code == act.Internal
}

package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// command is the family of commands on orders that are signed away from the network.
func (a *app) command() *cobra.Command {
	c := &cobra.Command{
		Use: "command", Short: "Sign orders to agents offline, and deliver them",
		Long: "An operator's order as a document: signed with a key that is kept offline, carried by anybody,\n" +
			"executed once. It works while the identity provider and the operator's session are away.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.commandKey(), a.commandSign(), a.commandSend(), a.commandShow())
	return c
}

func (a *app) commandKey() *cobra.Command {
	var file, algorithm string
	var acts []string
	var life time.Duration
	c := &cobra.Command{
		Use: "key --file FILE", Short: "Make a command key of yours and register its public half", Args: cobra.NoArgs,
		Long: "Make a key pair, keep it in a file that nobody else can read, and have the network take its\n" +
			"public half as yours. Take the file offline after that. The network wants proof of who you\n" +
			"are (step-up); reef identity inventory lists the key, and revoking it ends it.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&file, "file", "", "where the key is kept; a file that is there is not touched")
	c.Flags().StringSliceVar(&acts, "act", nil, "what it may order (default all: "+strings.Join(identity.CommandActs(), ", ")+")")
	c.Flags().DurationVar(&life, "valid-for", 0, "how long the key is good (default ninety days)")
	c.Flags().StringVar(&algorithm, "algorithm", "EdDSA", "of the key: EdDSA or ES256")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		alg, ok := map[string]token.Algorithm{"EdDSA": token.EdDSA, "ES256": token.ES256}[algorithm]
		switch {
		case file == "":
			return usageError{errors.New("--file is required: the key is kept there")}
		case !ok:
			return usageError{fmt.Errorf("--algorithm %q is neither EdDSA nor ES256", algorithm)}
		}
		if len(acts) == 0 {
			acts = identity.CommandActs()
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		key, err := token.NewKey(alg)
		if err != nil {
			return err
		}
		k, err := api.Commander(cmd.Context(), acts, key)
		if err != nil {
			return err
		}
		// The key is on the disk before the network knows it.
		if err := k.Create(file); err != nil {
			return err
		}
		made, err := api.Register(cmd.Context(), k, life, time.Now())
		if err != nil {
			if code := act.CodeOf(err); code != act.Unavailable && code != act.Internal {
				_ = os.Remove(file) // the network does not know it
			}
			return err
		}
		if err := made.Write(file); err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "the key is in %s; take it offline\n", file)
		id := key.Public().Thumbprint()
		return a.print(table{
			header: []string{"KEY", "ACTS", "EXPIRES"}, rows: [][]string{{id, strings.Join(acts, " "), made.Until.Format(time.RFC3339)}},
			names: []string{id}, items: []any{shownCommandKey{id, acts, made.Until}}, whole: shownCommandKey{id, acts, made.Until},
		})
	}
	return c
}

// shownCommandKey is what is told of a command key: nothing of the private half.
type shownCommandKey struct {
	KeyID string    `json:"key_id"`
	Acts  []string  `json:"acts"`
	Until time.Time `json:"expires_at"`
}

func (a *app) commandSign() *cobra.Command {
	var file, agent, scope string
	var order token.Command
	var life time.Duration
	c := &cobra.Command{
		Use: "sign --key FILE --act ACT {--agent ID | --scope SCOPE} --reason TEXT", Short: "Sign an order to one agent, or about a scope; no network is asked", Args: cobra.NoArgs,
		Long: "Print a document that orders one thing, once, for as long as --life. Whoever delivers it\n" +
			"(reef command send) has it done in your name: treat it as the deed itself.\n\n" +
			"What cannot be undone wants a signature of the last minutes (step-up-within); pause and\n" +
			"quarantine can be signed up to a day ahead.",
	}
	c.Flags().StringVar(&file, "key", "", "file of the command key")
	c.Flags().StringVar(&order.Act, "act", "", "what is to be done: "+strings.Join(identity.CommandActs(), ", "))
	c.Flags().StringVar(&agent, "agent", "", "to whom, for agent.…: the agent's id")
	c.Flags().StringVar(&scope, "scope", "", "about whom, for scope.…: owner:NAME, class:NAME, skill:DIGEST, lineage:AGENT-ID, community:NAME or all")
	c.Flags().StringVar(&order.Reason, "reason", "", "why; goes on record")
	c.Flags().DurationVar(&life, "life", token.DefaultCommandLife, "how long the order is good, a day at the most")
	c.RunE = func(*cobra.Command, []string) error {
		if file == "" || order.Act == "" || (agent == "") == (scope == "") || order.Reason == "" {
			return usageError{errors.New("--key, --act, --agent or --scope, and --reason are required")}
		}
		order.Target = token.Target{Kind: token.TargetAgent, ID: agent}
		if scope != "" {
			var ok bool
			if order.Target.Kind, order.Target.ID, ok = strings.Cut(scope, ":"); !ok {
				order.Target.ID = scope // {"all":"all"}
			}
		}
		if err := identity.CheckReason(order.Reason); err != nil {
			return err
		}
		k, err := client.ReadCommandKey(file)
		if err != nil {
			return err
		}
		now := time.Now()
		switch {
		case !slices.Contains(k.Acts, order.Act):
			return act.Errorf(act.Denied, "this key is not for %q", order.Act).WithRule("command.scope").WithHint("it is for " + strings.Join(k.Acts, ", ") + "; reef command key makes another one")
		case !k.Until.IsZero() && !now.Before(k.Until):
			return act.Errorf(act.Denied, "this key has expired").WithRule("command.key").WithHint("make another one with reef command key")
		}
		order.Audience = k.Issuer
		text, signed, err := k.Key.Command(order, life, now)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.out, text)
		fmt.Fprintf(a.diag, "good until %s, once; deliver it: reef command send\n", signed.Expires.Format(time.RFC3339))
		return nil
	}
	return c
}

func (a *app) commandSend() *cobra.Command {
	c := &cobra.Command{
		Use: "send [FILE|-]", Short: "Deliver a signed order; no credential is needed", Args: cobra.MaximumNArgs(1),
		Long: "Deliver a document that reef command sign printed, from a file or from stdin.",
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := a.secret(firstOr(args, "-"), "command")
		if err != nil {
			return err
		}
		done, err := client.SendCommand(cmd.Context(), a.url(), text)
		if err != nil {
			return err
		}
		if done.Agent.ID == "" {
			done.Agent.Name, done.Agent.ID, done.Agent.Standing = done.Scope.Name, done.Scope.Scope, done.Scope.Standing
		}
		return a.print(table{
			header: []string{"ACT", "NAME", "ID", "STANDING", "COMMAND"}, rows: [][]string{{done.Act, done.Agent.Name, done.Agent.ID, done.Agent.Standing, done.ID}},
			names: []string{done.Agent.ID}, items: []any{done}, whole: done,
		})
	}
	return c
}

// shownCommand is a command as it is shown.
type shownCommand struct {
	Verified  bool      `json:"verified"` // with the key that was given
	Network   string    `json:"network"`
	Act       string    `json:"act"`
	Target    string    `json:"target"` // agent ID, say
	Reason    string    `json:"reason"`
	ID        string    `json:"id"`
	KeyID     string    `json:"key_id"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (a *app) commandShow() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "show [FILE|-]", Short: "Show what a signed order says; no network is asked", Args: cobra.MaximumNArgs(1),
		Long: "Show what a document orders. With --key it is verified against that command key, as the\n" +
			"network would now; without it nothing that it says is known to be true.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&file, "key", "", "file of the command key that has signed it")
	c.RunE = func(_ *cobra.Command, args []string) error {
		text, err := a.secret(firstOr(args, "-"), "command")
		if err != nil {
			return err
		}
		x, err := token.ShowCommand(text)
		if err != nil {
			return err
		}
		verified := "no"
		if file != "" {
			k, err := client.ReadCommandKey(file)
			if err != nil {
				return err
			}
			if _, err := token.ReadCommand(text, token.CommandExpect{
				Audience: k.Issuer, Now: time.Now(), Key: func(string) (token.Public, error) { return k.Key.Public(), nil },
			}); err != nil {
				return err
			}
			verified = "yes"
		}
		s := shownCommand{file != "", x.Audience, x.Act, strings.TrimSpace(x.Target.Kind + " " + x.Target.ID), x.Reason, x.ID, x.KeyID, x.IssuedAt, x.Expires}
		return a.print(table{
			header: []string{"VERIFIED", "ACT", "TARGET", "REASON", "NETWORK", "KEY", "SIGNED", "EXPIRES"},
			rows:   [][]string{{verified, s.Act, s.Target, s.Reason, s.Network, short(s.KeyID), s.IssuedAt.Format(time.RFC3339), s.ExpiresAt.Format(time.RFC3339)}},
			names:  []string{s.ID}, items: []any{s}, whole: s,
		})
	}
	return c
}

func firstOr(args []string, fallback string) string {
	if len(args) > 0 {
		return args[0]
	}
	return fallback
}

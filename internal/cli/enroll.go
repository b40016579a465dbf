package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// enrollment is the family of commands on enrolment tokens.
func (a *app) enrollment() *cobra.Command {
	c := &cobra.Command{
		Use: "enrollment", Short: "Make the tokens under which agents enrol their keys",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.enrollmentCreate())
	return c
}

func (a *app) enrollmentCreate() *cobra.Command {
	var n client.NewEnrollment
	var agent string
	c := &cobra.Command{
		Use: "create {--owner NAME | --agent NAME|ID}", Short: "Make a token under which one key can be enrolled, once", Args: cobra.NoArgs,
		Long: "Make a one-use token. With --owner it is for a new agent, for which the owner answers from\n" +
			"the beginning; with --agent for another key of one that is there. Whoever runs the agent\n" +
			"gives it to reef agent enroll. It is printed once; the network keeps only its hash.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&n.Owner, "owner", "", "who will own the new agent")
	c.Flags().StringVar(&agent, "agent", "", "an agent that is there")
	c.Flags().StringVar(&n.Scope, "scope", "", `what tokens of the key may be for: acts and nouns, like "post.* comment.create" (default all that policy permits)`)
	c.Flags().DurationVar(&n.ValidFor, "valid-for", 0, "how long the token is good (default an hour)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if (n.Owner == "") == (agent == "") {
			return usageError{errors.New("give --owner for a new agent, or --agent for one that is there")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		if agent != "" {
			if n.Agent, err = agentID(cmd.Context(), api, agent); err != nil {
				return err
			}
		}
		e, err := api.NewEnrollment(cmd.Context(), n)
		if err != nil {
			return err
		}
		return a.print(table{
			header: []string{"TOKEN", "EXPIRES"}, rows: [][]string{{e.Token, e.ExpiresAt.Format(time.RFC3339)}},
			names: []string{e.Token}, items: []any{e}, whole: e,
		})
	}
	return c
}

func (a *app) agentRecover() *cobra.Command {
	var owner, reason string
	c := &cobra.Command{
		Use: "recover NAME|ID [--owner NAME] --reason TEXT", Short: "End an agent's lost keys at its owner's word, and let it enrol a new one", Args: cobra.ExactArgs(1),
		Long: "End every key and token of an agent whose key was lost, or lost to somebody, and make a token\n" +
			"under which it enrols a new one (reef agent enroll NAME --replace). The agent stays who it is.\n" +
			"It is done at the word of its owner: an operator names them, an owner who is signed in\n" +
			"(reef login) is it themselves. The token is printed once.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&owner, "owner", "", "the agent's owner, who asks for it (default you)")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		id, err := agentID(cmd.Context(), api, args[0])
		if err != nil {
			return err
		}
		r, err := api.Recover(cmd.Context(), id, owner, reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "%d credentials ended\n", r.Ended)
		return a.print(table{
			header: []string{"TOKEN", "EXPIRES"}, rows: [][]string{{r.Token, r.ExpiresAt.Format(time.RFC3339)}},
			names: []string{r.Token}, items: []any{r}, whole: r,
		})
	}
	return c
}

func (a *app) agentEnroll() *cobra.Command {
	var from, description, algorithm string
	var replace bool
	c := &cobra.Command{
		Use: "enroll NAME", Short: "Make a key pair for an agent of this machine and enrol it", Args: cobra.ExactArgs(1),
		Long: "Make a key pair, keep it in a file that nobody else can read, and enrol its public half\n" +
			"under an enrolment token (reef enrollment create) or the agent's bootstrap key\n" +
			"(moltbook_sk_…). Either is read from stdin, or from a file.\n\n" +
			"The key is in DIR/NAME/key.json, DIR being --keys. From then on reef proxy --agent NAME\n" +
			"acts for the agent, which needs no credential.",
	}
	a.outputFlag(c)
	a.keysFlag(c)
	c.Flags().StringVar(&from, "enrollment-file", "-", "file with the enrolment token or bootstrap key; - is stdin")
	c.Flags().StringVar(&description, "description", "", "of a new agent")
	c.Flags().BoolVar(&replace, "replace", false, "take the place of the agent's key that is here, which is no good any more")
	c.Flags().StringVar(&algorithm, "algorithm", "EdDSA", "of the key: EdDSA or ES256")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		alg, ok := map[string]token.Algorithm{"EdDSA": token.EdDSA, "ES256": token.ES256}[algorithm]
		if !ok {
			return usageError{fmt.Errorf("--algorithm %q is neither EdDSA nor ES256", algorithm)}
		}
		dir, err := a.agentDir(args[0])
		if err != nil {
			return err
		}
		file, next := filepath.Join(dir, keyName), filepath.Join(dir, nextName)
		if _, err := os.Lstat(file); err == nil && !replace {
			return act.Errorf(act.Conflict, "the agent has a key here already: %s", file).WithRule("key.known").
				WithHint("reef key rotate --agent " + args[0] + " replaces it; --replace does when it is no good any more")
		}
		text, err := a.secret(from, "enrolment token or bootstrap key")
		if err != nil {
			return err
		}
		key, err := token.NewKey(alg)
		if err != nil {
			return err
		}
		// The key is on the disk before the network knows it: a token that was used for
		// a key that nobody has would be lost.
		ask := client.Enrolling{URL: a.url(), Token: text, Name: args[0], Description: description, Key: key, Now: time.Now()}
		if err := (client.Member{URL: ask.URL, Name: args[0], Key: key}).Write(next); err != nil {
			return err
		}
		m, err := client.Enroll(cmd.Context(), ask)
		if err != nil {
			if code := act.CodeOf(err); code != act.Unavailable && code != act.Internal {
				_ = os.Remove(next) // the network does not know it
			}
			return err
		}
		if m.Name != args[0] {
			fmt.Fprintf(a.diag, "the token is for the agent %s: its key is kept under that name\n", plainCell(m.Name))
			if dir, err = a.agentDir(m.Name); err != nil {
				return err
			}
			file = filepath.Join(dir, keyName)
		}
		if err := m.Write(file); err != nil {
			return err
		}
		_ = os.Remove(next) // what is in it is in the other one, and more
		fmt.Fprintf(a.diag, "the key is in %s and is good until %s\nrun the agent behind: reef proxy --agent %s\n", file, m.Until.Format(time.RFC3339), m.Name)
		return a.print(memberTable(m))
	}
	return c
}

// shownMember is what is told of an agent's key: nothing of the private half.
type shownMember struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Network string    `json:"network"`
	KeyID   string    `json:"key_id"`
	Until   time.Time `json:"expires_at"`
}

func memberTable(m client.Member) table {
	s := shownMember{m.ID, m.Name, m.Issuer, m.Key.Public().Thumbprint(), m.Until}
	return table{
		header: []string{"NAME", "ID", "NETWORK", "KEY", "EXPIRES"},
		rows:   [][]string{{s.Name, s.ID, s.Network, s.KeyID, s.Until.Format(time.RFC3339)}},
		names:  []string{s.ID}, items: []any{s}, whole: s,
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

func (a *app) whoami() *cobra.Command {
	c := &cobra.Command{
		Use: "whoami", Short: "Show who the network takes you for", Args: cobra.NoArgs,
		Long: "Show the operator behind the token or, with --agent, an agent of this machine, as the network\n" +
			"sees it: on whose behalf it acts, how its credential is bound, what it may, until when.",
	}
	a.targetFlags(c)
	a.outputFlag(c)
	a.agentFlag(c, "an agent of this machine, instead of the operator")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, done, err := a.caller(cmd.Context())
		if err != nil {
			return err
		}
		defer done()
		who, err := api.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		scopes, expires, roles := "-", "-", "-"
		if who.Scopes != nil {
			scopes = strings.Join(who.Scopes, " ")
		}
		if len(who.Roles) > 0 {
			roles = strings.Join(who.Roles, " ")
		}
		if who.ExpiresAt != nil {
			expires = stamp(who.ExpiresAt)
		}
		return a.print(table{
			header: []string{"KIND", "NAME", "ID", "ROLES", "ON BEHALF OF", "BINDING", "SCOPE", "EXPIRES"},
			rows:   [][]string{{who.Kind, who.Name, who.ID, roles, orDash(strings.Join(who.Chain, " < ")), who.Binding, scopes, expires}},
			names:  []string{who.ID}, items: []any{who}, whole: who,
		})
	}
	return c
}

// caller opens the client of the agent that --agent names, or of the operators.
func (a *app) caller(ctx context.Context) (api *client.Client, done func(), err error) {
	if a.to.agent == "" {
		api, err = a.client()
		return api, func() {}, err
	}
	h, err := a.holder(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	return h.Client(), h.Close, nil
}

// identity is the family of commands on who can come in.
func (a *app) identity() *cobra.Command {
	c := &cobra.Command{
		Use: "identity", Short: "Show which credentials there are",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.identityInventory())
	return c
}

func (a *app) identityInventory() *cobra.Command {
	var q client.CredentialQuery
	var agent string
	var grants bool
	c := &cobra.Command{
		Use: "inventory", Short: "List what lets anybody in: age, binding, scope, last use, whether it is anybody's", Args: cobra.NoArgs,
		Long: "List the keys and other credentials of agents and operators, or with --grants what was given\n" +
			"to them by tokens. No secret is in it. STATE says what wants a look: dormant (not used for\n" +
			"thirty days), unowned (of an agent that nobody answers for).",
	}
	a.outputFlag(c)
	c.Flags().BoolVar(&grants, "grants", false, "grants instead of credentials")
	c.Flags().StringVar(&agent, "agent", "", "only this agent's, by name or id")
	c.Flags().BoolVar(&q.Dormant, "dormant", false, "only what was not used for thirty days")
	c.Flags().BoolVar(&q.Unowned, "unowned", false, "only what belongs to agents that nobody owns")
	c.Flags().BoolVar(&q.Ended, "ended", false, "also what was revoked or is over")
	c.Flags().IntVar(&q.Limit, "limit", 0, "at most so many (default all)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		if agent != "" {
			if q.Agent, err = agentID(cmd.Context(), api, agent); err != nil {
				return err
			}
		}
		if grants {
			q.Kind = "grant"
		}
		all, most := []client.Credential{}, q.Limit
		for {
			q.Limit = 100
			if most > 0 {
				q.Limit = min(most-len(all), 100)
			}
			page, err := api.Inventory(cmd.Context(), q)
			if err != nil {
				return err
			}
			all = append(all, page.Items...)
			if page.Next == "" || (most > 0 && len(all) >= most) {
				return a.print(credentialTable(all))
			}
			q.Cursor = page.Next
		}
	}
	return c
}

func credentialTable(list []client.Credential) table {
	t := table{header: []string{"ID", "KIND", "BINDING", "HOLDER", "OWNER", "SCOPE", "KEY", "AGE", "USED", "EXPIRES", "STATE"}, whole: list}
	for _, x := range list {
		owner, key, state := "-", "-", "live"
		if x.Owner != nil {
			owner = *x.Owner
		}
		if x.KeyID != nil {
			key = short(*x.KeyID)
		}
		switch {
		case x.RevokedAt != nil:
			state = "revoked"
		case x.Dormant && x.Unowned:
			state = "dormant, unowned"
		case x.Dormant:
			state = "dormant"
		case x.Unowned:
			state = "unowned"
		}
		name := x.Name
		if name == "" {
			name = x.Subject
		}
		t.rows = append(t.rows, []string{
			x.ID, x.Kind, x.Binding, name, owner, orDash(x.Scope), key, age(x.Age), orDash(stamp(x.UsedAt)), orDash(stamp(x.ExpiresAt)), state,
		})
		t.names, t.items = append(t.names, x.ID), append(t.items, x)
	}
	return t
}

// age writes seconds as people say them.
func age(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", seconds)
}

// key is the family of commands on keys: those that sign, and the network's own.
func (a *app) key() *cobra.Command {
	c := &cobra.Command{
		Use: "key", Short: "Look after the network's key, and replace those that sign tokens or are an agent's own",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.keyRotate(), a.keyRenew(), a.keyShow(), a.keySeal(), a.keyCopy())
	return c
}

func (a *app) keyRotate() *cobra.Command {
	var compromised, svids bool
	var reason string
	c := &cobra.Command{
		Use: "rotate {--reason TEXT | --agent NAME}", Short: "Replace the key that signs tokens, or with --agent the agent's own", Args: cobra.NoArgs,
		Long: "Make the next key that signs the network's access tokens. Tokens of the present one stay good\n" +
			"until they end; with --compromised it and all tokens end at once.\n\n" +
			"With --agent, make a new key pair for an agent of this machine, for which the old one vouches;\n" +
			"the old key and every token that was got with it end. A key that is lost cannot do that: its\n" +
			"owner has it replaced.",
	}
	a.outputFlag(c)
	a.agentFlag(c, "an agent of this machine, whose own key is replaced")
	c.Flags().BoolVar(&compromised, "compromised", false, "the present key may be in wrong hands: it and all tokens end at once")
	c.Flags().BoolVar(&svids, "svids", false, "the keys that sign SVIDs, not the one that signs tokens")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if a.to.agent != "" {
			if compromised || svids || reason != "" {
				return usageError{errors.New("--compromised, --svids and --reason are of the network's keys; an agent's old key always ends at once")}
			}
			return a.rotateOwn(cmd.Context())
		}
		if reason == "" {
			return usageError{errors.New("--reason is required: it goes on record; give --agent for an agent's own key")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		rotate := api.RotateSigningKey
		if svids {
			rotate = api.RotateSVIDKeys
		}
		k, err := rotate(cmd.Context(), compromised, reason)
		if err != nil {
			return err
		}
		return a.print(table{
			header: []string{"KEY", "SIGNS FROM"}, rows: [][]string{{k.KeyID, k.ActiveAt.Format(time.RFC3339)}},
			names: []string{k.KeyID}, items: []any{k}, whole: k,
		})
	}
	return c
}

// rotateOwn replaces an agent's key. The new one is on the disk before the network
// knows it; when the answer is lost, the next run finds out which of the two is good.
func (a *app) rotateOwn(ctx context.Context) error {
	dir, err := a.agentDir(a.to.agent)
	if err != nil {
		return err
	}
	file, next := filepath.Join(dir, keyName), filepath.Join(dir, nextName)
	old, err := client.ReadMember(file)
	if err != nil {
		return err
	}
	if m, err := client.ReadMember(next); err == nil {
		taken, err := takes(ctx, m)
		if err != nil {
			return err
		}
		if taken {
			fmt.Fprintln(a.diag, "an earlier run has replaced the key, and was cut short before it said so")
			return a.replaced(m, file, next)
		}
	}
	key, err := token.NewKey(old.Key.Public().Algorithm())
	if err != nil {
		return err
	}
	fresh := old
	fresh.Key = key
	if err := fresh.Write(next); err != nil {
		return err
	}
	h, err := client.NewHolder(ctx, old, "", time.Now)
	if err != nil {
		return err
	}
	defer h.Close()
	m, err := h.NewKey(ctx, key)
	if err != nil {
		if code := act.CodeOf(err); code != act.Unavailable && code != act.Internal {
			_ = os.Remove(next) // the network does not know it
		}
		return err
	}
	return a.replaced(m, file, next)
}

// takes reports whether the network takes a key.
func takes(ctx context.Context, m client.Member) (bool, error) {
	h, err := client.NewHolder(ctx, m, "", time.Now)
	if err != nil {
		return false, err
	}
	defer h.Close()
	_, err = h.Token(ctx)
	if act.CodeOf(err) == act.Unauthenticated {
		return false, nil
	}
	return err == nil, err
}

func (a *app) replaced(m client.Member, file, next string) error {
	if err := m.Write(file); err != nil {
		return err
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fmt.Fprintf(a.diag, "the key is in %s and is good until %s; a proxy that runs takes it by itself\n", file, m.Until.Format(time.RFC3339))
	return a.print(memberTable(m))
}

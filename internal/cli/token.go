package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// token is the family of commands on access tokens of agents of this machine.
func (a *app) token() *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Get, narrow, look at and end access tokens of an agent of this machine",
		Long: "Access tokens live for five minutes and are good with a proof of the agent's key only, so\n" +
			"they are of use to whoever makes proofs. Programs that cannot do that go through reef proxy.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.tokenMint(), a.tokenExchange(), a.tokenInspect(), a.tokenRevoke())
	return c
}

// madeToken is what is printed of a new token.
type madeToken struct {
	Token     string    `json:"access_token"`
	Type      string    `json:"token_type"`
	Scope     string    `json:"scope"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (a *app) made(c *cobra.Command, r client.TokenRequest) error {
	if err := a.showsSecret(); err != nil { // before one is made
		return err
	}
	h, err := a.holder(c.Context(), "")
	if err != nil {
		return err
	}
	defer h.Close()
	t, err := h.Mint(c.Context(), r)
	if err != nil {
		return err
	}
	m := madeToken{t.Text, t.Type, t.Scope, t.Expires.UTC().Truncate(time.Second)}
	return a.print(table{
		header: []string{"TOKEN", "TYPE", "SCOPE", "EXPIRES"}, rows: [][]string{{m.Token, m.Type, m.Scope, m.ExpiresAt.Format(time.RFC3339)}},
		whole: m,
	})
}

func (a *app) tokenFlags(c *cobra.Command) {
	c.Flags().StringVarP(&a.output, "output", "o", "table", "table (on a terminal) or json")
	a.agentFlag(c, "the agent whose key is used")
}

func (a *app) tokenMint() *cobra.Command {
	var r client.TokenRequest
	c := &cobra.Command{
		Use: "mint --agent NAME", Short: "Get an access token with the agent's key", Args: cobra.NoArgs,
		Long: "Get an access token with the agent's key (private_key_jwt, bound to the key by DPoP).\n" +
			"With --for it is for another agent, which carves its own out of it (reef token exchange).",
	}
	a.tokenFlags(c)
	c.Flags().StringVar(&r.Scope, "scope", "", `what it is for: acts and nouns, like "post.* comment.create" (default all that the key may)`)
	c.Flags().StringSliceVar(&r.Audience, "for", nil, "id of the agent that may act with a part of it")
	c.RunE = func(cmd *cobra.Command, _ []string) error { return a.made(cmd, r) }
	return c
}

func (a *app) tokenExchange() *cobra.Command {
	var r client.TokenRequest
	var from string
	c := &cobra.Command{
		Use: "exchange --agent NAME --scope SCOPE", Short: "Carve a narrower token out of one that was given to the agent", Args: cobra.NoArgs,
		Long: "Carve a narrower token out of one that the agent holds, or that names it as its delegate\n" +
			"(RFC 8693). The other token is read from stdin, or from a file.",
	}
	a.tokenFlags(c)
	c.Flags().StringVar(&from, "subject-file", "-", "file with the token to carve it out of; - is stdin")
	c.Flags().StringVar(&r.Scope, "scope", "", "what it is for; required, as nothing is asked for in your place")
	c.Flags().StringSliceVar(&r.Audience, "for", nil, "id of the agent that may act with a part of it")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if r.Scope == "" {
			return usageError{errors.New("--scope is required: nothing is asked for in your place")}
		}
		if err := a.showsSecret(); err != nil {
			return err
		}
		if r.Subject, err = a.secret(from, "token"); err != nil {
			return err
		}
		return a.made(cmd, r)
	}
	return c
}

func (a *app) tokenInspect() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "inspect", Short: "Show what is in an access token, and with --agent whether it is good", Args: cobra.NoArgs,
		Long: "Show what an access token says, without checking it. With --agent the network is asked what\n" +
			"it is good for now (RFC 7662), which it tells those whom the token concerns. The token is\n" +
			"read from stdin, or from a file, and is not printed.",
	}
	a.outputFlag(c)
	a.agentFlag(c, "the agent in whose name the network is asked")
	c.Flags().StringVar(&from, "token-file", "-", "file with the token; - is stdin")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := a.secret(from, "token")
		if err != nil {
			return err
		}
		if a.to.agent == "" {
			claims, err := unchecked(text)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.diag, "this is what the token says; nothing of it was checked")
			return a.print(claimTable(claims))
		}
		h, err := a.holder(cmd.Context(), "")
		if err != nil {
			return err
		}
		defer h.Close()
		raw, err := h.Inspect(cmd.Context(), text)
		if err != nil {
			return err
		}
		var said map[string]any
		if err := json.Unmarshal(raw, &said); err != nil {
			return err
		}
		return a.print(claimTable(said))
	}
	return c
}

func (a *app) tokenRevoke() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "revoke --agent NAME", Short: "End an access token with everything that was carved out of it", Args: cobra.NoArgs,
		Long: "End the grant behind an access token of the agent's, with every token that was carved out of\n" +
			"it (RFC 7009). Returns when every node refuses them. The token is read from stdin, or from\n" +
			"a file.",
	}
	a.agentFlag(c, "the agent whose token it is")
	c.Flags().StringVar(&from, "token-file", "-", "file with the token; - is stdin")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := a.holder(cmd.Context(), "")
		if err != nil {
			return err
		}
		defer h.Close()
		text, err := a.secret(from, "token")
		if err != nil {
			return err
		}
		if err := h.Revoke(cmd.Context(), text); err != nil {
			return err
		}
		fmt.Fprintln(a.diag, "ended, if it was the agent's")
		return nil
	}
	return c
}

// unchecked decodes the claims of a token without a look at its signature.
func unchecked(text string) (claims map[string]any, err error) {
	parts := strings.Split(text, ".")
	if len(parts) == 3 {
		var raw []byte
		if raw, err = base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			err = json.Unmarshal(raw, &claims)
		}
	}
	if len(parts) != 3 || err != nil || claims == nil {
		return nil, act.Errorf(act.Invalid, "this is no access token").WithRule("token.malformed").
			WithHint("it has three parts with dots between; keys and refresh tokens say nothing that could be shown")
	}
	return claims, nil
}

func claimTable(claims map[string]any) table {
	t := table{header: []string{"CLAIM", "VALUE"}, whole: claims, items: []any{claims}}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value := claims[name]
		text, ok := value.(string)
		switch n, isNumber := value.(float64); {
		case ok:
		case isNumber && (name == "exp" || name == "iat" || name == "nbf"):
			text = time.Unix(int64(n), 0).UTC().Format(time.RFC3339)
		default:
			raw, _ := json.Marshal(value) // it came from JSON
			text = string(raw)
		}
		t.rows = append(t.rows, []string{name, text})
		t.names = append(t.names, name)
	}
	return t
}

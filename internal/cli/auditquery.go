package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

func (a *app) auditControls() *cobra.Command {
	c := &cobra.Command{
		Use: "controls", Short: "Show which control has which evidence here, with figures of now", Args: cobra.NoArgs,
		Long: "Show the rows of OWASP ASI01-10, EU AI Act articles 12, 14, 19 and 26, NIST AI RMF and, as\n" +
			"our own reading, DORA, HIPAA and SOC 2, with what this network has to show for them.\n" +
			"docs/controls.md is the same without the figures.",
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		x, err := api.Controls(cmd.Context())
		if err != nil {
			return err
		}
		by := map[string]client.Figure{}
		for _, f := range x.Figures {
			by[f.Name] = f
		}
		t := table{header: []string{"FRAMEWORK", "ITEM", "FIGURE", "VALUE", "AT", "NOTE"}, whole: x}
		for _, f := range x.Frameworks {
			for _, r := range f.Rules {
				t.names, t.items = append(t.names, f.ID+" "+r.Item), append(t.items, r)
				if len(r.Figures) == 0 {
					t.rows = append(t.rows, []string{f.ID, r.Item, "-", "-", "-", orDash(r.NotCovered)})
				}
				for _, name := range r.Figures {
					g := by[name]
					t.rows = append(t.rows, []string{f.ID, r.Item, name, strconv.FormatInt(g.Value, 10), timeOrDash(g.At), orDash(g.Note)})
				}
			}
		}
		return a.print(t)
	}
	return c
}

func questionTable(list []client.Question, whole any) table {
	t := table{header: []string{"NAME", "VERSION", "ASKS", "ACTS"}, whole: whole}
	for _, q := range list {
		t.rows = append(t.rows, []string{q.Name, strconv.FormatInt(q.Version, 10), q.Title, orDash(strings.Join(q.Acts, " "))})
		t.names, t.items = append(t.names, q.Name), append(t.items, q)
	}
	return t
}

func (a *app) auditQueries() *cobra.Command {
	c := &cobra.Command{Use: "queries", Short: "List the saved questions of the record", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Queries(cmd.Context())
		if err != nil {
			return err
		}
		return a.print(questionTable(list, list))
	}
	return c
}

// auditQuery asks a question. All that it finds is read, page by page.
func (a *app) auditQuery() *cobra.Command {
	c := &cobra.Command{
		Use: "query NAME", Short: "Ask a saved question of the record", Args: cobra.ExactArgs(1),
		Long: "Print the acts on record that a saved question is about, the oldest first, narrowed by what\n" +
			"is given beside. reef audit queries lists the questions.",
	}
	a.outputFlag(c)
	in := asked{query: url.Values{}}
	in.text(c, "from", "done at or after this time (RFC 3339)")
	in.text(c, "to", "done before this time")
	in.text(c, "act", "an act's name; policy. is all acts on policies")
	in.text(c, "kind", "of who acted: agent, operator, observer or system")
	in.text(c, "actor", "id of the agent or operator who acted")
	in.text(c, "target", "id of what it was aimed at, or made")
	in.text(c, "outcome", "done, denied, failed, or refused for both of these")
	in.text(c, "rule", "the rule that refused, or the policy that decided")
	in.number(c, "version", "of the question; the newest if 0")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		for _, flag := range in.flags {
			flag()
		}
		return printAll(a, recordedTable, func(api *client.Client, cursor string) ([]client.Recorded, string, error) {
			if cursor != "" {
				in.query.Set("cursor", cursor)
			}
			page, err := api.Query(cmd.Context(), args[0], in.query)
			return page.Items, page.Next, err
		})
	}
	return c
}

func recordedTable(list []client.Recorded, whole any) table {
	t := table{header: []string{"SEQ", "AT", "ACT", "WHO", "TARGET", "OUTCOME", "RULE", "REASON"}, whole: whole}
	for _, r := range list {
		outcome := r.Outcome
		if r.Count > 1 {
			outcome += fmt.Sprintf(" (%d times)", r.Count)
		}
		t.rows = append(t.rows, []string{
			strconv.FormatInt(r.Seq, 10), r.At.Format(time.RFC3339), r.Act, orDash(cmp.Or(r.Name, r.Actor, r.Kind)), orDash(cmp.Or(r.Target, r.Made)),
			outcome, orDash(cmp.Or(r.Rule, r.Policy)), orDash(r.Reason),
		})
		t.names, t.items = append(t.names, strconv.FormatInt(r.Seq, 10)), append(t.items, r)
	}
	return t
}

func (a *app) auditDefine() *cobra.Command {
	var f client.Filter
	var title, reason string
	c := &cobra.Command{
		Use: "define NAME --title TEXT --reason TEXT", Short: "Save a question of the record, or another version of it", Args: cobra.ExactArgs(1),
	}
	a.outputFlag(c)
	fs := c.Flags()
	fs.StringVar(&title, "title", "", "what is asked, in a line")
	fs.StringSliceVar(&f.Acts, "act", nil, "acts by name; policy. is all acts on policies")
	fs.StringSliceVar(&f.Kinds, "kind", nil, "of who acted: agent, operator, observer, system")
	fs.StringVar(&f.Outcome, "outcome", "", "done, denied, failed, or refused for both of these")
	fs.StringVar(&f.Rule, "rule", "", "the rule that refused, or the policy that decided")
	fs.StringVar(&f.Actor, "actor", "", "id of the agent or operator who acted")
	fs.StringVar(&f.Target, "target", "", "id of what it was aimed at, or made")
	fs.StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError{errReason}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		q, err := api.DefineQuery(cmd.Context(), args[0], title, f, reason)
		if err != nil {
			return err
		}
		return a.print(questionTable([]client.Question{q}, q))
	}
	return c
}

func (a *app) auditWithdraw() *cobra.Command {
	c := &cobra.Command{Use: "withdraw NAME --reason TEXT", Short: "Take a saved question from the list", Args: cobra.ExactArgs(1)}
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		_, err := api.WithdrawQuery(ctx, args[0], reason)
		return err
	})
}

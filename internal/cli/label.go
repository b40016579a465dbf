package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// label is how operators see and change how agents and things are labelled.
func (a *app) label() *cobra.Command {
	c := &cobra.Command{
		Use: "label", Short: "See what clings to agents from what they were shown, flag it, and clear it",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		Long: "Whoever is shown what is confidential, or what anybody could have written, counts as having\n" +
			"read it, and so does what they write from then on (docs/labels.md).",
	}
	a.targetFlags(c)
	c.AddCommand(
		a.labelList(), a.labelShow(), a.labelClassify(),
		a.labelOrder("flag ID|NAME", "Flag an agent or a thing: who is shown it counts as flagged", (*client.Client).Flag),
		a.labelOrder("clear ID|NAME", "Clear an agent or a thing of the labels that have come to it", (*client.Client).Declassify),
	)
	return c
}

func taintTable(list []client.Taint, whole any) table {
	t := table{header: []string{"ID", "KIND", "INTEGRITY", "CONFIDENTIALITY", "SINCE", "COMES FROM"}, whole: whole}
	for _, x := range list {
		t.rows = append(t.rows, []string{x.ID, x.Kind, x.Integrity, x.Confidentiality, x.At.Format(time.RFC3339), orDash(strings.Join(x.Path, " < "))})
		t.names = append(t.names, x.ID)
		t.items = append(t.items, x)
	}
	return t
}

func (a *app) labelList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List agents and things to which labels have come", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return printAll(a, taintTable, func(api *client.Client, cursor string) ([]client.Taint, string, error) {
			page, err := api.Taints(cmd.Context(), cursor)
			return page.Items, page.Next, err
		})
	}
	return c
}

func (a *app) labelShow() *cobra.Command {
	var origin string
	c := &cobra.Command{Use: "show ID|NAME", Short: "Show how an agent or a thing is labelled, and where that comes from", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().StringVar(&origin, "origin", "", "an agent's name, or the id of an agent or a community: say whether it can be among the origins")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		id, err := labelledID(cmd.Context(), api, args[0])
		if err != nil {
			return err
		}
		if origin != "" {
			if origin, err = labelledID(cmd.Context(), api, origin); err != nil {
				return err
			}
		}
		l, err := api.LabelsFrom(cmd.Context(), id, origin)
		if err != nil {
			return err
		}
		t := table{whole: l, names: []string{l.ID}, items: []any{l}, header: []string{"FIELD", "VALUE"}, rows: [][]string{
			{"id", l.ID}, {"kind", l.Kind}, {"integrity", l.Integrity}, {"confidentiality", l.Confidentiality}, {"labels", orDash(strings.Join(l.Labels, " "))},
		}}
		if l.Taint != nil {
			t.rows = append(t.rows, []string{"since", l.Taint.At.Format(time.RFC3339)}, []string{"by", orDash(l.Taint.By)})
			for _, id := range l.Taint.Path {
				t.rows = append(t.rows, []string{"comes from", id})
			}
			t.rows = append(t.rows, []string{"origins", origins(l.Taint)})
		}
		if l.Among != nil {
			t.rows = append(t.rows, []string{"from " + origin, among(&l)})
		}
		return a.print(t)
	}
	return c
}

// origins lists what is flagged or confidential comes from, while that can be listed.
func origins(t *client.Taint) string {
	if t.OriginsWrong > 0 {
		return "too many to list: ask with --origin"
	}
	return orDash(strings.Join(t.Origins, " "))
}

// among says whether something can have come from an origin, and how sure that is.
func among(l *client.Labelled) string {
	switch {
	case !*l.Among:
		return "no, nothing flagged or confidential"
	case l.Taint != nil && l.Taint.OriginsWrong > 0:
		return fmt.Sprintf("can be (of those who are not among the origins, %.2g %% get this answer)", 100*l.Taint.OriginsWrong)
	}
	return "yes"
}

// labelOrder flags or clears.
func (a *app) labelOrder(use, short string, do func(*client.Client, context.Context, string, string) (client.Taint, error)) *cobra.Command {
	c := &cobra.Command{Use: use + " --reason TEXT", Short: short, Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		id, err := labelledID(ctx, api, args[0])
		if err != nil {
			return err
		}
		t, err := do(api, ctx, id, reason)
		if err != nil {
			return err
		}
		return a.print(taintTable([]client.Taint{t}, t))
	})
}

func (a *app) labelClassify() *cobra.Command {
	c := &cobra.Command{
		Use: "classify COMMUNITY unclassified|internal|confidential --reason TEXT", Short: "Say how confidential what stands in a community is",
		Args: cobra.ExactArgs(2), ValidArgs: []string{"unclassified", "internal", "confidential"},
	}
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		if err := api.Classify(ctx, args[0], args[1], reason); err != nil {
			return err
		}
		fmt.Fprintln(a.out, args[0], "is", args[1])
		return nil
	})
}

// labelledID is the id of a thing as it is given, or of an agent by its name.
func labelledID(ctx context.Context, api *client.Client, given string) (string, error) {
	if given == "" {
		return "", usageError{errors.New("give an id, or an agent's name")}
	}
	if strings.Count(given, "-") == 4 && len(given) == 36 { // the form of every id
		return given, nil
	}
	return agentID(ctx, api, given)
}

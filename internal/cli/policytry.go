package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// factsText writes attributes in the order of their names.
func factsText(facts map[string]any) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		list = append(list, fmt.Sprintf("%s=%v", name, facts[name]))
	}
	return strings.Join(list, " ")
}

func orPlace(policy, place string) string {
	if place == "" {
		return policy
	}
	return policy + " (" + place + ")"
}

func (a *app) policyDiff() *cobra.Command {
	c := &cobra.Command{
		Use: "diff A B", Short: "Say who gains and who loses what between two sets of policies", Args: cobra.ExactArgs(2),
		Long: "Say who gains and who loses what between two sets of policies, over all agents that live\n" +
			"now and over operators of each role. A and B are each a version, current, or a DIR.",
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := pickPolicies(args[0])
		if err != nil {
			return err
		}
		to, err := pickPolicies(args[1])
		if err != nil {
			return err
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		d, err := api.DiffPolicies(cmd.Context(), from, to)
		if err != nil {
			return err
		}
		t := table{header: []string{"", "WHO", "COUNT", "ACT", "WAS", "NOW", "BY", "THINGS", "FACTS"}, whole: d}
		for _, x := range d.Changes {
			sign, count := "-", "-"
			if x.Gains {
				sign = "+"
			}
			if x.Who == "agent" {
				count = fmt.Sprint(x.Count)
			}
			t.rows = append(t.rows, []string{
				sign, x.Who, count, x.Act, x.Was + " by " + orPlace(x.Rule, x.From), x.Now, orPlace(x.By, x.At), fmt.Sprintf("%d/%d", x.Things, x.Of), factsText(x.Facts),
			})
			t.names, t.items = append(t.names, x.Act), append(t.items, x)
		}
		if err := a.print(t); err != nil {
			return err
		}
		if a.output == "table" {
			fmt.Fprintf(a.diag, "%d agents; policies added: %s; removed: %s; changed: %s\n", d.Agents,
				orDash(strings.Join(d.Added, ", ")), orDash(strings.Join(d.Removed, ", ")), orDash(strings.Join(d.Changed, ", ")))
			for _, what := range d.Partial {
				fmt.Fprintln(a.diag, "not asked about:", what)
			}
		}
		return nil
	}
	return c
}

func flipTable(list []client.PolicyFlip, whole any) table {
	t := table{header: []string{"COUNT", "ACT", "WHO", "WAS", "NOW", "BY"}, whole: whole}
	for _, f := range list {
		who := f.Name
		if who == "" {
			who = f.Who
		}
		t.rows = append(t.rows, []string{fmt.Sprint(f.Count), f.Act, strings.TrimSpace(f.Kind + " " + who), f.Was + " by " + f.Rule, f.Now, orPlace(f.By, f.At)})
		t.names, t.items = append(t.names, f.Act), append(t.items, f)
	}
	return t
}

func (a *app) policyDryRun() *cobra.Command {
	var window time.Duration
	c := &cobra.Command{
		Use: "dryrun {DIR|VERSION} --window 24h", Short: "Say which decisions of the last hours other policies would have flipped", Args: cobra.ExactArgs(1),
		Long: "Ask other policies everything that was decided in the last hours, an hour at a time, and\n" +
			"list the decisions that would have been another, for whom, and by which line.",
	}
	a.outputFlag(c)
	c.Flags().DurationVar(&window, "window", 24*time.Hour, "how far back; what is kept is set by keep-decisions")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if window < time.Hour || window > 31*24*time.Hour {
			return usageError{fmt.Errorf("--window %s is not from 1h to 744h", window)}
		}
		pick, err := pickPolicies(args[0])
		if err != nil {
			return err
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		out, err := a.dryRun(cmd.Context(), api, pick, time.Now(), window)
		if err != nil {
			return err
		}
		if err := a.print(flipTable(out.Flips, out)); err != nil {
			return err
		}
		if a.output == "table" {
			fmt.Fprintf(a.diag, "%d of %d decisions would flip; %d of them would let more through\n", out.Flipped, out.Decisions, out.Gained)
			if out.Unnamed > 0 {
				fmt.Fprintf(a.diag, "of %d decisions only the number is kept, not who asked\n", out.Unnamed)
			}
			if out.Rest > 0 {
				fmt.Fprintf(a.diag, "%d flipped decisions are not listed\n", out.Rest)
			}
		}
		return nil
	}
	return c
}

// dryRun asks hour by hour, and says how far it is when that takes long.
func (a *app) dryRun(ctx context.Context, api *client.Client, pick client.PolicyPick, now time.Time, window time.Duration) (out client.PolicyDryRun, err error) {
	hours := int(window / time.Hour)
	first := now.Add(-window).Truncate(time.Hour)
	counts := make(map[client.PolicyFlip]int64)
	began := time.Now()
	for n := range hours + 1 {
		at := first.Add(time.Duration(n) * time.Hour)
		part, err := api.DryRunPolicies(ctx, pick, at, at)
		if err != nil {
			return out, err
		}
		if n == 0 {
			out.From = part.From
		}
		out.To = part.To
		out.Decisions += part.Decisions
		out.Distinct += part.Distinct
		out.Flipped += part.Flipped
		out.Gained += part.Gained
		out.Gone += part.Gone
		out.Unnamed += part.Unnamed
		out.Rest += part.Rest
		for _, f := range part.Flips {
			count := f.Count
			f.Count = 0
			counts[f] += count
		}
		if time.Since(began) > time.Second && n < hours {
			fmt.Fprintf(a.diag, "\rhour %d of %d, %d decisions, %d flipped ", n+1, hours+1, out.Decisions, out.Flipped)
		}
	}
	if time.Since(began) > time.Second {
		fmt.Fprintln(a.diag)
	}
	for f, count := range counts {
		f.Count = count
		out.Flips = append(out.Flips, f)
	}
	slices.SortFunc(out.Flips, func(x, y client.PolicyFlip) int {
		if x.Count != y.Count {
			return int(y.Count - x.Count)
		}
		return strings.Compare(flipOrder(x), flipOrder(y))
	})
	return out, nil
}

func flipOrder(f client.PolicyFlip) string {
	raw, _ := json.Marshal(f) // strings and numbers always marshal
	return string(raw)
}

func (a *app) policyShadow() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "shadow [DIR --reason TEXT]", Short: "Put policies beside those in force, or show what those there decide otherwise", Args: cobra.MaximumNArgs(1),
		Long: "Put policies beside those in force: both decide, only those in force count, and what the\n" +
			"others decide otherwise is counted. Without a DIR, list that. They end with reef policy off,\n" +
			"or when policies are put in force.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return a.flips(cmd.Context(), api)
		}
		if reason == "" {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		d, err := readPolicies(args[0])
		if err != nil {
			return err
		}
		s, err := api.ShadowPolicies(cmd.Context(), d, reason)
		if err != nil {
			return err
		}
		return a.print(shadowTable(s))
	}
	return c
}

func shadowTable(s client.PolicyShadow) table {
	ended := "-"
	if s.EndedAt != nil {
		ended = s.EndedAt.Format(time.RFC3339)
	}
	return table{
		header: []string{"SHADOW SINCE", "ENDED", "FILES", "LEFT OUT", "REASON"}, whole: s, items: []any{s}, names: []string{s.ID},
		rows: [][]string{{s.BeganAt.Format(time.RFC3339), ended, orDash(strings.Join(s.Own, " ")), orDash(strings.Join(s.Without, " ")), s.Reason}},
	}
}

// flips lists what the shadow decides otherwise.
func (a *app) flips(ctx context.Context, api *client.Client) error {
	var all client.PolicyShadow
	cursor := ""
	for {
		page, err := api.PolicyFlips(ctx, cursor)
		if err != nil {
			return err
		}
		flips := append(all.Flips, page.Flips...)
		all = page
		all.Flips = flips
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if a.output == "table" {
		state := "beside what is in force since " + all.BeganAt.Format(time.RFC3339)
		if all.EndedAt != nil {
			state = "ended " + all.EndedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(a.diag, "%s: %s\n", state, all.Reason)
	}
	return a.print(flipTable(all.Flips, all))
}

func (a *app) policyOff() *cobra.Command {
	var reason string
	c := &cobra.Command{Use: "off --reason TEXT", Short: "Take away the policies beside those in force", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if reason == "" {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		s, err := api.EndShadow(cmd.Context(), reason)
		if err != nil {
			return err
		}
		return a.print(shadowTable(s))
	}
	return c
}

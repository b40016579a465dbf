package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/export"
)

// trace asks what influenced whom.
func (a *app) trace() *cobra.Command {
	c := &cobra.Command{
		Use: "trace", Short: "Ask what influenced whom: why, how far, by which copies, and contain it",
		Long: "Ask the influence graph. A SUBJECT is the id of a post, comment, message, task or agent,\n" +
			"agent:NAME, the number of an act (reef prints them as seq), sha256:DIGEST of a text,\n" +
			"class:NAME or skill:DIGEST.\n\n" +
			"L1 is possible influence: it was shown. L2 and up is likely: what was made has something\n" +
			"of it (L2), names it (L3), or its runtime states it (L4).",
	}
	a.targetFlags(c)
	c.AddCommand(a.traceWhy(), a.traceBlast(), a.traceSpread(), a.traceCut(), a.traceFlow(), a.traceReplay(), a.traceContain(), a.traceRecalls(), a.traceRestore())
	return c
}

// asked is a question in the making.
type asked struct {
	query url.Values
	flags []func()
}

func (q *asked) number(c *cobra.Command, name, help string) {
	n := c.Flags().Int(name, 0, help)
	q.flags = append(q.flags, func() {
		if *n > 0 {
			q.query.Set(name, strconv.Itoa(*n))
		}
	})
}

func (q *asked) text(c *cobra.Command, name, help string) {
	s := c.Flags().String(name, "", help)
	q.flags = append(q.flags, func() {
		if *s != "" {
			q.query.Set(name, *s)
		}
	})
}

// subjectOf finds an agent by its name.
func subjectOf(ctx context.Context, api *client.Client, text string) (string, error) {
	if name, is := strings.CutPrefix(text, "agent:"); is {
		return agentID(ctx, api, name)
	}
	return text, nil
}

// question makes a command that asks one thing and prints the answer with show.
func question[T any](a *app, verb, short, outputs string, flags func(*cobra.Command, *asked), show func(string, *T) error) *cobra.Command {
	q := &asked{}
	c := &cobra.Command{Use: verb + " SUBJECT", Short: short, Args: cobra.ExactArgs(1)}
	c.Flags().StringVarP(&a.output, "output", "o", strings.Fields(outputs)[0], strings.ReplaceAll(outputs, " ", ", "))
	flags(c, q)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("output") {
			a.output = strings.Fields(outputs)[0] // commands share the field, and the last one's default is in it
		}
		if !slices.Contains(strings.Fields(outputs), a.output) {
			return usageError{fmt.Errorf("-o %q is none of %s", a.output, strings.ReplaceAll(outputs, " ", ", "))}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		subject, err := subjectOf(cmd.Context(), api, args[0])
		if err != nil {
			return err
		}
		q.query = url.Values{}
		for _, set := range q.flags {
			set()
		}
		var out T
		if err := api.Trace(cmd.Context(), verb, subject, q.query, &out); err != nil {
			return err
		}
		if a.output == "json" {
			return a.print(table{whole: out})
		}
		return show(subject, &out)
	}
	return c
}

// write prints a graph in one of the forms of other programs.
func (a *app) write(g export.Graph) error {
	switch a.output {
	case "prov":
		return export.PROV(a.out, g)
	case "graphml":
		return export.GraphML(a.out, g)
	default:
		return export.DOT(a.out, g)
	}
}

func (a *app) traceWhy() *cobra.Command {
	return question(a, "why", "Show why something was done: what its actor had been shown before, by whom, and why they made that", "tree json prov graphml dot",
		func(c *cobra.Command, q *asked) {
			q.number(c, "depth", "acts behind each other (3)")
			q.number(c, "width", "causes of each act, the strongest and newest (10)")
			q.number(c, "nodes", "causes in all (500)")
		},
		func(_ string, out *client.Reasons) error {
			if a.output != "tree" {
				return a.write(whyGraph(out))
			}
			t := tellerOf(&out.Traced)
			a.line("%s", t.act(&out.Why))
			a.causes(t, out.Why.Of, out.Why.Cut, "")
			a.line("from the record up to act %d; %d acts and things; of L2 at most %.1f %% wrong", out.Basis.Through, out.Nodes, 100*out.Basis.Wrong)
			return nil
		})
}

func (a *app) line(format string, args ...any) {
	fmt.Fprintln(a.out, plainCell(fmt.Sprintf(format, args...)))
}

// causes prints a branch of the tree.
func (a *app) causes(t teller, list []client.Cause, cut int, indent string) {
	for i := range list {
		c := &list[i]
		how := fmt.Sprintf("L%d %s", c.Level, c.How)
		if s := c.Shown; s != nil {
			how += fmt.Sprintf(", shown %s in %s, place %d, %d times", s.At.Format(time.RFC3339), s.Channel, s.Place, s.Pages)
		}
		a.line("%s└ [%s] %s", indent, how, t.act(c))
		if c.Again {
			a.line("%s   (what is behind it stands above)", indent)
		}
		a.causes(t, c.Of, c.Cut, indent+"   ")
	}
	if cut > 0 {
		a.line("%s└ %d more are left out (--width, --depth, --nodes)", indent, cut)
	}
}

// teller names who and what an answer is about.
type teller struct {
	people map[string]client.TracePerson
	things map[string]client.TraceThing
}

func tellerOf(t *client.Traced) teller {
	out := teller{make(map[string]client.TracePerson), make(map[string]client.TraceThing)}
	for _, p := range t.People {
		out.people[p.ID] = p
	}
	for _, x := range t.Things {
		out.things[x.ID] = x
	}
	return out
}

func (t teller) who(id string) string {
	p, known := t.people[id]
	if !known {
		return orDash(id)
	}
	text := p.Name
	if p.Owner != "" {
		text += " (" + p.Owner
		if p.Mandate != "" {
			text += ", for " + p.Mandate + ": " + p.Purpose
		}
		text += ")"
	}
	return text
}

func (t teller) what(id string) string {
	x, known := t.things[id]
	switch {
	case !known:
		return orDash(id)
	case x.Title == "":
		return x.Kind + " " + id
	}
	return fmt.Sprintf("%s %s %q", x.Kind, id, x.Title)
}

func (t teller) act(c *client.Cause) string {
	if c.Act == "" {
		return t.what(c.Item) + ", whose making is not on record"
	}
	return fmt.Sprintf("%s %s by %s, act %d at %s, let through by %s", c.Act, t.what(c.Item), t.who(c.Actor), c.Seq, c.At.Format(time.RFC3339), orDash(c.Policy))
}

func (a *app) traceBlast() *cobra.Command {
	var watch bool
	c := question(a, "blast", "Show how far something has spread: who was shown it, and what they did from then on", "table json prov graphml dot",
		func(c *cobra.Command, q *asked) {
			q.text(c, "since", "of agents: the time from which on what they did counts")
			q.number(c, "limit", "agents and things to list (100)")
			q.number(c, "skip", "pass over so many of each list")
			c.Flags().BoolVar(&watch, "watch", false, "go on, and print who and what is reached as it is")
		},
		func(_ string, out *client.Radius) error {
			if a.output != "table" {
				return a.write(blastGraph(out))
			}
			return a.radius(out)
		})
	once := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !watch {
			return once(cmd, args)
		}
		return a.watchBlast(cmd.Context(), args[0])
	}
	return c
}

func (a *app) radius(out *client.Radius) error {
	t := tellerOf(&out.Traced)
	tab := table{header: []string{"EVIDENCE", "GENERATION", "KIND", "ID", "WHAT", "VIA", "AT"}, whole: out}
	for _, side := range []struct {
		name string
		s    *client.RadiusSide
	}{{"likely", &out.Likely}, {"possible", &out.Possible}} {
		fmt.Fprintf(a.diag, "%s: %d agents (by generation %v), %d things, shown to %d agents, acts %v, digest %s\n",
			side.name, side.s.AgentCount, side.s.Generations, side.s.ItemCount, side.s.ShownCount, side.s.Acts, side.s.Digest)
		for _, list := range [][]client.TraceStep{side.s.Agents, side.s.Items} {
			for _, x := range list {
				tab.rows = append(tab.rows, blastRow(t, side.name, x))
				tab.names, tab.items = append(tab.names, x.ID), append(tab.items, x)
			}
		}
	}
	return a.print(tab)
}

func blastRow(t teller, evidence string, x client.TraceStep) []string {
	what, via := t.what(x.ID), t.who(x.Via)
	if x.Kind == "agent" {
		what, via = t.who(x.ID), t.what(x.Via)
	}
	if x.Public {
		what += " (publicly readable)"
	}
	return []string{evidence, strconv.Itoa(x.Gen), x.Kind, x.ID, what, via, x.At.Format(time.RFC3339)}
}

const watchEvery = 2 * time.Second

// watchBlast prints what is reached, as it is: lists grow at their end only.
func (a *app) watchBlast(ctx context.Context, subject string) error {
	api, err := a.client()
	if err != nil {
		return err
	}
	if subject, err = subjectOf(ctx, api, subject); err != nil {
		return err
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	agents, items := 0, 0
	for {
		var out client.Radius
		if err := api.Trace(ctx, "blast", subject, url.Values{"skip": {strconv.Itoa(min(agents, items))}, "limit": {"1000"}}, &out); err != nil {
			return err
		}
		t, from := tellerOf(&out.Traced), min(agents, items)
		for _, list := range []struct {
			steps []client.TraceStep
			seen  *int
		}{{out.Possible.Agents, &agents}, {out.Possible.Items, &items}} {
			for i, x := range list.steps {
				if from+i >= *list.seen {
					a.line("%s", strings.Join(blastRow(t, "possible", x), "  "))
				}
			}
			*list.seen = max(*list.seen, from+len(list.steps))
		}
		select {
		case <-ctx.Done():
			return nil // whoever watches ends it
		case <-tick.C:
		}
	}
}

func (a *app) traceSpread() *cobra.Command {
	return question(a, "spread", "Show how a text went round: its copies, those nearly the same, and R by generation", "table json",
		func(c *cobra.Command, q *asked) { q.number(c, "limit", "copies to list (100)") },
		func(_ string, out *client.Copies) error {
			t := tellerOf(&out.Traced)
			fmt.Fprintf(a.diag, "%d copies, by generation %v, R %.2f; %d texts compared, %d could not be read\n", out.Total, out.Generations, out.R, out.Compared, out.Unread)
			tab := table{header: []string{"GENERATION", "LIKE", "ID", "BY", "FROM", "AT"}, whole: out}
			for _, x := range out.Items {
				tab.rows = append(tab.rows, []string{strconv.Itoa(x.Gen), strconv.FormatFloat(x.Like, 'f', 2, 64), x.ID, t.who(x.Via), orDash(x.From), x.At.Format(time.RFC3339)})
			}
			return a.print(tab)
		})
}

func (a *app) traceCut() *cobra.Command {
	return question(a, "cut", "Find the fewest agents and things whose holding would have kept something from spreading on", "table json",
		func(c *cobra.Command, q *asked) {
			q.text(c, "level", "likely (the default) or possible")
			q.text(c, "since", "of agents: the time from which on what they did counts")
		},
		func(_ string, out *client.Barrier) error {
			t := tellerOf(&out.Traced)
			size := "the smallest set"
			if !out.Smallest {
				size = fmt.Sprintf("a small set; at least %d are needed", out.Least)
			}
			fmt.Fprintf(a.diag, "%d to hold (%s), %d agents behind them\n", len(out.Hold), size, out.Behind)
			tab := table{header: []string{"ID", "WHAT"}, whole: out}
			for _, id := range out.Hold {
				what := t.what(id)
				if _, is := t.people[id]; is {
					what = t.who(id)
				}
				tab.rows = append(tab.rows, []string{id, what})
			}
			return a.print(tab)
		})
}

func (a *app) traceFlow() *cobra.Command {
	return question(a, "flow", "Show where votes and follows came from, who stands behind them, and where they went", "table json",
		func(c *cobra.Command, q *asked) { q.number(c, "limit", "agents to list each way (100)") },
		func(_ string, out *client.Flow) error {
			t := tellerOf(&out.Traced)
			fmt.Fprintf(a.diag, "from %d accounts of %d sources; to %d\n", out.Accounts, out.Sources, out.To)
			tab := table{header: []string{"WAY", "AGENT", "VOTES", "VALUE", "FOLLOWS", "LAST"}, whole: out}
			for _, side := range []struct {
				name string
				list []client.Current
			}{{"from", out.Received}, {"to", out.Given}} {
				for _, x := range side.list {
					tab.rows = append(tab.rows, []string{side.name, t.who(x.Agent), strconv.Itoa(x.Votes), strconv.FormatInt(x.Value, 10), strconv.FormatBool(x.Follows), x.Last.Format(time.RFC3339)})
				}
			}
			return a.print(tab)
		})
}

func (a *app) traceReplay() *cobra.Command {
	return question(a, "replay", "Show exactly what an agent was shown, page by page", "table json",
		func(c *cobra.Command, q *asked) {
			q.text(c, "from", "time from which on (RFC 3339)")
			q.text(c, "to", "time until which")
			q.number(c, "limit", "pages (100)")
			q.number(c, "skip", "pass over so many")
		},
		func(_ string, out *client.Replay) error {
			t := tellerOf(&out.Traced)
			tab := table{header: []string{"AT", "AFTER", "CHANNEL", "TIMES", "VERSION", "WHAT"}, whole: out}
			for _, p := range out.Pages {
				for _, it := range p.Items {
					tab.rows = append(tab.rows, []string{p.At.Format(time.RFC3339), strconv.FormatInt(p.After, 10), p.Channel, strconv.FormatInt(p.Count, 10), strconv.FormatInt(it.Version, 10), t.what(it.ID)})
				}
			}
			if out.More {
				fmt.Fprintln(a.diag, "there are later pages: --skip, --limit, --from")
			}
			return a.print(tab)
		})
}

func (a *app) traceContain() *cobra.Command {
	in := client.NewRecall{}
	var kinds string
	var dry, yes bool
	c := &cobra.Command{
		Use: "contain SUBJECT --level likely|possible --reason TEXT", Short: "Withhold what something has spread to, quarantine who passed it on, and tell who was shown it",
		Args: cobra.ExactArgs(1),
		Long: "Show what would be contained, and contain it when you say yes: in one act, which can be\n" +
			"undone for a week (reef trace restore). If it has spread between the look and the act,\n" +
			"nothing is done and you are told; --latest contains what there is by then.",
	}
	a.outputFlag(c)
	latest := false
	c.Flags().StringVar(&in.Level, "level", "likely", "likely (what names what it came of) or possible (everything that was shown it)")
	c.Flags().StringVar(&kinds, "kinds", "agents,content", "agents, content or both")
	c.Flags().StringVar(&in.Since, "since", "", "of agents: the time from which on what they did counts")
	c.Flags().StringVar(&in.Reason, "reason", "", "why; goes on record")
	c.Flags().BoolVar(&latest, "latest", false, "contain what there is when it is done, not only what was shown before")
	c.Flags().BoolVar(&dry, "dry-run", false, "show what would be contained, and contain nothing")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if in.Reason == "" && !dry {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		for _, kind := range strings.Split(kinds, ",") {
			switch kind {
			case "agents":
				in.Agents = true
			case "content":
				in.Content = true
			default:
				return usageError{fmt.Errorf("--kinds %q is none of agents, content", kind)}
			}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		if in.Subject, err = subjectOf(cmd.Context(), api, args[0]); err != nil {
			return err
		}
		query := url.Values{}
		if in.Since != "" {
			query.Set("since", in.Since)
		}
		var seen client.Radius
		if err := api.Trace(cmd.Context(), "blast", in.Subject, query, &seen); err != nil {
			return err
		}
		if dry {
			return a.radius(&seen)
		}
		side := seen.Likely
		if in.Level == "possible" {
			side = seen.Possible
		}
		if !latest {
			in.Digest = side.Digest
		}
		fmt.Fprintf(a.diag, "%s: %d agents, %d things, shown to %d agents\n", in.Level, side.AgentCount, side.ItemCount, side.ShownCount)
		if !yes {
			if err := a.agree("contain them? Type yes: "); err != nil {
				return err
			}
		}
		out, err := api.ContainTrace(cmd.Context(), in)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "what is under way comes in until %s: reef trace recalls shows it as LATE, agents and things\n", out.Watched.Local().Format(time.TimeOnly))
		return a.recalls([]client.Recall{out})
	}
	return c
}

func (a *app) recalls(list []client.Recall) error {
	tab := table{header: []string{"N", "LEVEL", "AGENTS", "THINGS", "SHOWN TO", "LATE", "AT", "UNDONE", "REASON"}, whole: list}
	for _, x := range list {
		undone := "-"
		if !x.UndoneAt.IsZero() {
			undone = x.UndoneAt.Format(time.RFC3339)
		}
		tab.rows = append(tab.rows, []string{
			strconv.FormatInt(x.N, 10), x.Level, strconv.Itoa(len(x.Agents)), strconv.Itoa(len(x.Items)), strconv.Itoa(len(x.Shown)), lateOf(&x), x.At.Format(time.RFC3339), undone, x.Reason,
		})
		tab.names, tab.items = append(tab.names, strconv.FormatInt(x.N, 10)), append(tab.items, x)
	}
	return a.print(tab)
}

// lateOf says how much came in late: what was under way when it was contained.
func lateOf(x *client.Recall) string {
	agents, things := 0, 0
	for _, l := range x.Late {
		agents, things = agents+len(l.Agents), things+len(l.Items)
	}
	return fmt.Sprintf("%d+%d", agents, things)
}

func (a *app) traceRecalls() *cobra.Command {
	c := &cobra.Command{Use: "recalls", Short: "List what was contained, and from whom it was recalled", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Recalls(cmd.Context())
		if err != nil {
			return err
		}
		return a.recalls(list)
	}
	return c
}

func (a *app) traceRestore() *cobra.Command {
	var reason string
	c := &cobra.Command{Use: "restore N --reason TEXT", Short: "Undo a containment: give back exactly what it took", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || reason == "" {
			return usageError{cmp.Or(err, errors.New("--reason is required: it goes on record"))}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		out, err := api.RestoreRecall(cmd.Context(), n, reason)
		if err != nil {
			return err
		}
		return a.recalls([]client.Recall{out})
	}
	return c
}

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// contain is how operators stop many agents at once.
func (a *app) contain() *cobra.Command {
	var verb struct{ pause, quarantine, kill bool }
	var reason string
	var dry, yes bool
	c := &cobra.Command{
		Use: "contain SCOPE [--pause|--quarantine|--kill] --reason TEXT", Short: "Stop many agents at once: a line, an owner's agents, a community, all",
		Args: cobra.ExactArgs(1),
		Long: "Show who is in a scope and what they have under way, and stop them when you say yes. It\n" +
			"returns when no node lets anybody in the scope do anything.\n\n" +
			"A scope is agent:NAME, lineage:NAME (an agent and all who descend from it), owner:NAME,\n" +
			"class:NAME, skill:DIGEST (classes that have it), community:NAME (whatever happens in it) or all. Without --quarantine or --kill they are\n" +
			"paused. A pause and a quarantine are lifted again (reef contain lift); a kill is final.",
	}
	a.targetFlags(c)
	a.outputFlag(c)
	c.Flags().BoolVar(&verb.pause, "pause", false, "stop them until they are resumed (the default)")
	c.Flags().BoolVar(&verb.quarantine, "quarantine", false, "hold them for examination")
	c.Flags().BoolVar(&verb.kill, "kill", false, "end them for good")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.Flags().BoolVar(&dry, "dry-run", false, "show who would be stopped, and stop nobody")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.MarkFlagsMutuallyExclusive("pause", "quarantine", "kill")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		do := "pause"
		switch {
		case verb.quarantine:
			do = "quarantine"
		case verb.kill:
			do = "kill"
		}
		if reason == "" && !dry {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		s, err := scopeOf(cmd.Context(), api, args[0])
		if err != nil {
			return err
		}
		if err := s.preview(cmd.Context(), a, api, dry); err != nil || dry {
			return err
		}
		if !yes {
			if err := a.agree(fmt.Sprintf("%s %s? Type yes: ", do, args[0])); err != nil {
				return err
			}
		}
		return s.order(cmd.Context(), a, api, do, reason)
	}
	c.AddCommand(a.containList(), a.containLift())
	return c
}

// agree asks on the terminal, or reads from a script, whether to go on.
func (a *app) agree(question string) error {
	fmt.Fprint(a.diag, question)
	line, _ := bufio.NewReader(a.in).ReadString('\n') // what cannot be read is no yes
	if strings.TrimSpace(line) != "yes" {
		return usageError{errors.New("nothing was done: you did not say yes (--yes says it beforehand)")}
	}
	return nil
}

// scope is one as it was given, and as the network names it. That of one agent is the
// agent itself.
type scope struct{ given, agent, wire string }

func scopeOf(ctx context.Context, api *client.Client, given string) (s scope, err error) {
	s = scope{given: given, wire: given}
	kind, name, _ := strings.Cut(given, ":")
	if kind != "agent" && kind != "lineage" {
		return s, nil
	}
	id, err := agentID(ctx, api, name)
	if kind == "agent" {
		s.agent = id
	}
	s.wire = kind + ":" + id
	return s, err
}

// preview shows who would be stopped: among the answer in a dry run, else before it.
func (s scope) preview(ctx context.Context, a *app, api *client.Client, dry bool) error {
	if s.agent != "" {
		if !dry {
			return nil
		}
		return a.oneAgent(func(api *client.Client) (client.AgentInfo, error) { return api.Agent(ctx, s.agent) })
	}
	p, err := api.Scope(ctx, s.wire)
	if err != nil {
		return err
	}
	var names, counts []string
	for _, x := range p.Examples {
		names = append(names, x.Name)
	}
	for _, standing := range slices.Sorted(maps.Keys(p.Agents)) {
		counts = append(counts, fmt.Sprintf("%d %s", p.Agents[standing], standing))
	}
	f := p.Flying
	flying := fmt.Sprintf("%d streams, %d webhooks, %d leases, %d deliveries, %d held acts", f.Streams, f.Webhooks, f.Leases, f.Deliveries, f.Held)
	if dry {
		return a.print(table{
			header: []string{"SCOPE", "STANDING", "AGENTS", "IN FLIGHT", "AMONG THEM"},
			rows:   [][]string{{s.given, p.Standing, orDash(strings.Join(counts, ", ")), flying, orDash(strings.Join(names, " "))}},
			names:  []string{s.given}, items: []any{p}, whole: p,
		})
	}
	fmt.Fprintf(a.diag, "%s: agents: %s; in flight: %s; among them: %s\n", s.given, orDash(strings.Join(counts, ", ")), flying, orDash(strings.Join(names, " ")))
	return nil
}

func (s scope) order(ctx context.Context, a *app, api *client.Client, verb, reason string) error {
	if s.agent != "" {
		do := map[string]func(context.Context, string, string) (client.AgentInfo, error){
			"pause": api.Pause, "resume": api.Resume, "quarantine": api.Quarantine, "release": api.Release, "kill": api.Kill,
		}[verb]
		return a.oneAgent(func(*client.Client) (client.AgentInfo, error) { return do(ctx, s.agent, reason) })
	}
	done, err := api.Contain(ctx, s.wire, verb, reason)
	if err != nil {
		return err
	}
	if done.Approval != "" {
		fmt.Fprintf(a.diag, "it waits for somebody else's word: reef approval approve %s\n", done.Approval)
		return a.print(table{
			header: []string{"SCOPE", "STANDING", "APPROVAL"}, rows: [][]string{{s.given, "held", done.Approval}},
			names: []string{done.Approval}, items: []any{done}, whole: done,
		})
	}
	return a.print(table{
		header: []string{"SCOPE", "STANDING"}, rows: [][]string{{s.given, done.Standing}},
		names: []string{done.Scope}, items: []any{done}, whole: done,
	})
}

func (a *app) containList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the scopes that are stopped: by whom, when, why, and how far a kill has come", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Scopes(cmd.Context())
		if err != nil {
			return err
		}
		t := table{header: []string{"SCOPE", "NAME", "STANDING", "SINCE", "ENDED", "LEFT", "BY", "REASON"}, whole: list}
		for _, x := range list {
			ended := "-"
			if !x.DoneAt.IsZero() {
				ended = fmt.Sprint(x.Ended)
			}
			t.rows = append(t.rows, []string{x.Scope, orDash(x.Name), x.Does, x.CreatedAt.Format(time.RFC3339), ended, fmt.Sprint(x.Left), x.By, x.Reason})
			t.names = append(t.names, x.Scope)
			t.items = append(t.items, x)
		}
		return a.print(t)
	}
	return c
}

func (a *app) containLift() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "lift SCOPE --reason TEXT", Short: "Let a scope go on: end its pause and its quarantine, and let new agents in after a kill", Args: cobra.ExactArgs(1),
	}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		s, err := scopeOf(cmd.Context(), api, args[0])
		if err != nil {
			return err
		}
		if s.agent != "" {
			return usageError{errors.New("one agent is let go by reef agent resume, or reef agent release")}
		}
		p, err := api.Scope(cmd.Context(), s.wire)
		if err != nil {
			return err
		}
		verbs := []string{"resume"} // also where nothing is in force, so that the answer says so
		if slices.ContainsFunc(p.Orders, func(o client.Containment) bool { return o.Does != "paused" }) {
			verbs = append(verbs, "release")
		}
		if !slices.ContainsFunc(p.Orders, func(o client.Containment) bool { return o.Does == "paused" }) && len(verbs) > 1 {
			verbs = verbs[1:]
		}
		for _, verb := range verbs[:len(verbs)-1] {
			if done, err := api.Contain(cmd.Context(), s.wire, verb, reason); err != nil || done.Approval != "" {
				if err == nil {
					fmt.Fprintf(a.diag, "%s waits for somebody else's word: reef approval approve %s\n", verb, done.Approval)
				}
				return err
			}
		}
		return s.order(cmd.Context(), a, api, verbs[len(verbs)-1], reason)
	}
	return c
}

package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

func (a *app) agentRequest() *cobra.Command {
	var in client.NewInstance
	var mandate, grant string
	c := &cobra.Command{
		Use: "request NAME --class CLASS --owner OWNER --reason TEXT", Short: "Ask for an agent of a class; the class says who has to approve", Args: cobra.ExactArgs(1),
		Long: "Ask for an agent of a class. Where the class wants nobody's word it is made at once, and the\n" +
			"token by which it enrols its key is printed, once. Else it waits (reef approval list).",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&in.Class, "class", "", "the class that it is made of")
	c.Flags().Int64Var(&in.Version, "class-version", 0, "this version (default the one in use)")
	c.Flags().StringVar(&in.Owner, "owner", "", "who answers for it")
	c.Flags().StringVar(&mandate, "mandate", "", "the mandate that it acts under, by name or id")
	c.Flags().StringVar(&in.Description, "description", "", "what it says of itself")
	c.Flags().StringVar(&grant, "grant", "", "a file that says what it is granted at most, beneath its class")
	c.Flags().StringVar(&in.Reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if in.Class == "" || in.Owner == "" || in.Reason == "" {
			return usageError{errors.New("give --class, --owner, and --reason, which goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		in.Name = args[0]
		if grant != "" {
			if in.Grant, err = readDocument(grant); err != nil {
				return err
			}
		}
		if mandate != "" {
			m, err := api.Mandate(cmd.Context(), mandate)
			if err != nil {
				return err
			}
			in.MandateID = m.ID
		}
		x, err := api.RequestAgent(cmd.Context(), in)
		if err != nil {
			return err
		}
		if x.Agent.ID == "" {
			return waits("the agent")
		}
		return a.print(table{
			header: []string{"NAME", "CLASS", "VERSION", "ENROLMENT TOKEN"}, rows: [][]string{{x.Agent.Name, x.Class, fmt.Sprint(x.Version), orDash(x.EnrollmentToken)}},
			names: []string{x.Agent.Name}, items: []any{x}, whole: x,
		})
	}
	return c
}

func (a *app) agentBudget() *cobra.Command {
	c := &cobra.Command{Use: "budget NAME|ID", Short: "Show what an agent may use up, and what is left", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Budgets(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		t := table{header: []string{"KIND", "GRANTED", "USED", "CHILDREN", "LEFT", "COUNTED BY", "OF"}, whole: list}
		for _, b := range list {
			by := "the network"
			if b.Reported {
				by = "the agent"
			}
			of := "itself"
			if b.Scope != "" {
				of = b.Scope
			}
			t.rows = append(t.rows, []string{b.Kind, fmt.Sprint(b.Granted), fmt.Sprint(b.Used), fmt.Sprint(b.Carved), fmt.Sprint(b.Left), by, of})
			t.names = append(t.names, b.Kind)
			t.items = append(t.items, b)
		}
		return a.print(t)
	}
	return c
}

func (a *app) agentOrphans() *cobra.Command {
	c := &cobra.Command{
		Use: "orphans", Short: "Look for agents that nothing holds any more, and when they end", Args: cobra.NoArgs,
		Long: "List the agents whose parent, mandate, class, lease or owner is gone, by which rule, what was\n" +
			"found, and when they end unless somebody attests, adopts or resumes them.",
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Orphans(cmd.Context())
		if err != nil {
			return err
		}
		t := table{header: []string{"NAME", "RULE", "ENDS", "EVIDENCE"}, whole: list}
		for _, o := range list {
			t.rows = append(t.rows, []string{o.Agent, o.Rule, endsAt(o.EndsAt), o.Evidence})
			t.names = append(t.names, o.Agent)
			t.items = append(t.items, o)
		}
		return a.print(t)
	}
	return c
}

// endsAt is when an agent ends, "-" for one that does not end by itself.
func endsAt(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Format(time.RFC3339)
}

func (a *app) agentNotices() *cobra.Command {
	c := &cobra.Command{
		Use: "notices", Short: "List what rules of classes have found about agents, and what was done", Args: cobra.NoArgs,
		Long: "List alerts and stops by the rules of classes (health, budgets and quotas that are nearly used up), the\n" +
			"newest first, with what was found. reef agent appeal lets an agent go on that was stopped so.",
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Notices(cmd.Context())
		if err != nil {
			return err
		}
		t := table{header: []string{"NAME", "RULE", "DONE", "AT", "EVIDENCE"}, whole: list}
		for _, n := range list {
			t.rows = append(t.rows, []string{orDash(n.Agent), n.Rule, n.Does, n.At.Format(time.RFC3339), n.Evidence})
			t.names = append(t.names, n.Agent)
			t.items = append(t.items, n)
		}
		return a.print(t)
	}
	return c
}

func (a *app) agentProcesses() *cobra.Command {
	c := &cobra.Command{Use: "processes", Short: "List the runtimes that hold agents, those whose lease ends first in front", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := api.Processes(cmd.Context())
		if err != nil {
			return err
		}
		t := table{header: []string{"NAME", "KEEPER", "AGENTS", "LEASE", "UNTIL"}, whole: list}
		for _, p := range list {
			t.rows = append(t.rows, []string{p.Name, p.Keeper, fmt.Sprint(p.Agents), (time.Duration(p.Lease) * time.Second).String(), p.UntilAt.Format(time.RFC3339)})
			t.names = append(t.names, p.Name)
			t.items = append(t.items, p)
		}
		return a.print(t)
	}
	return c
}

func (a *app) agentAdopt() *cobra.Command {
	var owner, mandate, reason string
	c := &cobra.Command{Use: "adopt NAME|ID [--owner OWNER] [--mandate NAME] --reason TEXT", Short: "Give an agent another owner or another mandate", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().StringVar(&owner, "owner", "", "who answers for it from now on")
	c.Flags().StringVar(&mandate, "mandate", "", "what it acts under from now on, by name or id")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" || owner == "" && mandate == "" {
			return usageError{errors.New("give --owner or --mandate, and --reason, which goes on record")}
		}
		return a.oneAgent(func(api *client.Client) (x client.AgentInfo, err error) {
			if x, err = api.Agent(cmd.Context(), args[0]); err != nil {
				return x, err
			}
			id := ""
			if mandate != "" {
				m, err := api.Mandate(cmd.Context(), mandate)
				if err != nil {
					return x, err
				}
				id = m.ID
			}
			return api.Adopt(cmd.Context(), x.ID, owner, id, reason)
		})
	}
	return c
}

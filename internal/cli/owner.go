package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// owner is the family of operators' commands on who answers for agents.
func (a *app) owner() *cobra.Command {
	c := &cobra.Command{
		Use: "owner", Short: "List who answers for agents, say who does, and in which team",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.ownerList(), a.ownerLink(), a.ownerMove())
	return c
}

func ownerTable(list []client.Owner, whole any) table {
	t := table{header: []string{"NAME", "PERSON", "TEAM", "AGENTS", "ID"}, whole: whole}
	for _, o := range list {
		t.rows = append(t.rows, []string{o.Name, orDash(o.Operator), orDash(o.Team), fmt.Sprint(o.Agents), o.ID})
		t.names = append(t.names, o.Name)
		t.items = append(t.items, o)
	}
	return t
}

func (a *app) ownerList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List owners, who answers as each, and how many agents each has", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return printAll(a, ownerTable, func(api *client.Client, cursor string) ([]client.Owner, string, error) {
			page, err := api.Owners(cmd.Context(), cursor)
			return page.Items, page.Next, err
		})
	}
	return c
}

func (a *app) ownerLink() *cobra.Command {
	var operator, reason string
	var none bool
	c := &cobra.Command{
		Use: "link OWNER {--operator NAME | --none} --reason TEXT", Short: "Make a person, or nobody, answer as an owner", Args: cobra.ExactArgs(1),
		Long: "Make the person of a name, who has signed in once, answer as an owner that is there: its\n" +
			"agents are theirs from then on, and no longer those of who answered before. With --none\n" +
			"nobody answers themselves, and operators speak in the owner's name.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&operator, "operator", "", "name of the person, as their pages show it")
	c.Flags().BoolVar(&none, "none", false, "let nobody answer as this owner")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" || (operator == "") != none {
			return usageError{errors.New("give --operator, or --none, and --reason, which goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		o, err := api.LinkOwner(cmd.Context(), args[0], operator, reason)
		if err != nil {
			return err
		}
		return a.print(ownerTable([]client.Owner{o}, o))
	}
	return c
}

func (a *app) ownerMove() *cobra.Command {
	var team, reason string
	var none, keep bool
	c := &cobra.Command{
		Use: "move OWNER {--team NAME | --none} --reason TEXT", Short: "Say in which team an owner works", Args: cobra.ExactArgs(1),
		Long: "Say in which team an owner works: policies know it as the team of its agents. Agents of\n" +
			"an owner who worked in another one are paused, and end after a day, unless each is taken\n" +
			"over (reef agent adopt). With --keep they come along.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&team, "team", "", "name of the team")
	c.Flags().BoolVar(&none, "none", false, "the owner works in no team")
	c.Flags().BoolVar(&keep, "keep", false, "their agents come along, or go on after a move has stopped them")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" || (team == "") != none {
			return usageError{errors.New("give --team, or --none, and --reason, which goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		o, err := api.MoveOwner(cmd.Context(), args[0], team, keep, reason)
		if err != nil {
			return err
		}
		return a.print(ownerTable([]client.Owner{o}, o))
	}
	return c
}

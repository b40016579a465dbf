package cli

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// role is the family of admins' commands on who has which role.
func (a *app) role() *cobra.Command {
	c := &cobra.Command{
		Use: "role", Short: "Say who has which role, beside what the settings say",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.roleList(), a.roleBind(), a.roleUnbind(), a.roleDefine(), a.roleDrop())
	return c
}

func roleTable(list []client.RoleBinding, whole any) table {
	t := table{header: []string{"NAME", "ROLE", "WHOM", "ISSUER", "OPERATORS", "BOUND"}, whole: whole}
	for _, b := range list {
		whom := "service " + b.Service
		switch {
		case b.Group != "":
			whom = "group " + b.Group
		case b.Person != "":
			whom = "person " + b.Person
		}
		t.rows = append(t.rows, []string{b.Name, b.Role, whom, orDash(b.Issuer), strconv.FormatInt(b.Operators, 10), b.At.Format(time.RFC3339)})
		t.names, t.items = append(t.names, b.Name), append(t.items, b)
	}
	return t
}

func (a *app) roleList() *cobra.Command {
	var own bool
	c := &cobra.Command{Use: "list [--own]", Short: "List which roles are bound to whom, or the roles of your own", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.Flags().BoolVar(&own, "own", false, "the roles of your own, and what they are made of")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if own {
			return printAll(a, ownRoleTable, func(api *client.Client, _ string) ([]client.Role, string, error) {
				list, err := api.Roles(cmd.Context())
				return list, "", err
			})
		}
		return printAll(a, roleTable, func(api *client.Client, _ string) ([]client.RoleBinding, string, error) {
			list, err := api.RoleBindings(cmd.Context())
			return list, "", err
		})
	}
	return c
}

func (a *app) roleBind() *cobra.Command {
	var in client.NewRoleBinding
	c := &cobra.Command{
		Use: "bind NAME --role ROLE {--group GROUP | --person SUBJECT} --issuer URL --reason TEXT", Short: "Give a role to a group, a person or a service account", Args: cobra.ExactArgs(1),
		Long: "Give a role to whoever the identity provider puts in a group, to one person of it, or with\n" +
			"--service to a service account, beside what the settings give. It counts at once, also in\n" +
			"sessions that are open. See docs/operators.md.",
	}
	a.outputFlag(c)
	fs := c.Flags()
	fs.StringVar(&in.Role, "role", "", "the role: admin, approver, responder, auditor, observer, owner or one of your own")
	fs.StringVar(&in.Group, "group", "", "a value of the claim that groups stand in (oidc-claim)")
	fs.StringVar(&in.Person, "person", "", "the subject by which the issuer knows somebody")
	fs.StringVar(&in.Issuer, "issuer", "", "the identity provider, as it stands in oidc-issuer")
	fs.StringVar(&in.Service, "service", "", "name of a service account")
	fs.StringVar(&in.Reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if in.Role == "" || in.Reason == "" {
			return usageError{errors.New("give --role, whom it is for, and --reason, which goes on record")}
		}
		in.Name = args[0]
		api, err := a.client()
		if err != nil {
			return err
		}
		b, err := api.BindRole(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.print(roleTable([]client.RoleBinding{b}, b))
	}
	return c
}

func (a *app) roleUnbind() *cobra.Command {
	c := &cobra.Command{Use: "unbind NAME --reason TEXT", Short: "Take a role back that was bound", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		b, err := api.UnbindRole(ctx, args[0], reason)
		if err != nil {
			return err
		}
		return a.print(roleTable([]client.RoleBinding{b}, b))
	})
}

func ownRoleTable(list []client.Role, whole any) table {
	t := table{header: []string{"NAME", "ROLES", "BINDINGS", "OPERATORS", "NOTE"}, whole: whole}
	for _, r := range list {
		t.rows = append(t.rows, []string{r.Name, strings.Join(r.Roles, ","), strconv.FormatInt(r.Bindings, 10), strconv.FormatInt(r.Operators, 10), orDash(r.Note)})
		t.names, t.items = append(t.names, r.Name), append(t.items, r)
	}
	return t
}

func (a *app) roleDefine() *cobra.Command {
	var in client.NewRole
	c := &cobra.Command{
		Use: "define NAME --roles ROLE,ROLE --reason TEXT", Short: "Make a role of your own of several, or of others than before", Args: cobra.ExactArgs(1),
		Long: "Make a name for several roles, which reef role bind can name. Whoever it is bound to has\n" +
			"what it is made of, and has it at once when it is made of others. Policies know the roles\n" +
			"that it is made of, not its name.",
	}
	a.outputFlag(c)
	c.Flags().StringSliceVar(&in.Roles, "roles", nil, "what it is made of: admin, approver, responder, auditor, observer, owner")
	c.Flags().StringVar(&in.Note, "note", "", "what it is for")
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		in.Name, in.Reason = args[0], reason
		r, err := api.DefineRole(ctx, in)
		if err != nil {
			return err
		}
		return a.print(ownRoleTable([]client.Role{r}, r))
	})
}

func (a *app) roleDrop() *cobra.Command {
	c := &cobra.Command{Use: "drop NAME --reason TEXT", Short: "Drop a role of your own that no binding names", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		r, err := api.DropRole(ctx, args[0], reason)
		if err != nil {
			return err
		}
		return a.print(ownRoleTable([]client.Role{r}, r))
	})
}

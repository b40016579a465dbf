package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// class is the family of operators' commands on kinds of agents.
func (a *app) class() *cobra.Command {
	c := &cobra.Command{
		Use: "class", Short: "Make, list, show, roll out and retire classes of agents",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.classPut(), a.classList(), a.classShow(), a.classRollout(), a.classRetire())
	return c
}

func classTable(list []client.Class, whole any) table {
	t := table{header: []string{"NAME", "VERSION", "STATE", "AGENTS", "MADE", "REASON"}, whole: whole}
	for _, x := range list {
		state := "in use"
		if x.Retired {
			state = "retired"
		}
		t.rows = append(t.rows, []string{x.Name, fmt.Sprint(x.Version), state, fmt.Sprint(x.Agents), x.MadeAt.Format(time.RFC3339), x.Reason})
		t.names = append(t.names, x.Name)
		t.items = append(t.items, x)
	}
	return t
}

// readDocument reads a file of YAML or JSON as JSON.
func readDocument(path string) (json.RawMessage, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

func (a *app) classPut() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "put NAME -f FILE", Short: "Make the next version of a class, or the first", Args: cobra.ExactArgs(1),
		Long: "Make the next version of a class from a document in YAML or JSON. Versions never change; a\n" +
			"document that says what the newest version says makes none.",
	}
	a.outputFlag(c)
	c.Flags().StringVarP(&file, "file", "f", "", "the document")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return usageError{errors.New("give the document with -f FILE")}
		}
		spec, err := readDocument(file)
		if err != nil {
			return err
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		x, err := api.PutClass(cmd.Context(), args[0], spec)
		if err != nil {
			return err
		}
		return a.print(classTable([]client.Class{x}, x))
	}
	return c
}

func (a *app) classList() *cobra.Command {
	c := &cobra.Command{Use: "list [NAME]", Short: "List the versions of classes", Args: cobra.MaximumNArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		return printAll(a, classTable, func(api *client.Client, cursor string) ([]client.Class, string, error) {
			page, err := api.Classes(cmd.Context(), name, cursor)
			return page.Items, page.Next, err
		})
	}
	return c
}

func (a *app) classShow() *cobra.Command {
	var version int64
	c := &cobra.Command{Use: "show NAME", Short: "Show a class, and how many agents are made of it", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().Int64Var(&version, "version", 0, "this one (default the newest)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		x, err := api.Class(cmd.Context(), args[0], version)
		if err != nil {
			return err
		}
		t := classTable([]client.Class{x}, x)
		if a.output == "table" {
			t.header = append(t.header, "SPEC")
			t.rows[0] = append(t.rows[0], string(x.Spec))
		}
		return a.print(t)
	}
	return c
}

func (a *app) classRetire() *cobra.Command {
	c := &cobra.Command{Use: "retire NAME --reason TEXT", Short: "Take a class out of use; its agents are paused, and ended when their grace is over", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		x, err := api.RetireClass(ctx, args[0], reason)
		if err != nil {
			return err
		}
		return a.print(classTable([]client.Class{x}, x))
	})
}

// reasoned lets a command ask for a reason, and do with it what it does.
func (a *app) reasoned(c *cobra.Command, do func(ctx context.Context, api *client.Client, args []string, reason string) error) *cobra.Command {
	var reason string
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError{errReason}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		return do(cmd.Context(), api, args, reason)
	}
	return c
}

// errReason is what a command says that is given no reason.
var errReason = errors.New("--reason is required: it goes on record")

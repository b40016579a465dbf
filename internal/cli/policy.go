package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// policy is the family of operators' commands on policies.
func (a *app) policy() *cobra.Command {
	c := &cobra.Command{
		Use: "policy", Short: "Look at policies, try others out, and change them",
		Long: "Look at policies, try others out, and change them. A DIR holds the operators' files:\n" +
			"policies in *.cedar, tests in *.yaml, and in without.txt, a line each, the ids of default\n" +
			"policies to leave out. The rest of what is in force are the defaults of the server's\n" +
			"release. See docs/policy-bundles.md.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.policyList(), a.policyShow(), a.policyCheck(), a.policyTest(), a.policyActivate(), a.policyRevert(),
		a.policyDiff(), a.policyDryRun(), a.policyShadow(), a.policyOff(), a.policySchema())
	return c
}

// withoutFile lists the default policies to leave out.
const withoutFile = "without.txt"

// readPolicies reads a directory of operators' files.
func readPolicies(dir string) (d client.PolicyDraft, err error) {
	d = client.PolicyDraft{Files: []client.PolicyFile{}, Tests: []client.PolicyFile{}, Without: []string{}}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return d, usageError{err}
	}
	defer root.Close() //nolint:errcheck // nothing was written
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		kind := filepath.Ext(path)
		if kind != ".cedar" && kind != ".yaml" && kind != ".json" && path != withoutFile {
			return nil
		}
		raw, err := root.ReadFile(path)
		if err != nil {
			return err
		}
		switch f := (client.PolicyFile{Name: path, Text: string(raw)}); {
		case path == withoutFile:
			for line := range strings.Lines(f.Text) {
				id, _, _ := strings.Cut(line, "#")
				if id = strings.TrimSpace(id); id != "" {
					d.Without = append(d.Without, id)
				}
			}
		case kind == ".cedar":
			d.Files = append(d.Files, f)
		default:
			d.Tests = append(d.Tests, f)
		}
		return nil
	})
	if err == nil && len(d.Files)+len(d.Tests)+len(d.Without) == 0 {
		err = usageError{fmt.Errorf("%s holds no policies (*.cedar), no tests (*.yaml) and no %s", dir, withoutFile)}
	}
	return d, err
}

// pickPolicies reads what names policies: a version, current, or a directory.
func pickPolicies(text string) (p client.PolicyPick, err error) {
	if text == "current" {
		return p, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 1 {
			return p, usageError{fmt.Errorf("%s is no version", text)}
		}
		return client.PolicyPick{Version: n}, nil
	}
	d, err := readPolicies(text)
	return client.PolicyPick{Draft: &d}, err
}

func policyTable(list []client.PolicyBundle, whole any) table {
	t := table{header: []string{"VERSION", "IN FORCE SINCE", "FROM", "DEFAULTS", "FILES", "OWN", "REASON"}, whole: whole}
	for _, b := range list {
		t.rows = append(t.rows, []string{
			fmt.Sprint(b.Version), b.ActiveAt.Format(time.RFC3339), b.Source, fmt.Sprint(b.Defaults), fmt.Sprint(b.Files), fmt.Sprint(b.Own), orDash(b.Reason),
		})
		t.names = append(t.names, fmt.Sprint(b.Version))
		t.items = append(t.items, b)
	}
	return t
}

func (a *app) policyList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the policies that were put in force, newest first", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return printAll(a, policyTable, func(api *client.Client, cursor string) ([]client.PolicyBundle, string, error) {
			page, err := api.PolicyVersions(cmd.Context(), cursor)
			return page.Items, page.Next, err
		})
	}
	return c
}

func (a *app) policyShow() *cobra.Command {
	c := &cobra.Command{
		Use: "show [VERSION [FILE]]", Short: "Show policies, or the text of one file of them", Args: cobra.MaximumNArgs(2),
		Long: "Show what is in force, or a version: its files, what of the defaults is left out or gives\n" +
			"way to the operators' own. With a FILE, print its text.",
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		version := int64(0)
		if len(args) > 0 && args[0] != "current" {
			p, err := pickPolicies(args[0])
			if err != nil || p.Version == 0 {
				return usageError{fmt.Errorf("%q is no version: see reef policy list", args[0])}
			}
			version = p.Version
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		b, err := api.Policies(cmd.Context(), version)
		if err != nil {
			return err
		}
		files := slices.Concat(b.Policies, b.Tests)
		if len(args) == 2 {
			i := slices.IndexFunc(files, func(f client.PolicyFile) bool { return f.Name == args[1] })
			if i < 0 {
				return act.Errorf(act.NotFound, "there is no file %q in version %d", args[1], b.Version).WithHint("reef policy show lists the files")
			}
			_, err := a.out.Write([]byte(files[i].Text))
			return err
		}
		if b.Behind != "" {
			fmt.Fprintln(a.diag, "warning: the operators' policies do not fit the defaults of this release:", b.Behind)
		}
		t := table{header: []string{"WHAT", "NAME", "BYTES"}, whole: b}
		for _, f := range files {
			what := "default"
			if f.Own {
				what = "own"
			}
			t.rows = append(t.rows, []string{what, f.Name, fmt.Sprint(len(f.Text))})
			t.names = append(t.names, f.Name)
			t.items = append(t.items, f)
		}
		for _, id := range b.Replaced {
			t.rows = append(t.rows, []string{"replaced", id, "-"})
		}
		for _, id := range b.Without {
			t.rows = append(t.rows, []string{"left out", id, "-"})
		}
		return a.print(t)
	}
	return c
}

// checkPolicies checks a directory and returns the error that activating it would meet.
func (a *app) checkPolicies(ctx context.Context, dir string) (client.PolicyReport, error) {
	d, err := readPolicies(dir)
	if err != nil {
		return client.PolicyReport{}, err
	}
	api, err := a.client()
	if err != nil {
		return client.PolicyReport{}, err
	}
	return api.CheckPolicies(ctx, d)
}

// refusal is the error of a report, nil of a good one.
func refusal(r client.PolicyReport) error {
	if r.OK {
		return nil
	}
	return act.Errorf(act.Invalid, "%s", r.Refused).WithRule(r.Rule).WithHint("correct the files; what is in force stays")
}

func (a *app) policyCheck() *cobra.Command {
	c := &cobra.Command{Use: "check DIR", Short: "Check policies and run their tests; nothing changes", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := a.checkPolicies(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		failed := 0
		t := table{header: []string{"PLACE", "WHAT IS WRONG"}, whole: r}
		row := func(place, text string, item any) {
			t.rows = append(t.rows, []string{orDash(place), text})
			t.names, t.items = append(t.names, place), append(t.items, item)
		}
		for _, p := range r.Problems {
			row(p.Place, p.Text, p)
		}
		for _, one := range r.Tests {
			if !one.Passed {
				failed++
				row(one.Place, trialText(one), one)
			}
		}
		if len(t.rows) == 0 && !r.OK {
			row("", r.Refused, r)
		}
		if len(t.rows) > 0 || a.output != "table" {
			if err := a.print(t); err != nil {
				return err
			}
		}
		if r.OK && a.output == "table" {
			fmt.Fprintf(a.out, "%d policies are in order, %d tests pass; replaced: %s; left out: %s\n", r.Policies, len(r.Tests),
				orDash(strings.Join(r.Replaced, ", ")), orDash(strings.Join(r.Without, ", ")))
		}
		return refusal(r)
	}
	return c
}

func trialText(t client.PolicyTrial) string {
	if t.Why != "" {
		return t.Why
	}
	by := t.By
	if t.At != "" {
		by += " (" + t.At + ")"
	}
	return fmt.Sprintf("%q wants %s, got %s by %s", t.Name, t.Want, t.Got, by)
}

func (a *app) policyTest() *cobra.Command {
	c := &cobra.Command{Use: "test DIR", Short: "Run the tests of policies, those of the defaults among them", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := a.checkPolicies(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		t := table{header: []string{"RESULT", "TEST", "GOT", "BY", "PLACE"}, whole: r.Tests}
		for _, one := range r.Tests {
			result := "pass"
			if !one.Passed {
				result = "FAIL"
			}
			t.rows = append(t.rows, []string{result, orDash(one.Name), orDash(one.Got), orDash(one.By), one.Place})
			t.names, t.items = append(t.names, one.Name), append(t.items, one)
		}
		if err := a.print(t); err != nil {
			return err
		}
		return refusal(r)
	}
	return c
}

func (a *app) policyActivate() *cobra.Command {
	var reason string
	var base int64
	c := &cobra.Command{
		Use: "activate DIR --reason TEXT", Short: "Put policies in force on all nodes, as a new version", Args: cobra.ExactArgs(1),
		Long: "Put policies in force on all nodes, as a new version. They are checked and their tests\n" +
			"are run before; when the command is back, nothing is decided by the old ones any more.\n" +
			"Where the network wants two persons, it waits for the other (reef approval).",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.Flags().Int64Var(&base, "base", 0, "the version that they were made for; refused if another is in force")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		d, err := readPolicies(args[0])
		if err != nil {
			return err
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		b, err := api.ActivatePolicies(cmd.Context(), d, base, reason)
		if err == nil && b.Version == 0 {
			return waits("the policies")
		}
		if err != nil {
			return err
		}
		return a.print(policyTable([]client.PolicyBundle{b}, b))
	}
	return c
}

// waits is what who has asked for an act that is held is told.
func waits(what string) error {
	return act.Errorf(act.Held, "%s: it waits for somebody else's word", what).WithHint("they decide with: reef approval list, reef approval approve")
}

func (a *app) policyRevert() *cobra.Command {
	var reason string
	c := &cobra.Command{Use: "revert VERSION --reason TEXT", Short: "Put what operators had brought of an earlier version in force again", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		version, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || version < 1 || reason == "" {
			return usageError{errors.New("give a version, as reef policy list shows it, and --reason, which goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		b, err := api.RevertPolicies(cmd.Context(), version, reason)
		if err == nil && b.Version == 0 {
			return waits("the policies")
		}
		if err != nil {
			return err
		}
		return a.print(policyTable([]client.PolicyBundle{b}, b))
	}
	return c
}

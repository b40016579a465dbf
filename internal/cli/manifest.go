package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// setFlags are the flags of the commands on files.
type setFlags struct {
	path           string
	manager        string
	prune, force   bool
	digest, reason string
}

func (a *app) setFlags(c *cobra.Command, f *setFlags) {
	a.targetFlags(c)
	a.outputFlag(c)
	c.Flags().StringVarP(&f.path, "file", "f", "", "a file, or a directory with files (*.yaml, *.yml, *.json)")
	c.Flags().StringVar(&f.manager, "manager", "reef", "who keeps these files: a name of its own for each set of files")
	c.Flags().BoolVar(&f.prune, "prune", false, "end what the manager has applied and the files do not say any more")
	c.Flags().BoolVar(&f.force, "force", false, "take over fields that others keep and say otherwise")
}

// set reads the files.
func (f setFlags) set() (client.ManifestSet, error) {
	set := client.ManifestSet{Files: []client.ManifestFile{}, Manager: f.manager, Prune: f.prune, Force: f.force}
	if f.path == "" {
		return set, usageError{errors.New("give the files with -f: a file, or a directory")}
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return set, usageError{err}
	}
	dir, only := f.path, ""
	if !info.IsDir() {
		dir, only = filepath.Split(f.path)
	}
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return set, usageError{err}
	}
	defer root.Close() //nolint:errcheck // nothing was written
	add := func(path string) error {
		raw, err := root.ReadFile(path)
		set.Files = append(set.Files, client.ManifestFile{Name: path, Text: string(raw)})
		return err
	}
	if only != "" {
		return set, add(only)
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			return err
		}
		return add(path)
	})
	if err == nil && len(set.Files) == 0 && !f.prune {
		err = usageError{fmt.Errorf("%s holds no files (*.yaml, *.yml, *.json)", f.path)}
	}
	return set, err
}

var opSigns = map[string]string{"create": "+", "update": "~", "end": "-", "own": "=", "release": "."}

// valueText is a value of a field on a line.
func valueText(v any) string {
	if v == nil {
		return "(not said)"
	}
	raw, _ := json.Marshal(v)
	const most = 120
	if text := []rune(string(raw)); len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(raw)
}

// showChanges prints what would change, field by field.
func (a *app) showChanges(p client.ManifestPlan) {
	for _, c := range p.Changes {
		why := ""
		if c.Why != "" {
			why = "  (" + c.Why + ")"
		}
		fmt.Fprintln(a.out, plainCell(fmt.Sprintf("%s %s %s/%s%s", opSigns[c.Op], c.Op, c.Kind, c.Name, why)))
		for _, f := range c.Fields {
			fmt.Fprintln(a.out, plainCell(fmt.Sprintf("    %s: %s -> %s", f.Field, valueText(f.Was), valueText(f.Now))))
		}
	}
}

// showPlan prints a plan: what would change, for whom, and what is in its way.
func (a *app) showPlan(p client.ManifestPlan) {
	a.showChanges(p)
	for _, e := range p.Effects {
		line := fmt.Sprintf("! %s: %s %s", e.Object, e.What, strings.Join(e.Acts, ", "))
		if e.Who != "" {
			line += fmt.Sprintf(": %s", e.Who)
		}
		if e.Agents > 0 {
			line += fmt.Sprintf(" (%d: %s)", e.Agents, strings.Join(e.Names, ", "))
		}
		fmt.Fprintln(a.out, plainCell(line+"; "+e.Why))
	}
	for _, c := range p.Conflicts {
		fmt.Fprintln(a.out, plainCell(fmt.Sprintf("conflict: %s: %s of %s is kept by %s: %s, not %s", c.Place, c.Field, c.Object, c.Manager, valueText(c.Theirs), valueText(c.Mine))))
	}
	for _, x := range p.Problems {
		fmt.Fprintln(a.out, plainCell(fmt.Sprintf("wrong: %s: %s (%s)", x.Place, x.Text, x.Hint)))
	}
	count := map[string]int{}
	for _, c := range p.Changes {
		count[c.Op]++
	}
	fmt.Fprintf(a.out, "%d to create, %d to update, %d to end, %d to take into keeping, %d to let go; %d are as they are to be\n",
		count["create"], count["update"], count["end"], count["own"], count["release"], p.Same)
	fmt.Fprintln(a.out, "digest", p.Digest)
}

// blocked is why a plan cannot be applied, nil if it can.
func blocked(p client.ManifestPlan) error {
	switch {
	case len(p.Problems) > 0:
		return act.Errorf(act.Invalid, "%d things are wrong with the files", len(p.Problems)).WithRule("manifest.problem").WithHint("nothing has changed; correct the files")
	case len(p.Conflicts) > 0:
		return act.Errorf(act.Conflict, "%d fields are kept by others, who say otherwise", len(p.Conflicts)).WithRule("manifest.conflict").
			WithHint("agree with whoever keeps them, leave them out, or take them over (--force)")
	}
	return nil
}

// planned asks what a set would do, and shows it.
func (a *app) planned(cmd *cobra.Command, f setFlags, show func(client.ManifestPlan)) (api *client.Client, set client.ManifestSet, p client.ManifestPlan, err error) {
	if set, err = f.set(); err != nil {
		return api, set, p, err
	}
	if api, err = a.client(); err != nil {
		return api, set, p, err
	}
	if p, err = api.PlanManifests(cmd.Context(), set); err != nil {
		return api, set, p, err
	}
	if a.output == "table" {
		show(p)
	}
	return api, set, p, nil
}

func (a *app) plan() *cobra.Command {
	var f setFlags
	c := &cobra.Command{
		Use: "plan -f DIR", Short: "Say what applying files would change, and for whom; nothing changes", Args: cobra.NoArgs,
		Long: "Say what applying files would change (+ create, ~ update, - end, = take into keeping, . let\n" +
			"go), which agents gain, lose or stop by it (!), and what is in its way. The digest names the\n" +
			"plan: reef apply --digest applies this one, and is refused when anything has changed since.",
	}
	a.setFlags(c, &f)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		_, _, p, err := a.planned(cmd, f, a.showPlan)
		if err != nil {
			return err
		}
		if a.output != "table" {
			if err := a.print(table{whole: p, items: []any{p}, names: []string{p.Digest}}); err != nil {
				return err
			}
		}
		return blocked(p)
	}
	return c
}

func (a *app) diff() *cobra.Command {
	var f setFlags
	c := &cobra.Command{Use: "diff -f DIR", Short: "Show what is not as files say, field by field", Args: cobra.NoArgs}
	a.setFlags(c, &f)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		_, _, p, err := a.planned(cmd, f, a.showChanges)
		if err == nil && a.output != "table" {
			err = a.print(table{whole: p.Changes, items: []any{p.Changes}})
		}
		if err != nil {
			return err
		}
		return blocked(p)
	}
	return c
}

func (a *app) apply() *cobra.Command {
	var f setFlags
	var yes bool
	c := &cobra.Command{
		Use: "apply -f DIR", Short: "Make things as files say", Args: cobra.NoArgs,
		Long: "Show the plan, ask, and do it: one act after another, in your name, so that policies,\n" +
			"approvals and the record are those of the acts. What waits for somebody's word does not hold\n" +
			"up the rest. What is applied is what was planned, or nothing.",
	}
	a.setFlags(c, &f)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().StringVar(&f.digest, "digest", "", "apply the plan with this digest only, and do not ask")
	c.Flags().StringVar(&f.reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, set, p, err := a.planned(cmd, f, a.showPlan)
		if err != nil {
			return err
		}
		if err := blocked(p); err != nil {
			return err
		}
		switch {
		case f.digest != "":
			p.Digest = f.digest // the server says whether it is that of now
		case len(p.Changes) == 0:
		case !yes:
			if err := a.agree("apply? Type yes: "); err != nil {
				return err
			}
		}
		done, err := api.ApplyManifests(cmd.Context(), set, p.Digest, f.reason)
		if err != nil {
			return err
		}
		if done.Approval != "" {
			return waits("the files")
		}
		return a.showApplied(done)
	}
	return c
}

func (a *app) showApplied(done client.ManifestApplied) error {
	t := table{header: []string{"OBJECT", "CHANGE", "STATE", "SHOWN ONCE"}, whole: done}
	var failed *client.ManifestResult
	for _, r := range done.Results {
		name := r.Kind + "/" + r.Name
		t.rows = append(t.rows, []string{name, r.Op, r.State, orDash(r.Once)})
		t.names, t.items = append(t.names, name), append(t.items, r)
		if r.Error != nil {
			failed = &r
		}
	}
	if len(t.rows) > 0 || a.output != "table" {
		if err := a.print(t); err != nil {
			return err
		}
	}
	if failed != nil {
		return act.Errorf(act.Conflict, "%s/%s: %s", failed.Kind, failed.Name, failed.Error.Text).WithRule(failed.Error.Rule).WithHint(failed.Error.Hint)
	}
	return nil
}

func (a *app) export() *cobra.Command {
	c := &cobra.Command{Use: "export [KIND]", Short: "Write what there is as files that say so", Args: cobra.MaximumNArgs(1)}
	a.targetFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		f, err := api.ExportManifests(cmd.Context(), first(args))
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(a.out, f.Text)
		return err
	}
	return c
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (a *app) get() *cobra.Command {
	c := &cobra.Command{
		Use: "get KIND [NAME]", Short: "Show what there is of a kind: who keeps it, and what is not as the files say", Args: cobra.RangeArgs(1, 2),
		Long: "Show what there is of a kind (Class, Mandate, Agent, Community, Webhook, PolicyBundle): which\n" +
			"managers keep it, and the fields that are not as their files say. With -o yaml the whole of it.",
	}
	a.targetFlags(c)
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		if len(args) == 2 {
			o, err := api.ManifestObject(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			t := objectTable([]client.ManifestObject{o})
			t.whole = o
			return a.print(t)
		}
		list, err := api.ManifestObjects(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.print(objectTable(list))
	}
	return c
}

func objectTable(list []client.ManifestObject) table {
	t := table{header: []string{"NAME", "STATE", "KEPT BY", "DRIFT"}, whole: list}
	for _, o := range list {
		var keepers []string
		for _, m := range o.Status.Managers {
			keepers = append(keepers, m.Manager)
		}
		t.rows = append(t.rows, []string{o.Metadata.Name, o.Status.State, orDash(strings.Join(keepers, ", ")), orDash(strings.Join(o.Status.Drift, ", "))})
		t.names, t.items = append(t.names, o.Metadata.Name), append(t.items, o)
	}
	return t
}

// manifest is the family of commands on the form of the files.
func (a *app) manifest() *cobra.Command {
	c := &cobra.Command{
		Use: "manifest", Short: "Show the form of the files of reef plan and reef apply",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	schema := &cobra.Command{
		Use: "schema [KIND]", Short: "Print the JSON Schema of a kind, or of all, for editors", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			s, err := api.ManifestSchema(cmd.Context(), first(args))
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := json.Indent(&b, s, "", "  "); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, b.String())
			return err
		},
	}
	c.AddCommand(schema)
	return c
}

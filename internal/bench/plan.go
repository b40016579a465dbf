package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/server"
)

// planSizes are how many objects the sets of `reef bench plan` have.
var planSizes = []int{5, 50, 500}

// The sets that are planned.
const (
	planNew     = "new"     // nothing of it is there
	planChanged = "changed" // all of it is there, and every fifth object would change
)

// plans measures what a plan costs, from its files to the effects on agents, for sets of
// several sizes: `reef bench plan`. A set has classes, mandates, agents and communities in
// equal parts. A bundle of policies is measured alone: it is compiled, tried, and compared
// with what is in force over all who live, whatever else is planned.
func plans(r *runner, ctx context.Context) error {
	for _, db := range r.dbs {
		if err := r.plansOn(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

func (r *runner) plansOn(ctx context.Context, db string) error {
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	t := task{Kind: governed, Data: st.dir}
	if db == dbPostgres {
		t.URL = r.pg.url(st.name)
	}
	srv, err := t.product(ctx, r.diag)
	if err != nil {
		return err
	}
	defer srv.Close()
	text, err := os.ReadFile(filepath.Join(st.dir, "operator.token"))
	if err != nil {
		return err
	}
	p, err := srv.Identity.Authenticate(ctx, strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := r.planned(ctx, srv, p, db, planNew); err != nil {
		return err
	}
	whole := planSet(planSizes[len(planSizes)-1], "as it was")
	plan, err := srv.Manifests.Plan.Do(ctx, p, whole)
	if err != nil {
		return err
	}
	done, err := srv.Manifests.Apply(ctx, p, manifest.Order{Set: whole, Digest: plan.Digest})
	if err != nil {
		return err
	}
	for _, x := range done.Results {
		if x.State != manifest.Done {
			return fmt.Errorf("%s/%s is %s: %w", x.Kind, x.Name, x.State, x.Error)
		}
	}
	if err := r.planned(ctx, srv, p, db, planChanged); err != nil {
		return err
	}
	return r.plannedPolicies(ctx, srv, p, db)
}

// plan takes the time of one plan.
func (r *runner) plan(ctx context.Context, srv *server.Server, p act.Principal, set manifest.Set) (manifest.Plan, float64, error) {
	began := time.Now()
	plan, err := srv.Manifests.Plan.Do(ctx, p, set)
	ms := milliseconds(time.Since(began))
	if err == nil && (len(plan.Problems)+len(plan.Conflicts) > 0 || len(plan.Changes) == 0) {
		err = fmt.Errorf("a plan has %d changes, %v, %v", len(plan.Changes), plan.Problems, plan.Conflicts)
	}
	return plan, ms, err
}

// plannedPolicies plans a bundle alone, with the agents of the sets before.
func (r *runner) plannedPolicies(ctx context.Context, srv *server.Server, p act.Principal, db string) error {
	var took []float64
	for rep := range r.reps {
		var b strings.Builder
		// One that was looked at just now would be remembered.
		planObject(&b, "PolicyBundle", "network", fmt.Sprintf(`{files: {bench.cedar: '@id("bench-%d") forbid (principal is Agent, action == Action::"vote.cast", resource);'}}`, rep))
		plan, ms, err := r.plan(ctx, srv, p, planFile(&b))
		if err != nil {
			return err
		}
		took = append(took, ms)
		r.say("%s policies %d/%d: %d effects: %.1f ms", db, rep+1, r.reps, len(plan.Effects), ms)
	}
	f := figure{DB: db, Side: string(governed), Variant: "policies", Data: "a bundle with one policy", Metric: "plan_policies_ms"}
	return r.press.put(f.with(spreadOf(took), "ms", r.reps, int64(r.reps)))
}

// planned plans sets of all sizes in turns.
func (r *runner) planned(ctx context.Context, srv *server.Server, p act.Principal, db, variant string) error {
	took := make([][]float64, len(planSizes))
	for rep := range r.reps {
		for i, n := range planSizes {
			plan, ms, err := r.plan(ctx, srv, p, planSet(n, fmt.Sprintf("as of repetition %d", rep)))
			if err != nil {
				return err
			}
			took[i] = append(took[i], ms)
			r.say("%s %s %d/%d: %d objects, %d changes, %d effects: %.1f ms", db, variant, rep+1, r.reps, n, len(plan.Changes), len(plan.Effects), ms)
		}
	}
	var sizes, medians []float64
	for i, n := range planSizes {
		sizes, medians = append(sizes, float64(n)), append(medians, median(took[i]))
		f := figure{DB: db, Side: string(governed), Variant: variant, Data: fmt.Sprintf("%d objects", n), Metric: fmt.Sprintf("plan_%d_ms", n)}
		if err := r.press.put(f.with(spreadOf(took[i]), "ms", r.reps, int64(r.reps))); err != nil {
			return err
		}
	}
	e, _ := exponent(sizes, medians)
	e = math.Round(e*100) / 100
	f := figure{DB: db, Side: string(governed), Variant: variant, Data: "5, 50 and 500 objects", Metric: "growth"}
	return r.press.put(f.with(spreadOf([]float64{e}), "exponent", r.reps, int64(len(planSizes))))
}

// planSet is a set of n objects; word stands in every fifth of them.
func planSet(n int, word string) manifest.Set {
	var b strings.Builder
	for i := range n {
		says := "as it was"
		if i%5 == 0 {
			says = word
		}
		switch name := fmt.Sprintf("bench-%d", i); i % 4 {
		case 0:
			planObject(&b, "Class", name, fmt.Sprintf(`{model: %q, grant: {acts: ["post.*", comment.create], budget: {acts: %d}}, heartbeat: 1h}`, says, 100+i))
		case 1:
			planObject(&b, "Mandate", name, fmt.Sprintf("{owner: bench, statement: %q}", says))
		case 2:
			planObject(&b, "Agent", name, fmt.Sprintf("{owner: bench, class: bench-%d, mandate: bench-%d}", i-2, i-1))
		default:
			planObject(&b, "Community", name, fmt.Sprintf("{rules: %q}", says))
		}
	}
	return planFile(&b)
}

func planObject(b *strings.Builder, kind, name, spec string) {
	fmt.Fprintf(b, "---\napiVersion: %s\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", manifest.APIVersion, kind, name, spec)
}

func planFile(b *strings.Builder) manifest.Set {
	return manifest.Set{Manager: "bench", Files: []manifest.File{{Name: "bench.yaml", Text: b.String()}}}
}

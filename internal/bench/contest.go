package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// contest is one thing that several sides do with the same data, in turns.
type contest struct {
	variant string
	data    string     // what the data is; the stage's size if empty
	sides   []compared // the governed one first
	run     func(ctx context.Context, kind sideKind, profile string) (measure, error)
	end     func() // optional
}

// compare stages data of every scale on every database and has the contests
// that plan makes of it held there.
func (r *runner) compare(ctx context.Context, at func(agents, scale int) size, plan func(context.Context, *stage) ([]contest, error)) error {
	if r.onWorld != "" {
		return r.compareWorld(ctx, plan)
	}
	for _, db := range r.dbs {
		if err := r.compareOn(ctx, db, at, plan); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

// grown is the growth of one side of one contest.
type grown struct {
	growth
	variant string
	kind    sideKind
}

func (r *runner) compareOn(ctx context.Context, db string, at func(agents, scale int) size, plan func(context.Context, *stage) ([]contest, error)) error {
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	var list []*grown
	for n, scale := range r.scales {
		to := at(r.agents, scale)
		r.say("%s ×%d: filling in %s", db, scale, to)
		if err := st.grow(ctx, to); err != nil {
			return err
		}
		contests, err := plan(ctx, st)
		if err != nil {
			return err
		}
		for _, c := range contests {
			got, err := r.hold(ctx, c, db, scale, n == len(r.scales)-1)
			if c.end != nil {
				c.end()
			}
			if err != nil {
				return err
			}
			for _, side := range c.sides {
				i := slices.IndexFunc(list, func(g *grown) bool { return g.variant == c.variant && g.kind == side.kind })
				if i < 0 {
					i = len(list)
					list = append(list, &grown{variant: c.variant, kind: side.kind})
				}
				list[i].add(got[side.kind])
			}
		}
	}
	for _, g := range list {
		if err := g.publish(r, figure{DB: db, Variant: g.variant, Side: string(g.kind)}); err != nil {
			return err
		}
	}
	return nil
}

// hold has the sides of a contest take turns and prints what came out.
func (r *runner) hold(ctx context.Context, c contest, db string, scale int, last bool) (map[sideKind]series, error) {
	got := make(map[sideKind]series)
	where := strings.TrimSpace("on the world " + c.variant)
	if scale > 0 {
		where = strings.TrimSpace(fmt.Sprintf("×%d %s", scale, c.variant))
	}
	for rep := range r.reps {
		for i := range c.sides { // another one begins each time
			kind := c.sides[(i+rep)%len(c.sides)].kind
			m, err := c.run(ctx, kind, "")
			if err != nil {
				return nil, fmt.Errorf("%s the %s side: %w", c.variant, kind, err)
			}
			r.say("%s %s %d/%d %-10s %7.0f/s  p50 %.2f ms  p99 %.2f ms  %.0f µs CPU", db, where, rep+1, r.reps, kind, m.rate, m.p50, m.p99, m.cpu+m.dbCPU)
			got[kind] = append(got[kind], m)
		}
	}
	if err := r.publish(figure{DB: db, Scale: scale, Variant: c.variant, Data: c.data}, c.sides, got); err != nil {
		return nil, err
	}
	if r.profile == "" || !last {
		return got, nil
	}
	part := c.variant
	if len(r.dbs) > 1 || c.variant != "" {
		part = db
		if c.variant != "" {
			part += "-" + c.variant
		}
	}
	return got, r.profiled(part, func(path string) error {
		_, err := c.run(ctx, c.sides[0].kind, path)
		return err
	})
}

// arena is where the sides of a contest stay: each has one copy of the stage for
// all its repetitions, because copies of large ones take longer than what is
// measured on them.
type arena struct {
	r      *runner
	st     *stage
	scenes map[sideKind]*scene

	task    func(kind sideKind, t *task) // what a side is told beside its scene
	warm    script                       // before it counts
	load    script
	gains   []string // tables that gain a row with each answer
	showing bool     // the governed side has shown something to each agent
	rows    int      // what the cost may grow with
}

// run is one repetition of one side. It checks that what was answered is stored.
func (a *arena) run(ctx context.Context, kind sideKind, profile string) (m measure, err error) {
	sc := a.scenes[kind]
	if sc == nil && kind != bare {
		if sc, err = a.st.copy(ctx); err != nil {
			return m, err
		}
		a.scenes[kind] = sc
	}
	t := task{Kind: kind}
	before := make(map[string]int64)
	if sc != nil {
		t = sc.task(kind)
		for _, table := range a.gains {
			if before[table], err = sc.rows(ctx, table); err != nil {
				return m, err
			}
		}
	}
	a.task(kind, &t)
	var warm phase
	if err := a.r.onSide(ctx, t, a.r.conns, func(s *side, l *load) error {
		if warm, err = l.run(ctx, 0, a.warm); err == nil && warm.refused > 0 {
			err = fmt.Errorf("%d of %d first requests were refused: %s", warm.refused, warm.refused+warm.answered, warm.example)
		}
		if err == nil {
			m, err = a.r.watch(ctx, s, l, profile, a.load)
		}
		return err
	}); err != nil || sc == nil {
		return m, err
	}
	if err := sc.settle(ctx, kind); err != nil {
		return m, err
	}
	answered := warm.answered + m.answered
	for _, table := range a.gains {
		n, err := sc.rows(ctx, table)
		if err != nil {
			return m, err
		}
		if want := before[table] + answered; n < want {
			return m, fmt.Errorf("%d requests were answered, but table %s lacks %d rows", answered, table, want-n)
		}
	}
	if a.showing && kind == governed {
		n, err := sc.shown(ctx)
		if err != nil {
			return m, err
		}
		if want := int64(len(a.st.agents)); n < want {
			return m, fmt.Errorf("%d agents were shown something, %d pages are on record", want, n)
		}
	}
	m.rows = float64(a.rows)
	return m, nil
}

func (a *arena) end(ctx context.Context) {
	for _, sc := range a.scenes {
		_ = sc.remove(ctx) // the parent directory goes anyhow
	}
}

// contest makes a contest of what stands in the arena.
func (a *arena) contest(ctx context.Context, variant string, sides ...compared) contest {
	a.r, a.scenes = a.st.r, make(map[sideKind]*scene)
	return contest{variant: variant, data: a.st.has.String(), sides: sides, run: a.run, end: func() { a.end(ctx) }}
}

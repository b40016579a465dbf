package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"
)

const (
	dbSQLite   = "sqlite"
	dbPostgres = "postgres"
)

// options is what the command line says.
type options struct {
	dbs      []string
	dbURL    string
	seconds  float64
	reps     int
	scales   []int
	conns    int
	agents   int
	base     int    // posts or messages at ×1 of the scenarios that grow by them
	dir      string // parent of temporary directories
	profile  string
	json     bool
	policies int    // the most of them
	opa      string // program of the OPA peer
	nats     string // URL of the bus between nodes; "" has them ask the database alone
	onWorld  string // directory of a kept world to measure on; "" makes what it needs
}

func (o options) span() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

// runner is one run of a scenario.
type runner struct {
	options
	bench string
	exe   string // this program
	dir   string // everything temporary
	diag  io.Writer
	press *press
	pg    *cluster // nil unless asked for
}

// run prepares what every scenario needs, runs it, and cleans up.
func (o options) run(ctx context.Context, bench string, out, diag io.Writer, scenario func(*runner, context.Context) error) (err error) {
	r := &runner{options: o, bench: bench, diag: diag, press: newPress(out, o.json, bench)}
	if r.exe, err = os.Executable(); err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp(o.dir, "reef-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir) //nolint:errcheck // nobody is left to tell
	if slices.Contains(o.dbs, dbPostgres) {
		if r.pg, err = openCluster(ctx, o.dbURL, o.dir); err != nil {
			return err
		}
		defer r.pg.close(ctx)
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.say("load average before the run: %.14s", load)
	}
	if o.reps < minReps {
		r.say("fewer than %d repetitions: these figures support no claim", minReps)
	}
	if err := scenario(r, ctx); err != nil {
		return err
	}
	return r.press.close()
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.diag, r.bench+": "+format+"\n", args...)
}

// measure is what one side gave in one repetition.
type measure struct {
	phase
	rate    float64 // answers a second
	cpu     float64 // µs of the side's process for each
	dbCPU   float64 // µs of a private PostgreSQL server for each
	loadCPU float64 // µs of this process for each
	allocs  float64 // objects the side allocated for each
	rows    float64 // in the scenario's table, halfway through
}

// watch runs a repetition's load on a side and accounts for what it used,
// under a CPU profile if a file for it is given.
func (r *runner) watch(ctx context.Context, s *side, l *load, profile string, next script) (measure, error) {
	if profile != "" {
		if _, err := s.tell(order{Do: "profile", Path: profile}); err != nil {
			return measure{}, err
		}
		defer s.tell(order{Do: "unprofile"}) //nolint:errcheck // a broken profile is found when it is read
	}
	before, err := s.tell(order{Do: "usage"})
	if err != nil {
		return measure{}, err
	}
	db, own := r.pg.cpu(), ownCPU()
	p, err := l.run(ctx, r.span(), next)
	if err != nil {
		return measure{}, err
	}
	db, own = r.pg.cpu()-db, ownCPU()-own
	after, err := s.tell(order{Do: "usage"})
	if err != nil {
		return measure{}, err
	}
	if p.answered == 0 {
		return measure{}, fmt.Errorf("no request was answered (%d refused): %s", p.refused, p.example)
	}
	if p.refused*100 > p.answered {
		return measure{}, fmt.Errorf("%d of %d requests were refused: %s", p.refused, p.refused+p.answered, p.example)
	}
	n := float64(p.answered)
	return measure{
		phase: p, rate: n / p.took.Seconds(),
		cpu:     float64((after.CPU - before.CPU).Microseconds()) / n,
		dbCPU:   float64(db.Microseconds()) / n,
		loadCPU: float64(own.Microseconds()) / n,
		allocs:  float64(after.Allocs-before.Allocs) / n,
	}, nil
}

// series is a side's repetitions.
type series []measure

func (s series) of(what func(measure) float64) []float64 {
	list := make([]float64, len(s))
	for i, m := range s {
		list[i] = what(m)
	}
	return list
}

func (s series) answered() (n int64) {
	for _, m := range s {
		n += m.answered
	}
	return n
}

func rateOf(m measure) float64 { return m.rate }

// compared is a side with the name of its ratio to the governed one.
type compared struct {
	kind  sideKind
	ratio string // metric; "" for the governed side itself
}

// publish prints the figures of all sides at one scale. sides[0] is governed.
func (r *runner) publish(f figure, sides []compared, got map[sideKind]series) (err error) {
	base := got[sides[0].kind]
	for _, c := range sides {
		s := got[c.kind]
		f.Side = string(c.kind)
		for _, m := range []struct {
			metric, unit string
			of           func(measure) float64
		}{
			{"rate", "1/s", rateOf},
			{"cpu_per_op", "µs", func(m measure) float64 { return m.cpu }},
			{"db_cpu_per_op", "µs", func(m measure) float64 { return m.dbCPU }},
			{"allocs_per_op", "objects", func(m measure) float64 { return m.allocs }},
			{"load_cpu_per_op", "µs", func(m measure) float64 { return m.loadCPU }},
			{"refused", "requests", func(m measure) float64 { return float64(m.refused) }},
		} {
			f.Metric = m.metric
			g := f.with(spreadOf(s.of(m.of)), m.unit, len(s), s.answered())
			switch {
			case g.Max == 0:
				continue // none refused, or no server of ours
			case m.metric == "rate":
				g = g.latency(median(s.of(func(m measure) float64 { return m.p50 })), median(s.of(func(m measure) float64 { return m.p99 })))
			case c.ratio != "":
				g = g.against(string(c.kind), median(ratios(base.of(m.of), s.of(m.of))))
			}
			err = errors.Join(err, r.press.put(g))
		}
	}
	f.Side = string(sides[0].kind)
	for _, c := range sides[1:] {
		per := ratios(base.of(rateOf), got[c.kind].of(rateOf))
		f.Metric = c.ratio
		err = errors.Join(err, r.press.put(f.with(spreadOf(per), "ratio", len(per), base.answered()).against(string(c.kind), median(per))))
	}
	return err
}

// growth prints how cost grew with the rows that were there.
type growth struct {
	rows, cost, cpu []float64
}

func (g *growth) add(s series) {
	g.rows = append(g.rows, median(s.of(func(m measure) float64 { return m.rows })))
	if rate := median(s.of(rateOf)); rate > 0 {
		g.cost = append(g.cost, 1/rate)
	}
	g.cpu = append(g.cpu, median(s.of(func(m measure) float64 { return m.cpu + m.dbCPU })))
}

func (g *growth) publish(r *runner, f figure) error {
	f.Data = fmt.Sprintf("rows %.0f", g.rows)
	for _, m := range []struct {
		metric string
		cost   []float64
	}{{"growth_time", g.cost}, {"growth_cpu", g.cpu}} {
		e, ok := exponent(g.rows, m.cost)
		if !ok {
			continue
		}
		h := f
		h.Metric = m.metric
		e = math.Round(e*100) / 100
		h.Value, h.Min, h.Max = e, e, e
		h.Unit, h.N, h.Reps = "exponent", int64(len(g.rows)), r.reps
		if err := r.press.put(h); err != nil {
			return err
		}
	}
	return nil
}

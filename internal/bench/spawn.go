package bench

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// Agents of a class that have a lease, as rows of the form that acts store.
const (
	leaseAgents = tokenNumbers + `INSERT INTO agent (id, name, skeleton, owner, state, epoch, reason, invite, created_at, claimed_at, changed_at, source, beneath, class, mandate, revision, parent, root, depth, ends_at, granted)
SELECT a.id - ` + tokenStep + `, a.name || '-' || n.n, a.skeleton || '-' || n.n, a.owner, a.state, a.epoch, a.reason, a.invite, a.created_at, a.claimed_at, a.changed_at, a.source, a.beneath, a.class, a.mandate, a.revision, a.parent, a.root, a.depth, a.ends_at + n.n, a.granted
FROM n CROSS JOIN agent AS a WHERE a.id = :agent`
	leaseRows = tokenNumbers + `INSERT INTO lease (agent, until_at) SELECT l.agent - ` + tokenStep + `, l.until_at + n.n FROM n CROSS JOIN lease AS l WHERE l.agent = :agent`
	leaseLate = `UPDATE lease SET until_at = :at WHERE agent <= :newest AND agent > :oldest`

	nurseryClass = `{"heartbeat":"100h","tolerance":1,"grace":"1m","grant":{"acts":["agent.*"],"budget":{"acts":1000000000000},"life":"700h",
"spawn":{"classes":["nursery"],"depth":5,"fan_out":1000}}}`
	nurseryDepth    = 5
	nurseryEach     = 50  // spawns at each depth in a repetition, at most
	nurseryTogether = 200 // spawns at once under one agent
	nurseryFits     = 150 // of them that its budget has room for
	nurseryShare    = 100 // acts that each of them asks for
	nurseryLate     = 100 // agents that are found late in a repetition
)

// nursery is a network in which agents make children, and some are late.
type nursery struct {
	*office
	operator act.Principal
	first    act.ID // of the rows, of which the others are copies
	born     int    // agents made by acts
	late     int    // rows that were made late
	found    int64  // agents that the sweeps have ended
}

// spawns measures what a child costs at each depth, with what is carved out of its parent
// for it; two hundred at once under one agent, which must not be given more than there is;
// and a look for agents whose time is over, with more and more leases: `reef bench spawn`.
func spawns(r *runner, ctx context.Context) error {
	for _, db := range r.dbs {
		if err := r.spawnsOn(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

func (r *runner) spawnsOn(ctx context.Context, db string) error {
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	n := &nursery{office: &office{r: r, st: st}}
	defer n.close()
	if err := n.begin(ctx); err != nil {
		return err
	}
	f := figure{DB: db, Side: string(governed)}
	if err := n.depths(ctx, f); err != nil {
		return fmt.Errorf("spawn: %w", err)
	}
	if err := n.together(ctx, f); err != nil {
		return fmt.Errorf("spawn together: %w", err)
	}
	return n.sweeps(ctx, f)
}

// begin starts the network with a class and the agent whose rows are copied.
func (n *nursery) begin(ctx context.Context) (err error) {
	if n.srv, err = n.task().product(ctx, n.r.diag); err != nil {
		return err
	}
	if n.operator, err = n.governor(ctx); err != nil {
		return err
	}
	if _, err := n.srv.Lifecycle.PutClass.Do(ctx, n.operator, lifecycle.NewClass{Name: "nursery", Document: nurseryClass}); err != nil {
		return err
	}
	p, err := n.root(ctx, "")
	n.first = p.ID
	return err
}

func born(out lifecycle.Instance) act.Principal {
	return act.Principal{Kind: act.Agent, ID: out.Agent.ID, Name: out.Agent.Name, Epoch: 1, Binding: act.BindingKey, Source: "bench"}
}

// root makes an agent that nobody has spawned.
func (n *nursery) root(ctx context.Context, grant string) (act.Principal, error) {
	n.born++
	out, err := n.srv.Lifecycle.Request.Do(ctx, n.operator, lifecycle.NewInstance{Name: agentName(n.born), Class: "nursery", Owner: "bench", Grant: grant, Reason: "bench"})
	return born(out), err
}

// child has an agent make a child, which takes name and grant.
func (n *nursery) child(ctx context.Context, parent act.Principal, name, grant string) (act.Principal, error) {
	out, err := n.srv.Lifecycle.Spawn.Do(ctx, parent, lifecycle.NewInstance{Name: name, Class: "nursery", Grant: grant, Reason: "bench"})
	return born(out), err
}

// depths measures one spawn after the other, at each depth of a line.
func (n *nursery) depths(ctx context.Context, f figure) error {
	var medians, slow [nurseryDepth][]float64
	var count [nurseryDepth]int64
	for range n.r.reps {
		above, err := n.root(ctx, "")
		if err != nil {
			return err
		}
		for depth := range nurseryDepth {
			grant := fmt.Sprintf(`{"budget":{"acts":%d},"spawn":{"classes":["nursery"],"depth":%d,"fan_out":1000}}`, int64(math.Pow10(10-2*depth)), nurseryDepth-1-depth)
			var took []uint32
			var next act.Principal
			for end := time.Now().Add(n.r.span() / nurseryDepth); len(took) == 0 || len(took) < nurseryEach && time.Now().Before(end); {
				n.born++
				start := time.Now()
				p, err := n.child(ctx, above, agentName(n.born), grant)
				if err != nil {
					return err
				}
				took = append(took, uint32(time.Since(start).Microseconds()))
				next = p
			}
			above = next
			p50, p99 := percentiles(took)
			medians[depth], slow[depth], count[depth] = append(medians[depth], p50), append(slow[depth], p99), count[depth]+int64(len(took))
		}
	}
	f.Metric = "spawn_ms"
	for depth := range nurseryDepth {
		f.Variant, f.Data = fmt.Sprintf("depth %d", depth+1), fmt.Sprintf("up to %d children", nurseryEach)
		if err := n.r.press.put(f.with(spreadOf(medians[depth]), "ms", n.r.reps, count[depth]).latency(median(medians[depth]), median(slow[depth]))); err != nil {
			return err
		}
		n.r.say("%s spawn at %s: p50 %.2f ms, p99 %.2f ms", f.DB, f.Variant, median(medians[depth]), median(slow[depth]))
	}
	return nil
}

// together has one agent make many children at once, more than its budget has room for.
func (n *nursery) together(ctx context.Context, f figure) error {
	var took, over []float64
	for range n.r.reps {
		root, err := n.root(ctx, fmt.Sprintf(`{"budget":{"acts":%d},"spawn":{"classes":["nursery"],"depth":1,"fan_out":1000}}`, nurseryFits*nurseryShare))
		if err != nil {
			return err
		}
		var g errgroup.Group
		var made atomic.Int64
		start := time.Now()
		for i := range nurseryTogether {
			name := agentName(n.born + 1 + i)
			g.Go(func() error {
				_, err := n.child(ctx, root, name, fmt.Sprintf(`{"budget":{"acts":%d}}`, nurseryShare))
				switch e := act.AsError(err); {
				case err == nil:
					made.Add(1)
				case e.Rule != "budget.acts":
					return err
				}
				return nil
			})
		}
		n.born += nurseryTogether
		if err := g.Wait(); err != nil {
			return err
		}
		took = append(took, milliseconds(time.Since(start)))
		left, err := n.srv.Lifecycle.ShowBudget.Do(ctx, n.operator, lifecycle.Named{Agent: root.ID})
		if err != nil {
			return err
		}
		b := left[0]
		if b.Carved != made.Load()*nurseryShare {
			return fmt.Errorf("%d children of %d acts, and %d are carved", made.Load(), nurseryShare, b.Carved)
		}
		over = append(over, float64(max(0, -b.Left())))
	}
	f.Variant, f.Data = fmt.Sprintf("%d at once", nurseryTogether), fmt.Sprintf("a budget for %d of %d", nurseryFits, nurseryTogether)
	f.Metric = "spawn_together"
	if err := n.r.press.put(f.with(spreadOf(took), "ms", n.r.reps, int64(n.r.reps*nurseryTogether))); err != nil {
		return err
	}
	n.r.say("%s %s: %.0f ms", f.DB, f.Variant, median(took))
	f.Metric = "over_granted"
	return n.r.press.put(f.with(spreadOf(over), "acts", n.r.reps, int64(n.r.reps*nurseryTogether)))
}

// sweeps measures a look for agents whose time is over, when there are none and when there
// are some, at each number of leases.
func (n *nursery) sweeps(ctx context.Context, f figure) error {
	var sizes, idle, reap []float64
	for _, scale := range n.r.scales {
		total := n.r.base * scale
		if err := n.grow(ctx, total); err != nil {
			return fmt.Errorf("%d leases: %w", total, err)
		}
		var quiet, each []float64
		for rep := range n.r.reps {
			looked, err := n.look(ctx)
			if err != nil {
				return err
			}
			one, err := n.reap(ctx)
			if err != nil {
				return err
			}
			quiet, each = append(quiet, looked), append(each, one)
			n.r.say("%s %d leases %d/%d: a look %.3f ms, %.2f ms for each that is late", f.DB, total, rep+1, n.r.reps, looked, one)
		}
		f.Scale, f.Data = scale, fmt.Sprintf("%d leases", total)
		f.Metric, f.Variant = "sweep_ms", "nobody late"
		if err := n.r.press.put(f.with(spreadOf(quiet), "ms", n.r.reps, int64(n.r.reps))); err != nil {
			return err
		}
		f.Metric, f.Variant = "reap_ms", "each of those that are late"
		if err := n.r.press.put(f.with(spreadOf(each), "ms", n.r.reps, n.found)); err != nil {
			return err
		}
		sizes, idle, reap, n.found = append(sizes, float64(total)), append(idle, median(quiet)), append(reap, median(each)), 0
	}
	f.Scale, f.Metric, f.Data = 0, "growth_time", fmt.Sprintf("leases %.0f", sizes)
	for variant, cost := range map[string][]float64{"nobody late": idle, "each of those that are late": reap} {
		if e, ok := exponent(sizes, cost); ok {
			f.Variant = variant
			if err := n.r.press.put(f.with(spread{e, e, e}, "exponent", n.r.reps, int64(len(sizes)))); err != nil {
				return err
			}
		}
	}
	return nil
}

// grow adds rows up to a number of leases while no server runs.
func (n *nursery) grow(ctx context.Context, total int) (err error) {
	n.close()
	fill := strings.NewReplacer(":from", strconv.Itoa(n.has), ":last", strconv.Itoa(total-1), ":agent", strconv.FormatInt(int64(n.first), 10))
	n.has = total
	if err := n.change(ctx, fill.Replace(leaseAgents), fill.Replace(leaseRows), n.settled()); err != nil {
		return err
	}
	n.srv, err = n.task().product(ctx, n.r.diag)
	return err
}

// look sweeps while nobody is late, for a part of a repetition.
func (n *nursery) look(ctx context.Context) (ms float64, err error) {
	var list []float64
	for end := time.Now().Add(n.r.span() / 2); len(list) == 0 || time.Now().Before(end); {
		start := time.Now()
		if _, err := n.srv.Lifecycle.Sweep(ctx); err != nil {
			return 0, err
		}
		list = append(list, milliseconds(time.Since(start)))
	}
	return median(list), nil
}

// reap makes some agents late, longer ago than their grace, and sweeps until they have ended.
// The server sweeps by itself, too: what it has done first is not counted.
func (n *nursery) reap(ctx context.Context) (ms float64, err error) {
	for {
		from := n.late
		if n.late += nurseryLate; n.late > n.has {
			return 0, fmt.Errorf("%d leases are too few", n.has)
		}
		number := func(id act.ID) string { return strconv.FormatInt(int64(id), 10) }
		if err := n.change(ctx, strings.NewReplacer(":at", strconv.FormatInt(time.Now().Add(-time.Hour).UnixMicro(), 10),
			":newest", number(older(n.first, from)), ":oldest", number(older(n.first, n.late))).Replace(leaseLate)); err != nil {
			return 0, err
		}
		start := time.Now()
		ended, err := n.srv.Lifecycle.Sweep(ctx)
		if err != nil {
			return 0, err
		}
		if ended > 0 {
			n.found += int64(ended)
			return milliseconds(time.Since(start)) / float64(ended), nil
		}
	}
}

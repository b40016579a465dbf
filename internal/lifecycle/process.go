package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Process is a runtime that holds agents. One of them, its keeper, renews its lease for all.
type Process struct {
	ID       act.ID
	Name     string
	Keeper   act.ID
	Owner    act.ID
	Agents   int64
	Lease    time.Duration
	UntilAt  int64 // Unix microseconds
	OpenedAt int64 // Unix microseconds
}

// NewProcess says which agents a process holds. Said again by its keeper it changes the
// process that is there.
type NewProcess struct {
	Name   string        // as identity.CheckName wants it
	Lease  time.Duration // MinProcessLease to MaxProcessLease; DefaultProcessLease if 0
	Agents []act.ID      // beside the keeper, at most MaxHosted; all of one owner, and of classes
}

// The bounds of a process.
const (
	MinProcessLease     = 2 * time.Second
	MaxProcessLease     = 10 * time.Minute
	DefaultProcessLease = 10 * time.Second
	MaxHosted           = 1000
	maxProcesses        = 1000 // in a list
)

const (
	ruleProcess = "process.lost"

	processColumns = `p.id, p.name, p.keeper, p.owner, p.lease, p.until_at, p.opened_at`

	qProcesses    store.Q = `SELECT ` + processColumns + `, (SELECT COUNT(*) FROM hosted AS h WHERE h.process = p.id) FROM process AS p WHERE p.until_at > $1 ORDER BY p.until_at, p.id LIMIT $2`
	qProcess      store.Q = `SELECT ` + processColumns + `, (SELECT COUNT(*) FROM hosted AS h WHERE h.process = p.id) FROM process AS p WHERE p.id = $1`
	qProcessKept  store.Q = `SELECT id FROM process WHERE keeper = $1 AND until_at > $2 ORDER BY until_at DESC, id LIMIT 1`
	qProcessMake  store.Q = `INSERT INTO process (id, keeper, owner, name, lease, until_at, opened_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	qProcessSet   store.Q = `UPDATE process SET name = $2, lease = $3, until_at = $4 WHERE id = $1`
	qProcessRenew store.Q = `UPDATE process SET until_at = $2 + lease WHERE id = $1 AND until_at < $2 + lease AND until_at > $2`
	qHostedPut    store.Q = `INSERT INTO hosted (agent, process) VALUES ($1, $2) ON CONFLICT (agent) DO UPDATE SET process = $2`
	qHostedEmpty  store.Q = `DELETE FROM hosted WHERE process = $1`
	qHostedDrop   store.Q = `DELETE FROM hosted WHERE agent = $1`
	qHostOf       store.Q = `SELECT p.name, p.until_at FROM hosted AS h JOIN process AS p ON p.id = h.process WHERE h.agent = $1`
	qHostLost     store.Q = `SELECT h.agent FROM hosted AS h JOIN process AS p ON p.id = h.process WHERE p.until_at <= $1 AND h.agent > $2 ORDER BY h.agent LIMIT $3`

	overProcesses = ` FROM process WHERE until_at < $1 AND NOT EXISTS (SELECT 1 FROM hosted AS h WHERE h.process = process.id) ORDER BY until_at, id LIMIT `

	qForgetProcesses store.Q = `DELETE FROM process WHERE id IN (SELECT id` + overProcesses + `$2)`
	qDueProcess      store.Q = `SELECT id` + overProcesses + `1`

	// QPastProcesses counts processes that have been over since before a time, as far as a number.
	QPastProcesses store.Q = `SELECT COUNT(*) FROM (SELECT id` + overProcesses + `$2) AS past`
	// QOldestProcess asks when the lease ended of the process that has been over for longest.
	QOldestProcess store.Q = `SELECT until_at FROM process WHERE until_at > 0 AND NOT EXISTS (SELECT 1 FROM hosted AS h WHERE h.process = process.id) ORDER BY until_at, id LIMIT 1`
)

func scanProcess(r *store.Row) Process {
	return Process{
		ID: r.ID(0), Name: r.Text(1), Keeper: r.ID(2), Owner: r.ID(3), Lease: time.Duration(r.Int(4)) * time.Microsecond,
		UntilAt: r.Int(5), OpenedAt: r.Int(6), Agents: r.Int(7),
	}
}

func (l *Lifecycle) registerProcesses(g *gate.Gate) {
	l.OpenProcess = gate.RegisterWrite(g, gate.Write[NewProcess, Process]{
		Info: gate.Info{Name: "process.open", Doc: "Say which agents your process holds; they are paused, and then ended, when it is silent for longer than its lease.", On: act.KindAgent, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in NewProcess) (gate.Resource, error) {
			return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindAgent, Own: true}}, in.check()
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in NewProcess) (Process, gate.Effects, error) {
			return l.openProcess(tx, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Process, error) {
			return process(v, made.ID)
		},
	})
	// It is a read: nothing changes but how long the process may be silent, which is noted
	// in memory like the heartbeat of an agent (see RenewLeases).
	l.RenewProcess = gate.RegisterRead(g, gate.Read[act.ID, Process]{
		Info: gate.Info{Name: "process.renew", Doc: "Say that your process is alive, once for all agents that it holds.", On: act.KindAgent, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, p act.Principal, in act.ID) (Process, error) {
			one, err := process(v, in)
			now := act.Micros(l.db.Clock()())
			switch {
			case err != nil:
				return one, err
			case one.Keeper != p.ID:
				return one, noProcess()
			case one.UntilAt <= now:
				return one, act.Errorf(act.Gone, "the lease of the process is over").WithRule(ruleProcess).
					WithHint("its agents are paused, or about to be: say process.open again, with those that may act")
			}
			l.alive.note(in, now)
			one.UntilAt = now + one.Lease.Microseconds()
			return one, nil
		},
	})
	l.ListProcesses = gate.RegisterRead(g, gate.Read[struct{}, []Process]{
		Info: gate.Info{Name: "process.list", Doc: "List the processes that hold agents, those whose lease ends first in front.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) (list []Process, err error) {
			err = v.All(qProcesses, func(r *store.Row) error { list = append(list, scanProcess(r)); return nil }, act.Micros(l.db.Clock()())-time.Hour.Microseconds(), int64(maxProcesses))
			return list, err
		},
	})
}

func noProcess() error {
	return act.Errorf(act.NotFound, "no such process of yours").WithRule("process.unknown").WithHint("use the id that process.open gave to you")
}

func process(v *store.View, id act.ID) (p Process, err error) {
	found, err := v.One(qProcess, func(r *store.Row) error { p = scanProcess(r); return nil }, id)
	if err == nil && !found {
		err = noProcess()
	}
	return p, err
}

func (in NewProcess) check() error {
	if err := identity.CheckName("process", in.Name); err != nil {
		return err
	}
	if in.Lease != 0 && (in.Lease < MinProcessLease || in.Lease > MaxProcessLease) || len(in.Agents) > MaxHosted {
		return act.Errorf(act.Invalid, "a lease lasts %s to %s, and a process holds at most %d agents", MinProcessLease, MaxProcessLease, MaxHosted).
			WithRule("process.form").WithHint("renew it several times within a lease; begin another process for more agents")
	}
	return nil
}

// openProcess begins a process, or changes the one that the keeper has. An agent that
// another process holds is this one's from then on: a runtime that starts again within its
// lease goes on with its agents.
func (l *Lifecycle) openProcess(tx *store.Tx, p act.Principal, in NewProcess) (out Process, fx gate.Effects, err error) {
	lease := in.Lease
	if lease == 0 {
		lease = DefaultProcessLease
	}
	agents := slices.Concat([]act.ID{p.ID}, in.Agents)
	slices.Sort(agents) // rows are locked in one order
	agents = slices.Compact(agents)
	owner := l.Facts(p.ID).Owner
	for _, id := range agents {
		b := l.bondOf(id)
		if state, _ := l.rowStanding(id); b == nil || b.class == 0 || l.Facts(id).Owner != owner || state != act.Active {
			return out, fx, act.Errorf(act.Denied, "%s is not an active agent of a class and of your owner's", called(l.Name(id))).WithRule("process.agent").
				WithHint("a process holds agents of one owner that have classes, and that may act")
		}
	}
	until := tx.Now() + lease.Microseconds()
	if _, err := tx.One(qProcessKept, func(r *store.Row) error { out.ID = r.ID(0); return nil }, p.ID, tx.Now()); err != nil {
		return out, fx, err
	}
	if out.ID == 0 {
		if out.ID, err = tx.Mint(act.KindProcess); err != nil {
			return out, fx, err
		}
		err = tx.Batch(qProcessMake, out.ID, p.ID, owner, in.Name, lease.Microseconds(), until, tx.Now())
	} else if err = tx.Batch(qProcessSet, out.ID, in.Name, lease.Microseconds(), until); err == nil {
		err = tx.Batch(qHostedEmpty, out.ID)
	}
	if err != nil {
		return out, fx, err
	}
	for _, id := range agents {
		if err := tx.Batch(qHostedPut, id, out.ID); err != nil {
			return out, fx, err
		}
	}
	out, err = process(&tx.View, out.ID)
	return out, gate.Effects{Out: act.Ref{ID: out.ID}}, err
}

// called is how an agent that may be unknown is called.
func called(name string) string {
	if name == "" {
		return "one of them"
	}
	return name
}

// processOver stops the agents of a process that has been silent for longer than its lease.
func (l *Lifecycle) processOver(v *store.View, b bound, now int64) (c Cause, found bool, err error) {
	if b.class == 0 {
		return c, false, nil
	}
	var name string
	if found, err = v.One(qHostOf, func(r *store.Row) error { name, c.Since = r.Text(0), r.Int(1); return nil }, b.id); err != nil || !found || c.Since > now {
		return c, false, err
	}
	c.Rule, c.Evidence = ruleProcess, fmt.Sprintf("the process %s was silent until its lease ended at %s", name, wireTime(c.Since))
	c.EndsAt = c.Since + l.graceOf(b.class).Microseconds()
	return c, true, nil
}

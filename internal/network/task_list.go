package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qTasksLeaseOver    store.Q = `SELECT id FROM task WHERE state = 2 AND lease_until_at < $1 ORDER BY lease_until_at, id LIMIT 100`
	qTasksDeadlineOver store.Q = `SELECT id FROM task WHERE state = 1 AND deadline_at > 0 AND deadline_at < $1 ORDER BY deadline_at, id LIMIT 100`
)

func (n *Network) registerTaskReads(g *gate.Gate) {
	n.ListTasks = gate.RegisterRead(g, gate.Read[TaskQuery, act.Page[Task]]{
		Info: gate.Info{Name: "task.list", Doc: "List tasks: open in a community, offered to the caller, posted or claimed by it.", On: act.KindNetwork, Also: []act.Kind{act.KindTask}, Quota: gate.QuotaRead},
		Run:  n.listTasks,
		Shown: func(p act.Principal, page act.Page[Task], item func(act.Ref, gate.Facts) bool) act.Page[Task] {
			kept := page.Items[:0]
			for _, t := range page.Items {
				if t.Poster == p.ID || item(act.Ref{ID: t.ID, Version: t.Steps}, n.taskFacts(&t, false)) {
					kept = append(kept, t)
				}
			}
			page.Items = kept
			return page
		},
	})
	n.ReadTask = gate.RegisterRead(g, gate.Read[act.ID, Task]{
		Info: gate.Info{Name: "task.read", Doc: "Read a task with its history.", On: act.KindTask, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in act.ID) (gate.Resource, error) {
			return n.taskTarget(v, p, in)
		},
		Run: func(_ context.Context, v *store.View, p act.Principal, in act.ID) (Task, error) {
			t, err := n.taskFor(v, in, p)
			if err != nil {
				return t, err
			}
			return t, v.All(qTaskSteps, func(r *store.Row) error {
				t.History = append(t.History, TaskStep{
					Ord: r.Int(0), Kind: StepKind(r.Int(1)), Agent: r.ID(2), Note: r.Text(3), CreatedAt: r.Int(4),
				})
				return nil
			}, in)
		},
		// The poster's own text is nothing new to it, but the notes of others are.
		Shown: func(_ act.Principal, t Task, item func(act.Ref, gate.Facts) bool) Task {
			item(act.Ref{ID: t.ID, Version: t.Steps}, n.taskFacts(&t, false))
			return t
		},
	})
}

func taskList(q TaskQuery) string { return "tasks/" + string(q.View) + "/" + q.Community }

// TaskCursor opens a cursor of the list that q asks for.
func TaskCursor(c *act.Codec, q TaskQuery, text string) (act.Cursor, error) {
	return c.OpenCursor(taskList(q), text)
}

func (n *Network) listTasks(_ context.Context, v *store.View, p act.Principal, in TaskQuery) (page act.Page[Task], err error) {
	q, by := qTasksOpen, p.ID
	switch in.View {
	case TasksOpen:
		c, _, err := n.place(v, in.Community)
		if err != nil {
			return page, err
		}
		by = c.ID
	case TasksOffered:
		q = qTasksOffered
	case TasksPosted:
		q = qTasksPosted
	case TasksClaimed:
		q = qTasksClaimed
	default:
		return page, act.Errorf(act.Invalid, "there is no such list of tasks").WithRule("task.view").
			WithHint("use open (with community), offered, posted or claimed")
	}
	if by == 0 {
		return page, nil
	}
	limit := in.Limit
	if limit <= 0 {
		limit = 25
	}
	limit = min(limit, 100)
	before := int64(endOfOrder)
	if len(in.Cursor.Keys) == 1 {
		before = in.Cursor.Keys[0]
	}
	now := act.Micros(n.gate.Now())
	read, last := 0, act.ID(0)
	if err := v.All(q, func(r *store.Row) error {
		if read++; read > limit {
			return nil
		}
		t := n.scanTask(r).at(now)
		last = t.ID
		if (in.View != TasksOpen || t.State == TaskOpen) && (in.View != TasksClaimed || t.Claimant == p.ID) {
			page.Items = append(page.Items, t)
		}
		return nil
	}, by, before, int64(limit+1)); err != nil {
		return page, err
	}
	page.Next.List = taskList(in)
	if read > limit {
		page.Next.Keys = []int64{int64(last)}
	}
	return page, nil
}

func (n *Network) registerLapse(g *gate.Gate) {
	n.lapseTask = gate.RegisterWrite(g, gate.Write[act.ID, Task]{
		Info: gate.Info{Name: "system.lapse", Doc: "Open a task whose lease has passed, or end one whose deadline has.", On: act.KindTask, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in act.ID) (gate.Resource, error) {
			return n.taskTarget(v, p, in)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in act.ID) (t Task, fx gate.Effects, err error) {
			var kept Task
			if _, err := tx.One(qTask, func(r *store.Row) error { kept = n.scanTask(r); return nil }, in); err != nil {
				return t, fx, err
			}
			t = kept.at(tx.Now())
			if t.State == kept.State {
				return t, fx, taskState(t)
			}
			kind := StepLapsed
			if t.State == TaskExpired {
				kind = StepExpired
			}
			if err := n.notify(tx, notice{To: t.Poster, Actor: kept.Claimant, Kind: NoticeTaskExpired, Ref: t.ID}); err != nil {
				return t, fx, err
			}
			if kept.Claimant != 0 {
				if err := n.notify(tx, notice{To: kept.Claimant, Actor: t.Poster, Kind: NoticeTaskExpired, Ref: t.ID}); err != nil {
					return t, fx, err
				}
			}
			return n.stepTask(tx, t, kind, 0, "")
		},
	})
}

// SweepTasks writes down which leases and deadlines have passed, so that whoever
// waits for events hears of it. Acts do not depend on it: they compare times
// themselves. Of several nodes that sweep at once one finds each task.
func (n *Network) SweepTasks(ctx context.Context, db *store.DB) error {
	now := act.Micros(n.gate.Now())
	for _, q := range [...]store.Q{qTasksLeaseOver, qTasksDeadlineOver} {
		var over []act.ID
		if err := db.View(ctx, func(v *store.View) error {
			return v.All(q, func(r *store.Row) error { over = append(over, r.ID(0)); return nil }, now)
		}); err != nil {
			return err
		}
		for _, id := range over {
			if _, err := n.lapseTask.Do(ctx, act.SystemPrincipal("timer"), id); err != nil && act.CodeOf(err) != act.Conflict {
				return err
			}
		}
	}
	return nil
}

package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/conduct"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// One node follows the record and counts, for each agent, the days on which it acted and
// what was found against it. What it has counted and how far it has come are written in one
// transaction, so a node that takes over goes on where the last one stood: nothing counts
// twice, and nothing is left out. An act costs nothing; an agent costs a row a day.

// TrustEvery is how often the server calls WeighTrust.
const TrustEvery = time.Second

const (
	trustPage      = 500
	supportersRead = 1000 // of one agent that are looked at

	qSupportPut  store.Q = `INSERT INTO support (agent, supporter) VALUES ($1, $2) ON CONFLICT (agent, supporter) DO NOTHING`
	qSupportDrop store.Q = `DELETE FROM support WHERE agent = $1 AND supporter = $2`
	qSupporters  store.Q = `SELECT supporter FROM support WHERE agent = $1 ORDER BY supporter LIMIT $2`
)

// esteem is what this node remembers of the days that it has counted.
type esteem struct {
	mu     sync.Mutex       // one pass at a time
	marked map[act.ID]int64 // guarded by mu: the last day on which an agent's acting was written down
}

// deed is something that counts for or against an agent.
type deed struct {
	agent   act.ID
	at      int64
	refused int64  // refusals; 0 for an act that was done
	fell    string // the rule by which it loses trust; "" else
	owner   act.ID // who answers for it from then on; 0 else
	text    string // of a fall
}

// acted reports whether the deed is an act that was done.
func (d deed) acted() bool { return d.fell == "" && d.refused == 0 && d.owner == 0 }

// backing is that an agent of high trust values what another has made, or does not any more.
type backing struct {
	agent, by act.ID
	up        bool
}

// follow is a part of the record with what counts in it.
type follow struct {
	from, to int64
	full     bool // there is more
	deeds    []deed
	backings []backing
}

// WeighTrust follows the record and changes the trust of agents by what it finds. The
// server calls it on one node at a time; two at once count nothing twice.
func (l *Lifecycle) WeighTrust(ctx context.Context) error {
	l.esteem.mu.Lock()
	defer l.esteem.mu.Unlock()
	if l.esteem.marked == nil || len(l.esteem.marked) > watchBack {
		l.esteem.marked = make(map[act.ID]int64) // the table knows better
	}
	for {
		var f follow
		if err := l.db.View(ctx, func(v *store.View) (err error) { f, err = l.follow(v); return err }); err != nil {
			return fmt.Errorf("lifecycle: follow the record for trust: %w", err)
		}
		if f.to == f.from {
			return nil
		}
		// Falls come before the place in the record is kept: a node that dies in between
		// leaves them to the next, which finds them known.
		for _, d := range f.deeds {
			if d.fell == "" {
				continue
			}
			if err := l.fall(ctx, d); err != nil {
				return err
			}
		}
		over, err := l.count(ctx, f)
		if err != nil {
			return fmt.Errorf("lifecycle: count days: %w", err)
		}
		for _, agent := range over {
			if err := l.assess(ctx, agent); err != nil {
				return err
			}
		}
		if !f.full {
			return nil
		}
	}
}

// follow reads the next part of the record.
func (l *Lifecycle) follow(v *store.View) (f follow, err error) {
	if f.from, err = v.Cursor(assessor); err != nil {
		return f, err
	}
	f.to = f.from
	events, err := v.EventsAfter(f.from, trustPage)
	if err != nil || len(events) == 0 {
		return f, err
	}
	f.to, f.full = events[len(events)-1].Seq, len(events) == trustPage
	refused := make(map[int64]int64)
	if l.cfg.Refusals != nil {
		if err := l.cfg.Refusals(v, f.from, f.to, func(seq int64, rule string, count int64) {
			if !conduct.Blameless(rule) {
				refused[seq] = count
			}
		}); err != nil {
			return f, err
		}
	}
	marked := make(map[act.ID]int64) // in this part
	for _, e := range events {
		switch gate.Outcome(e.Outcome) {
		case gate.Done:
			if err := l.found(v, e, &f); err != nil {
				return f, err
			}
			day := trust.DayOf(e.At)
			if e.Actor.Kind() == act.KindAgent && max(marked[e.Actor], l.esteem.marked[e.Actor]) < day {
				marked[e.Actor] = day
				f.deeds = append(f.deeds, deed{agent: e.Actor, at: e.At})
			}
		case gate.Refused:
			if n := refused[e.Seq]; n > 0 && e.Actor.Kind() == act.KindAgent {
				f.deeds = append(f.deeds, deed{agent: e.Actor, at: e.At, refused: n})
			}
		case gate.Failed: // a fault is not the agent's
		}
	}
	return f, nil
}

// found looks at what an event says about somebody else than its actor.
func (l *Lifecycle) found(v *store.View, e store.NumberedEvent, f *follow) error {
	fell := func(agent act.ID, rule string) {
		if agent.Kind() == act.KindAgent {
			f.deeds = append(f.deeds, deed{agent: agent, at: e.At, fell: rule, text: fmt.Sprintf("%s on %s (number %d of the record)", e.Act, wireTime(e.At), e.Seq)})
		}
	}
	switch e.Act {
	case "agent.quarantine", "health.stop":
		fell(e.Ref.ID, trust.RuleStopped)
	case "taint.flag":
		maker := e.Ref.ID
		if maker.Kind() != act.KindAgent && l.cfg.Likes != nil {
			var err error
			if maker, _, err = l.cfg.Likes(v, 0, e.Ref.ID); err != nil {
				return err
			}
		}
		fell(maker, trust.RuleFlagged)
	case "agent.adopt", "agent.claim":
		m, err := l.merit(v, e.Ref.ID)
		now := l.Facts(e.Ref.ID).Owner
		if err != nil || now == 0 || m.Owner == now {
			return err
		}
		if m.Owner != 0 { // what it has earned, it has earned for somebody else
			fell(e.Ref.ID, trust.RuleAdopted)
		}
		f.deeds = append(f.deeds, deed{agent: e.Ref.ID, at: e.At, owner: now})
	case "vote.cast":
		// Who is not trusted lifts nobody, so a ring that nobody of trust belongs to has no
		// beginning (T45, T46).
		if l.cfg.Likes == nil || l.Facts(e.Actor).Trust != trust.High {
			return nil
		}
		maker, up, err := l.cfg.Likes(v, e.Actor, e.Ref.ID)
		if err == nil && maker.Kind() == act.KindAgent && maker != e.Actor {
			f.backings = append(f.backings, backing{maker, e.Actor, up})
		}
		return err
	}
	return nil
}

// fall takes trust away. Who has none to lose, and who has ended, is left alone.
func (l *Lifecycle) fall(ctx context.Context, d deed) error {
	to := trust.Low
	if d.fell == trust.RuleAdopted {
		to = trust.Unknown
	}
	_, err := l.Entrust.Do(ctx, act.SystemPrincipal(assessor), Entrusting{Agent: d.agent, Level: to, Rule: d.fell, Reason: d.text})
	return mended(err)
}

// count writes down what a part of the record says, unless another node has done so, and
// returns whose day is over.
func (l *Lifecycle) count(ctx context.Context, f follow) (over []act.ID, err error) {
	of := make(map[act.ID][]deed)
	var agents []act.ID
	for _, d := range f.deeds {
		if of[d.agent] == nil {
			agents = append(agents, d.agent)
		}
		of[d.agent] = append(of[d.agent], d)
	}
	slices.Sort(agents)
	ours := false
	err = l.db.Write(ctx, func(tx *store.Tx) error {
		over, ours = over[:0], false
		if err := tx.Serialize(trustLock); err != nil {
			return err
		}
		if at, err := tx.Cursor(assessor); err != nil || at != f.from {
			return err
		}
		ours = true
		for _, id := range agents {
			m, err := l.merit(&tx.View, id)
			if err != nil {
				return err
			}
			if reckon(&m, of[id]) {
				over = append(over, id)
			}
			if err := putMerit(tx, id, m); err != nil {
				return err
			}
		}
		for _, b := range f.backings {
			q := qSupportDrop
			if b.up {
				q = qSupportPut
			}
			if err := tx.Batch(q, b.agent, b.by); err != nil {
				return err
			}
		}
		return tx.SaveCursor(assessor, f.to)
	})
	if err != nil || !ours {
		return nil, err
	}
	for _, d := range f.deeds {
		if d.acted() {
			l.esteem.marked[d.agent] = trust.DayOf(d.at)
		}
	}
	return over, nil
}

// reckon counts what an agent did and what was done about it, in order.
func reckon(m *trust.Merit, deeds []deed) (over bool) {
	for _, d := range deeds {
		switch {
		case d.fell != "":
			m.Fall(d.at)
		case d.owner != 0:
			m.Owner = d.owner
		case d.refused > 0:
			over = m.Refuse(d.at, d.refused) || over
		default:
			over = m.Act(d.at) || over
		}
	}
	return over
}

// assess judges an agent whose day is over.
func (l *Lifecycle) assess(ctx context.Context, agent act.ID) error {
	var verdict trust.Verdict
	var changed bool
	if err := l.db.View(ctx, func(v *store.View) error {
		a, err := l.agent(v, agent)
		if err != nil {
			return err
		}
		m, err := l.merit(v, agent)
		if err != nil {
			return err
		}
		support := 0
		if m.Asks() {
			if support, err = l.support(v, a); err != nil {
				return err
			}
		}
		verdict, changed = m.Judge(act.Micros(l.db.Clock()()), a.ClaimedAt, support)
		changed = changed && a.Now == act.Active // who is stopped waits for what comes of that
		return nil
	}); err != nil || !changed {
		return mended(err)
	}
	_, err := l.Entrust.Do(ctx, act.SystemPrincipal(assessor), Entrusting{Agent: agent, Level: verdict.Level, Rule: verdict.Rule, Reason: verdict.Evidence})
	return mended(err)
}

// support counts the owners, other than the agent's own, who have an agent of high trust
// that values what it made (T27: by who answers for them, never by how many there are).
func (l *Lifecycle) support(v *store.View, a Agent) (int, error) {
	owners := make(map[act.ID]bool)
	err := v.All(qSupporters, func(r *store.Row) error {
		if f := l.Facts(r.ID(0)); f.Trust == trust.High && f.Owner != 0 && f.Owner != a.Owner {
			owners[f.Owner] = true
		}
		return nil
	}, a.ID, int64(supportersRead))
	return len(owners), err
}

package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A network whose state is of an earlier time does not know what was withdrawn
// since: an agent that was killed is alive in it. So it lets no agent act or read
// (gate.Bar) until an operator has said which kills are known elsewhere and the
// network has them. That its state is of an earlier time is known from a restore,
// or from the kill log, which knows a kill that the database does not.

// Restoration is a time at which the network's state was found to be of an
// earlier time.
type Restoration struct {
	N           int64
	Backup      string // id of the backup; "" when the kill log was ahead of the database
	TakenAt     int64  // of the backup, Unix microseconds
	Seq         int64  // the last event that the state has
	Kills       int64  // how many kills it knew
	RestoredAt  int64  // Unix microseconds
	ConfirmedAt int64  // Unix microseconds; 0 while no agent may act
	ConfirmedBy act.ID
	Reason      string // of the confirmation
}

// Condition is how the network stands as a whole.
type Condition struct {
	Kills    KillEpoch
	KilledAt int64       // of the last kill, Unix microseconds; 0 without one
	Restored Restoration // the last one; zero if there was none
}

// Confirmed reports whether agents may act.
func (c Condition) Confirmed() bool { return c.Restored.N == 0 || c.Restored.ConfirmedAt != 0 }

// Confirmation is an operator's word that the network knows every kill.
type Confirmation struct {
	Kills  string // a kill epoch, the number of one, or "none": none since the backup
	Reason string // 1 to MaxReason characters; goes on record
}

const (
	// NoKills as Confirmation.Kills says that nobody was killed since.
	NoKills = "none"

	// RuleRestored is the rule that refuses agents until a confirmation.
	RuleRestored = "network.restored"

	// restorer is the part of the server that notes restores.
	restorer = "restore"

	restoredRetry = 30 * time.Second

	restorationColumns = `n, backup, taken_at, seq, kills, restored_at, confirmed_at, confirmed_by, reason`

	qRestorationLast store.Q = `SELECT ` + restorationColumns + ` FROM restoration ORDER BY n DESC LIMIT 1`
	qRestorationAdd  store.Q = `INSERT INTO restoration (n, backup, taken_at, seq, kills, restored_at, confirmed_at, confirmed_by, reason)
VALUES ($1, $2, $3, $4, $5, $6, 0, 0, '')`
	qRestorationConfirm store.Q = `UPDATE restoration SET confirmed_at = $2, confirmed_by = $3, reason = $4 WHERE n = $1 AND confirmed_at = 0`
)

// condition reads how the network stands.
func condition(v *store.View) (c Condition, err error) {
	last, err := lastKill(v)
	if err != nil {
		return c, err
	}
	c.Kills, c.KilledAt = last.Epoch, last.At
	_, err = v.One(qRestorationLast, func(r *store.Row) error {
		c.Restored = Restoration{
			N: r.Int(0), Backup: r.Text(1), TakenAt: r.Int(2), Seq: r.Int(3), Kills: r.Int(4), RestoredAt: r.Int(5),
			ConfirmedAt: r.Int(6), ConfirmedBy: r.ID(7), Reason: r.Text(8),
		}
		return nil
	})
	return c, err
}

// Suspend notes a restoration in the transaction that ends a restore, before
// anybody can open the network: r.Backup, r.TakenAt and r.Seq of it.
func Suspend(tx *store.Tx, r Restoration) (Restoration, error) {
	now, err := condition(&tx.View)
	if err != nil {
		return r, err
	}
	r.N, r.Kills, r.RestoredAt = now.Restored.N+1, now.Kills.N, tx.Now()
	_, err = tx.Exec(qRestorationAdd, r.N, r.Backup, r.TakenAt, r.Seq, r.Kills, r.RestoredAt)
	return r, err
}

func (l *Lifecycle) registerRestoration(g *gate.Gate) {
	onNetwork := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
	l.ShowNetwork = gate.RegisterRead(g, gate.Read[struct{}, Condition]{
		Info: gate.Info{Name: "network.condition", Doc: "Show the network's kill epoch and whether it was restored.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) (Condition, error) {
			return condition(v)
		},
	})
	l.restore = gate.RegisterWrite(g, gate.Write[Restoration, Condition]{
		Info: gate.Info{Name: "network.restore", Doc: "Note that the network's state is of an earlier time; no agent acts until an operator confirms.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, Restoration) (gate.Resource, error) {
			return onNetwork, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Restoration) (Condition, gate.Effects, error) {
			return restored(tx, in)
		},
	})
	l.Confirm = gate.RegisterWrite(g, gate.Write[Confirmation, Condition]{
		Info: gate.Info{Name: "network.confirm", Doc: "Confirm that a restored network knows every kill; agents may act from then on.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in Confirmation) (gate.Resource, error) {
			if _, err := checkReason(in.Reason); err != nil {
				return onNetwork, err
			}
			if in.Kills == NoKills {
				return onNetwork, nil
			}
			_, _, err := ParseKillEpoch(in.Kills)
			return onNetwork, err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Confirmation) (Condition, gate.Effects, error) {
			return confirmed(tx, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, _ act.Ref) (Condition, error) {
			return condition(v)
		},
	})
}

// restored puts a restoration on record, which may have been noted before.
func restored(tx *store.Tx, in Restoration) (c Condition, fx gate.Effects, err error) {
	if err := tx.Serialize(killLock); err != nil {
		return c, fx, err
	}
	if c, err = condition(&tx.View); err != nil {
		return c, fx, err
	}
	if c.Confirmed() {
		if c.Restored, err = Suspend(tx, in); err != nil {
			return c, fx, err
		}
	}
	why := "the kill log knows kills that the database does not"
	if c.Restored.Backup != "" {
		why = "restored from backup " + c.Restored.Backup + ", taken at " + act.FromMicros(c.Restored.TakenAt).Format(act.WireTime) +
			" after event " + strconv.FormatInt(c.Restored.Seq, 10) + " and kill " + strconv.FormatInt(c.Restored.Kills, 10)
	}
	tx.Fence(act.KindNetwork, 0)
	return c, gate.Effects{Reason: why}, nil
}

// confirmed takes the operator's word down, if the network has the kills that it
// names.
func confirmed(tx *store.Tx, p act.Principal, in Confirmation) (c Condition, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return c, fx, err
	}
	if err := tx.Serialize(killLock); err != nil {
		return c, fx, err
	}
	if c, err = condition(&tx.View); err != nil {
		return c, fx, err
	}
	if c.Restored.N == 0 {
		return c, fx, act.Errorf(act.Conflict, "the network was never restored: there is nothing to confirm").WithRule("network.confirmed").
			WithHint("agents may act")
	}
	if err := c.covers(in.Kills); err != nil {
		return c, fx, err
	}
	if !c.Confirmed() {
		if _, err := tx.Exec(qRestorationConfirm, c.Restored.N, tx.Now(), p.ID, reason); err != nil {
			return c, fx, err
		}
		c.Restored.ConfirmedAt, c.Restored.ConfirmedBy, c.Restored.Reason = tx.Now(), p.ID, reason
	}
	tx.Fence(act.KindNetwork, 0)
	return c, gate.Effects{Reason: "kill epoch " + c.Kills.String() + ": " + reason}, nil
}

// covers checks that the network has exactly the kills that an operator names.
func (c Condition) covers(named string) error {
	refuse := func(rule, hint, format string, args ...any) error {
		return act.Errorf(act.Conflict, format, args...).WithRule(rule).WithHint(hint)
	}
	if named == NoKills {
		if c.Kills.N != c.Restored.Kills {
			return refuse("kill.since", "look at them with reef network kills, and confirm "+c.Kills.String()+" if there are no others",
				"%d kills were applied since the restore, and you say that there were none", c.Kills.N-c.Restored.Kills)
		}
		return nil
	}
	e, checked, err := ParseKillEpoch(named)
	switch {
	case err != nil:
		return err
	case e.N > c.Kills.N:
		return refuse("kill.missing", "kill those agents again (reef agent kill; reef network note-kill for one that is not here), or give the kill log: reef network confirm --kill-log FILE",
			"the network knows %d kills, you name the epoch of %d: what was killed since the backup is alive in it", c.Kills.N, e.N)
	case e.N < c.Kills.N:
		return refuse("kill.behind", "look at them with reef network kills, and confirm "+c.Kills.String()+" if there are no others",
			"the network knows %d kills, you name the epoch of %d", c.Kills.N, e.N)
	case checked && e.Check != c.Kills.Check:
		return refuse("kill.differ", "give the kill log, which names the agents: reef network confirm --kill-log FILE",
			"the network has killed %d agents, and not those of the epoch %s", c.Kills.N, e)
	}
	return nil
}

// barrier is what agents are told while nobody has confirmed. It is no matter of
// their credentials, and passes: 503, never 401 or 403.
func (c Condition) barrier() *act.Error {
	if c.Confirmed() {
		return nil
	}
	return act.Errorf(act.Unavailable, "the network was restored to an earlier time and waits for its operator").
		WithRule(RuleRestored).WithRetry(restoredRetry).
		WithHint("your credential is fine: keep it and come back later; an operator confirms first what was killed since")
}

// conditioned brings the bar and the kill log of this node up to date. The gate
// calls it when the network was fenced, before that is acknowledged.
func (l *Lifecycle) conditioned(ctx context.Context, _ []act.ID) error {
	var c Condition
	if err := l.db.View(ctx, func(v *store.View) (err error) {
		if err = l.logKills(v); err == nil {
			c, err = condition(v)
		}
		return err
	}); err != nil {
		return err
	}
	l.took(c)
	return nil
}

// took has memory follow a condition.
func (l *Lifecycle) took(c Condition) {
	l.killCount.Store(c.Kills.N)
	if l.apart.Load() && c.Confirmed() {
		c.Restored = Restoration{N: 1} // about to be noted
	}
	l.gate.Bar(c.barrier())
}

// logScopes appends to the kill log the kills of scopes that it lacks.
func (l *Lifecycle) logScopes(list []scopeKill) error {
	l.logging.Lock()
	defer l.logging.Unlock()
	if l.killLog == nil {
		return nil
	}
	return l.killLog.addScopes(list)
}

// unknownScopes lists the kills of scopes that the log has and the database has not, and
// never had: one that was released is no longer there either, but its release is an
// event that came later than the kill. now are those that the database has.
func (l *Lifecycle) unknownScopes(v *store.View, logged map[string]scopeKill, now []scopeKill, last Restoration) (list []scopeKill, err error) {
	newest, err := v.LastSequence()
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for _, s := range now {
		known[l.killLog.text(s.on)] = true
	}
	for _, text := range slices.Sorted(maps.Keys(logged)) {
		s := logged[text]
		state := newest
		if last.N != 0 && s.at < last.RestoredAt {
			state = last.Seq
		}
		if !known[text] && state <= s.seq {
			list = append(list, s)
		}
	}
	return list, nil
}

// logKills appends to the kill log what the database has more.
func (l *Lifecycle) logKills(v *store.View) error {
	l.logging.Lock()
	defer l.logging.Unlock()
	for {
		var page []Kill
		if err := v.All(qKillAfter, func(r *store.Row) error { page = append(page, scanKill(r)); return nil }, l.logged, int64(loadPage)); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		if l.killLog != nil {
			if err := l.killLog.add(page); err != nil {
				return err
			}
		}
		l.logged = page[len(page)-1].Epoch.N
	}
}

// startKills opens the kill log and compares it with the database. What the log
// has more is left for Reconcile; until then the bar is up.
func (l *Lifecycle) startKills(ctx context.Context) error {
	var logged []Kill
	var scopes map[string]scopeKill
	if l.cfg.KillLog != "" {
		var err error
		if l.killLog, logged, scopes, err = openKillLog(l.cfg.KillLog, l.cfg.Network, l.cfg.Codec); err != nil {
			return err
		}
	}
	var c Condition
	if err := l.db.View(ctx, func(v *store.View) (err error) {
		l.behind = l.behind[:0]
		for _, k := range logged {
			if _, found, err := killOf(v, k.Agent); err != nil {
				return err
			} else if !found {
				l.behind = append(l.behind, k)
			}
		}
		if c, err = condition(v); err != nil {
			return err
		}
		var now []scopeKill
		if now, err = killedScopes(v, nil); err != nil {
			return err
		}
		if l.killLog != nil {
			if l.behindScopes, err = l.unknownScopes(v, scopes, now, c.Restored); err != nil {
				return err
			}
		}
		if err = l.logKills(v); err == nil {
			err = l.logScopes(now)
		}
		return err
	}); err != nil {
		return fmt.Errorf("lifecycle: read the kills: %w", err)
	}
	l.apart.Store(len(l.behind)+len(l.behindScopes) > 0)
	l.took(c)
	return nil
}

// Reconcile applies the kills that the kill log has and the database has not, of
// which Start has found some: the database is of an earlier time, and no agent
// acts before an operator has confirmed. The server calls it before it serves.
func (l *Lifecycle) Reconcile(ctx context.Context) error {
	if len(l.behind)+len(l.behindScopes) == 0 {
		return nil
	}
	p := act.SystemPrincipal(restorer)
	l.log.WarnContext(ctx, "the database does not know kills that the kill log has: it is of an earlier time, and no agent acts until an operator confirms",
		slog.Int("kills", len(l.behind)), slog.Int("scopes", len(l.behindScopes)), slog.String("log", l.cfg.KillLog))
	if _, err := l.restore.Do(ctx, p, Restoration{}); err != nil {
		return fmt.Errorf("lifecycle: note that the database is of an earlier time: %w", err)
	}
	for _, k := range l.behind {
		reason := cutReason("killed before, on "+act.FromMicros(k.At).Format(time.DateOnly)+": ", k.Reason)
		_, err := l.Kill.Do(ctx, p, Order{Agent: k.Agent, Reason: reason})
		if code := act.CodeOf(err); code == act.NotFound || code == act.Conflict { // not here, or expired
			_, err = l.NoteKill.Do(ctx, p, Note{Agent: k.Agent, Name: k.Name, Reason: reason, At: k.At})
		}
		if err != nil {
			return fmt.Errorf("lifecycle: kill %s again: %w", k.Name, err)
		}
	}
	for _, s := range l.behindScopes {
		on := l.killLog.text(s.on)
		_, err := l.KillScope.Do(ctx, p, ScopeOrder{On: s.on, Reason: cutReason("killed before, on "+act.FromMicros(s.at).Format(time.DateOnly)+": ", s.reason)})
		if act.CodeOf(err) == act.NotFound { // it is younger than this state, as is whoever was in it
			l.log.WarnContext(ctx, "a scope that was killed is not in this state of the network", slog.String("scope", on))
			continue
		}
		if err != nil {
			return fmt.Errorf("lifecycle: kill %s again: %w", on, err)
		}
	}
	l.behind, l.behindScopes = nil, nil
	l.apart.Store(false)
	return nil
}

// cutReason joins a prefix and an earlier reason into one of at most MaxReason
// characters.
func cutReason(prefix, reason string) string {
	all := []rune(prefix + reason)
	return string(all[:min(len(all), MaxReason)])
}

// NoteRestore puts on record that the network was restored; see Suspend.
func (l *Lifecycle) NoteRestore(ctx context.Context) (Condition, error) {
	return l.restore.Do(ctx, act.SystemPrincipal(restorer), Restoration{})
}

// KillCount returns how many kills this node knows of, for metrics.
func (l *Lifecycle) KillCount() int64 { return l.killCount.Load() }

// Lost implements identity.Subjects: while nobody has confirmed a restore, a
// genuine key that the database does not know may be one that was handed out after
// the backup.
func (l *Lifecycle) Lost() error { return l.gate.Barred() }

// ReadCondition reads how a network stands, for who looks at its database.
func ReadCondition(ctx context.Context, db *store.DB) (c Condition, err error) {
	err = db.Snapshot(ctx, func(v *store.View) error { c, err = condition(v); return err })
	return c, err
}

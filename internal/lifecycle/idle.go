package lifecycle

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/lifecycle/conduct"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Agents that nobody seems to want: they do not end by that, but somebody is told.
const (
	ruleUnclaimed = "claim.never"       // nobody has claimed it
	ruleUnused    = "credential.unused" // nobody has shown a credential of it

	unclaimedFor = 24 * time.Hour
	unusedFor    = 30 * 24 * time.Hour
)

// IdleEvery is how often the server calls TellIdle.
const IdleEvery = time.Hour

// idle lists agents that have waited to be claimed for a day, and those of which no
// credential was shown for a month, at most so many.
func (l *Lifecycle) idle(v *store.View, most int, now int64) (list []Cause, err error) {
	for after := act.ID(0); len(list) < most; {
		n := 0
		if err := v.All(qWaiting, func(r *store.Row) error {
			n++
			after = r.ID(0)
			made := r.Int(1)
			if made > now-unclaimedFor.Microseconds() || len(list) >= most {
				return nil
			}
			c := Cause{Agent: after, Rule: ruleUnclaimed, Evidence: "nobody has claimed it since it was registered", Since: made}
			if l.cfg.Unclaimed > 0 {
				c.EndsAt = made + l.cfg.Unclaimed.Microseconds()
			}
			list = append(list, c)
			return nil
		}, int64(act.Requested), after, int64(reapPage)); err != nil {
			return nil, err
		}
		if n < reapPage {
			break
		}
	}
	for after := act.ID(0); len(list) < most; {
		unused, err := l.ids.Unused(v, after, now-unusedFor.Microseconds(), reapPage)
		if err != nil {
			return nil, err
		}
		for _, u := range unused {
			after = u.Subject
			if state, _ := l.rowStanding(u.Subject); state == act.Active && len(list) < most {
				list = append(list, Cause{Agent: u.Subject, Rule: ruleUnused, Evidence: "no credential of it was shown since " + wireTime(u.Last), Since: u.Last})
			}
		}
		if len(unused) < reapPage {
			break
		}
	}
	return list, nil
}

// TellIdle notes them, each once in the time that it takes to be one. The server calls it
// on one node at a time.
func (l *Lifecycle) TellIdle(ctx context.Context) error {
	var list []Cause
	if err := l.db.View(ctx, func(v *store.View) (err error) {
		list, err = l.idle(v, MaxCauses, act.Micros(l.db.Clock()()))
		return err
	}); err != nil {
		return err
	}
	for _, c := range list {
		f := conduct.Finding{Agent: c.Agent, Rule: c.Rule, Does: charter.Alert, Evidence: c.Evidence, Quiet: unusedFor}
		if err := l.respond(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

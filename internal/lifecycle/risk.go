package lifecycle

import (
	"encoding/json"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// risk scores what somebody would get of a class, as far as is known now.
func (l *Lifecycle) risk(v *store.View, p act.Principal, c Class, wish charter.Grant) (trust.Score, error) {
	grant := charter.Narrow(c.Document.Grant, wish)
	now := l.db.Clock()()
	by, name := trust.Asker{}, actRequest
	if p.Kind == act.Agent {
		by.Agent, by.Trust, name = true, l.Facts(p.ID).Trust, actSpawn
		if above := l.bondOf(p.ID); above != nil && above.terms != nil {
			grant = charter.Narrow(above.terms.grant.Handed(), grant)
		}
		if _, err := v.One(qDeathsUnder, func(r *store.Row) error { by.Deaths = r.Int(0); return nil }, p.ID, act.Micros(now.Add(-backOffWithin))); err != nil {
			return trust.Score{}, err
		}
		if _, err := v.One(qApprovalAsked, func(r *store.Row) error { by.Asked = r.Int(0); return nil }, p.ID, act.FirstID(now.Add(-time.Hour))); err != nil {
			return trust.Score{}, err
		}
	}
	_, err := v.One(qApprovalPast, func(r *store.Row) error { by.Denied = r.Int(2); return nil }, p.ID, name, "", act.FirstID(now.AddDate(0, 0, -pastDays)))
	return trust.Risk(grant, by), err
}

// The acts that ask for an agent of a class.
const (
	actRequest = "agent.request"
	actSpawn   = "agent.spawn"
)

// score adds to an approval what the request risks that it keeps. Other acts have no score,
// and neither has a request for a class that is not used any more.
func (l *Lifecycle) score(v *store.View, a *Approval, c gate.Call) error {
	if c.Act != actRequest && c.Act != actSpawn {
		return nil
	}
	var in NewInstance
	if err := json.Unmarshal(c.Input, &in); err != nil {
		return act.Errorf(act.Internal, "the kept request cannot be read: %w", err)
	}
	wish, err := wishOf(in.Grant)
	if err != nil {
		return err
	}
	of, err := usable(v, in)
	if err != nil {
		return mended(err)
	}
	s, err := l.risk(v, c.Principal, of, wish)
	a.Score = &s
	return err
}

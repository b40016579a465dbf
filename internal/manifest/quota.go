package manifest

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
)

// quotaSpec is what files say of a quota.
type quotaSpec struct {
	Limit  *int64 `json:"limit,omitempty" doc:"how much agents use up together at most"`
	Period string `json:"period,omitempty" doc:"hour or day, after which it renews; used up for good if left out"`
}

// quotaName is what the name of a quota bounds: a scope and, after the last dot, a kind.
func quotaName(name string) (n lifecycle.QuotaName) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		n.Scope, n.Kind = name[:i], name[i+1:]
	}
	return n
}

// wishQuota is a quota as files say it.
func wishQuota(name string, spec map[string]any) (in lifecycle.NewQuota, err error) {
	s, err := as[quotaSpec](spec)
	if err == nil && s.Limit == nil {
		err = act.Errorf(act.Invalid, "it has no limit").WithHint("say how much agents use up together at most")
	}
	if err != nil {
		return in, err
	}
	return lifecycle.NewQuota{On: quotaName(name), Limit: *s.Limit, Period: lifecycle.Period(s.Period)}, nil
}

// quotas are kept by quota.set and quota.drop.
func (m *Manifests) quotas() *kind {
	there := func(q lifecycle.Quota) (thing, error) {
		spec, err := said(quotaSpec{Limit: &q.Limit, Period: string(q.Period)})
		return thing{id: q.ID, version: q.SetAt, spec: spec, status: map[string]any{"used": q.Used, "left": q.Left(), "set_at": wireTime(q.SetAt)}}, err
	}
	return &kind{
		name: "Quota", doc: "What all agents of the network, of a team or of a class use up together at most.", spec: reflect.TypeFor[quotaSpec](), sees: "quota.list",
		named: func(name string) error {
			if err := quotaName(name).Check(); err != nil {
				return act.Errorf(act.Invalid, "%.80q cannot be the name of a quota", name).
					WithHint("say what it bounds: network.acts, team:NAME.tokens or class:NAME.cpu_ms")
			}
			return nil
		},
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			q, found, err := m.Lifecycle.QuotaNamed(v, quotaName(name))
			if err != nil || !found {
				return t, false, err
			}
			t, err = there(q)
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			list, err := m.Lifecycle.Quotas(v)
			if err != nil {
				return err
			}
			for _, q := range list {
				t, err := there(q)
				if err == nil {
					err = do(q.On.Scope+"."+q.On.Kind, t)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
		check: func(_ *scene, name string, spec map[string]any) error {
			in, err := wishQuota(name, spec)
			if err == nil {
				err = in.Check()
			}
			return err
		},
		put: func(ctx context.Context, p act.Principal, w work, reason string) (string, error) {
			in, err := wishQuota(w.Name, w.target)
			if err == nil {
				in.Reason = reason
				_, err = m.Lifecycle.SetQuota.Do(ctx, p, in)
			}
			return "", err
		},
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			_, err := m.Lifecycle.DropQuota.Do(ctx, p, lifecycle.QuotaOrder{On: quotaName(w.Name), Reason: reason})
			return err
		},
		effects: m.quotaEffects,
	}
}

// quotaEffects: where the limit is not above what is used, agents stop at once.
func (m *Manifests) quotaEffects(s *scene, w work) error {
	if w.Op != OpUpdate {
		return nil
	}
	now, err := wishQuota(w.Name, w.target)
	if err != nil {
		return err
	}
	was, err := wishQuota(w.Name, w.there.spec)
	if err != nil {
		return err
	}
	used, _ := w.there.status["used"].(int64)
	if was.Period != now.Period || now.Limit > used {
		return nil
	}
	var agents []act.ID
	m.Lifecycle.Each(func(id act.ID) bool {
		if f := m.Lifecycle.Facts(id); !f.Standing.Final() && now.On.Bounds(f.Team, f.Class) {
			agents = append(agents, id)
		}
		return true
	})
	s.stops(w, agents, fmt.Sprintf("%d are used up already: what counts against the quota is refused", used))
	return nil
}

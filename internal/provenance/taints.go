package provenance

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// TaintCursor is the name of the list of taints in its cursors.
const TaintCursor = "taint.list"

// MaxTaints bounds a page of taint.list.
const MaxTaints = 200

// Standing is what is in force for an agent, or known of a thing.
type Standing struct {
	Subject act.ID
	gate.Label
	Raised bool // beyond what comes with who and where it is; Taint says how
	Taint  Taint
	Asked  act.ID // whether it can be among the origins, 0 where nobody has asked;
	Among  bool   // the answer: no is certain, yes is wrong as often as Taint.Origins.Error says
}

// TaintQuestion asks how an agent or a thing is labelled, and whether that can have come
// from somebody.
type TaintQuestion struct {
	Subject act.ID
	Origin  act.ID // an agent or a community; 0 does not ask
}

// TaintOrder flags an agent or a thing, or clears it.
type TaintOrder struct {
	Subject act.ID
	Reason  string // goes on record
}

// TaintQuery asks for a page of what is labelled, by id.
type TaintQuery struct {
	Cursor act.Cursor // of TaintCursor; zero is the first page
	Limit  int        // 1 to MaxTaints; MaxTaints if 0
}

// raising lifts the label in force for an agent to what it is about to be shown.
type raising struct {
	Agent act.ID
	To    gate.Meeting
}

func (l *Labels) register(g *gate.Gate) {
	l.raise = gate.RegisterWrite(g, gate.Write[raising, Taint]{
		Info: gate.Info{Name: "taint.raise", Doc: "Carry the labels of what an agent is about to be shown over to the agent.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in raising) (gate.Resource, error) {
			return subject(in.Agent), nil
		},
		Run: l.runRaise,
	})
	kinds := []act.Kind{act.KindPost, act.KindComment, act.KindMessage, act.KindConversation, act.KindTask, act.KindLabel, act.KindCommunity, act.KindImage}
	aimed := func(_ context.Context, _ *store.View, _ act.Principal, in TaintOrder) (gate.Resource, error) {
		return subject(in.Subject), l.Reason(in.Reason)
	}
	l.Flag = gate.RegisterWrite(g, gate.Write[TaintOrder, Taint]{
		Info:    gate.Info{Name: "taint.flag", Doc: "Flag an agent or a thing: whoever is shown it, and what they make then, counts as flagged.", On: act.KindAgent, Also: kinds, Quota: gate.QuotaNone},
		Resolve: aimed,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in TaintOrder) (Taint, gate.Effects, error) {
			return l.runFlag(tx, p, in)
		},
	})
	l.Clear = gate.RegisterWrite(g, gate.Write[TaintOrder, Taint]{
		Info:    gate.Info{Name: "taint.clear", Doc: "Declassify: clear an agent or a thing of the labels that have come to it.", On: act.KindAgent, Also: kinds, Quota: gate.QuotaNone},
		Resolve: aimed,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in TaintOrder) (Taint, gate.Effects, error) {
			return l.runClear(tx, in)
		},
	})
	l.List = gate.RegisterRead(g, gate.Read[TaintQuery, act.Page[Taint]]{
		Info: gate.Info{Name: "taint.list", Doc: "List agents and things that are labelled beyond what comes with who and where they are.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in TaintQuery) (act.Page[Taint], error) {
			return listTaints(v, in)
		},
	})
	l.Show = gate.RegisterRead(g, gate.Read[TaintQuestion, Standing]{
		Info: gate.Info{Name: "taint.show", Doc: "Show how an agent or a thing is labelled, and where that comes from.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in TaintQuestion) (s Standing, err error) {
			if kind := in.Origin.Kind(); in.Origin != 0 && kind != act.KindAgent && kind != act.KindCommunity {
				return s, act.Errorf(act.Invalid, "a %s is no origin", kind).WithRule("taint.origin").
					WithHint("origins are agents and communities; what else something came by is among its path")
			}
			if s, err = l.standing(v, in.Subject); err == nil && in.Origin != 0 {
				s.Asked, s.Among = in.Origin, s.Taint.Origins.Could(in.Origin)
			}
			return s, err
		},
	})
	l.Own = gate.RegisterRead(g, gate.Read[struct{}, Standing]{
		Info: gate.Info{Name: "taint.own", Doc: "Show which labels are in force for the caller, and what they came from.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, p act.Principal, _ struct{}) (Standing, error) {
			return l.standing(v, p.ID)
		},
	})
}

// subject is an agent or a thing as the target of an act on its labels.
func subject(id act.ID) gate.Resource {
	return gate.Resource{Ref: act.Ref{ID: id}, Facts: gate.Facts{Kind: id.Kind()}}
}

// labeller is the part of the server that carries labels over.
var labeller = act.SystemPrincipal("labels")

// Raise implements gate.Labels.
func (l *Labels) Raise(ctx context.Context, agent act.ID, m gate.Meeting) (bool, error) {
	t, _ := l.known(agent)
	have := t.Label.Join(gate.Label{Integrity: l.base(agent)})
	if have.Join(m.Label) == have && l.comes(m, t.Origins) {
		return false, nil
	}
	_, err := l.raise.Do(ctx, labeller, raising{agent, m})
	return true, err
}

// comes reports whether all that is met comes from origins that are known already. Where
// memory has lost what came to a thing, nobody can tell.
func (l *Labels) comes(m gate.Meeting, known Origins) bool {
	for _, x := range m.Of {
		if x.Author != 0 && !known.Could(x.Author) || x.Community != 0 && !known.Could(x.Community) {
			return false
		}
		if of, found := l.things.GetIfPresent(x.Thing); !found && l.any.Load() && carries(x.Thing.Kind()) || !of.origins.within(known) {
			return false
		}
	}
	return true
}

func (l *Labels) runRaise(_ context.Context, tx *store.Tx, _ act.Principal, in raising) (t Taint, fx gate.Effects, err error) {
	if t, _, err = taintOf(&tx.View, in.Agent); err != nil {
		return t, fx, err
	}
	ids, origins := make([]act.ID, 0, len(in.To.Of)), make([]act.ID, 0, 2*len(in.To.Of))
	for _, x := range in.To.Of {
		ids, origins = append(ids, x.Thing), append(origins, x.Author, x.Community)
	}
	from := OriginsOf(origins...)
	if err := taintsOf(&tx.View, ids, func(of Taint) { from = from.Join(of.Origins) }); err != nil {
		return t, fx, err
	}
	base, path := gate.Label{Integrity: l.base(in.Agent)}, t.Path
	if have := t.Label.Join(base); have.Join(in.To.Label) != have {
		of, _, err := taintOf(&tx.View, in.To.From)
		if err != nil {
			return t, fx, err
		}
		path = append([]act.Ref{{ID: in.To.From}}, of.Path...)
	}
	t.Subject, t.By = in.Agent, 0
	t.join(in.To.Label.Join(base), path, from)
	tx.Fence(act.KindAgent, t.Subject)
	return t, gate.Effects{Out: act.Ref{ID: in.Agent}}, t.put(tx)
}

func (l *Labels) runFlag(tx *store.Tx, p act.Principal, in TaintOrder) (t Taint, fx gate.Effects, err error) {
	if !carries(in.Subject.Kind()) {
		return t, fx, act.Errorf(act.Invalid, "a %s cannot be flagged", in.Subject.Kind()).WithRule("taint.kind").
			WithHint("flag an agent, or what agents are shown: a post, a comment, a message, a task")
	}
	if t, _, err = taintOf(&tx.View, in.Subject); err != nil {
		return t, fx, err
	}
	t.Subject, t.Integrity, t.By = in.Subject, gate.Flagged, p.ID
	tx.Fence(t.Subject.Kind(), t.Subject)
	return t, gate.Effects{Out: act.Ref{ID: t.Subject}, Reason: in.Reason}, t.put(tx)
}

func (l *Labels) runClear(tx *store.Tx, in TaintOrder) (t Taint, fx gate.Effects, err error) {
	t, found, err := taintOf(&tx.View, in.Subject)
	if err != nil {
		return t, fx, err
	}
	if !found {
		return t, fx, act.Errorf(act.Conflict, "no labels have come to it").WithRule("taint.none").
			WithHint("what comes with who wrote it and where it stands is not cleared: taint.show tells them apart")
	}
	tx.Fence(t.Subject.Kind(), t.Subject)
	return t, gate.Effects{Out: act.Ref{ID: t.Subject}, Reason: in.Reason}, tx.Batch(qTaintDrop, t.Subject)
}

func listTaints(v *store.View, in TaintQuery) (page act.Page[Taint], err error) {
	n := in.Limit
	if n == 0 {
		n = MaxTaints
	}
	if n < 1 || n > MaxTaints {
		return page, act.Errorf(act.Invalid, "a page has 1 to %d labels", MaxTaints).WithRule("limit").WithHint("ask for less and follow next_cursor")
	}
	var after int64
	if !in.Cursor.IsZero() {
		after = in.Cursor.Keys[0]
	}
	err = v.All(qTaints, func(r *store.Row) error {
		t, err := scanTaint(r)
		page.Items = append(page.Items, t)
		return err
	}, after, int64(n+1))
	if len(page.Items) > n {
		page.Items = page.Items[:n]
		page.Next = act.Cursor{List: TaintCursor, Keys: []int64{int64(page.Items[n-1].Subject)}}
	}
	return page, err
}

// standing is what is known of an agent or a thing. Of a thing it says what has come to
// it; how confidential its place is, and who wrote it, the thing itself says.
func (l *Labels) standing(v *store.View, id act.ID) (s Standing, err error) {
	s.Subject = id
	if id.Kind() == act.KindAgent {
		s.Integrity = l.base(id)
	}
	if s.Taint, s.Raised, err = taintOf(v, id); err != nil {
		return s, err
	}
	s.Label = s.Label.Join(s.Taint.Label)
	return s, nil
}

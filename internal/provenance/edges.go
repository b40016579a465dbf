package provenance

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The evidence levels of what acts have come of. L1 is not stored: it follows from what was
// shown.
const (
	levelLikely   = 2 // L2: it was shown, and stands in what was written then
	levelExplicit = 3 // L3: the act itself says so
	levelExact    = 4 // L4: the caller has stated its context
)

func levelOf(kind gate.EdgeKind) int64 {
	if kind == gate.EdgeContext {
		return levelExact
	}
	return levelExplicit
}

const qDerivationAdd store.Q = `INSERT INTO derivation (pos, ord, source, source_version, made, made_version, level, kind)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`

// Derive adds the act's edges to its transaction, under the position of
// its event, which must have been recorded before, and labels what was made with what
// its actor was shown. The principal is the event's actor and is not stored again.
func (t *Tracer) Derive(tx *store.Tx, p act.Principal, fx gate.Effects) error {
	if t.labels != nil && !fx.Named {
		if err := t.labels.carry(tx, p, fx.Out); err != nil {
			return err
		}
	}
	if len(fx.Edges) == 0 {
		return nil
	}
	pos := tx.LastPosition()
	if pos == 0 {
		return act.Errorf(act.Internal, "edges of an act without an event")
	}
	for i, e := range fx.Edges {
		if err := tx.Batch(qDerivationAdd, pos, i, e.From.ID, e.From.Version, fx.Out.ID, fx.Out.Version,
			levelOf(e.Kind), int64(e.Kind)); err != nil {
			return err
		}
	}
	return nil
}

const qDerivationsFrom store.Q = `SELECT pos, ord, source, source_version, made, made_version, level, kind
FROM derivation WHERE source = $1 ORDER BY pos, ord`

// Derivation is one stored edge.
type Derivation struct {
	Pos, Ord int64 // the position of the act's event, and the edge's number in the act
	Source   act.Ref
	Made     act.Ref
	Level    int64
	Kind     gate.EdgeKind
}

// DerivedFrom calls fn with every edge that leaves an item, in the order of
// their positions.
func DerivedFrom(v *store.View, source act.ID, fn func(Derivation) error) error {
	return v.All(qDerivationsFrom, func(r *store.Row) error {
		return fn(scanDerivation(r))
	}, source)
}

func scanDerivation(r *store.Row) Derivation {
	return Derivation{
		Pos: r.Int(0), Ord: r.Int(1),
		Source: act.Ref{ID: r.ID(2), Version: r.Int(3)}, Made: act.Ref{ID: r.ID(4), Version: r.Int(5)},
		Level: r.Int(6), Kind: gate.EdgeKind(r.Int(7)),
	}
}

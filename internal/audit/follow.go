package audit

import (
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const qFollow store.Q = `SELECT e.seq, e.ref, e.version, l.body FROM event e JOIN leaf l ON l.pos = e.pos WHERE e.seq > $1 ORDER BY e.seq LIMIT $2`

const qAt store.Q = `SELECT e.seq, e.ref, e.version, l.body FROM event e JOIN leaf l ON l.pos = e.pos WHERE e.pos = $1`

// Followed is a leaf in the order of the record.
type Followed struct {
	Seq  int64
	Ref  act.Ref // what the act made or changed, else what it was aimed at
	Body []byte  // the leaf itself; good until the call returns
	Leaf Leaf
}

// At returns the leaf at a position; its number is 0 while it has none.
func At(v *store.View, pos int64) (f Followed, found bool, err error) {
	found, err = v.One(qAt, func(r *store.Row) (err error) { f, err = followed(r); return err }, pos)
	return f, found, err
}

// Follow calls each with up to limit leaves whose number is above after, in order and
// without gaps: who keeps the last number it has seen misses nothing.
func Follow(v *store.View, after int64, limit int, each func(Followed) error) error {
	return v.All(qFollow, func(r *store.Row) error {
		f, err := followed(r)
		if err != nil {
			return err
		}
		return each(f)
	}, after, int64(limit))
}

func followed(r *store.Row) (f Followed, err error) {
	f = Followed{Ref: act.Ref{ID: r.ID(1), Version: r.Int(2)}, Body: r.Bytes(3)}
	if !r.Null(0) {
		f.Seq = r.Int(0)
	}
	if f.Leaf, err = Parse(f.Body); err != nil {
		return f, fmt.Errorf("audit: leaf %d: %w", f.Seq, err)
	}
	return f, nil
}

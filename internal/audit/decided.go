package audit

import (
	"github.com/reefwarden/reefwarden/internal/store"
)

const qDecided store.Q = `SELECT l.body FROM event AS e JOIN leaf AS l ON l.pos = e.pos WHERE e.seq = $1`

// Decided is the policy that let the act with a number through, "" where no leaf says it.
func Decided(v *store.View, seq int64) (policy string, err error) {
	_, err = v.One(qDecided, func(r *store.Row) error {
		l, err := Parse(r.Bytes(0))
		policy = l.Policy.ID
		return err
	}, seq)
	return policy, err
}

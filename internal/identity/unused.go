package identity

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Unused is a subject none of whose live credentials was shown since a time.
type Unused struct {
	Subject act.ID
	Last    int64 // when one was shown, or made, last; Unix microseconds
}

// One row for each subject: that of the last of its live credentials.
const qUnused store.Q = `SELECT c.subject, (SELECT MAX(CASE WHEN m.used_at > m.created_at THEN m.used_at ELSE m.created_at END)
  FROM credential AS m WHERE m.subject = c.subject AND m.revoked_at = 0)
FROM credential AS c WHERE c.subject > $1 AND c.revoked_at = 0 AND c.used_at < $2 AND c.created_at < $2
AND NOT EXISTS (SELECT 1 FROM credential AS o WHERE o.subject = c.subject AND o.revoked_at = 0 AND (o.used_at >= $2 OR o.created_at >= $2 OR o.id > c.id))
ORDER BY c.subject, c.id LIMIT $3`

// Unused lists subjects, of whatever kind, that have live credentials and have shown none
// since a time, by id.
func (s *Service) Unused(v *store.View, after act.ID, before int64, limit int) (list []Unused, err error) {
	err = v.All(qUnused, func(r *store.Row) error { list = append(list, Unused{r.ID(0), r.Int(1)}); return nil }, after, before, int64(limit))
	return list, err
}

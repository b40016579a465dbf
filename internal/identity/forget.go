package identity

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Operators' tokens are never dropped: a revoked one whose row is gone would come
// back with the file it stands in.
const (
	qKeysOver store.Q = `DELETE FROM credential WHERE id IN
(SELECT id FROM credential WHERE revoked_at > 0 AND revoked_at < $1 AND kind IN ('agent-key', 'app-key') ORDER BY revoked_at, id LIMIT $2)`
	qKeysDue store.Q = `SELECT id FROM credential WHERE revoked_at > 0 AND revoked_at < $1 AND kind IN ('agent-key', 'app-key') ORDER BY revoked_at, id LIMIT 1`

	qSessionsDue  store.Q = `SELECT id FROM credential WHERE kind = 'session' AND expires_at < $1 ORDER BY expires_at, id LIMIT 1`
	qSubjectsDrop store.Q = `DELETE FROM credential WHERE subject = $1 AND revoked_at > 0`

	// QPastKeys counts keys that were revoked before a time, as far as a number.
	QPastKeys store.Q = `SELECT COUNT(*) FROM (SELECT id FROM credential WHERE revoked_at > 0 AND revoked_at < $1 AND kind IN ('agent-key', 'app-key') ORDER BY revoked_at, id LIMIT $2) AS past`
	// QOldestKey asks when the key was revoked that has been for longest.
	QOldestKey store.Q = `SELECT revoked_at FROM credential WHERE revoked_at > 0 AND kind IN ('agent-key', 'app-key') ORDER BY revoked_at, id LIMIT 1`
	// QOldestSession asks when the first session ends, or ended.
	QOldestSession store.Q = `SELECT expires_at FROM credential WHERE kind = 'session' ORDER BY expires_at, id LIMIT 1`
)

// Forgettable reports whether Forgotten would find anything.
func (s *Service) Forgettable(v *store.View, before int64) (due bool, err error) {
	if due, err = v.One(qKeysDue, func(*store.Row) error { return nil }, before); err != nil || due {
		return due, err
	}
	now, err := s.db.Droppable(v, act.Micros(s.clock()))
	if err != nil {
		return false, err
	}
	return v.One(qSessionsDue, func(*store.Row) error { return nil }, now)
}

// Forgotten drops keys that were revoked before a time (Unix microseconds), and
// sessions that are over, a number of each at most. Who shows such a key is told
// that it is unknown rather than revoked.
func (s *Service) Forgotten(tx *store.Tx, before int64, limit int) (dropped int64, err error) {
	if dropped, err = tx.Exec(qKeysOver, before, int64(limit)); err != nil {
		return 0, err
	}
	now, err := s.db.Droppable(&tx.View, tx.Now())
	if err != nil {
		return 0, err
	}
	n, err := tx.Exec(qSessionOver, now, int64(limit))
	return dropped + n, err
}

// ForgetSubject drops the revoked credentials of a subject that is dropped itself.
func (s *Service) ForgetSubject(tx *store.Tx, subject act.ID) error {
	return tx.Batch(qSubjectsDrop, subject)
}

package identity

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// MaxGroups bounds the groups of a person that bindings can name them by.
const MaxGroups = 1000

// rolesLock makes sign-ins and bindings wait for each other: who signs in while a binding
// ends must not keep what it gave.
const rolesLock = "roles"

const (
	qMembershipOf   store.Q = `SELECT hash FROM membership WHERE operator = $1 ORDER BY operator, hash`
	qMembershipAdd  store.Q = `INSERT INTO membership (operator, hash) VALUES ($1, $2) ON CONFLICT (operator, hash) DO NOTHING`
	qMembershipDrop store.Q = `DELETE FROM membership WHERE operator = $1 AND hash = $2`

	qGiven      store.Q = `UPDATE operator SET given = $2 WHERE id = $1 AND given <> $2`
	qRolesHad   store.Q = `SELECT roles, given FROM operator WHERE id = $1`
	qRolesBound store.Q = `SELECT b.role, COALESCE(r.roles, 0) FROM membership AS m JOIN role_binding AS b ON b.hash = m.hash LEFT JOIN role AS r ON r.name = b.named
WHERE m.operator = $1 ORDER BY b.name`
	qRolesSettled store.Q = `UPDATE operator SET roles = $2 WHERE id = $1`
)

func (s *Service) groupHash(issuer, group string) []byte {
	sum := s.Proof("group", []byte(issuer), []byte(group))
	return sum[:]
}

func (s *Service) serviceHash(name string) []byte {
	sum := s.Proof("service", []byte(name))
	return sum[:]
}

// belong puts down who an operator is, and which groups they are in, in place of what was
// known of them.
func belong(tx *store.Tx, operator act.ID, keys [][]byte) error {
	had := make(map[string]bool)
	if err := tx.All(qMembershipOf, func(r *store.Row) error { had[string(r.Bytes(0))] = true; return nil }, operator); err != nil {
		return err
	}
	for _, key := range keys {
		if had[string(key)] {
			delete(had, string(key))
			continue
		}
		if err := tx.Batch(qMembershipAdd, operator, key); err != nil {
			return err
		}
	}
	for key := range had {
		if err := tx.Batch(qMembershipDrop, operator, []byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// give puts down which roles the settings give an operator, and settles what comes of it.
func give(tx *store.Tx, operator act.ID, roles gate.OperatorRoles) (uint8, error) {
	if _, err := tx.Exec(qGiven, operator, int64(roles)); err != nil {
		return 0, err
	}
	return settleRoles(tx, operator)
}

// settleRoles makes an operator's roles those that settings and bindings give them now, and
// returns them. What was opened or consented to with other roles is judged by the new ones
// from then on, on every node.
func settleRoles(tx *store.Tx, operator act.ID) (now uint8, err error) {
	var had uint8
	if _, err := tx.One(qRolesHad, func(r *store.Row) error { had, now = rolesOf(r.Int(0)), rolesOf(r.Int(1)); return nil }, operator); err != nil {
		return 0, err
	}
	if err := tx.All(qRolesBound, func(r *store.Row) error { now |= rolesOf(r.Int(0)) | rolesOf(r.Int(1)); return nil }, operator); err != nil {
		return 0, err
	}
	if now != had {
		tx.Fence(act.KindOperator, operator)
		_, err = tx.Exec(qRolesSettled, operator, int64(now))
	}
	return now, err
}

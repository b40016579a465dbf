package identity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qOperatorByName store.Q = `SELECT id FROM operator WHERE name = $1`
	qOperatorAdd    store.Q = `INSERT INTO operator (id, name, roles, given, created_at) VALUES ($1, $2, $3, $3, $4) ON CONFLICT (name) DO NOTHING`
	qOperator       store.Q = `SELECT name, roles FROM operator WHERE id = $1`
	qOperatorIn     store.Q = `SELECT id FROM credential WHERE subject = $1 AND kind IN ('operator-token', 'person', 'federated')
AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2) ORDER BY id LIMIT 1`

	// Two nodes may start with one file at the same time.
	qCredentialOnce store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at)
VALUES ($1, $2, $3, $4, $5, 0, 0) ON CONFLICT (hash) DO NOTHING`
)

// EnsureOperator sees to it that the operator of the given name exists and that
// the token in tokenFile is theirs. Without the file it makes a token and
// writes it there (mode 0600). The file comes first: when the process dies
// before the database knows the token, the next start completes it, as it does
// for a second node with another directory. A token that was revoked stays so.
func (s *Service) EnsureOperator(ctx context.Context, name, tokenFile string) error {
	if err := CheckName("operator", name); err != nil {
		return err
	}
	content, err := ReadSecretFile(tokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		content, err = MakeSecretFile(tokenFile, []byte(s.keys.mint(OperatorToken)+"\n"))
	}
	if err != nil {
		return fmt.Errorf("identity: operator token: %w", err)
	}
	hash, ok := s.HashSecret(OperatorToken, strings.TrimSpace(string(content)))
	if !ok {
		return fmt.Errorf("identity: operator token: %s holds no token of this network; remove it and a new one is made", tokenFile)
	}
	return s.db.Write(ctx, func(tx *store.Tx) error {
		operator, err := s.ensureOperator(tx, name)
		if err != nil {
			return err
		}
		credential, err := tx.Mint(act.KindCredential)
		if err != nil {
			return err
		}
		return tx.Batch(qCredentialOnce, credential, operator, kindOperatorToken, hash, tx.Now())
	})
}

func (s *Service) ensureOperator(tx *store.Tx, name string) (id act.ID, err error) {
	find := func() (bool, error) {
		return tx.One(qOperatorByName, func(r *store.Row) error { id = r.ID(0); return nil }, name)
	}
	if found, err := find(); err != nil || found {
		return id, err
	}
	fresh, err := tx.Mint(act.KindOperator)
	if err != nil {
		return 0, err
	}
	if err := tx.Batch(qOperatorAdd, fresh, name, int64(gate.OperatorAdmin), tx.Now()); err != nil {
		return 0, err
	}
	_, err = find()
	return id, err
}

// describeOperator fills in who an operator is and what roles they have now.
func describeOperator(v *store.View, p *act.Principal) error {
	_, err := v.One(qOperator, func(r *store.Row) error {
		p.Name, p.Roles = r.Text(0), rolesOf(r.Int(1))
		return nil
	}, p.ID)
	return err
}

const qOperatorsTwo store.Q = `SELECT id FROM operator ORDER BY id LIMIT 2`

// SeveralOperators reports whether there is more than one.
func SeveralOperators(v *store.View) (several bool, err error) {
	n := 0
	err = v.All(qOperatorsTwo, func(*store.Row) error { n++; return nil })
	return n > 1, err
}

// OperatorRoles returns the roles that an operator has now.
func (s *Service) OperatorRoles(v *store.View, operator act.ID) (gate.OperatorRoles, error) {
	p := act.Principal{ID: operator}
	err := describeOperator(v, &p)
	return gate.OperatorRoles(p.Roles), err
}

// OperatorNow returns an operator with the roles that they have now, and without any if
// nothing lets them in any more: neither a token, nor an identity provider's word, nor
// another issuer's.
func (s *Service) OperatorNow(v *store.View, operator act.ID) (act.Principal, error) {
	p := act.Principal{Kind: act.Operator, ID: operator}
	err := describeOperator(v, &p)
	if err != nil {
		return p, err
	}
	in, err := v.One(qOperatorIn, func(*store.Row) error { return nil }, operator, act.Micros(s.clock()))
	if !in {
		p.Roles = 0
	}
	return p, err
}

// rolesOf reads stored roles; bits that nobody knows are none.
func rolesOf(stored int64) uint8 {
	if r := gate.OperatorRoles(stored); int64(r) == stored && r.Valid() {
		return uint8(r)
	}
	return 0
}

package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ServiceAccount is a machine that governs: a pipeline, say, that another issuer knows.
// It is an operator with roles and without a human, so it is never fresh.
type ServiceAccount struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

// servicePrefix begins the names of service accounts and of nobody else, so that none is
// taken for a human, or a human's.
const servicePrefix = "service "

func (a ServiceAccount) check() error {
	if _, err := a.roles(); err != nil {
		return err
	}
	return CheckName("operator", servicePrefix+a.Name)
}

func (a ServiceAccount) roles() (roles gate.OperatorRoles, err error) {
	for _, name := range a.Roles {
		role, err := gate.ParseOperatorRole(name)
		if err != nil {
			return 0, err
		}
		roles |= role
	}
	if roles&gate.OperatorOwner != 0 {
		return 0, errors.New("a service account is nobody who could answer for agents: it cannot have the role owner")
	}
	if roles == 0 {
		err = fmt.Errorf("the service account %q has no role", a.Name)
	}
	return roles, err
}

// hashOf stands for what an issuer vouches for, among the credentials of whom it is.
func (t *Trusted) hashOf(s *Service, subject string) [sha256.Size]byte {
	return s.keys.hash("federated\n" + t.Issuer + "\n" + subject + "\n" + t.Revision)
}

// ensureServices makes the operators that the configured service accounts are, and
// gives them the roles that are configured now.
func (i *Issuer) ensureServices(ctx context.Context) error {
	for _, t := range i.trusted {
		subjects := make([]string, 0, len(t.Services))
		for subject := range t.Services {
			subjects = append(subjects, subject)
		}
		slices.Sort(subjects)
		for _, subject := range subjects {
			if err := i.ids.ensureService(ctx, t.Services[subject], t.hashOf(i.ids, subject), t.Scope); err != nil {
				return fmt.Errorf("trusted issuer %q: %q: %w", t.Name, subject, err)
			}
		}
	}
	return nil
}

const qOperatorOf store.Q = `SELECT c.subject, o.name, o.roles FROM credential AS c JOIN operator AS o ON o.id = c.subject WHERE c.hash = $1`

func (s *Service) ensureService(ctx context.Context, a ServiceAccount, hash [sha256.Size]byte, scope string) error {
	roles, err := a.roles()
	if err != nil {
		return err
	}
	if scope == "" {
		scope = "*"
	}
	return s.db.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Serialize(rolesLock); err != nil {
			return err
		}
		var id act.ID
		found, err := tx.One(qOperatorOf, func(r *store.Row) error { id = r.ID(0); return nil }, hash[:])
		if err != nil {
			return err
		}
		if !found {
			if id, err = s.ensureOperator(tx, servicePrefix+a.Name); err != nil {
				return err
			}
			credential, err := tx.Mint(act.KindCredential)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(qFederatedAdd, credential, id, hash[:], tx.Now(), scope); err != nil {
				return err
			}
		}
		if err := belong(tx, id, [][]byte{s.serviceHash(a.Name)}); err != nil {
			return err
		}
		_, err = give(tx, id, roles)
		return err
	})
}

// service returns the operator that a service account is.
func (s *Service) service(ctx context.Context, a ServiceAccount, hash [sha256.Size]byte) (p act.Principal, err error) {
	found := false
	err = s.db.View(ctx, func(v *store.View) error {
		found, err = v.One(qOperatorOf, func(r *store.Row) error {
			p = act.Principal{Kind: act.Operator, ID: r.ID(0), Name: r.Text(1), Roles: rolesOf(r.Int(2)), Binding: act.BindingAsserted}
			return nil
		}, hash[:])
		return err
	})
	switch {
	case err != nil:
		return p, unchecked(err)
	case !found: // its row was made at start
		return p, act.Errorf(act.Internal, "the service account %q is not there", a.Name)
	}
	return p, nil
}

package identity

import (
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Owner is a person or team who answers for agents.
type Owner struct {
	ID           act.ID
	Name         string
	Operator     act.ID // the person who answers themselves; 0 for nobody
	OperatorName string
	CreatedAt    int64  // Unix microseconds
	Team         string // that they work in; "" for none
}

const (
	ownerColumns = `o.id, o.name, o.operator, COALESCE(p.name, ''), o.created_at, o.team FROM owner AS o LEFT JOIN operator AS p ON p.id = o.operator`

	qOwnerNamed    store.Q = `SELECT ` + ownerColumns + ` WHERE o.name = $1`
	qOwnerBy       store.Q = `SELECT ` + ownerColumns + ` WHERE o.operator = $1 AND o.operator <> 0`
	qOwners        store.Q = `SELECT ` + ownerColumns + ` WHERE o.id > $1 ORDER BY o.id LIMIT $2`
	qOwnerOperator store.Q = `SELECT operator FROM owner WHERE id = $1`
	qOwnerMake     store.Q = `INSERT INTO owner (id, name, operator, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	qOwnerTeam     store.Q = `UPDATE owner SET team = $2 WHERE id = $1 AND team = $3`
	qOwnerTeams    store.Q = `SELECT id, team FROM owner WHERE team <> '' ORDER BY id`
	qOwnerLink     store.Q = `UPDATE owner SET operator = $2 WHERE id = $1 AND operator = $3`
)

func scanOwner(r *store.Row) Owner {
	return Owner{ID: r.ID(0), Name: r.Text(1), Operator: r.ID(2), OperatorName: r.Text(3), CreatedAt: r.Int(4), Team: r.Text(5)}
}

// OwnerNamed finds an owner by name, with who answers as it.
func (s *Service) OwnerNamed(v *store.View, name string) (o Owner, found bool, err error) {
	found, err = v.One(qOwnerNamed, func(r *store.Row) error { o = scanOwner(r); return nil }, name)
	return o, found, err
}

// OwnerBy finds the owner as whom an operator answers.
func (s *Service) OwnerBy(v *store.View, operator act.ID) (o Owner, found bool, err error) {
	found, err = v.One(qOwnerBy, func(r *store.Row) error { o = scanOwner(r); return nil }, operator)
	return o, found, err
}

// Owners lists owners in the order of their ids.
func (s *Service) Owners(v *store.View, after act.ID, limit int) (list []Owner, err error) {
	err = v.All(qOwners, func(r *store.Row) error { list = append(list, scanOwner(r)); return nil }, after, int64(limit))
	return list, err
}

// OwnerTeams calls fn with every owner who works in a team.
func (s *Service) OwnerTeams(v *store.View, fn func(owner act.ID, team string)) error {
	return v.All(qOwnerTeams, func(r *store.Row) error { fn(r.ID(0), r.Text(1)); return nil })
}

// MoveOwner says that an owner works in a team, "" for none, and no longer where they
// did. changed is false where somebody else was quicker.
func (s *Service) MoveOwner(tx *store.Tx, o Owner, team string) (changed bool, err error) {
	n, err := tx.Exec(qOwnerTeam, o.ID, team, o.Team)
	return n > 0, err
}

// Answers returns what is to be looked at again in the transaction of an act that p may
// do because they answer as the owner. It is empty when they do not.
func (s *Service) Answers(v *store.View, p act.Principal, owner act.ID) (guards []gate.Guard, err error) {
	if p.Kind != act.Operator || p.ID == 0 || owner == 0 {
		return nil, nil
	}
	_, err = v.One(qOwnerOperator, func(r *store.Row) error {
		if r.ID(0) == p.ID {
			guards = []gate.Guard{{Q: qOwnerOperator, ID: owner, Epoch: int64(p.ID)}}
		}
		return nil
	}, owner)
	return guards, err
}

// asker finds the owner at whose word something is asked for: of the name given, else
// the one as whom p answers.
func (s *Service) asker(v *store.View, p act.Principal, name string) (id act.ID, found bool, err error) {
	if name != "" {
		return s.Owner(v, name)
	}
	o, found, err := s.OwnerBy(v, p.ID)
	return o.ID, found, err
}

// EnsureOwnOwner returns the owner as whom an operator answers, and makes it for who
// claims their first agent. Nobody becomes an owner that is there, whatever its name.
func (s *Service) EnsureOwnOwner(tx *store.Tx, p act.Principal) (act.ID, error) {
	o, found, err := s.OwnerBy(&tx.View, p.ID)
	if err != nil || found {
		return o.ID, err
	}
	name, err := s.freeOwner(tx, p.Name)
	if err != nil {
		return 0, err
	}
	id, err := tx.Mint(act.KindOwner)
	if err != nil {
		return 0, err
	}
	made, err := tx.Exec(qOwnerMake, id, name, p.ID, tx.Now())
	if err == nil && made == 0 {
		err = gate.Moved() // the name was taken, or they have claimed elsewhere, at the same moment
	}
	return id, err
}

const maxNamesakes = 100

// freeOwner returns a name that no owner has, made of an operator's.
func (s *Service) freeOwner(tx *store.Tx, name string) (string, error) {
	for n := 1; n <= maxNamesakes; n++ {
		free := name
		if n > 1 {
			mark := fmt.Sprintf(" (%d)", n)
			runes := []rune(name)
			free = string(runes[:min(len(runes), MaxName-len(mark))]) + mark
		}
		if _, taken, err := s.Owner(&tx.View, free); err != nil || !taken {
			return free, err
		}
	}
	return "", act.Errorf(act.Conflict, "there are %d owners of your name", maxNamesakes).WithRule("owner.name").
		WithHint("ask an admin to make you answer as one of them (owner.link)")
}

// LinkOwner makes an operator, or with 0 nobody, answer as an owner, in place of who did.
// changed is false when somebody was faster. An operator answers as one owner only.
func (s *Service) LinkOwner(tx *store.Tx, o Owner, operator act.ID) (changed bool, err error) {
	n, err := tx.Exec(qOwnerLink, o.ID, operator, o.Operator)
	return n == 1, err
}

// OperatorNamed finds an operator by name.
func (s *Service) OperatorNamed(v *store.View, name string) (id act.ID, found bool, err error) {
	found, err = v.One(qOperatorByName, func(r *store.Row) error { id = r.ID(0); return nil }, name)
	return id, found, err
}

// OperatorName returns the name of an operator, "" for ids that nobody has.
func (s *Service) OperatorName(v *store.View, id act.ID) (string, error) {
	p := act.Principal{ID: id}
	err := describeOperator(v, &p)
	return p.Name, err
}

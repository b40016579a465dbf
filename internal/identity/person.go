package identity

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Person is somebody whom an identity provider has named, verified (package idp).
type Person struct {
	Issuer  string
	Subject string             // of the issuer; with it the one thing by which they are known
	Name    string             // to be shown; others may have it, too
	Roles   gate.OperatorRoles // by the settings; bindings may give more
	Groups  []string           // what bindings may name them by beside that
	Team    *string            // that they work in, "" for none; nil where nothing is said of it
	AuthAt  int64              // when they proved who they are to the issuer, Unix microseconds; 0 unknown

	Once  string    // names the sign-in, which opens one session
	Until time.Time // after which it opens none
}

const (
	// A credential of the kind person is an operator as an identity provider names them.
	qPerson store.Q = `SELECT c.id, c.subject, c.revoked_at, o.name, o.roles FROM credential AS c
JOIN operator AS o ON o.id = c.subject WHERE c.hash = $1 AND c.kind = 'person'`
	qPersonAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at)
VALUES ($1, $2, 'person', $3, $4, 0, 0) ON CONFLICT (hash) DO NOTHING`
	qSessionsEnd store.Q = `UPDATE credential SET revoked_at = $2 WHERE subject = $1 AND kind = 'session' AND revoked_at = 0`
)

// person finds the operator who somebody is. The principal's Credential is what says
// so; it stands among the operator's credentials, ends their sessions when it is
// revoked, and keeps them out after that. found is false for who comes first.
func (s *Service) person(v *store.View, who Person) (p act.Principal, found bool, err error) {
	revoked := false
	found, err = v.One(qPerson, func(r *store.Row) error {
		p = act.Principal{Kind: act.Operator, Credential: r.ID(0), ID: r.ID(1), Name: r.Text(3), Roles: rolesOf(r.Int(4)), Binding: act.BindingAsserted}
		revoked = r.Int(2) != 0
		return nil
	}, s.personHash(who))
	if err == nil && revoked {
		err = act.Errorf(act.Denied, "an operator has ended your access to this network").WithRule("sign-in.barred").
			WithHint("ask one with the role admin; nothing is wrong with your account elsewhere")
	}
	return p, found, err
}

func (s *Service) personHash(who Person) []byte {
	sum := s.Proof("person", []byte(who.Issuer), []byte(who.Subject))
	return sum[:]
}

// Person returns the operator who somebody is; its ID is 0 when they were never here.
func (s *Service) Person(v *store.View, who Person) (act.Principal, error) {
	p, _, err := s.person(v, who)
	return p, err
}

// RuleRole is the rule by which somebody is refused who has no role here.
const RuleRole = "sign-in.role"

// EnsurePerson returns the operator who somebody is, with the roles that they have
// from now on, and makes one of who comes first. It fails when the sign-in was used
// before, and by RuleRole for who has no role.
func (s *Service) EnsurePerson(tx *store.Tx, who Person) (p act.Principal, err error) {
	if who.Roles != 0 && !who.Roles.Valid() || who.Issuer == "" || who.Subject == "" || who.Once == "" {
		return p, act.Errorf(act.Internal, "a person with roles that there are not, or without name or sign-in")
	}
	if err := tx.Serialize(rolesLock); err != nil {
		return p, err
	}
	err = s.Once(tx, "sign-in", who.Once, who.Until)
	if act.CodeOf(err) == act.Unauthenticated {
		return p, refused("sign-in.used", "this sign-in was used before", "begin again")
	}
	if err != nil {
		return p, err
	}
	p, found, err := s.person(&tx.View, who)
	if err != nil {
		return p, err
	}
	if !found {
		if p, err = s.addPerson(tx, who); err != nil {
			return p, err
		}
	}
	if p.Roles, err = s.settlePerson(tx, p.ID, who); err == nil && p.Roles == 0 {
		err = act.Errorf(act.Denied, "you have no role in this network").WithRule(RuleRole).
			WithHint("ask who runs the identity provider for one of the groups that have one here, or an admin to bind one to you")
	}
	p.AuthAt = min(who.AuthAt, tx.Now())
	return p, err
}

// settlePerson puts down what is said of somebody now, and what roles come of it.
func (s *Service) settlePerson(tx *store.Tx, operator act.ID, who Person) (uint8, error) {
	keys := [][]byte{s.personHash(who)}
	for _, group := range who.Groups[:min(len(who.Groups), MaxGroups)] {
		keys = append(keys, s.groupHash(who.Issuer, group))
	}
	if err := belong(tx, operator, keys); err != nil {
		return 0, err
	}
	return give(tx, operator, who.Roles)
}

// LosePerson takes every role from somebody who was here and whom neither settings nor
// bindings give one any more, and ends their sessions. What they have consented to does
// nothing any more without roles. It fails with NotFound for who was never here.
func (s *Service) LosePerson(tx *store.Tx, who Person) (p act.Principal, err error) {
	if err := tx.Serialize(rolesLock); err != nil {
		return p, err
	}
	p, found, err := s.person(&tx.View, who)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "this person was never here").WithRule("sign-in.unknown").WithHint("there is nothing to end")
	}
	if err != nil {
		return p, err
	}
	who.Roles = 0
	if p.Roles, err = s.settlePerson(tx, p.ID, who); err == nil && p.Roles != 0 {
		err = act.Errorf(act.Conflict, "they have a role again").WithRule("sign-in.bound").WithHint("an admin has bound one to them: they may sign in")
	}
	if err != nil {
		return p, err
	}
	if _, err := tx.Exec(qSessionsEnd, p.ID, tx.Now()); err != nil {
		return p, err
	}
	tx.Fence(act.KindOperator, p.ID)
	return p, nil
}

func (s *Service) addPerson(tx *store.Tx, who Person) (p act.Principal, err error) {
	operator, err := tx.Mint(act.KindOperator)
	if err != nil {
		return p, err
	}
	credential, err := tx.Mint(act.KindCredential)
	if err != nil {
		return p, err
	}
	name, err := s.freeName(tx, who)
	if err != nil {
		return p, err
	}
	named, err := tx.Exec(qOperatorAdd, operator, name, int64(who.Roles), tx.Now())
	if err != nil {
		return p, err
	}
	added, err := tx.Exec(qPersonAdd, credential, operator, s.personHash(who), tx.Now())
	if err == nil && (named == 0 || added == 0) {
		err = gate.Moved() // they, or their namesake, came in elsewhere at the same moment
	}
	return act.Principal{Kind: act.Operator, ID: operator, Name: name, Credential: credential, Binding: act.BindingAsserted}, err
}

// freeName returns the name that a new operator is shown by. Nobody gets the name of
// somebody who is there: it would stand beside their deeds.
func (s *Service) freeName(tx *store.Tx, who Person) (string, error) {
	hash := s.personHash(who)
	mark := base64.RawURLEncoding.EncodeToString(hash[:6])
	name := who.Name
	if CheckName("operator", name) != nil || strings.HasPrefix(name, servicePrefix) {
		name = "operator " + mark
	}
	taken, err := tx.One(qOperatorByName, func(*store.Row) error { return nil }, name)
	if err != nil || !taken {
		return name, err
	}
	runes := []rune(name)
	return string(runes[:min(len(runes), MaxName-len(mark)-3)]) + " (" + mark + ")", nil
}

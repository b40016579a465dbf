package identity

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// DefaultSessionLife is how long a session lasts, whatever is done in it.
	DefaultSessionLife = 8 * time.Hour
	// DefaultSessionIdle is how long a session lasts in which nothing is done. It is
	// kept to the minute.
	DefaultSessionIdle = 30 * time.Minute

	// MaxSessions is how many sessions of an operator SessionsOf returns.
	MaxSessions = 100
)

const (
	qOperatorCredential store.Q = `SELECT c.id, c.subject, o.name, c.expires_at, c.revoked_at, o.roles FROM credential AS c
JOIN operator AS o ON o.id = c.subject WHERE c.hash = $1 AND c.kind = 'operator-token'`

	// A session is good while it and the credential it was opened with are.
	qSession store.Q = `SELECT c.id, c.subject, o.name, c.expires_at, c.revoked_at, p.expires_at, p.revoked_at, c.roles, o.roles, c.auth_at, c.used_at, c.created_at, c.passkey_at
FROM credential AS c JOIN credential AS p ON p.id = c.parent JOIN operator AS o ON o.id = c.subject
WHERE c.hash = $1 AND c.kind = 'session'`
	qSessionAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at, parent, roles, auth_at)
VALUES ($1, $2, 'session', $3, $4, $5, 0, $6, $7, $8)`
	qSessionsOf store.Q = `SELECT id, created_at, expires_at, used_at, auth_at, roles, passkey_at FROM credential
WHERE subject = $1 AND kind = 'session' AND revoked_at = 0 AND expires_at > $2 ORDER BY id DESC LIMIT $3`
	// A session that is renewed keeps its end: a passkey makes no session last longer.
	qSessionRenew store.Q = `UPDATE credential SET hash = $2, auth_at = $3, passkey_at = $3, used_at = $3
WHERE id = $1 AND kind = 'session' AND revoked_at = 0 AND expires_at > $3`
	qSessionUntil store.Q = `SELECT expires_at FROM credential WHERE id = $1`
	qSessionEnd   store.Q = `UPDATE credential SET revoked_at = $2 WHERE id = $1 AND kind = 'session' AND revoked_at = 0`
	qSessionOver  store.Q = `DELETE FROM credential WHERE id IN
(SELECT id FROM credential WHERE kind = 'session' AND expires_at < $1 ORDER BY expires_at, id LIMIT $2)`
)

// sessionsSwept is how many sessions that are over a new one takes away: more than
// one, so that they cannot pile up.
const sessionsSwept = 8

// OperatorOf returns the operator whose token text is. It asks the database, so
// that a token that was revoked opens no session on any node. The principal's
// Credential is the token's.
func (s *Service) OperatorOf(v *store.View, text string) (p act.Principal, err error) {
	bad := refused("session.token", "this is no operator's token of this network", "use the whole line that stands in operator.token")
	hash, ok := s.HashSecret(OperatorToken, text)
	if !ok {
		return p, bad
	}
	var live bool
	found, err := v.One(qOperatorCredential, func(r *store.Row) error {
		p = act.Principal{Kind: act.Operator, Credential: r.ID(0), ID: r.ID(1), Name: r.Text(2), Binding: act.BindingOperator, Roles: rolesOf(r.Int(5))}
		live = s.live(r.Int(3), r.Int(4))
		return nil
	}, hash)
	if err == nil && (!found || !live) {
		err = bad
	}
	return p, err
}

// live reports whether a credential has neither expired nor been revoked; expires
// is 0 for never.
func (s *Service) live(expires, revoked int64) bool {
	return revoked == 0 && (expires == 0 || act.Micros(s.clock()) < expires)
}

// OpenSession makes a session of an operator in the transaction that grants it, with
// the roles that the principal has. The key is shown once, to the browser. Sessions
// that are over are swept.
func (s *Service) OpenSession(tx *store.Tx, operator act.Principal) (key string, session act.ID, expires int64, err error) {
	before, err := tx.Droppable(tx.Now())
	if err != nil {
		return "", 0, 0, err
	}
	if _, err = tx.Exec(qSessionOver, before, int64(sessionsSwept)); err != nil {
		return "", 0, 0, err
	}
	if session, err = tx.Mint(act.KindCredential); err != nil {
		return "", 0, 0, err
	}
	key, hash := s.NewSecret(SessionKey)
	expires = tx.Now() + s.life.Microseconds()
	_, err = tx.Exec(qSessionAdd, session, operator.ID, hash, tx.Now(), expires, operator.Credential, int64(operator.Roles), authAt(tx, operator))
	return key, session, expires, err
}

// RenewSession notes that the human of a session has proved by a passkey who they are,
// in the transaction that has checked it. The session has another key from then on, and
// ends when it would have ended.
func (s *Service) RenewSession(tx *store.Tx, session act.ID) (key string, expires int64, err error) {
	key, hash := s.NewSecret(SessionKey)
	n, err := tx.Exec(qSessionRenew, session, hash, tx.Now())
	if err == nil && n == 0 {
		err = refused("session.over", "you are not signed in, or no longer", "sign in")
	}
	if err == nil {
		_, err = tx.One(qSessionUntil, func(r *store.Row) error { expires = r.Int(0); return nil }, session)
	}
	return key, expires, err
}

const (
	qMarksSession store.Q = `UPDATE credential SET passkey_at = 0 WHERE subject = $1 AND kind = 'session' AND passkey_at > 0`
	qMarksConsent store.Q = `UPDATE consent SET passkey_at = 0 WHERE operator = $1 AND passkey_at > 0`
	qMarksGrant   store.Q = `UPDATE token_grant SET passkey_at = 0 WHERE holder = $1 AND passkey_at > 0`
)

// DropPasskeyMarks takes back, on every node, that an operator has proved by a passkey
// who they are: from their sessions and from what they have consented to since.
func (s *Service) DropPasskeyMarks(tx *store.Tx, operator act.ID) error {
	for _, q := range []store.Q{qMarksSession, qMarksConsent, qMarksGrant} {
		if _, err := tx.Exec(q, operator); err != nil {
			return err
		}
	}
	tx.Fence(act.KindOperator, operator)
	return nil
}

// CloseSession ends a session; one that has ended stays so.
func (s *Service) CloseSession(tx *store.Tx, session act.ID) error {
	_, err := tx.Exec(qSessionEnd, session, tx.Now())
	return err
}

// Session returns the operator behind a session's key. It asks the database each
// time, so that a session which was closed, or whose token was revoked, is over on
// every node at once. Its roles are those it was opened with, as far as the operator
// has them still. Source and Chain of the principal are left to the caller.
func (s *Service) Session(ctx context.Context, key string) (p act.Principal, err error) {
	over := refused("session.over", "you are not signed in, or no longer", "sign in")
	hash, ok := s.HashSecret(SessionKey, key)
	if !ok {
		return p, over
	}
	var found, live bool
	seen, now := s.fences.Load(), act.Micros(s.clock())
	var used int64
	err = s.db.View(ctx, func(v *store.View) error {
		found, err = v.One(qSession, func(r *store.Row) error {
			p = act.Principal{Kind: act.Operator, Credential: r.ID(0), ID: r.ID(1), Name: r.Text(2), Binding: act.BindingSession}
			p.Until, p.Roles, p.AuthAt, p.PasskeyAt = r.Int(3), rolesOf(r.Int(7))&rolesOf(r.Int(8)), r.Int(9), r.Int(12)
			used = max(r.Int(10), r.Int(11))
			live = s.live(r.Int(3), r.Int(4)) && s.live(r.Int(5), r.Int(6)) && now-max(used, s.uses.at(p.Credential)) < s.idle.Microseconds()
			return nil
		}, hash)
		return err
	})
	switch {
	case err != nil:
		return act.Principal{}, act.Errorf(act.Unavailable, "your session cannot be checked at the moment: %w", err).
			WithRule("session.unchecked").WithRetry(retryAfter).WithHint("storage does not answer; you are not signed out, try again")
	case !found || !live:
		return act.Principal{}, over
	}
	p.Seen = seen
	s.uses.touch(p.Credential, used, now)
	return p, nil
}

// SessionLife is how long a session lasts.
func (s *Service) SessionLife() time.Duration { return s.life }

// OperatorSession is a session as its operator sees it.
type OperatorSession struct {
	ID        act.ID
	CreatedAt int64 // Unix microseconds, as the others
	ExpiresAt int64
	UsedAt    int64 // to the minute; 0 not since it was opened
	AuthAt    int64 // when its human last proved who they are
	PasskeyAt int64 // when they did so by a passkey; 0 never
	Roles     gate.OperatorRoles
}

// SessionsOf lists an operator's sessions, newest first.
func (s *Service) SessionsOf(v *store.View, operator act.ID) (list []OperatorSession, err error) {
	now := act.Micros(s.clock())
	err = v.All(qSessionsOf, func(r *store.Row) error {
		o := OperatorSession{ID: r.ID(0), CreatedAt: r.Int(1), ExpiresAt: r.Int(2), AuthAt: r.Int(4), Roles: gate.OperatorRoles(rolesOf(r.Int(5))), PasskeyAt: r.Int(6)}
		if o.UsedAt = max(r.Int(3), s.uses.at(o.ID)); now-max(o.UsedAt, o.CreatedAt) < s.idle.Microseconds() {
			list = append(list, o)
		}
		return nil
	}, operator, now, int64(MaxSessions))
	return list, err
}

// SignInCookie returns the name of the cookie that holds a sign-in on its way.
func (k *Keys) SignInCookie() string { return "reef-sign-in-" + hex.EncodeToString(k.check[:4]) }

// ClaimCookie returns the name of the cookie that holds a claim token until its human has
// signed in.
func (k *Keys) ClaimCookie() string { return "reef-claim-" + hex.EncodeToString(k.check[:4]) }

// SessionCookie returns the name of the cookie that holds a session's key. It
// differs between networks, which may share a host.
func (k *Keys) SessionCookie() string { return "reef-session-" + hex.EncodeToString(k.check[:4]) }

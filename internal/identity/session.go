package identity

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// SessionLife is how long a session lasts, whatever is done in it.
const SessionLife = 8 * time.Hour

const (
	qOperatorCredential store.Q = `SELECT c.id, c.subject, o.name, c.expires_at, c.revoked_at FROM credential AS c
JOIN operator AS o ON o.id = c.subject WHERE c.hash = $1 AND c.kind = 'operator-token'`

	// A session is good while it and the credential it was opened with are.
	qSession store.Q = `SELECT c.id, c.subject, o.name, c.expires_at, c.revoked_at, p.expires_at, p.revoked_at
FROM credential AS c JOIN credential AS p ON p.id = c.parent JOIN operator AS o ON o.id = c.subject
WHERE c.hash = $1 AND c.kind = 'session'`
	qSessionAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at, parent)
VALUES ($1, $2, 'session', $3, $4, $5, 0, $6)`
	qSessionEnd  store.Q = `UPDATE credential SET revoked_at = $2 WHERE id = $1 AND kind = 'session' AND revoked_at = 0`
	qSessionOver store.Q = `DELETE FROM credential WHERE id IN
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
		p = act.Principal{Kind: act.Operator, Credential: r.ID(0), ID: r.ID(1), Name: r.Text(2), Binding: act.BindingOperator}
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

// OpenSession makes a session of an operator in the transaction that grants it.
// The key is shown once, to the browser. Sessions that are over are swept.
func (s *Service) OpenSession(tx *store.Tx, operator act.Principal) (key string, session act.ID, expires int64, err error) {
	if _, err = tx.Exec(qSessionOver, tx.Now(), int64(sessionsSwept)); err != nil {
		return "", 0, 0, err
	}
	if session, err = tx.Mint(act.KindCredential); err != nil {
		return "", 0, 0, err
	}
	key, hash := s.NewSecret(SessionKey)
	expires = tx.Now() + SessionLife.Microseconds()
	_, err = tx.Exec(qSessionAdd, session, operator.ID, hash, tx.Now(), expires, operator.Credential)
	return key, session, expires, err
}

// CloseSession ends a session; one that has ended stays so.
func (s *Service) CloseSession(tx *store.Tx, session act.ID) error {
	_, err := tx.Exec(qSessionEnd, session, tx.Now())
	return err
}

// Session returns the operator behind a session's key. It asks the database each
// time, so that a session which was closed, or whose token was revoked, is over on
// every node at once. Source and Chain of the principal are left to the caller.
func (s *Service) Session(ctx context.Context, key string) (p act.Principal, err error) {
	over := refused("session.over", "you are not signed in, or no longer", "sign in")
	hash, ok := s.HashSecret(SessionKey, key)
	if !ok {
		return p, over
	}
	var found, live bool
	seen := s.fences.Load()
	err = s.db.View(ctx, func(v *store.View) error {
		found, err = v.One(qSession, func(r *store.Row) error {
			p = act.Principal{Kind: act.Operator, Credential: r.ID(0), ID: r.ID(1), Name: r.Text(2), Binding: act.BindingSession}
			live = s.live(r.Int(3), r.Int(4)) && s.live(r.Int(5), r.Int(6))
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
	return p, nil
}

// SessionCookie returns the name of the cookie that holds a session's key. It
// differs between networks, which may share a host.
func (k *Keys) SessionCookie() string { return "reef-session-" + hex.EncodeToString(k.check[:4]) }

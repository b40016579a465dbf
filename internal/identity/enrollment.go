package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// How long enrolment tokens and enrolled keys are good for.
const (
	DefaultEnrollmentLife = time.Hour
	MinEnrollmentLife     = time.Minute
	MaxEnrollmentLife     = 7 * 24 * time.Hour

	// DefaultKeyLife is how long an enrolled key is good for unless configured.
	DefaultKeyLife = 90 * 24 * time.Hour
	// MaxKeys bounds the keys of one agent that are good at a time.
	MaxKeys = 8
)

const kindKey = "public-key"

const (
	qEnrollmentAdd store.Q = `INSERT INTO enrollment (id, hash, agent, owner, scope, created_by, created_at, expires_at, used_at, used_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)`
	qEnrollment    store.Q = `SELECT id, agent, owner, scope, expires_at, used_at FROM enrollment WHERE hash = $1`
	qEnrollmentUse store.Q = `UPDATE enrollment SET used_at = $2, used_by = $3 WHERE id = $1 AND used_at = 0`
	qEnrollmentEnd store.Q = `UPDATE enrollment SET used_at = $2 WHERE agent = $1 AND used_at = 0`

	qKeyAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope)
VALUES ($1, $2, '` + kindKey + `', $3, $4, $5, 0, $6, $7)`
	qKeysOf  store.Q = `SELECT id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope, used_at FROM credential WHERE subject = $1 ORDER BY id`
	qKeyOf   store.Q = `SELECT id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope, used_at FROM credential WHERE hash = $1`
	qKeyByID store.Q = `SELECT id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope, used_at FROM credential WHERE id = $1`
	qKeyEnd  store.Q = `UPDATE credential SET revoked_at = $2 WHERE id = $1 AND revoked_at = 0`

	qTaken     store.Q = `INSERT INTO assertion (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING`
	qTakenOver store.Q = `DELETE FROM assertion WHERE hash IN (SELECT hash FROM assertion WHERE expires_at < $1 ORDER BY expires_at, hash LIMIT $2)`
)

// takenSwept is how many assertions that are over a new one takes away.
const takenSwept = 8

// Enrollment is what lets a key be enrolled: an enrolment token, or the bootstrap
// key of the agent itself.
type Enrollment struct {
	ID        act.ID // 0 for a bootstrap key
	Agent     act.ID // whose key it will be; 0 for a new agent
	Owner     act.ID // of a new agent
	Scope     token.Scope
	ExpiresAt int64 // Unix microseconds

	voucher string // what the proof of possession is made over
}

// Voucher is what a key signs to be enrolled under an enrolment token: the proof of
// possession is a client assertion (RFC 7523) with it as issuer and subject. It
// tells nothing of the token.
func Voucher(enrolment string) string {
	sum := sha256.Sum256([]byte("reefwarden enrolment\n" + enrolment))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Enrollment reads what an enrolment token, or an agent's bootstrap key, is good for.
func (s *Service) Enrollment(v *store.View, text string) (e Enrollment, err error) {
	e.voucher = Voucher(text)
	if hash, ok := s.HashSecret(AgentKey, text); ok {
		c, found, err := credentialBy(v, qKeyOf, hash)
		switch {
		case err != nil:
			return e, err
		case !found || c.Kind != kindAgentKey || !c.live(act.Micros(s.clock())):
			return e, refused("enroll.unknown", "this key is not good any more", "ask your owner for an enrolment token")
		}
		e.Agent, e.Scope, e.ExpiresAt = c.Subject, token.Scope(c.Scope), c.ExpiresAt
		return e, nil
	}
	hash, ok := s.HashSecret(EnrollmentToken, text)
	var used int64
	if ok {
		ok, err = v.One(qEnrollment, func(r *store.Row) error {
			e.ID, e.Agent, e.Owner, e.Scope, e.ExpiresAt, used = r.ID(0), r.ID(1), r.ID(2), token.Scope(r.Text(3)), r.Int(4), r.Int(5)
			return nil
		}, hash)
	}
	const again = "ask whoever gave it to you for a new one"
	switch {
	case err != nil:
		return e, err
	case !ok:
		return e, refused("enroll.unknown", "this is no enrolment token of this network", "check that it is whole; it begins with reef_enr_")
	case used != 0:
		return e, refused("enroll.used", "this enrolment token has been used or taken back", again)
	case act.Micros(s.clock()) >= e.ExpiresAt:
		return e, refused("enroll.expired", "this enrolment token has expired", again)
	}
	return e, nil
}

// NewEnrollment makes a token by which an agent that is there enrols its key, within
// DefaultEnrollmentLife. It returns the token and when it ends, Unix microseconds.
func (s *Service) NewEnrollment(tx *store.Tx, by, agent act.ID) (text string, expiresAt int64, err error) {
	made, err := s.enrolling(tx, by, agent, 0, token.ScopeAll, DefaultEnrollmentLife)
	return made.Token, made.ExpiresAt, err
}

func (s *Service) enrolling(tx *store.Tx, by, agent, owner act.ID, scope token.Scope, life time.Duration) (out Enrolling, err error) {
	if out.ID, err = tx.Mint(act.KindInvite); err != nil {
		return out, err
	}
	var hash []byte
	out.Token, hash = s.NewSecret(EnrollmentToken)
	out.ExpiresAt = tx.Now() + life.Microseconds()
	return out, tx.Batch(qEnrollmentAdd, out.ID, hash, agent, owner, string(scope), by, tx.Now(), out.ExpiresAt)
}

// Credential is a credential as the inventory and its holder see it.
type Credential struct {
	ID        act.ID
	Subject   act.ID
	Kind      string // agent-key, public-key, operator-token, …
	Scope     string
	CreatedAt int64  // Unix microseconds
	ExpiresAt int64  // Unix microseconds; 0 never
	RevokedAt int64  // Unix microseconds; 0 while it is good
	UsedAt    int64  // Unix microseconds, to the minute; 0 never
	KeyID     string // thumbprint of a public key (RFC 7638), "" for others

	jwk  string
	hash []byte
}

func (c *Credential) live(now int64) bool {
	return c.RevokedAt == 0 && (c.ExpiresAt == 0 || now < c.ExpiresAt)
}

func scanCredential(r *store.Row) Credential {
	c := Credential{
		ID: r.ID(0), Subject: r.ID(1), Kind: r.Text(2), hash: r.Bytes(3), CreatedAt: r.Int(4), ExpiresAt: r.Int(5), RevokedAt: r.Int(6),
		jwk: r.Text(7), Scope: r.Text(8), UsedAt: r.Int(9),
	}
	if c.jwk != "" {
		if key, err := token.ParseJWK([]byte(c.jwk)); err == nil {
			c.KeyID = key.Thumbprint()
		}
	}
	return c
}

func credentialBy(v *store.View, q store.Q, key any) (c Credential, found bool, err error) {
	found, err = v.One(q, func(r *store.Row) error { c = scanCredential(r); return nil }, key)
	return c, found, err
}

// keysOf returns the enrolled keys of an agent that are good now.
func (s *Service) keysOf(v *store.View, agent act.ID) (keys []Credential, err error) {
	now := act.Micros(s.clock())
	err = v.All(qKeysOf, func(r *store.Row) error {
		if c := scanCredential(r); c.Kind == kindKey && c.live(now) {
			keys = append(keys, c)
		}
		return nil
	}, agent)
	return keys, err
}

// keyHash is the form in which a public key is looked up. A key is enrolled once in
// a network, for ever: one that was revoked does not come back under another agent.
func (s *Service) keyHash(thumbprint string) []byte {
	sum := s.keys.hash("jwk\n" + thumbprint)
	return sum[:]
}

// Enroll adds the key to the agent's in the transaction of an act, and uses up the
// enrolment. proof shows that whoever sends the key has its private half, and made
// the proof for this enrolment.
func (s *Service) Enroll(tx *store.Tx, e Enrollment, agent act.ID, jwk, proof string) (Credential, error) {
	key, err := s.possessed(tx, jwk, proof, e.voucher)
	if err != nil {
		return Credential{}, err
	}
	if e.ID != 0 {
		used, err := tx.Exec(qEnrollmentUse, e.ID, tx.Now(), agent)
		if err != nil {
			return Credential{}, err
		}
		if used == 0 { // of two at once, one is first
			return Credential{}, refused("enroll.used", "this enrolment token has been used or taken back", "ask whoever gave it to you for a new one")
		}
	}
	return s.addKey(tx, agent, key, e.Scope)
}

// possessed reads a public key of which the sender has shown the private half: proof
// is an assertion over the voucher, good once.
func (s *Service) possessed(tx *store.Tx, jwk, proof, voucher string) (token.Public, error) {
	key, err := token.ParseJWK([]byte(jwk))
	if err != nil {
		return key, err
	}
	a, err := token.ReadAssertion(proof, token.AssertionExpect{
		Audience: s.issuer.URL(), Now: s.clock(),
		Keys: func(client string) ([]token.Public, error) {
			if client != voucher {
				return nil, nil
			}
			return []token.Public{key}, nil
		},
	})
	if err != nil {
		return key, err
	}
	return key, s.takeOnce(tx, a)
}

// takeOnce refuses an assertion that was taken before, on whatever node. What is
// over is swept by those that come.
func (s *Service) takeOnce(tx *store.Tx, a token.Assertion) error {
	if _, err := tx.Exec(qTakenOver, tx.Now(), int64(takenSwept)); err != nil {
		return err
	}
	sum := s.keys.hash("assertion\n" + a.Client + "\n" + a.ID)
	n, err := tx.Exec(qTaken, sum[:], act.Micros(a.Until))
	if err == nil && n == 0 {
		err = token.Refuse("assertion.replayed")
	}
	return err
}

// Once fails, in the transaction that uses it, when what goes by an id was used before.
// It is remembered until its own end; what is over by then is refused by who calls. use
// keeps ids for different purposes apart.
func (s *Service) Once(tx *store.Tx, use, id string, until time.Time) error {
	return s.takeOnce(tx, token.Assertion{Client: use, ID: id, Until: until})
}

func (s *Service) addKey(tx *store.Tx, agent act.ID, key token.Public, scope token.Scope) (c Credential, err error) {
	keys, err := s.keysOf(&tx.View, agent)
	if err != nil {
		return c, err
	}
	if len(keys) >= MaxKeys {
		return c, act.Errorf(act.Conflict, "the agent has %d keys", len(keys)).WithRule("key.most").
			WithHint("revoke one that is not needed (credential.revoke)")
	}
	c = Credential{
		Subject: agent, Kind: kindKey, Scope: string(scope), CreatedAt: tx.Now(), ExpiresAt: tx.Now() + s.issuer.keyLife().Microseconds(),
		KeyID: key.Thumbprint(), jwk: string(key.JWK()), hash: s.keyHash(key.Thumbprint()),
	}
	if c.ID, err = tx.Mint(act.KindCredential); err != nil {
		return c, err
	}
	_, err = tx.Exec(qKeyAdd, c.ID, agent, c.hash, c.CreatedAt, c.ExpiresAt, c.jwk, c.Scope)
	if err != nil && act.CodeOf(err) == act.Conflict {
		err = act.Errorf(act.Conflict, "this key is or was enrolled already").WithRule("key.known").
			WithHint("make a new key pair; one is enrolled once")
	}
	return c, err
}

// CheckReason checks the reason that an operator gives, which goes on record: 1 to
// 500 characters.
func CheckReason(reason string) error {
	if n := len([]rune(strings.TrimSpace(reason))); n == 0 || n > 500 || strings.ContainsFunc(reason, isControl) {
		return act.Errorf(act.Invalid, "the reason is missing, too long or has a control character").WithRule("reason").
			WithHint("say in 1 to 500 characters why; it goes on record")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\uFFFD' }

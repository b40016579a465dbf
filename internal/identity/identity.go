package identity

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// DefaultKeyTTL is how long an agent's key is good for unless configured.
	DefaultKeyTTL = 365 * 24 * time.Hour

	// DefaultCacheSize is how many verified credentials are remembered when
	// Config.CacheSize is 0; each takes about 300 bytes.
	DefaultCacheSize = 1 << 16

	// MaxName bounds the name of an owner or operator in characters.
	MaxName = 64
)

// Config tunes a service.
type Config struct {
	KeyTTL    time.Duration // life of an agent's key; DefaultKeyTTL if 0
	CacheSize int           // verified credentials kept in memory; DefaultCacheSize if 0

	SessionLife time.Duration // of an operator's session; DefaultSessionLife if 0
	SessionIdle time.Duration // after which an unused one is over; DefaultSessionIdle if 0
	Log         *slog.Logger
}

// Subjects knows the agents behind credentials (package lifecycle).
type Subjects interface {
	// Subject returns the name of an agent and sees to it that this node's
	// memory knows its standing from now on. It is asked once for each
	// credential that is verified against the database.
	Subject(ctx context.Context, agent act.ID) (name string, err error)
	// Lost says why a genuine key may be unknown to the database, nil when there is
	// no reason: it was restored to a time before the key was handed out.
	Lost() error
}

// Agents is what the issuer needs of agents (package lifecycle).
type Agents interface {
	// Raise raises the agents' epochs in the transaction that takes a credential or
	// a grant from them, and fences them: what they have under way is checked again.
	Raise(tx *store.Tx, agents []act.ID) error
	// AgentFacts answers from memory; the name of an unknown agent is "".
	AgentFacts(agent act.ID) (name string, owner act.ID, standing act.Standing)
}

// Service issues and verifies credentials. It is safe for concurrent use.
type Service struct {
	db       *store.DB
	keys     *Keys
	clock    act.Clock
	log      *slog.Logger
	ttl      time.Duration
	life     time.Duration // of sessions
	idle     time.Duration // of sessions
	subjects Subjects      // set by Plug before the first request
	agents   Agents        // set by NewIssuer
	issuer   *Issuer       // set by NewIssuer; nil where nobody asks for tokens
	uses     *uses
	cache    *otter.Cache[[sha256.Size]byte, *verified]
	tokens   *otter.Cache[[sha256.Size]byte, *shown]

	connections *otter.Cache[*x509.Certificate, connection] // by the one that they show

	// forgets counts, in the slot of a subject, how often it was forgotten; a
	// cached verification counts only while its slot stands as it did. Subjects
	// that share a slot cost each other one look-up, nothing else.
	forgets [forgetSlots]atomic.Uint32
	fences  atomic.Uint64 // every Forget, raised before its slots
}

const forgetSlots = 1 << 16

// New returns a service over a database.
func New(db *store.DB, k *Keys, c Config) *Service {
	if c.KeyTTL <= 0 {
		c.KeyTTL = DefaultKeyTTL
	}
	if c.CacheSize <= 0 {
		c.CacheSize = DefaultCacheSize
	}
	if c.SessionLife <= 0 {
		c.SessionLife = DefaultSessionLife
	}
	if c.SessionIdle <= 0 {
		c.SessionIdle = DefaultSessionIdle
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		uses: newUses(),
		db:   db, keys: k, clock: db.Clock(), log: c.Log, ttl: c.KeyTTL,
		life: c.SessionLife, idle: c.SessionIdle,
		cache:  otter.Must(&otter.Options[[sha256.Size]byte, *verified]{MaximumSize: c.CacheSize}),
		tokens: otter.Must(&otter.Options[[sha256.Size]byte, *shown]{MaximumSize: c.CacheSize}),

		connections: otter.Must(&otter.Options[*x509.Certificate, connection]{MaximumSize: c.CacheSize}),
	}
	s.fences.Store(1) // 0 is what a principal has that nobody has checked
	return s
}

// Plug tells the service who knows the agents. It must be called before the
// first request.
func (s *Service) Plug(subjects Subjects) { s.subjects = subjects }

const (
	kindAgentKey      = "agent-key"
	kindOperatorToken = "operator-token"

	qCredentialAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at)
VALUES ($1, $2, $3, $4, $5, $6, 0)`
	qCredentialRevoke store.Q = `UPDATE credential SET revoked_at = $2 WHERE subject = $1 AND revoked_at = 0`
)

// IssueKey makes a bootstrap key for an agent in the transaction that grants
// it. The key is shown once: only its hash is stored.
func (s *Service) IssueKey(tx *store.Tx, agent act.ID) (key string, credential act.ID, err error) {
	if credential, err = tx.Mint(act.KindCredential); err != nil {
		return "", 0, err
	}
	key, hash := s.NewSecret(AgentKey)
	err = tx.Batch(qCredentialAdd, credential, agent, kindAgentKey, hash, tx.Now(), tx.Now()+s.ttl.Microseconds())
	return key, credential, err
}

// Revoke ends every credential and every grant of a subject, with what was carved
// out of them, and returns how many credentials were live. The transaction must
// fence the subject, so that every node forgets them too; who else loses a grant is
// fenced here.
func (s *Service) Revoke(tx *store.Tx, subject act.ID) (revoked int64, err error) {
	if revoked, err = tx.Exec(qCredentialRevoke, subject, tx.Now()); err != nil {
		return 0, err
	}
	if err := tx.Batch(qEnrollmentEnd, subject, tx.Now()); err != nil {
		return 0, err
	}
	return revoked, s.revokeGrants(tx, subject, subject)
}

const (
	qOwnerByName store.Q = `SELECT id FROM owner WHERE name = $1`
	qOwnerName   store.Q = `SELECT name FROM owner WHERE id = $1`
	qOwnerAdd    store.Q = `INSERT INTO owner (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING`
)

// EnsureOwner returns the owner of the given name, and makes it if there is
// none. A name has 1 to MaxName printable characters.
func (s *Service) EnsureOwner(tx *store.Tx, name string) (act.ID, error) {
	if err := CheckName("owner", name); err != nil {
		return 0, err
	}
	id, found, err := s.Owner(&tx.View, name)
	if err != nil || found {
		return id, err
	}
	if id, err = tx.Mint(act.KindOwner); err != nil {
		return 0, err
	}
	if err := tx.Batch(qOwnerAdd, id, name, tx.Now()); err != nil {
		return 0, err
	}
	// Another transaction may have been faster: its row is the one that counts.
	id, _, err = s.Owner(&tx.View, name)
	return id, err
}

// Owner finds an owner by name.
func (s *Service) Owner(v *store.View, name string) (id act.ID, found bool, err error) {
	found, err = v.One(qOwnerByName, func(r *store.Row) error { id = r.ID(0); return nil }, name)
	return id, found, err
}

// OwnerName returns the name of an owner, "" for 0 and unknown ids.
func (s *Service) OwnerName(v *store.View, id act.ID) (name string, err error) {
	if id == 0 {
		return "", nil
	}
	_, err = v.One(qOwnerName, func(r *store.Row) error { name = r.Text(0); return nil }, id)
	return name, err
}

// CheckName checks the name of an owner or operator: 1 to MaxName printable
// characters without space around them. what names the field in the error.
func CheckName(what, name string) error {
	bad := func(why string) error {
		return act.Errorf(act.Invalid, "the %s's name %s", what, why).WithRule(what + ".name").
			WithHint("use 1 to 64 printable characters, an e-mail address or a team's name say")
	}
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return bad("is missing")
	case n > MaxName:
		return bad("is too long")
	case !utf8.ValidString(name):
		return bad("is not UTF-8")
	}
	first, _ := utf8.DecodeRuneInString(name)
	last, _ := utf8.DecodeLastRuneInString(name)
	if first == ' ' || last == ' ' {
		return bad("has space around it")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return bad("has a character that cannot be seen")
		}
	}
	return nil
}

package identity

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	kindAppKey = "app-key"

	qAppKey store.Q = `SELECT kind, expires_at, revoked_at FROM credential WHERE hash = $1`
)

// IssueAppKey makes a key with which an application of the owner checks agents'
// proofs of identity, and nothing else: no door takes it as a credential.
func (s *Service) IssueAppKey(tx *store.Tx, owner act.ID) (key string, err error) {
	id, err := tx.Mint(act.KindCredential)
	if err != nil {
		return "", err
	}
	key, hash := s.NewSecret(AppKey)
	return key, tx.Batch(qCredentialAdd, id, owner, kindAppKey, hash, tx.Now(), tx.Now()+s.ttl.Microseconds())
}

// CheckAppKey fails with Unauthenticated and the rule identity.app when key is no
// live application key of this network. It always asks the database, so a revoked
// key is refused on every node at once.
func (s *Service) CheckAppKey(v *store.View, key string) error {
	bad := refused("identity.app", "this is no application key of this network",
		"send the key that an operator made for you in the header X-Moltbook-App-Key")
	hash, ok := s.HashSecret(AppKey, key)
	if !ok {
		return bad
	}
	var live bool
	found, err := v.One(qAppKey, func(r *store.Row) error {
		live = r.Text(0) == kindAppKey && act.Micros(s.clock()) < r.Int(1) && r.Int(2) == 0
		return nil
	}, hash)
	if err != nil {
		return err
	}
	if !found || !live {
		return bad
	}
	return nil
}

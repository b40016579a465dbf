package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const retryAfter = 2 * time.Second

// verified is what is remembered of a credential that was found in the
// database. Revoked and expired ones are remembered too: neither comes back.
type verified struct {
	principal act.Principal
	expires   int64 // Unix microseconds; 0 never
	revoked   bool
	stamp     uint32 // the subject's forget count when this was read
	used      atomic.Int64
}

const (
	qCredential store.Q = `SELECT id, subject, kind, hash, expires_at, revoked_at FROM credential WHERE hash = $1`
)

// Authenticate returns the principal behind an agent's key or an operator's
// token, as it stands after "Bearer ". It fails with Unauthenticated when a
// completed check says that the credential is not good, and with Unavailable
// when storage cannot say. A credential that was verified before needs no
// storage. Source, Epoch and Chain of the principal are left to the caller.
func (s *Service) Authenticate(ctx context.Context, key string) (act.Principal, error) {
	kind, ok := kindOf(key)
	if !ok || kind != AgentKey && kind != OperatorToken {
		return act.Principal{}, refused("key.malformed", "this is no credential of this network",
			"send \"Authorization: Bearer moltbook_sk_…\" with the key exactly as it was shown at registration")
	}
	hash := s.keys.hash(key)
	seen := s.fences.Load() // before the slots: see Forget
	if v, ok := s.cache.GetIfPresent(hash); ok && v.stamp == s.slot(v.principal.ID).Load() {
		return s.admit(v, seen)
	}
	if !s.keys.genuine(kind, key) {
		return act.Principal{}, refused("key.unknown", "this network did not issue this credential",
			"check that the key is whole and belongs to this network; keys of other networks do not work here")
	}
	v, err := s.lookup(ctx, kind, hash)
	if err != nil {
		return act.Principal{}, err
	}
	return s.admit(v, seen)
}

// admit says what a known credential is good for now.
func (s *Service) admit(v *verified, seen uint64) (act.Principal, error) {
	now := act.Micros(s.clock())
	switch {
	case v.revoked:
		return act.Principal{}, refused("key.revoked", "this credential was revoked",
			"it does not come back; your owner or an operator can say why")
	case v.expires != 0 && now >= v.expires:
		return act.Principal{}, refused("key.expired", "this credential has expired",
			"ask your owner for a new one")
	}
	s.uses.note(v.principal.Credential, &v.used, now)
	p := v.principal
	p.Seen, p.Until = seen, v.expires
	return p, nil
}

// lookup reads a genuine credential from the database and remembers it.
func (s *Service) lookup(ctx context.Context, kind Secret, hash [sha256.Size]byte) (*verified, error) {
	fences := s.fences.Load()
	v := &verified{}
	var found bool
	err := s.db.View(ctx, func(view *store.View) error {
		var stored []byte
		var storedKind string
		var err error
		found, err = view.One(qCredential, func(r *store.Row) error {
			v.principal.Credential, v.principal.ID = r.ID(0), r.ID(1)
			storedKind, stored = r.Text(2), r.Bytes(3)
			v.expires, v.revoked = r.Int(4), r.Int(5) != 0
			return nil
		}, hash[:])
		if err != nil || !found {
			return err
		}
		found = subtle.ConstantTimeCompare(stored, hash[:]) == 1 && storedKind == storedAs(kind)
		if kind == OperatorToken {
			v.principal.Kind, v.principal.Binding = act.Operator, act.BindingOperator
			err = describeOperator(view, &v.principal)
		} else {
			v.principal.Kind, v.principal.Binding = act.Agent, act.BindingBootstrap
		}
		return err
	})
	if err == nil && found && kind == AgentKey && !v.revoked && s.subjects != nil {
		v.principal.Name, err = s.subjects.Subject(ctx, v.principal.ID)
		if err != nil && act.CodeOf(err) == act.NotFound { // a completed check, if a strange one
			found, err = false, nil
		}
	}
	if err != nil {
		return nil, act.Errorf(act.Unavailable, "your credential cannot be checked at the moment: %w", err).
			WithRule("key.unchecked").WithRetry(retryAfter).
			WithHint("storage does not answer; that says nothing about your credential: keep it and retry")
	}
	if !found && kind == AgentKey && s.subjects != nil {
		if err := s.subjects.Lost(); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, refused("key.unknown", "this network does not know this credential",
			"it was never handed out, or the network was restored to a time before it; register again")
	}
	// A Forget between the look-up and here raised fences before its slot: what
	// was read may be out of date then, and is not remembered.
	v.stamp = s.slot(v.principal.ID).Load()
	if s.fences.Load() == fences {
		s.cache.Set(hash, v)
	}
	return v, nil
}

func storedAs(kind Secret) string {
	if kind == OperatorToken {
		return kindOperatorToken
	}
	return kindAgentKey
}

// Forget drops what is remembered of the subjects' credentials, so that the
// next use asks the database. It is called when a fence of theirs is applied. The
// count of fences moves before and after: who has read it in between, and a slot
// before its turn, finds that it has moved on (Stands).
func (s *Service) Forget(subjects []act.ID) {
	s.fences.Add(1)
	for _, id := range subjects {
		s.slot(id).Add(1)
	}
	s.fences.Add(1)
}

// The multiplier spreads ids that differ in few bits (Fibonacci hashing).
func (s *Service) slot(id act.ID) *atomic.Uint32 {
	return &s.forgets[uint64(id)*0x9E3779B97F4A7C15>>48]
}

func refused(rule, message, hint string) error {
	return act.Errorf(act.Unauthenticated, "%s", message).WithRule(rule).WithHint(hint)
}

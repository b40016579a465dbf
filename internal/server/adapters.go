package server

import (
	"crypto/ed25519"
	"encoding/hex"
	"hash/fnv"
	"math"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
)

// prover signs and reads agents' proofs of identity for network.
type prover struct{ s *Server }

func (p prover) Prove(agent act.ID, audience string, now time.Time) (string, time.Time, error) {
	expires := now.Add(identity.IdentityTokenLife)
	token, err := p.s.Keys.SignIdentity(identity.IdentityToken{
		Issuer: p.s.URL(), Subject: p.s.Codec.String(agent), Audience: audience, Expires: expires,
	}, now)
	return token, expires, err
}

func (p prover) Proven(token, audience string, now time.Time) (act.ID, time.Time, error) {
	t, err := p.s.Keys.ReadIdentity(token, p.s.URL(), audience, now)
	if err != nil {
		return 0, time.Time{}, err
	}
	agent, err := p.s.Codec.ParseKind(t.Subject, act.KindAgent)
	return agent, t.Expires, err
}

func (p prover) App(v *store.View, key string) error { return p.s.Identity.CheckAppKey(v, key) }

// directory gives policy the facts that lifecycle and provenance keep in memory.
type directory struct {
	*lifecycle.Lifecycle
	labels *provenance.Labels
}

func (d directory) Facts(agent act.ID) policy.PrincipalFacts {
	f := d.Lifecycle.Facts(agent)
	label := d.labels.Of(agent, f.Class != "")
	return policy.PrincipalFacts{
		Standing: f.Standing, Claimed: f.Claimed, Owner: f.Owner, Team: f.Team, Class: f.Class, Clearance: f.Clearance,
		Mandate: f.Mandate, Parent: f.Parent, Root: f.Root, Depth: uint8(min(f.Depth, math.MaxUint8)),
		Integrity: label.Integrity, Secrecy: label.Secrecy, Trust: f.Trust,
	}
}

// all yields every agent that has not ended, with its facts.
func (d directory) all(yield func(act.ID, policy.PrincipalFacts) bool) {
	d.Each(func(id act.ID) bool {
		f := d.Facts(id)
		return f.Standing.Final() || yield(id, f)
	})
}

// owners gives network what lifecycle and identity know of agents' owners.
type owners struct {
	lifecycle *lifecycle.Lifecycle
	identity  *identity.Service
}

func (o owners) OwnerOf(v *store.View, agent act.ID) (string, error) {
	return o.identity.OwnerName(v, o.lifecycle.Facts(agent).Owner)
}

func (o owners) AgentOf(v *store.View, owner string) (agent act.ID, found bool, err error) {
	id, found, err := o.identity.Owner(v, owner)
	if err != nil || !found {
		return 0, false, err
	}
	return o.lifecycle.OnlyAgent(v, id)
}

func (o owners) Answers(v *store.View, p act.Principal, agent act.ID) (string, []gate.Guard, error) {
	owner := o.lifecycle.Facts(agent).Owner
	guards, err := o.identity.Answers(v, p, owner)
	if err != nil || len(guards) == 0 {
		return "", nil, err
	}
	name, err := o.identity.OwnerName(v, owner)
	return name, guards, err
}

func (o owners) AgentsOf(v *store.View, p act.Principal) ([]act.ID, error) {
	owner, found, err := o.identity.OwnerBy(v, p.ID)
	if err != nil || !found {
		return nil, err
	}
	return o.lifecycle.AgentsOf(v, owner.ID)
}

// flying counts what agents have under way, on this node where it is the node's.
func (s *Server) flying(v *store.View, in func(act.ID) bool) (lifecycle.Flying, error) {
	f, err := s.Network.Flying(v, in)
	return lifecycle.Flying{Streams: s.API.Streaming(in), Webhooks: f.Webhooks, Leases: f.Leases, Deliveries: f.Deliveries}, err
}

func policyPublic(key ed25519.PrivateKey) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey)
}

// networkCode tells networks apart in their kill logs: it comes from the check
// value of the network's key.
func networkCode(check []byte) string { return hex.EncodeToString(check[:8]) }

// busPrefix keeps the signals of networks on one NATS apart, and is the same on
// all nodes of a network however each reaches the database: it comes from the
// check value of the network's key.
func busPrefix(check []byte) string {
	h := fnv.New64a()
	_, _ = h.Write(check)
	return "n" + strconv.FormatUint(h.Sum64(), 36)
}

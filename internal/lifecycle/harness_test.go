package lifecycle_test

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
	"github.com/reefwarden/reefwarden/internal/span"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// house is one node with everything that stands behind the gate: real policy,
// audit log, provenance, network and bus.
type house struct {
	t        testing.TB
	dir      string // the key and the operator's token
	db       *store.DB
	gate     *gate.Gate
	ids      *identity.Service
	keys     *identity.Keys
	life     *lifecycle.Lifecycle
	net      *network.Network
	labels   *provenance.Labels
	issuer   *identity.Issuer
	operator act.Principal
	ports    gate.Ports
	fault    *fault
}

type plan struct {
	dir  string // of another node of the same network; "" makes one
	hub  *bus.Local
	deaf bool // cut off from the bus

	rules policy.File // beside the default ones; none without a name
	life  lifecycle.Config
}

// directory is the adapter that server has, too.
type directory struct{ *lifecycle.Lifecycle }

func (d directory) Facts(agent act.ID) policy.PrincipalFacts {
	f := d.Lifecycle.Facts(agent)
	return policy.PrincipalFacts{Standing: f.Standing, Claimed: f.Claimed, Owner: f.Owner, Class: f.Class, Trust: f.Trust}
}

// fault makes every write fail at a step while it is set, or once.
type fault struct {
	step atomic.Int32 // store.Step + 1; 0 is none
	once atomic.Bool
	err  error
	hits atomic.Int32
	skip atomic.Int32 // so often it does not fail
}

func (f *fault) at(s store.Step) error {
	if f.step.Load() != int32(s)+1 {
		return nil
	}
	if f.skip.Add(-1) >= 0 {
		return nil
	}
	if f.once.Load() {
		if !f.step.CompareAndSwap(int32(s)+1, 0) {
			return nil
		}
	}
	f.hits.Add(1)
	return f.err
}

func (f *fault) set(s store.Step, err error) { f.err = err; f.step.Store(int32(s) + 1) }
func (f *fault) clear()                      { f.step.Store(0) }

// open starts a node on the database of cfg and stops it with the test.
func open(t testing.TB, cfg store.Config, p plan) *house {
	t.Helper()
	ctx := context.Background()
	h := &house{t: t, dir: p.dir, fault: &fault{}}
	if h.dir == "" {
		h.dir = t.TempDir()
	}
	if p.hub == nil {
		p.hub = bus.NewLocal()
	}
	cfg.Fault = h.fault.at
	h.db = storetest.OpenConfig(t, cfg)
	var err error
	must := func(what string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	h.keys, err = identity.LoadKeys(filepath.Join(h.dir, "keys", "master"))
	must("keys")
	err = h.db.Pin(ctx, "network key", h.keys.Check())
	must("pin")
	codec, err := act.NewCodec(h.keys.CodecKey())
	must("codec")
	signals, err := bus.Open(ctx, bus.Config{Local: p.hub, Prefix: "test", Fault: func(string) bus.Fault { return bus.Fault{Drop: p.deaf} }})
	must("bus")
	t.Cleanup(signals.Close)
	h.gate = gate.New(h.db, signals, gate.Config{Limits: gate.LimitsOpen})
	h.ids = identity.New(h.db, h.keys, identity.Config{})
	h.net = network.New(h.gate, h.db, network.Config{})
	p.life.Born, p.life.Ended, p.life.Said = h.net.Born, h.net.Ended, h.net.Said
	p.life.Canary = func(ctx context.Context, p act.Principal, write bool) (err error) {
		if write {
			_, err = h.net.ReadNotifications.Do(ctx, p, network.NotificationRead{})
		} else {
			_, err = h.net.Me.Do(ctx, p, network.Nothing{})
		}
		return err
	}
	p.life.Answers, p.life.Refusals = h.net.Answers, audit.Refusals
	p.life.Likes = h.net.Likes
	h.life = lifecycle.New(h.gate, h.db, h.ids, p.life)
	h.issuer, err = identity.NewIssuer(h.gate, h.ids, identity.IssuerConfig{Codec: codec, URL: func() string { return "http://network.example" }, Agents: h.life, Domain: "network.example"})
	must("issuer")
	_, err = identity.NewConsents(h.gate, h.issuer, nil)
	must("consents")
	manifest.New(manifest.Config{Gate: h.gate, Policies: policy.NewOffice(policy.OfficeConfig{Gate: h.gate})})
	passkey.New(passkey.Config{Gate: h.gate, Identity: h.ids, URL: func() string { return "http://network.example" }, Clock: h.db.Clock()})
	// The default policies speak of these acts, too.
	identity.NewBindings(h.gate, h.ids)
	h.labels = provenance.NewLabels(provenance.LabelsConfig{Gate: h.gate, DB: h.db, Codec: codec, Reason: identity.CheckReason, Governed: h.life.Governed})
	audit.NewActs(audit.ActsConfig{Gate: h.gate, DB: h.db, Codec: codec})
	export.NewControls(export.ControlsConfig{Gate: h.gate})
	graph.Open(graph.Config{Gate: h.gate, DB: h.db, Graph: graph.New(0)})
	span.New(h.gate, span.Config{})
	var acts []policy.ActInfo
	for _, a := range h.gate.Acts() {
		acts = append(acts, policy.InfoOf(a))
	}
	key := h.keys.PolicyKey()
	public, _ := key.Public().(ed25519.PublicKey)
	engine := policy.New(policy.Config{Key: public, Codec: codec, Directory: directory{h.life}, Acts: acts})
	var brought policy.Draft
	if p.rules.Name != "" {
		brought.Files = []policy.File{p.rules}
	}
	bundle, err := policy.Compose(brought, policy.DefaultVersion, time.Now())
	must("bundle")
	_, err = policy.Sign(bundle, key)
	must("sign")
	err = engine.Activate(bundle)
	must("activate")
	tracer := provenance.New(h.db, provenance.Config{Recheck: h.life.Recheck})
	tracer.Start(ctx)
	t.Cleanup(func() { _ = tracer.Close() }) // fails where the test has closed the database
	h.ports = gate.Ports{
		Standings: h.life, Decider: engine, Recorder: audit.New(audit.Config{Codec: codec}),
		Tracer: tracer, Meter: telemetry.NewMetrics(), Holds: h.life, Credentials: h.ids, Bounds: h.life,
	}
	h.gate.Plug(h.ports)
	err = h.gate.Start(ctx, h.life.Start)
	must("start")
	t.Cleanup(h.gate.Close)
	token := filepath.Join(h.dir, "operator.token")
	err = h.ids.EnsureOperator(ctx, "operator", token)
	must("operator")
	text, err := os.ReadFile(token)
	must("token")
	h.operator, err = h.ids.Authenticate(ctx, strings.TrimSpace(string(text)))
	must("authenticate the operator")
	return h
}

// each runs fn with one node on each database.
func each(t *testing.T, p plan, fn func(t *testing.T, h *house)) {
	t.Helper()
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		h := open(t, cfg, p)
		fn(t, h)
		h.check()
	})
}

var stranger = act.Principal{Source: "somewhere"}

// invite makes an invite code.
func (h *house) invite(owner string) string {
	h.t.Helper()
	out, err := h.life.Invite.Do(h.t.Context(), h.operator, lifecycle.NewInvite{Owner: owner})
	if err != nil {
		h.t.Fatalf("invite: %v", err)
	}
	return out.Code
}

// register registers an agent with a fresh invite.
func (h *house) register(name string) lifecycle.Registered {
	h.t.Helper()
	out, err := h.life.Register.Do(h.t.Context(), stranger, lifecycle.NewAgent{Name: name, Invite: h.invite("")})
	if err != nil {
		h.t.Fatalf("register %s: %v", name, err)
	}
	return out
}

// active registers and claims an agent and returns it as a principal.
func (h *house) active(name string) (act.Principal, lifecycle.Registered) {
	h.t.Helper()
	r := h.register(name)
	if _, err := h.life.Claim.Do(h.t.Context(), h.operator, lifecycle.NewClaim{Agent: r.Agent, Owner: "owner"}); err != nil {
		h.t.Fatalf("claim %s: %v", name, err)
	}
	return h.principal(r.Key), r
}

func (h *house) principal(key string) act.Principal {
	h.t.Helper()
	p, err := h.ids.Authenticate(h.t.Context(), key)
	if err != nil {
		h.t.Fatalf("authenticate: %v", err)
	}
	return p
}

// reads and writes try an act of an agent's own.
func (h *house) reads(p act.Principal) error {
	_, err := h.net.Me.Do(context.Background(), p, network.Nothing{})
	return err
}

func (h *house) writes(p act.Principal) error {
	text := "still here"
	_, err := h.net.UpdateProfile.Do(context.Background(), p, network.ProfileChange{Description: &text})
	return err
}

func (h *house) show(agent act.ID) lifecycle.Agent {
	h.t.Helper()
	a, err := h.life.Show.Do(context.Background(), h.operator, lifecycle.Named{Agent: agent})
	if err != nil {
		h.t.Fatalf("show: %v", err)
	}
	return a
}

const (
	qCount       store.Q = `SELECT COUNT(*) FROM agent`
	qInvitesUsed store.Q = `SELECT COUNT(*) FROM invite WHERE used_at > 0`
	qNoProfile   store.Q = `SELECT COUNT(*) FROM agent AS a LEFT JOIN profile AS p ON p.id = a.id WHERE p.id IS NULL`
	qNoKey       store.Q = `SELECT COUNT(*) FROM agent AS a LEFT JOIN credential AS c ON c.subject = a.id WHERE c.id IS NULL`
	qEvents      store.Q = `SELECT COUNT(*) FROM event WHERE act = $1 AND ref = $2`
	qRegistered  store.Q = `SELECT COUNT(*) FROM event WHERE act = 'agent.register' AND ref > 0`
)

func (h *house) count(q store.Q, args ...any) (n int64) {
	h.t.Helper()
	if err := h.db.View(context.Background(), func(v *store.View) error {
		_, err := v.One(q, func(r *store.Row) error { n = r.Int(0); return nil }, args...)
		return err
	}); err != nil {
		h.t.Fatalf("count: %v", err)
	}
	return n
}

// check asserts what must hold after whatever happened.
func (h *house) check() {
	h.t.Helper()
	if h.t.Failed() {
		return
	}
	violations, err := lifecycle.Check(context.Background(), h.db)
	if err != nil || len(violations) > 0 {
		h.t.Errorf("invariants: %v, %v", violations, err)
	}
	for what, q := range map[string]store.Q{
		"agents without a profile": qNoProfile, "agents without a key": qNoKey,
	} {
		if n := h.count(q); n != 0 {
			h.t.Errorf("%s: %d", what, n)
		}
	}
	if agents, leaves := h.count(qCount), h.count(qRegistered); agents != leaves {
		h.t.Errorf("%d agents, %d registrations on record", agents, leaves)
	}
}

// is fails the test unless err has the code and rule.
func is(t testing.TB, what string, err error, code act.Code, rule string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: done, want %s %s", what, code, rule)
		return
	}
	e := act.AsError(err)
	if e.Code != code || e.Rule != rule {
		t.Errorf("%s: %v (rule %q, cause %v), want %s (rule %q)", what, e, e.Rule, e.Unwrap(), code, rule)
	}
	if e.Hint == "" {
		t.Errorf("%s: %v has no hint", what, e)
	}
}

// eventually polls until ok or a deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

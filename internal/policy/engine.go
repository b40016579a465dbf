package policy

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
)

// Directory knows the facts about agents that policies use (package lifecycle).
type Directory interface {
	// Facts answers from memory in under 100 ns without allocating. It is asked
	// for agents only; an unknown agent has the zero facts.
	Facts(agent act.ID) PrincipalFacts
}

// PrincipalFacts are the attributes of an agent that policies may use. A zero field says
// that it has none, or that nobody knows.
type PrincipalFacts struct {
	Standing  act.Standing
	Claimed   bool
	Owner     act.ID              // 0 while nobody owns it
	Class     string              // name of its class
	Team      string              // name of the team that its owner works in
	Site      string              // name of the site that it runs at; "" is the network itself
	Mandate   act.ID              // that it works under
	Parent    act.ID              // the agent that spawned it
	Root      act.ID              // the agent at the top of its lineage; its own id is as good as 0
	Depth     uint8               // generations below Root
	Trust     trust.Level         // what it has earned
	Clearance gate.Classification // the most confidential that it may see
	Integrity gate.Integrity      // the least reliable that it was shown
	Secrecy   gate.Classification // the most confidential that it was shown
	Fresh     bool                // of an operator: they have proved who they are a short time ago
	Passkey   bool                // of an operator: they have done so by a passkey
}

// rootOf is the root of the lineage of the agent that has the facts.
func (f *PrincipalFacts) rootOf(agent act.ID) act.ID {
	if f.Root == 0 {
		return agent
	}
	return f.Root
}

// ActInfo is what the engine must know of a registered act.
type ActInfo struct {
	Name string
	Doc  string // one line, for the published schema
	// Kinds are the kinds of things the act, or the filter of a read, can be
	// about. Empty means any; the network itself always is one.
	Kinds []act.Kind
	Read  bool // its policies may use class attributes only

	Redacts, Attenuates bool // which obligations it can honour, see gate.Ability
}

// recordAct is done by the gate itself and is in no registry.
const recordAct = "denial.record"

// DefaultCacheSize is how many decisions are kept when Config.CacheSize is 0.
const DefaultCacheSize = 1 << 16

// DefaultFresh is how long an operator's sign-in is good for what is destructive.
const DefaultFresh = 5 * time.Minute

// Config makes an engine. Key, Directory and Acts are required.
type Config struct {
	Key       ed25519.PublicKey // the network's policy key: no other bundle is activated
	Codec     *act.Codec        // reads ids in policies; nil refuses policies that hold any
	Directory Directory
	Acts      []ActInfo
	Log       *slog.Logger
	CacheSize int // decisions kept by key, DefaultCacheSize if 0, none below 0; what was met lately (front) is beside them, and bounded by itself

	Clock act.Clock     // act.RealClock if nil
	Fresh time.Duration // how long operators are fresh after they proved who they are; DefaultFresh if 0

	// What the network is configured to be; policies see it as context.
	AnonymousAPI   bool // reads without a credential
	ObserverPages  bool // everybody may read the pages
	OwnKeyApproval bool // an agent's own key approves conversations
	Challenge      bool // new content is challenged
	TwoPersons     bool // what changes the policies is approved by somebody else

	Keeper *Keeper // keeps what is decided; nil keeps nothing
}

// Engine decides. It is safe for concurrent use.
type Engine struct {
	key       ed25519.PublicKey
	codec     *act.Codec
	directory Directory
	log       *slog.Logger
	tables    []*table
	acts      map[string]*table
	context   types.Record
	schema    *resolved.Schema
	defect    error // what is wrong with the registered acts
	clock     act.Clock
	fresh     int64 // microseconds
	keeper    *Keeper

	activate sync.Mutex // one activation at a time
	current  atomic.Pointer[snapshot]
	beside   atomic.Pointer[shadow] // a bundle that decides beside the one in force; nil for none

	// front remembers what was met lately, and cache maps a key to the answer, so that
	// a million agents need few of them. Answers of older bundles stay until they
	// are pushed out, unreachable because the version is in the key. Both are nil
	// where nothing is to be remembered.
	front *front
	cache *otter.Cache[key, *gate.Decision]
}

// table is an act as the engine knows it.
type table struct {
	index  uint16
	name   string
	doc    string
	action types.EntityUID
	kinds  uint32 // bit k: it can be about act.Kind k
	read   bool
	can    gate.Ability
}

func (t *table) kindTypes() (list []types.EntityType) {
	for k, name := range kindTypes {
		if t.kinds>>k&1 == 1 {
			list = append(list, name)
		}
	}
	return list
}

var _ gate.Decider = (*Engine)(nil)

// New returns an engine without a bundle: it denies everything until the first
// Activate.
func New(c Config) *Engine {
	e := &Engine{
		key: slices.Clone(c.Key), codec: c.Codec, directory: c.Directory, log: c.Log, acts: make(map[string]*table),
		context: types.NewRecord(types.RecordMap{
			attrAnonymousAPI: types.Boolean(c.AnonymousAPI), attrObserverPages: types.Boolean(c.ObserverPages),
			attrOwnKeyApproval: types.Boolean(c.OwnKeyApproval), attrChallenge: types.Boolean(c.Challenge),
			attrTwoPersons: types.Boolean(c.TwoPersons),
		}),
		keeper: c.Keeper,
	}
	if e.clock = c.Clock; e.clock == nil {
		e.clock = act.RealClock
	}
	if e.fresh = c.Fresh.Microseconds(); e.fresh == 0 {
		e.fresh = DefaultFresh.Microseconds()
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.tables = tablesOf(c.Acts)
	for _, t := range e.tables {
		e.acts[t.name] = t
	}
	e.schema, e.defect = schemaOf(e.tables)
	if c.CacheSize >= 0 {
		e.front = new(front)
		e.cache = otter.Must(&otter.Options[key, *gate.Decision]{MaximumSize: cmp.Or(c.CacheSize, DefaultCacheSize)})
	}
	return e
}

// tablesOf makes the tables of the acts, and of those that are in no registry.
func tablesOf(acts []ActInfo) (list []*table) {
	known := make(map[string]bool)
	for _, a := range append(slices.Clone(acts), ActInfo{Name: recordAct, Kinds: []act.Kind{act.KindNetwork}}) {
		if known[a.Name] {
			continue
		}
		known[a.Name] = true
		t := &table{
			index: uint16(len(list)), name: a.Name, doc: a.Doc, read: a.Read,
			action: types.NewEntityUID(typeAction, types.String(a.Name)), kinds: 1 << act.KindNetwork,
			can: gate.Ability{Write: !a.Read, Redacts: a.Redacts, Attenuates: a.Attenuates},
		}
		for _, k := range a.Kinds {
			if int(k) < kindCount && k != act.KindNone {
				t.kinds |= 1 << k
			}
		}
		if len(a.Kinds) == 0 {
			t.kinds = 1<<kindCount - 2 // all but none
		}
		list = append(list, t)
	}
	return list
}

// Activate puts a bundle in force, whole or not at all. When it returns nil,
// every Decide that begins afterwards is decided by it. It fails with the rule
// that the bundle breaks (bundle.schema, bundle.signature, bundle.version,
// bundle.policy, bundle.test and those of [Parse]); then the bundle in force stays.
// Activating the bundle in force again does nothing.
func (e *Engine) Activate(b *Bundle) error {
	if e.defect != nil {
		return act.Errorf(act.Internal, "no bundle can be activated: %w", e.defect)
	}
	if b == nil {
		return refuse("bundle.form", "there is no bundle")
	}
	if err := b.form(); err != nil {
		return err
	}
	if err := b.verify(e.key); err != nil {
		return err
	}
	e.activate.Lock()
	defer e.activate.Unlock()
	if now := e.current.Load(); now != nil {
		switch {
		case b.Version == now.version && b.Digest == now.digest:
			return nil
		case b.Version <= now.version:
			return olderThan(b.Version, now.version)
		}
	}
	began, problems := e.compile(b)
	if len(problems) > 0 {
		return refuseProblems(problems)
	}
	if err := refuseTrials(e.trials(began, b)); err != nil {
		return err
	}
	e.current.Store(began)
	e.log.Info("policy bundle in force", "version", b.Version, "policies", len(began.rules), "digest", fmt.Sprintf("%x", b.Digest[:8]))
	return nil
}

// Ready returns nil when a valid bundle is in force.
func (e *Engine) Ready() error {
	if e.current.Load() == nil {
		return act.Errorf(act.Unavailable, "no policy bundle is in force").WithRule(noBundle).
			WithHint("activate a signed bundle; until then everything is denied")
	}
	return nil
}

// Version returns the version of the bundle in force, 0 when there is none.
func (e *Engine) Version() int64 {
	if s := e.current.Load(); s != nil {
		return s.version
	}
	return 0
}

// Rules lists the ids of the policies in force that can apply to an act, in the
// order of the bundle.
func (e *Engine) Rules(name string) []string {
	s := e.current.Load()
	if s == nil {
		return nil
	}
	var ids []string
	for _, r := range s.naming[name] {
		ids = append(ids, r.id)
	}
	return ids
}

// Decide answers a question under the bundle in force. It never fails: what
// cannot be decided is denied. The obligations of the answer are shared; they
// must not be changed.
func (e *Engine) Decide(p act.Principal, q gate.Question) gate.Decision {
	var t sitting
	e.sit(&t, &p, q.Act)
	return *t.Decide(q.Resource)
}

// Sit implements gate.Decider.
func (e *Engine) Sit(p act.Principal, name string) gate.Sitting {
	t := new(sitting)
	e.sit(t, &p, name)
	return t
}

// decided answers a question that was not met lately.
func (e *Engine) decided(s *snapshot, x *sample) *gate.Decision {
	k, ok := e.keyNow(s, x)
	if !ok {
		return &gate.Decision{Policy: DefaultDeny, Bundle: s.version, Hint: "No policy lets anyone do " + x.act.name + " on such a thing."}
	}
	return e.cached(s, x.act, k)
}

// cached answers a key from what is remembered, or evaluates it.
func (e *Engine) cached(s *snapshot, t *table, k key) *gate.Decision {
	if e.cache == nil {
		return e.evaluate(s, t, k)
	}
	if known, ok := e.cache.GetIfPresent(k); ok {
		return known
	}
	fresh := e.evaluate(s, t, k)
	e.cache.Set(k, fresh)
	return fresh
}

// isFresh reports whether it is a short time ago that an operator proved who they are.
// Who sends the operators' own token proves it with each call, and needs no passkey: it
// is there for the day on which nothing else works.
func (e *Engine) isFresh(p *act.Principal, proved int64) bool {
	return p.Binding == act.BindingOperator || proved > 0 && act.Micros(e.clock())-proved < e.fresh
}

// evaluate decides by the candidates that the index yields.
func (e *Engine) evaluate(s *snapshot, t *table, k key) *gate.Decision {
	return e.evaluateIn(s, t, k, e.context)
}

// evaluateIn is evaluate in a network of other settings.
func (e *Engine) evaluateIn(s *snapshot, t *table, k key, context types.Record) *gate.Decision {
	q := s.request(k)
	context = q.context(context)
	found := s.cells[t.index][k.principal].find(s, &k)
	_, diag := cedar.Authorize(found, q, cedar.Request{
		Principal: q.principal, Action: t.action, Resource: q.resource, Context: context,
	})
	for _, failed := range diag.Errors {
		e.log.Warn("policy cannot be evaluated", "policy", found.rule(failed.PolicyID).id, "act", t.name, "bundle", s.version, "err", failed.Message)
	}
	if d := s.outcome(diag, found); d != nil {
		return d
	}
	return s.defaultDeny(t, k, found)
}

// outcome makes an answer of what the evaluator found; nil when nothing matched.
// The first policy in the bundle's order is named, and every policy that had a
// part in the answer adds its obligations.
func (s *snapshot) outcome(diag cedar.Diagnostic, found *candidates) *gate.Decision {
	var matched []*rule
	for _, reason := range diag.Reasons {
		matched = append(matched, found.rule(reason.PolicyID))
	}
	slices.SortFunc(matched, inOrder)
	if len(matched) == 0 || !matched[0].forbid {
		// Cedar passes over a policy that fails. A forbid that fails might have
		// matched, so here it denies.
		var failed []*rule
		for _, f := range diag.Errors {
			if r := found.rule(f.PolicyID); r.forbid {
				failed = append(failed, r)
			}
		}
		if len(failed) > 0 {
			return s.broken(slices.MinFunc(failed, inOrder))
		}
	}
	if len(matched) == 0 {
		return nil
	}
	first := matched[0]
	all := first.obligations
	for _, r := range matched[1:] {
		for _, o := range r.obligations {
			if !slices.Contains(all, o) {
				all = append(slices.Clip(all), o)
			}
		}
	}
	if len(all) == len(first.obligations) {
		return first.decision
	}
	return s.decision(first, all)
}

func inOrder(a, b *rule) int { return a.seq - b.seq }

// defaultDeny is the answer when nothing matched. Its hint says what the
// permits that came closest ask for.
func (s *snapshot) defaultDeny(t *table, k key, found *candidates) *gate.Decision {
	who := [...]string{
		act.Observer: "an anonymous caller", act.Agent: "this agent", act.Operator: "an operator", act.System: "the server",
	}
	hints := []string{"No policy lets " + who[k.principal] + " do " + t.name + " here."}
	for r := range found.rules() {
		if !r.forbid && r.hint != "" && !slices.Contains(hints, r.hint) && len(hints) < 3 {
			hints = append(hints, r.hint)
		}
	}
	if len(hints) == 1 {
		if k.principal == act.Observer {
			hints = append(hints, "Register an agent and send its key.")
		} else {
			hints = append(hints, "If it should be allowed, ask an operator for a policy that permits it.")
		}
	}
	return &gate.Decision{Policy: DefaultDeny, Bundle: s.version, Hint: strings.Join(hints, " ")}
}

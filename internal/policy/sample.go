package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// sample is everything that a decision was made of, before any policy's names have
// folded it: what a bundle that is not in force would have decided by. It is comparable.
type sample struct {
	asker
	act *table
	on  gate.Facts

	// author is who is behind the thing, on.Author, as far as the bundle in force asks: else
	// both are zero, or there would be a sample for each pair of agents.
	author PrincipalFacts
}

// asker is a principal as policies may see it.
type asker struct {
	kind  act.PrincipalKind
	who   act.ID
	name  string // of a part of the server, or of observers
	roles uint8
	facts PrincipalFacts
}

// asked makes the asker a, which is zero, of a principal: it asks the directory for what
// policies may look at.
func (e *Engine) asked(a *asker, p *act.Principal) {
	a.kind, a.who = p.Kind, p.ID
	switch p.Kind {
	case act.Agent:
		a.facts = e.directory.Facts(p.ID)
	case act.Operator:
		a.roles = p.Roles
		// Who asked for what somebody else has approved had proved who they are when they did.
		a.facts.Fresh, a.facts.Passkey = p.Approval != 0 || e.isFresh(p, p.AuthAt), e.isFresh(p, p.PasskeyAt)
	case act.System, act.Observer:
		a.name = p.Name
	}
}

// fold drops who is behind a thing, and how far it is to be relied on, where no policy for
// the act asks about that: else every author would make it another thing.
func (s *snapshot) fold(t *table, f *gate.Facts) {
	if s.looks[t.index]&looksAuthor == 0 {
		f.Author = 0
	}
	if s.looks[t.index]&looksIntegrity == 0 {
		f.Integrity = 0
	}
}

// keyNow is the key of a sample under a bundle; ages are those of now.
func (e *Engine) keyNow(s *snapshot, x *sample) (key, bool) {
	now := int64(0)
	if s.looks[x.act.index]&looksAges != 0 {
		now = act.Micros(e.clock())
	}
	return s.key(x, now)
}

// decide is what a bundle decides about a sample, whether it is in force or not. Nothing
// is cached, and nothing is kept of it.
func (e *Engine) decide(s *snapshot, x sample, context types.Record) *gate.Decision {
	k, ok := e.keyNow(s, &x)
	if !ok {
		return &gate.Decision{Policy: DefaultDeny, Bundle: s.version}
	}
	return e.evaluateIn(s, x.act, k, context)
}

// Results of decisions, as they are counted and compared: two decisions are alike when
// the caller meets the same.
const (
	ResultAllow     = "allow"
	ResultDeny      = "deny"
	ResultHold      = "hold"      // it waits for a human
	ResultChallenge = "challenge" // it waits for the agent's own answer
)

var results = []string{ResultAllow, ResultDeny, ResultHold, ResultChallenge}

func resultOf(d *gate.Decision) string {
	demands := func(name string) bool {
		return slices.ContainsFunc(d.Obligations, func(o gate.Obligation) bool { return o.Name == name })
	}
	switch {
	case !d.Allow:
		return ResultDeny
	case demands(gate.Hold):
		return ResultHold
	case demands(gate.Challenge):
		return ResultChallenge
	}
	return ResultAllow
}

// gains reports whether somebody may do more after a change of result.
func gains(was, now string) bool { return rank(now) > rank(was) }

func rank(result string) int {
	return slices.Index([]string{ResultDeny, ResultHold, ResultChallenge, ResultAllow}, result)
}

// wireSample is a sample as a row has it.
type wireSample struct {
	Kind  string         `json:"k"`
	Name  string         `json:"n,omitempty"`
	Roles uint8          `json:"r,omitempty"`
	Facts map[string]any `json:"f,omitempty"`
	On    map[string]any `json:"o,omitempty"`

	Author map[string]any `json:"a,omitempty"`
}

// body is what a row keeps of a sample beside its principal and its act. Equal samples
// have equal bodies.
func (x sample) body() ([]byte, error) {
	return json.Marshal(wireSample{x.kind.String(), x.name, x.roles, spell(x.facts, rowName), spell(x.on, rowName), spell(x.author, rowName)})
}

// readSample reads a row's sample. ok is false for an act that there is no more.
func (e *Engine) readSample(who act.ID, name string, body []byte) (x sample, ok bool, err error) {
	t := e.acts[name]
	if t == nil {
		return x, false, nil
	}
	var w wireSample
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&w); err != nil {
		return x, false, fmt.Errorf("a decision that is kept: %w", err)
	}
	x = sample{asker: asker{who: who, name: w.Name, roles: w.Roles}, act: t}
	if x.kind, ok = kindNamed(w.Kind); !ok {
		return x, false, fmt.Errorf("a decision that is kept is of a %q", w.Kind)
	}
	if err := unspell(&x.facts, w.Facts, rowID); err != nil {
		return x, false, fmt.Errorf("a decision that is kept: %w", err)
	}
	if err := unspell(&x.on, w.On, rowID); err != nil {
		return x, false, fmt.Errorf("a decision that is kept: %w", err)
	}
	if err := unspell(&x.author, w.Author, rowID); err != nil {
		return x, false, fmt.Errorf("a decision that is kept: %w", err)
	}
	return x, true, nil
}

func kindNamed(name string) (act.PrincipalKind, bool) {
	for k := act.Observer; k <= act.System; k++ {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// contextOf makes the context of a decision from what is switched on.
func contextOf(on map[string]bool) types.Record {
	m := make(types.RecordMap)
	for _, attr := range settings() {
		m[attr] = types.Boolean(on[string(attr)])
	}
	return types.NewRecord(m)
}

// settings lists what of the context is how the network is configured.
func settings() []types.String {
	return slices.DeleteFunc(attributes(varContext), func(a types.String) bool { return a == attrLabels })
}

package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// Annotations of a policy. Others are refused, so that a misspelled obligation
// is not an obligation lost.
const (
	noteID   types.AnnotationKey = "id"
	noteHint types.AnnotationKey = "hint"
	noteHold types.AnnotationKey = gate.Hold
	noteRisk types.AnnotationKey = "risk"
)

// obligations are the annotations that come back as gate.Obligation, with the
// annotation's value as argument.
var obligations = []types.AnnotationKey{noteHold, gate.Challenge, gate.Redact, gate.Attenuate, gate.Notify, noteRisk}

// Ids that decisions carry when no policy decided. No policy may take them.
const (
	DefaultDeny = "default-deny"    // nothing permitted it
	noBundle    = "no-bundle"       // there are no policies in force
	panicked    = "evaluator-panic" // a defect in the evaluator
)

const (
	maxHint      = 400 // bytes
	maxArg       = 100 // bytes of an obligation's argument
	maxProblems  = 20  // a bundle with more is not looked at further
	shownProblem = 5   // of them stand in the error's message
)

var policyID = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,99}$`)

// snapshot is a bundle, compiled. It never changes after compile.
type snapshot struct {
	version int64
	digest  [32]byte
	rules   []*rule
	naming  map[string][]*rule // by act
	names   names
	looks   []looks                      // by index of the act: what its policies look at
	cells   [][len(principalTypes)]*cell // by index of the act, then sort of principal
}

// compiler turns the files of a bundle into a snapshot.
type compiler struct {
	*snapshot
	acts     map[string]*table
	kinds    map[types.EntityType]bool // that a resource can be of
	codec    *act.Codec
	typed    *validate.Validator
	schema   *resolved.Schema // of typed
	problems []Problem
	used     map[string]string          // id of a policy to its place
	known    map[types.String]act.ID    // ids that stand in policies
	residues map[string][]*cedar.Policy // by their text
}

// compile checks every policy of a bundle and indexes them. It gives up after
// maxProblems; with any problem there is no snapshot.
func (e *Engine) compile(b *Bundle) (s *snapshot, problems []Problem) {
	defer func() {
		if r := recover(); r != nil {
			s, problems = nil, []Problem{{Place: b.Files[0].Name, Text: fmt.Sprintf("a policy breaks the parser: %v", r)}}
		}
	}()
	s = &snapshot{
		version: b.Version, digest: b.Digest, naming: make(map[string][]*rule),
		names: newNames(),
	}
	c := &compiler{
		snapshot: s, acts: e.acts, codec: e.codec, kinds: make(map[types.EntityType]bool),
		typed: validate.New(e.schema), schema: e.schema, used: make(map[string]string),
		known: make(map[types.String]act.ID), residues: make(map[string][]*cedar.Policy),
	}
	for _, t := range e.tables {
		for _, k := range t.kindTypes() {
			c.kinds[k] = true
		}
	}
	for _, f := range b.Files {
		if c.file(f); len(c.problems) >= maxProblems {
			break
		}
	}
	if len(c.rules) == 0 && len(c.problems) == 0 {
		c.problems = append(c.problems, Problem{Place: b.Files[0].Name, Text: "the bundle has no policies"})
	}
	if len(c.problems) == 0 {
		c.problems = s.index(e.tables)
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return s, nil
}

func (c *compiler) file(f File) {
	chunks, problem := split(f.Name, f.Text)
	if problem != nil {
		c.problems = append(c.problems, *problem)
		return
	}
	if len(c.rules)+len(chunks) > MaxPolicies {
		c.problems = append(c.problems, Problem{Place: f.Name, Text: fmt.Sprintf("the bundle has more than %d policies", MaxPolicies)})
		return
	}
	for _, ch := range chunks {
		if c.chunk(f.Name, ch); len(c.problems) >= maxProblems {
			return
		}
	}
}

// chunk compiles the one policy of a chunk.
func (c *compiler) chunk(file string, ch chunk) {
	ast, line, problem := parseChunk(file, ch)
	if problem != nil {
		c.problems = append(c.problems, *problem)
		return
	}
	k := &checker{
		compiler: c, place: place(file, line),
		seen: make(map[types.String]int), fine: make(map[types.String]int), uses: make(map[*attribute]int), plain: make(map[*attribute]int),
	}
	r := &rule{seq: len(c.rules), place: k.place, forbid: ast.Effect == xast.EffectForbid}
	for _, cond := range ast.Conditions {
		if _, depth := measure(cond.Body); depth > maxDepth {
			k.problem("the condition is nested deeper than %d", maxDepth)
		}
	}
	if len(k.problems) == 0 {
		k.annotations(r, ast)
		k.policy(ast)
	}
	if len(k.problems) == 0 { // what the checker has said need not be said twice
		k.typeCheck(ast)
	}
	if len(k.problems) == 0 {
		var rest *xast.Policy
		r.reach, rest = reachOf(ast)
		r.residue, r.nodes = c.residue(rest)
		r.looks = k.looks
		for _, uid := range r.reach.need {
			r.needs = append(r.needs, c.need(uid))
		}
		k.classAttributes(r)
		k.honoured(r)
	}
	c.problems = append(c.problems, k.problems...)
	c.add(r)
}

// residue compiles what is left of a policy, or finds one that is equal: ten
// thousand policies that differ by owner only are one expression.
func (c *compiler) residue(p *xast.Policy) (compiled *cedar.Policy, nodes int) {
	nodes = perPolicy
	for _, cond := range p.Conditions {
		n, _ := measure(cond.Body)
		nodes += n
	}
	policy := cedar.NewPolicyFromAST((*cedarast.Policy)(p))
	text := string(policy.MarshalCedar())
	for _, other := range c.residues[text] {
		if equalPolicies(p, (*xast.Policy)(other.AST())) {
			return other, nodes
		}
	}
	c.residues[text] = append(c.residues[text], policy)
	return policy, nodes
}

// equalPolicies compares two policies without scopes.
func equalPolicies(a, b *xast.Policy) bool {
	return a.Effect == b.Effect && slices.EqualFunc(a.Conditions, b.Conditions, func(x, y xast.ConditionType) bool {
		return x.Condition == y.Condition && xast.Equal(xast.NewNode(x.Body), xast.NewNode(y.Body))
	})
}

// annotations reads what stands before the policy.
func (c *checker) annotations(r *rule, p *xast.Policy) {
	for _, a := range p.Annotations {
		switch {
		case a.Key == noteID:
			r.id = string(a.Value)
		case a.Key == noteHint:
			r.hint = strings.TrimSpace(string(a.Value))
			if r.hint == "" || len(r.hint) > maxHint {
				c.problem("@hint has %d bytes; 1 to %d are allowed", len(r.hint), maxHint)
			}
		case slices.Contains(obligations, a.Key):
			if len(a.Value) > maxArg {
				c.problem("@%s has %d bytes; %d are allowed", a.Key, len(a.Value), maxArg)
			}
			r.obligations = append(r.obligations, gate.Obligation{Name: string(a.Key), Arg: string(a.Value)})
		default:
			c.problem("unknown annotation @%s: there are @id, @hint, @hold, @challenge, @redact, @attenuate, @notify and @risk%s",
				a.Key, didYouMean(string(a.Key), append(stringsOfKeys(obligations), string(noteID), string(noteHint))))
		}
	}
	if i := slices.IndexFunc(r.obligations, func(o gate.Obligation) bool { return o.Name == string(noteRisk) }); i >= 0 {
		holds := slices.ContainsFunc(r.obligations, func(o gate.Obligation) bool { return o.Name == gate.Hold })
		if r.obligations[i].Arg != gate.RiskHigh.String() || !holds || r.forbid {
			c.problem("@risk is %q and stands on a permit with @hold: it says what is decided about", gate.RiskHigh)
		}
	}
	switch {
	case r.id == "":
		c.problem("the policy has no @id")
	case !policyID.MatchString(r.id) || r.id == DefaultDeny || r.id == noBundle || r.id == panicked:
		c.problem("@id(%q) cannot be used: it is reserved or not like my-rule", r.id)
	case c.used[r.id] != "":
		c.problem("@id(%q) is taken by the policy at %s", r.id, c.used[r.id])
	default:
		c.used[r.id] = c.place
	}
}

func stringsOfKeys(keys []types.AnnotationKey) (out []string) {
	for _, k := range keys {
		out = append(out, string(k))
	}
	return out
}

// typeCheck runs Cedar's own validator, which knows what has which type and
// what cannot apply.
//
// The validator walks through every act and every kind of thing for each policy, so one
// that names its acts is shown a schema of these alone, and only what that one finds
// wrong is said by the whole.
func (c *checker) typeCheck(p *xast.Policy) {
	if few, ok := c.narrowed(p.Action); ok && validate.New(few).Policy("", p) == nil {
		return
	}
	err := c.typed.Policy("", p)
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) { // one error a line (errors.Join)
		c.problem("%s", strings.TrimSpace(line))
	}
}

// narrowed is the schema without the acts that a policy does not name; false when it
// names none.
func (c *checker) narrowed(scope xast.IsActionScopeNode) (*resolved.Schema, bool) {
	var named []types.EntityUID
	switch sc := scope.(type) {
	case xast.ScopeTypeEq:
		named = []types.EntityUID{sc.Entity}
	case xast.ScopeTypeInSet:
		named = sc.Entities
	default:
		return nil, false
	}
	few := *c.schema
	few.Actions = make(map[types.EntityUID]resolved.Action, len(named))
	for _, uid := range named {
		if a, known := c.schema.Actions[uid]; known {
			few.Actions[uid] = a
		}
	}
	return &few, true
}

// classAttributes refuses a policy that looks at what is true of one thing or of one
// pair, and can apply to a read: items are filtered by read class, and all of a class
// share a decision.
func (c *checker) classAttributes(r *rule) {
	if c.writes == nil {
		return
	}
	for _, t := range c.reached(r) {
		if t.read {
			c.problem("%s.%s cannot be used for reads such as %s: name the writes that the policy is for", c.writes.of, c.writes.name, t.name)
			return
		}
	}
}

// reached lists the acts that a policy can apply to.
func (c *checker) reached(r *rule) (list []*table) {
	for _, t := range c.acts {
		if r.reach.acts == nil || slices.Contains(r.reach.acts, t.name) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *table) int { return strings.Compare(a.name, b.name) })
	return list
}

// honoured refuses obligations that nobody would honour: on a forbid, and of acts that
// cannot do what is demanded.
func (c *checker) honoured(r *rule) {
	for _, o := range r.obligations {
		if r.forbid {
			c.problem("@%s stands on a forbid: where nothing is done, nothing can be demanded", o.Name)
			continue
		}
		for _, t := range c.reached(r) {
			if why := t.can.Honours(o); why != "" {
				c.problem("@%s(%q) cannot be honoured by %s: %s", o.Name, o.Arg, t.name, why)
				break
			}
		}
	}
}

// add puts a rule into the snapshot.
func (c *compiler) add(r *rule) {
	c.rules = append(c.rules, r)
	for k, t := range kindTypes {
		if r.reach.kind == "" || r.reach.kind == t {
			r.kinds |= 1 << k
		}
	}
	named := r.reach.acts
	if named == nil {
		for name := range c.acts {
			named = append(named, name)
		}
	}
	for _, name := range named {
		c.naming[name] = append(c.naming[name], r)
	}
	r.decision = c.decision(r, r.obligations)
}

// decision is the answer when a rule decides.
func (s *snapshot) decision(r *rule, o []gate.Obligation) *gate.Decision {
	d := &gate.Decision{Allow: !r.forbid, Policy: r.id, Place: r.place, Bundle: s.version, Obligations: o, Labels: r.looks&looksLabels != 0}
	if r.forbid {
		if d.Hint = r.hint; d.Hint == "" {
			d.Hint = "The policy " + r.id + " forbids this; ask an operator about it."
		}
	}
	return d
}

// broken is the answer when a forbid cannot be evaluated: it might have matched.
func (s *snapshot) broken(r *rule) *gate.Decision {
	return &gate.Decision{
		Policy: r.id, Place: r.place, Bundle: s.version, Obligations: r.obligations,
		Hint: "The policy " + r.id + " cannot be evaluated, so this is refused; tell an operator.",
	}
}

// refuseProblems makes the error of a bundle whose policies are not in order.
func refuseProblems(problems []Problem) error {
	var b strings.Builder
	for i, p := range problems {
		if i == shownProblem {
			fmt.Fprintf(&b, "; and %d more", len(problems)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	return refuse("bundle.policy", "the policies are not in order: %s", b.String())
}

package provenance

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Taint is how an agent or a thing is labelled beyond what comes with who and where it is.
type Taint struct {
	Subject act.ID
	gate.Label
	Path    []act.Ref // what it comes from, the nearest first; at most maxPath
	Origins Origins   // of what in it is flagged or confidential
	At      int64     // Unix microseconds
	By      act.ID    // the operator who said so, 0 where it was carried over

	stored []byte // the origins as the row has them; nil where there is none
}

// LabelsConfig is what labels need.
type LabelsConfig struct {
	Gate  *gate.Gate
	DB    *store.DB
	Codec *act.Codec

	// Governed reports whether an agent is of a class: what it writes is the
	// organisation's own, as long as it has read nothing worse.
	Governed func(agent act.ID) bool

	// Place is how confidential what stands in a community is.
	Place func(community act.ID) gate.Classification

	Reason func(string) error // says what is wrong with an operator's stated reason
}

// Labels knows what agents have been shown and how things are labelled; it is the gate's
// Labels. It is safe for concurrent use.
//
// Memory holds the labels of all agents that have one, and of things those that were
// asked for lately. A thing's label comes with its own transaction; from then on only
// what makes a fence changes it, as all that changes an agent's does.
type Labels struct {
	LabelsConfig
	raise *gate.WriteAct[raising, Taint]
	Flag  *gate.WriteAct[TaintOrder, Taint]
	Clear *gate.WriteAct[TaintOrder, Taint]
	List  *gate.ReadAct[TaintQuery, act.Page[Taint]]
	Show  *gate.ReadAct[TaintQuestion, Standing]
	Own   *gate.ReadAct[struct{}, Standing]

	any    atomic.Bool   // something is, or was, labelled
	turns  atomic.Uint64 // how often fences have changed what is known of things
	mu     sync.RWMutex
	agents map[act.ID]Taint // guarded by mu
	things *otter.Cache[act.ID, cling]
	plain  func(act.Ref, gate.Facts) gate.Facts
}

// cling is what has come to a thing.
type cling struct {
	gate.Label
	origins Origins
}

const (
	maxPath    = 8
	maxThings  = 65_536 // things whose labels are remembered
	taintsAsk  = 32     // asked for at once
	taintsLoad = 1000

	taintColumns = `subject, integrity, secrecy, path, made_at, made_by, origins`

	qTaint   store.Q = `SELECT ` + taintColumns + ` FROM taint WHERE subject = $1`
	qTaints  store.Q = `SELECT ` + taintColumns + ` FROM taint WHERE subject > $1 ORDER BY subject LIMIT $2`
	qTaintIn store.Q = `SELECT ` + taintColumns + ` FROM taint WHERE subject IN (
$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
$17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32) ORDER BY subject`
	qTaintDrop store.Q = `DELETE FROM taint WHERE subject = $1`
	// Whose kind is agent stands in the id; there is an index of those.
	qTaintAgents store.Q = `SELECT ` + taintColumns + ` FROM taint WHERE ((subject >> 17) & 31) = 1 AND subject > $1 ORDER BY subject LIMIT $2`
	qTaintAny    store.Q = `SELECT subject FROM taint WHERE subject > 0 ORDER BY subject LIMIT 1`
	// Of two labels of a thing, the worse of each is kept, and where it came from last. Its
	// origins were joined outside, so they have to be those that were read.
	qTaintPut store.Q = `INSERT INTO taint (subject, integrity, secrecy, path, made_at, made_by, origins) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (subject) DO UPDATE SET
integrity = CASE WHEN taint.integrity < $2 THEN $2 ELSE taint.integrity END,
secrecy = CASE WHEN taint.secrecy < $3 THEN $3 ELSE taint.secrecy END,
path = $4, made_at = $5, made_by = $6, origins = $7 WHERE taint.origins = $8`
	qTaintNew store.Q = `INSERT INTO taint (subject, integrity, secrecy, path, made_at, made_by, origins) VALUES ($1, $2, $3, $4, $5, $6, $7)`
)

// NewLabels registers the acts on labels. Load fills its memory.
func NewLabels(c LabelsConfig) *Labels {
	l := &Labels{
		LabelsConfig: c, agents: make(map[act.ID]Taint),
		things: otter.Must(&otter.Options[act.ID, cling]{MaximumSize: maxThings}),
	}
	l.plain = func(_ act.Ref, f gate.Facts) gate.Facts {
		f.Integrity, f.Classification = l.made(f), max(f.Classification, l.Place(f.Community))
		return f
	}
	l.register(c.Gate)
	c.Gate.OnFence(act.KindAgent, l.reload)
	for kind := act.KindNone + 1; kind < act.KindCount; kind++ {
		if carries(kind) && kind != act.KindAgent {
			c.Gate.OnFence(kind, l.forget)
		}
	}
	return l
}

// carries reports whether things of a kind carry what their author was shown to others.
// A child carries it to whom it will speak to.
func carries(kind act.Kind) bool {
	switch kind {
	case act.KindPost, act.KindComment, act.KindMessage, act.KindConversation, act.KindTask, act.KindLabel,
		act.KindCommunity, act.KindImage, act.KindAgent:
		return true
	}
	return false
}

// made is how far what is made there is to be relied on, by who made it.
func (l *Labels) made(f gate.Facts) gate.Integrity {
	switch {
	case f.Origin == act.OriginImported:
		return gate.Outside
	case f.Author == 0 || f.Author.Kind() != act.KindAgent:
		return gate.Trusted
	}
	return l.base(f.Author)
}

func (l *Labels) base(agent act.ID) gate.Integrity { return baseOf(l.Governed(agent)) }

// baseOf is what comes with being of a class, or of none.
func baseOf(governed bool) gate.Integrity {
	if governed {
		return gate.Organisation
	}
	return gate.Outside
}

// InForce implements gate.Labels.
func (l *Labels) InForce(agent act.ID) (in gate.Label, raised bool) {
	in.Integrity = l.base(agent)
	t, raised := l.known(agent)
	return in.Join(t.Label), raised
}

// Of is InForce for one who knows whether the agent is of a class.
func (l *Labels) Of(agent act.ID, governed bool) gate.Label {
	t, _ := l.known(agent)
	return gate.Label{Integrity: baseOf(governed)}.Join(t.Label)
}

// On is what has come to a thing, as a view sees it.
func (l *Labels) On(v *store.View, thing act.ID) (gate.Label, error) {
	if !l.any.Load() {
		return gate.Label{}, nil
	}
	t, _, err := taintOf(v, thing)
	return t.Label, err
}

// known is what memory has of an agent.
func (l *Labels) known(agent act.ID) (t Taint, found bool) {
	if !l.any.Load() {
		return t, false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	t, found = l.agents[agent]
	return t, found
}

// Raised is how many agents are labelled beyond what comes with what they are.
func (l *Labels) Raised() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return int64(len(l.agents))
}

// Path implements gate.Labels.
func (l *Labels) Path(agent act.ID) string {
	t, _ := l.known(agent)
	names := make([]string, 0, len(t.Path))
	for _, ref := range t.Path {
		names = append(names, ref.ID.Kind().String()+" "+l.Codec.String(ref.ID))
	}
	return strings.Join(names, ", which came of ")
}

// Marker implements gate.Labels.
func (l *Labels) Marker(ctx context.Context, things func() []act.Ref) (func(act.Ref, gate.Facts) gate.Facts, error) {
	if !l.any.Load() {
		return l.plain, nil
	}
	found := make(map[act.ID]cling)
	var missing []act.ID
	for _, ref := range things() {
		if !carries(ref.ID.Kind()) {
			continue
		}
		if label, known := l.things.GetIfPresent(ref.ID); known {
			found[ref.ID] = label
		} else if _, twice := found[ref.ID]; !twice {
			found[ref.ID] = cling{}
			missing = append(missing, ref.ID)
		}
	}
	if len(missing) > 0 {
		if err := l.ask(ctx, missing, found); err != nil {
			return nil, err
		}
	}
	return func(ref act.Ref, f gate.Facts) gate.Facts {
		f, in := l.plain(ref, f), found[ref.ID]
		f.Integrity, f.Classification = max(f.Integrity, in.Integrity), max(f.Classification, in.Secrecy)
		return f
	}, nil
}

// ask reads the labels of things that memory does not have, and remembers them unless a
// fence for any of them came meanwhile.
func (l *Labels) ask(ctx context.Context, missing []act.ID, found map[act.ID]cling) error {
	before := l.turns.Load()
	if err := l.DB.View(ctx, func(v *store.View) error {
		return taintsOf(v, missing, func(t Taint) { found[t.Subject] = cling{t.Label, t.Origins} })
	}); err != nil {
		return err
	}
	for _, id := range missing {
		l.things.Set(id, found[id])
	}
	if l.turns.Load() != before { // what was read may be what the fence has changed
		l.things.InvalidateAll()
	}
	return nil
}

func scanTaint(r *store.Row) (t Taint, err error) {
	t = Taint{
		Subject: r.ID(0), Label: gate.Label{Integrity: gate.Integrity(r.Int(1)), Secrecy: gate.Classification(r.Int(2))},
		At: r.Int(4), By: r.ID(5),
	}
	t.stored = r.Bytes(6)
	t.Origins = parseOrigins(t.stored)
	t.Path, err = DecodeItems(r.Bytes(3))
	return t, err
}

// Load reads the labels of agents, and whether there are any at all. Those of things are
// read when they are asked for.
func (l *Labels) Load(ctx context.Context) error {
	agents := make(map[act.ID]Taint)
	some := false
	for after, n := act.ID(0), taintsLoad; n == taintsLoad; {
		if err := l.DB.View(ctx, func(v *store.View) (err error) {
			n = 0
			if some, err = v.One(qTaintAny, func(*store.Row) error { return nil }); err != nil {
				return err
			}
			return v.All(qTaintAgents, func(r *store.Row) error {
				t, err := scanTaint(r)
				n, after, agents[t.Subject] = n+1, t.Subject, t
				return err
			}, after, int64(taintsLoad))
		}); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.agents = agents
	if some {
		l.any.Store(true)
	}
	return nil
}

// reload brings the labels of agents up to date before a fence is acknowledged. It reads
// those that the fence names.
func (l *Labels) reload(ctx context.Context, agents []act.ID) error {
	now := make(map[act.ID]Taint)
	if err := l.DB.View(ctx, func(v *store.View) error {
		clear(now)
		return taintsOf(v, agents, func(t Taint) { now[t.Subject] = t })
	}); err != nil {
		return err
	}
	l.turns.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range agents {
		l.things.Invalidate(id)
		if t, found := now[id]; found {
			l.agents[id] = t
			l.any.Store(true)
		} else {
			delete(l.agents, id)
		}
	}
	return nil
}

// forget drops what memory has of things before a fence is acknowledged. One that is
// fenced may be the first that is labelled.
func (l *Labels) forget(ctx context.Context, things []act.ID) error {
	l.turns.Add(1)
	for _, id := range things {
		l.things.Invalidate(id)
	}
	if l.any.Load() {
		return nil
	}
	return l.DB.View(ctx, func(v *store.View) error {
		return taintsOf(v, things, func(Taint) { l.any.Store(true) })
	})
}

// taintsOf calls fn with the labels of those subjects that have any.
func taintsOf(v *store.View, subjects []act.ID, fn func(Taint)) error {
	for some := range slices.Chunk(subjects, taintsAsk) {
		args := make([]any, taintsAsk)
		for i := range args {
			args[i] = some[min(i, len(some)-1)] // the last one fills the rest
		}
		if err := v.All(qTaintIn, func(r *store.Row) error {
			t, err := scanTaint(r)
			if err == nil {
				fn(t)
			}
			return err
		}, args...); err != nil {
			return err
		}
	}
	return nil
}

func taintOf(v *store.View, subject act.ID) (t Taint, found bool, err error) {
	found, err = v.One(qTaint, func(r *store.Row) (err error) { t, err = scanTaint(r); return err }, subject)
	return t, found, err
}

// join adds to a row, as it was read, what has come to its subject beside.
func (t *Taint) join(l gate.Label, path []act.Ref, o Origins) {
	t.Label, t.Path, t.Origins = t.Label.Join(l), path, t.Origins.Join(o)
}

// values are the row's, as its queries have them.
func (t *Taint) values(tx *store.Tx) []any {
	t.Path, t.At = t.Path[:min(len(t.Path), maxPath)], tx.Now()
	return []any{t.Subject, int64(t.Integrity), int64(t.Secrecy), AppendItems(nil, t.Path), t.At, t.By, t.Origins.bytes()}
}

// put writes a row, as it was read in the transaction and joined with more. The act starts
// again where another has changed it meanwhile.
func (t *Taint) put(tx *store.Tx) error {
	stored := t.stored
	if stored == nil {
		stored = []byte{}
	}
	n, err := tx.Exec(qTaintPut, append(t.values(tx), stored)...)
	if err == nil && n == 0 {
		err = gate.Moved()
	}
	return err
}

// carry labels what an act has made, or said something in, with what is in force for its
// actor. What can have been looked up before the act gets a fence; a new thing cannot.
func (l *Labels) carry(tx *store.Tx, p act.Principal, out act.Ref) error {
	if p.Kind != act.Agent || out.ID == p.ID || !carries(out.ID.Kind()) {
		return nil
	}
	of, raised := l.known(p.ID)
	if !raised {
		return nil
	}
	from := of.Origins.Join(OriginsOf(p.ID))
	switch out.ID.Kind() {
	case act.KindPost, act.KindComment, act.KindMessage: // they say for ever what they said at first
		made := Taint{Subject: out.ID, Label: of.Label, Path: of.Path, Origins: from}
		return tx.Batch(qTaintNew, made.values(tx)...)
	}
	made, _, err := taintOf(&tx.View, out.ID)
	if err != nil {
		return err
	}
	made.Subject, made.By = out.ID, 0
	made.join(of.Label, of.Path, from)
	tx.Fence(out.ID.Kind(), out.ID)
	return made.put(tx)
}

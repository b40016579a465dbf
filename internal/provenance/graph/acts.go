package graph

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Person is what answers say of who acted.
type Person struct {
	Name    string
	Owner   string // who answers for it; "" while nobody does
	Mandate string // the purpose that it acts under; "" without one
	Purpose string
	// Standing is what it comes to now.
	Standing act.Standing
}

// Thing is what answers say of what was made. Title is the beginning of what it says;
// empty where it cannot be read any more.
type Thing struct {
	Ref    act.Ref
	Facts  gate.Facts // by which policy decides whether the title may be shown
	Title  string
	Author act.ID
}

// Config says what the acts stand on. All fields are required.
type Config struct {
	Gate  *gate.Gate
	DB    *store.DB
	Graph *Graph

	// People and Things describe who and what answers name; what is not known is left out.
	People func(v *store.View, agents []act.ID) (map[act.ID]Person, error)
	Things func(v *store.View, items []act.ID) (map[act.ID]Thing, error)
	// Texts reads what can still be read of posts, comments and tasks.
	Texts func(v *store.View, items []act.ID) (map[act.ID]string, error)
	// Decided is the policy that let an act through.
	Decided func(v *store.View, seq int64) (policy string, err error)
	// Answers reports whether an operator is who answers for an agent.
	Answers func(v *store.View, p act.Principal, agent act.ID) (bool, error)
	// Members lists the agents of a scope: "class" and its name, "skill" and its digest.
	Members func(v *store.View, kind, name string) ([]act.ID, error)
	// Pages calls fn with what an agent was shown, in the order of the sequence.
	Pages func(v *store.View, agent act.ID, fn func(Page) error) error
	// Voted is the value of an agent's vote on something, 0 if it has taken it back.
	Voted func(v *store.View, agent, item act.ID) (int64, error)

	// Stop quarantines an agent, and Free ends that. changed is false where there is
	// nothing to be done.
	Stop func(tx *store.Tx, p act.Principal, agent act.ID, reason string) (changed bool, err error)
	Free func(tx *store.Tx, p act.Principal, agent act.ID, reason string) (changed bool, err error)
	// Tell leaves a notice for an agent that something it was shown was withdrawn.
	Tell func(tx *store.Tx, agent, item act.ID) error
}

// Acts are the questions, and what answers them with a deed. They are safe for concurrent
// use.
type Acts struct {
	Why     *gate.ReadAct[Question, Reasons]
	Blast   *gate.ReadAct[Question, Radius]
	Spread  *gate.ReadAct[Question, Copies]
	Cut     *gate.ReadAct[Question, Barrier]
	Flow    *gate.ReadAct[Question, Flow]
	Replay  *gate.ReadAct[Question, Shown]
	Contain *gate.WriteAct[Order, Recall]
	Restore *gate.WriteAct[Undo, Recall]
	Recalls *gate.ReadAct[int64, []Recall]
	widen   *gate.WriteAct[int64, Recall]

	widening sync.Mutex
	watched  map[int64]int64 // by containment: how many likenesses there were at the last look; guarded by widening

	Config
}

// Question asks about something. Which fields count is said at each act.
type Question struct {
	Subject  Subject
	Bounds          // why
	Level    string // cut: LevelPossible or LevelLikely
	From, To int64  // replay: Unix microseconds; 0 open
	Limit    int    // of each list; DefaultLimit if 0, at most MaxLimit
	Skip     int    // so many of each list were given before; lists grow at their end only

	own bool // only about an agent that the asker answers for, and what that agent knows
}

// Subject is what a question is about.
type Subject struct {
	ID    act.ID // of a thing or an agent; else 0
	Seq   int64  // number of an act; else 0
	Hash  string // "sha256:" and the digest of a text; else ""
	Scope string // "class:NAME", "skill:DIGEST"; else ""
	Since int64  // of agents: Unix microseconds from which on what they did counts
}

// The limits of lists.
const (
	DefaultLimit = 100
	MaxLimit     = 1000

	maxTitle = 80 // characters of a title in an answer
)

// The levels of evidence that questions and orders name.
const (
	LevelPossible = "possible"
	LevelLikely   = "likely"
)

// Told is what an answer says of who and what it names.
type Told struct {
	People map[act.ID]Person
	Things map[act.ID]Thing
}

// Reasons is why something was done.
type Reasons struct {
	Slice
	Told
	Policies map[int64]string // by the number of an act: the policy that let it through
}

// Radius is how far something has spread. Its lists are parts of the whole.
type Radius struct {
	Read
	Possible, Likely Side
	Public           map[act.ID]bool
	Told
}

// Side is one kind of evidence: how much there is, and a part of it.
type Side struct {
	Agents, Items, Shown int // how many there are
	Acts                 map[string]int64
	Gens                 []int  // agents by generation, from 0
	Digest               string // of what would be contained; see Order.Digest
	Some                 Spread // from Question.Skip on
	Recall               []Step // who was shown it, from Question.Skip on
}

// Open registers the acts.
func Open(c Config) *Acts {
	a := &Acts{Config: c}
	info := func(name, doc string) gate.Info {
		return gate.Info{
			Name: name, Doc: doc, On: act.KindNetwork, Also: []act.Kind{act.KindPost, act.KindComment, act.KindMessage, act.KindTask}, Quota: gate.QuotaNone,
		}
	}
	a.Why = ask(a, info("trace.why", "Show why something was done: what its actor had been shown before, by whom, and why they had made that."), a.why,
		func(out *Reasons) *Told { return &out.Told }, a.actor)
	a.Blast = ask(a, info("trace.blast", "Show how far something has spread: who was shown it, and what they did from then on."), a.blast,
		func(out *Radius) *Told { return &out.Told }, nil)
	a.Spread = ask(a, info("trace.spread", "Show how a text went round: its copies, those that are nearly the same, and how many each one led to."), a.spread,
		func(out *Copies) *Told { return &out.Told }, nil)
	a.Cut = ask(a, info("trace.cut", "Find the fewest agents and things whose holding would have kept something from spreading on."), a.cut,
		func(out *Barrier) *Told { return &out.Told }, nil)
	a.Flow = ask(a, info("trace.flow", "Show who voted for an agent's things and follows it, and whom it votes for and follows."), a.flow,
		func(out *Flow) *Told { return &out.Told }, a.actor)
	a.Replay = ask(a, info("trace.replay", "Show exactly what an agent was shown, page by page."), a.replay,
		func(out *Shown) *Told { return &out.Told }, a.actor)
	a.registerContain(c.Gate)
	return a
}

// ask registers a question. The titles in its answer are content: they are shown as such,
// or not at all. Where about says whose agent a question is about, that agent's owner may
// ask it, too.
func ask[Out any](a *Acts, i gate.Info, run func(*store.View, Question) (Out, error), told func(*Out) *Told, about func(*store.View, Question) (act.ID, error)) *gate.ReadAct[Question, Out] {
	read := gate.Read[Question, Out]{
		Info: i,
		Run: func(_ context.Context, v *store.View, p act.Principal, q Question) (out Out, err error) {
			if q.own {
				if err := a.owned(v, p, q, about); err != nil {
					return out, err
				}
			}
			if out, err = run(v, q); err == nil && q.own {
				err = a.discreet(v, p, told(&out))
			}
			return out, err
		},
		Shown: func(_ act.Principal, out Out, item func(act.Ref, gate.Facts) bool) Out {
			all := told(&out).Things
			ids := make([]act.ID, 0, len(all))
			for id := range all {
				ids = append(ids, id)
			}
			slices.Sort(ids) // pages that show the same are then the same
			for _, id := range ids {
				if one := all[id]; one.Title != "" && !item(one.Ref, one.Facts) {
					one.Title = ""
					all[id] = one
				}
			}
			return out
		},
	}
	if about != nil {
		read.Narrow = func(q Question) Question {
			q.own, q.Depth = true, 1 // what others had been shown is theirs
			return q
		}
	}
	return gate.RegisterRead(a.Gate, read)
}

// start finds where a question forward begins.
func (a *Acts) start(v *store.View, s Subject) (Start, error) {
	from := Start{}
	if s.Since > 0 {
		if err := a.Graph.Refresh(v); err != nil {
			return from, err
		}
		from.Since = a.Graph.numberAt(s.Since)
	}
	kind, name, scoped := strings.Cut(s.Scope, ":")
	switch {
	case scoped:
		agents, err := a.Members(v, kind, name)
		from.Agents = agents
		return from, err
	case s.Hash != "":
		items, _, err := a.withHash(v, s.Hash)
		from.Items = items
		return from, err
	case s.ID.Kind() == act.KindAgent:
		from.Agents = []act.ID{s.ID}
		return from, nil
	case s.ID != 0:
		from.Items = []act.ID{s.ID}
		return from, nil
	}
	return from, act.Errorf(act.Invalid, "nothing can be followed from there").WithRule("trace.subject").
		WithHint("name a post, comment, message, task or agent by its id, a text by sha256:DIGEST, agents by class:NAME or skill:DIGEST")
}

// numberAt is the number of the last act before a time.
func (g *Graph) numberAt(at int64) int64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	// Clocks may go back a little; the first act that is late enough counts, and all after.
	for i, t := range g.log.at {
		if t >= at {
			return g.log.seq[i] - 1
		}
	}
	return g.log.through
}

// tell describes who and what an answer names.
func (a *Acts) tell(v *store.View, ids []act.ID) (t Told, err error) {
	var agents, things []act.ID
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		switch {
		case id == 0:
		case id.Kind() == act.KindAgent:
			agents = append(agents, id)
		default:
			things = append(things, id)
		}
	}
	if t.Things, err = a.Things(v, things); err != nil {
		return t, err
	}
	for id, one := range t.Things {
		agents = append(agents, one.Author)
		one.Title = short(one.Title)
		t.Things[id] = one
	}
	slices.Sort(agents)
	t.People, err = a.People(v, slices.Compact(agents))
	return t, err
}

func short(title string) string {
	r := []rune(strings.Join(strings.Fields(title), " "))
	if len(r) > maxTitle {
		return string(r[:maxTitle-1]) + "…"
	}
	return string(r)
}

func (a *Acts) why(v *store.View, q Question) (out Reasons, err error) {
	if q.Depth > 20 || q.Width > 100 || q.Nodes > 10_000 {
		return out, act.Errorf(act.Invalid, "that goes too far").WithRule("trace.bounds").WithHint("depth up to 20, width up to 100; what is cut is counted, ask again from there")
	}
	slice, err := a.Graph.Backward(v, q.Subject.ID, q.Subject.Seq, q.Bounds)
	if err != nil {
		return out, err
	}
	for i := range slice.Root.Of {
		if q.own {
			slice.Root.Of[i].Cut = 0 // how much there is behind it, too
		}
	}
	out.Slice, out.Policies = *slice, make(map[int64]string)
	var ids []act.ID
	var look func(c *Cause) error
	look = func(c *Cause) error {
		ids = append(ids, c.Item, c.Actor)
		if c.Seq > 0 {
			policy, err := a.Decided(v, c.Seq)
			if err != nil {
				return err
			}
			out.Policies[c.Seq] = policy
		}
		for i := range c.Of {
			if err := look(&c.Of[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := look(&out.Root); err != nil {
		return out, err
	}
	out.Told, err = a.tell(v, ids)
	return out, err
}

func (a *Acts) blast(v *store.View, q Question) (out Radius, err error) {
	from, err := a.start(v, q.Subject)
	if err != nil {
		return out, err
	}
	r, err := a.Graph.Forward(v, from)
	if err != nil {
		return out, err
	}
	out.Read = r.Read
	out.Possible, out.Likely = q.side(&r.Possible, r.Possible.Agents), q.side(&r.Likely, r.Shown)
	out.Public = make(map[act.ID]bool)
	var ids []act.ID
	for _, side := range []*Side{&out.Possible, &out.Likely} {
		for _, list := range [][]Step{side.Some.Agents, side.Some.Items, side.Recall} {
			for _, s := range list {
				ids = append(ids, s.ID, s.Via)
				if r.Public[s.ID] {
					out.Public[s.ID] = true
				}
			}
		}
	}
	out.Told, err = a.tell(v, ids)
	return out, err
}

func (q Question) limit() int {
	if q.Limit <= 0 {
		return DefaultLimit
	}
	return min(q.Limit, MaxLimit)
}

func part[T any](q Question, list []T) []T {
	from := min(max(0, q.Skip), len(list))
	return list[from:min(len(list), from+q.limit())]
}

func (q Question) side(s *Spread, shown []Step) Side {
	out := Side{
		Agents: len(s.Agents), Items: len(s.Items), Shown: len(shown), Acts: s.Acts, Digest: digest(s),
		Some: Spread{Agents: part(q, s.Agents), Items: part(q, s.Items)}, Recall: part(q, shown),
	}
	for _, one := range s.Agents {
		for len(out.Gens) <= one.Gen {
			out.Gens = append(out.Gens, 0)
		}
		out.Gens[one.Gen]++
	}
	return out
}

// Page is one page that an agent was shown.
type Page struct {
	After, At int64
	Channel   string
	Again     bool // it says how often things were shown again
	Count     int64
	Items     []act.Ref
	Trace     string
}

// Shown is what an agent was shown, in its order.
type Shown struct {
	Pages []Page
	More  bool // there are later ones: ask again with From
	Told
}

func (a *Acts) replay(v *store.View, q Question) (out Shown, err error) {
	if q.Subject.ID.Kind() != act.KindAgent {
		return out, act.Errorf(act.Invalid, "only agents are shown things").WithRule("trace.subject").WithHint("name an agent by its id")
	}
	var ids []act.ID
	skip := q.Skip
	err = a.Pages(v, q.Subject.ID, func(p Page) error {
		if p.At < q.From || q.To > 0 && p.At > q.To {
			return nil
		}
		if skip > 0 {
			skip--
			return nil
		}
		if len(out.Pages) == q.limit() {
			out.More = true
			return nil
		}
		out.Pages = append(out.Pages, p)
		for _, it := range p.Items {
			ids = append(ids, it.ID)
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	out.Told, err = a.tell(v, ids)
	return out, err
}

// parseHash reads the digest of a text.
func parseHash(text string) (sum [32]byte, err error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "sha256:"))
	if err != nil || len(raw) != len(sum) {
		return sum, act.Errorf(act.Invalid, "that is no digest").WithRule("trace.hash").WithHint("sha256: and 64 hex digits, of the text exactly as it was written")
	}
	return [32]byte(raw), nil
}

// UndoFor is how long a containment can be undone.
const UndoFor = 7 * 24 * time.Hour

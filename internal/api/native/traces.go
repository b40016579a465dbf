package native

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
)

// traceRoutes ask what influenced whom. A subject is one part of the path: the id of a
// post, comment, message, task or agent, the number of an act, "sha256:DIGEST" of a text,
// "class:NAME" or "skill:sha256:…".
func (d *door) traceRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	page := []string{"since", "limit", "skip"}
	return []api.Route{
		{Method: get, Path: "/trace/why/{subject}", Act: "trace.why", Handle: traced(d, d.traces.Why, d.reasons), Gives: reasons{}, Query: []string{"depth", "width", "nodes"}},
		{Method: get, Path: "/trace/blast/{subject}", Act: "trace.blast", Handle: traced(d, d.traces.Blast, d.radius), Gives: radius{}, Query: page},
		{Method: get, Path: "/trace/spread/{subject}", Act: "trace.spread", Handle: traced(d, d.traces.Spread, d.copies), Gives: copies{}, Query: page[1:]},
		{Method: get, Path: "/trace/cut/{subject}", Act: "trace.cut", Handle: traced(d, d.traces.Cut, d.barrier), Gives: barrier{}, Query: []string{"since", "level"}},
		{Method: get, Path: "/trace/flow/{subject}", Act: "trace.flow", Handle: traced(d, d.traces.Flow, d.flow), Gives: flow{}, Query: page[1:]},
		{Method: get, Path: "/trace/replay/{subject}", Act: "trace.replay", Handle: traced(d, d.traces.Replay, d.replay), Gives: replay{}, Query: []string{"from", "to", "limit", "skip"}},
		{Method: post, Path: "/trace/contain", Act: "trace.contain", Handle: d.contain, Takes: newRecall{}, Gives: recall{}},
		{Method: get, Path: "/trace/recalls", Act: "trace.recalls", Handle: d.recalls, Gives: list[recall]{}},
		{Method: get, Path: "/trace/recalls/{recall}", Act: "trace.recalls", Handle: d.recall, Gives: recall{}},
		{Method: post, Path: "/trace/recalls/{recall}/restore", Act: "trace.restore", Handle: d.restoreRecall, Takes: newOrder{}, Gives: recall{}},
	}
}

// told is who and what an answer names, the oldest first.
type told struct {
	People []person `json:"people"`
	Things []thing  `json:"things"`
}

type person struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Owner    string `json:"owner"`   // who answers for it; "" while nobody does
	Mandate  string `json:"mandate"` // "" without one
	Purpose  string `json:"purpose"` // as the mandate states it
	Standing string `json:"standing"`
}

type thing struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Title  string `json:"title"` // how it begins; "" where it cannot be read any more
	Author string `json:"author_id"`
}

// basis is what an answer rests on.
type basis struct {
	Through  int64 `json:"through"`  // number of the last act that was looked at
	Pages    int64 `json:"pages"`    // that were looked at
	Showings int64 `json:"showings"` // of one thing each, on those pages
	Cold     int   `json:"segments_read"`
	Waiting  int64 `json:"waiting"` // pages that have no number yet, which are looked at as the last, and acts, which are not

	Wrong float64 `json:"likely_wrong"` // the share of edges of level L2 that is wrong, at most
}

type reasons struct {
	told
	Basis basis `json:"basis"`
	Nodes int   `json:"nodes"`
	Why   cause `json:"why"`
}

// cause is an act, and what its actor had before it.
type cause struct {
	Item   string   `json:"item_id"`
	Act    string   `json:"act"` // "" where nothing on record made the thing
	Actor  string   `json:"actor_id"`
	Seq    int64    `json:"seq"`
	At     *string  `json:"at"`
	Policy string   `json:"policy"` // that let it through
	Level  uint8    `json:"level"`  // 1: shown, 2: what was made has something of it, 3: named, 4: stated by the runtime
	How    string   `json:"how"`
	Shown  *showing `json:"shown"` // null where no showing is on record
	Of     []cause  `json:"of"`
	Cut    int      `json:"cut"`   // causes that are left out
	Again  bool     `json:"again"` // what is behind it stands elsewhere in the answer
}

type showing struct {
	After   int64   `json:"after"` // number of the act before it
	At      *string `json:"at"`
	First   *string `json:"first_at"`
	Channel string  `json:"channel"`
	Place   int     `json:"place"` // on the page, from 1
	Pages   int     `json:"pages"` // on which it was shown before the act
}

type step struct {
	ID     string  `json:"id"`
	Kind   string  `json:"kind"`
	Via    string  `json:"via_id"` // of an agent: what it was shown; of a thing: who made it
	Seq    int64   `json:"seq"`
	At     *string `json:"at"`
	Gen    int     `json:"generation"`
	Level  uint8   `json:"level"`
	Public bool    `json:"public"` // readers without a name were shown it
}

type side struct {
	AgentCount  int              `json:"agent_count"`
	ItemCount   int              `json:"item_count"`
	ShownCount  int              `json:"shown_count"` // agents that were shown it
	Acts        map[string]int64 `json:"acts"`        // by kind
	Generations []int            `json:"generations"` // agents by generation, from 0
	Digest      string           `json:"digest"`      // what POST /v1/trace/contain can be held to
	Agents      []step           `json:"agents"`
	Items       []step           `json:"items"`
	Shown       []step           `json:"shown"`
}

type radius struct {
	told
	Basis    basis `json:"basis"`
	Possible side  `json:"possible"`
	Likely   side  `json:"likely"`
}

type copies struct {
	told
	Basis       basis     `json:"basis"`
	Total       int       `json:"total"`
	Compared    int       `json:"compared"`
	Unread      int       `json:"unread"`
	Generations []int     `json:"generations"`
	R           []float64 `json:"r"` // by generation: copies that each one led to
	Items       []copied  `json:"items"`
}

type copied struct {
	step
	From  string  `json:"from_id"` // the copy that its author had been shown
	Like  float64 `json:"like"`    // the part of the text that it has
	Exact bool    `json:"exact"`
}

type barrier struct {
	told
	Basis    basis    `json:"basis"`
	Hold     []string `json:"hold"`
	Behind   int      `json:"behind"`
	Least    int      `json:"least"`    // no set of fewer can do it
	Smallest bool     `json:"smallest"` // hold is such a set
}

type flow struct {
	told
	From     int       `json:"from_count"`
	To       int       `json:"to_count"`
	Accounts int       `json:"accounts"`
	Sources  int       `json:"sources"` // who answers for those accounts, each once
	Received []current `json:"received"`
	Given    []current `json:"given"`
}

type current struct {
	Agent   string  `json:"agent_id"`
	Votes   int     `json:"votes"`
	Value   int64   `json:"value"`
	Follows bool    `json:"follows"`
	First   *string `json:"first_at"`
	Last    *string `json:"last_at"`
}

type replay struct {
	told
	Pages []shownPage `json:"pages"`
	More  bool        `json:"more"`
}

type shownPage struct {
	After   int64       `json:"after"`
	At      *string     `json:"at"`
	Channel string      `json:"channel"`
	Again   bool        `json:"again"`
	Count   int64       `json:"count"`
	Trace   string      `json:"trace"`
	Items   []shownItem `json:"items"`
}

type shownItem struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Version int64  `json:"version"`
}

type newRecall struct {
	Subject string `json:"subject"`
	Since   string `json:"since"`
	Level   string `json:"level"` // likely or possible
	Agents  bool   `json:"agents"`
	Content bool   `json:"content"`
	Digest  string `json:"digest"`
	Reason  string `json:"reason"`
}

type recall struct {
	N        int64    `json:"n"`
	Subject  string   `json:"subject_id"`
	Level    string   `json:"level"`
	Reason   string   `json:"reason"`
	By       string   `json:"by"` // operator
	At       *string  `json:"at"`
	Until    *string  `json:"until"` // it can be undone
	UndoneAt *string  `json:"undone_at"`
	Through  int64    `json:"through"`
	Agents   []string `json:"agents"` // quarantined by it
	Items    []string `json:"items"`  // withheld by it
	Shown    []string `json:"shown"`  // who had been shown one of the items
	Late     []late   `json:"late"`   // what of these was under way then, and was added
	Watched  *string  `json:"watched_until"`
	People   []person `json:"people"`
}

// late is what was added to a containment at one time.
type late struct {
	At     *string  `json:"at"`
	Agents []string `json:"agents"`
	Items  []string `json:"items"`
	Shown  []string `json:"shown"`
}

// traced answers a question.
func traced[Out, Wire any](d *door, do *gate.ReadAct[graph.Question, Out], wire func(*Out) Wire) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		q, err := d.question(c)
		if err != nil {
			return err
		}
		out, err := do.Do(ctx, c.Principal, q)
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, wire(&out))
	}
}

func (d *door) question(c *api.Call) (q graph.Question, err error) {
	get := c.R.URL.Query().Get
	if q.Subject, err = d.subject(c.R.PathValue("subject"), get("since")); err != nil {
		return q, err
	}
	q.Level = get("level")
	for _, n := range []struct {
		name string
		to   *int
		most int
	}{
		{"depth", &q.Depth, 20}, {"width", &q.Width, 100}, {"nodes", &q.Nodes, 10_000}, {"limit", &q.Limit, graph.MaxLimit}, {"skip", &q.Skip, 1 << 30},
	} {
		if *n.to, err = api.Number(n.name, get(n.name), 0, n.most); err != nil {
			return q, err
		}
	}
	if q.From, err = instant("from", get("from")); err == nil {
		q.To, err = instant("to", get("to"))
	}
	return q, err
}

// instant reads a time, 0 for none.
func instant(name, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, act.Errorf(act.Invalid, "%s is no time", name).WithRule(name).WithHint("write it like 2026-11-30T09:00:00Z")
	}
	return act.Micros(t), nil
}

func (d *door) subject(text, since string) (s graph.Subject, err error) {
	if s.Since, err = instant("since", since); err != nil {
		return s, err
	}
	kind, _, _ := strings.Cut(text, ":")
	if seq, is := graph.Number(text); is {
		s.Seq = seq
		return s, nil
	}
	switch kind {
	case "sha256":
		s.Hash = text
	case "class", "skill":
		s.Scope = text
	default:
		s.ID, err = d.codec.Parse(text)
	}
	return s, err
}

func (d *door) told(t graph.Told) told {
	out := told{People: d.people(t), Things: make([]thing, 0, len(t.Things))}
	for _, id := range slices.Sorted(maps.Keys(t.Things)) {
		x := t.Things[id]
		out.Things = append(out.Things, thing{d.codec.String(id), id.Kind().String(), x.Title, d.codec.String(x.Author)})
	}
	return out
}

func (d *door) people(t graph.Told) []person {
	out := make([]person, 0, len(t.People))
	for _, id := range slices.Sorted(maps.Keys(t.People)) {
		p := t.People[id]
		out = append(out, person{d.codec.String(id), p.Name, p.Owner, p.Mandate, p.Purpose, p.Standing.String()})
	}
	return out
}

func basisOf(r graph.Read) basis {
	return basis{r.Through, r.Pages, r.Showings, r.Cold, r.Waiting, float64(r.Wrong) / 1e6}
}

func (d *door) reasons(out *graph.Reasons) reasons {
	return reasons{d.told(out.Told), basisOf(out.Read), out.Nodes, d.cause(&out.Root, out.Policies)}
}

func (d *door) cause(x *graph.Cause, policies map[int64]string) cause {
	c := cause{
		Item: d.outside(x.Item), Act: x.Act, Actor: d.outside(x.Actor), Seq: x.Seq, At: wireTime(x.At), Policy: policies[x.Seq],
		Level: x.Level, How: x.How, Of: make([]cause, 0, len(x.Of)), Cut: x.Cut, Again: x.Again,
	}
	if s := x.Shown; s.Pages > 0 {
		c.Shown = &showing{s.After, wireTime(s.At), wireTime(s.First), s.Channel, s.Place, s.Pages}
	}
	for i := range x.Of {
		c.Of = append(c.Of, d.cause(&x.Of[i], policies))
	}
	return c
}

// outside is an id as others have it, "" for none.
func (d *door) outside(id act.ID) string {
	if id == 0 {
		return ""
	}
	return d.codec.String(id)
}

func (d *door) step(s graph.Step, public map[act.ID]bool) step {
	return step{d.codec.String(s.ID), s.ID.Kind().String(), d.outside(s.Via), s.Seq, wireTime(s.At), s.Gen, s.Level, public[s.ID]}
}

func (d *door) steps(list []graph.Step, public map[act.ID]bool) []step {
	out := make([]step, 0, len(list))
	for _, s := range list {
		out = append(out, d.step(s, public))
	}
	return out
}

func (d *door) radius(out *graph.Radius) radius {
	part := func(s *graph.Side) side {
		return side{
			s.Agents, s.Items, s.Shown, s.Acts, append([]int{}, s.Gens...), s.Digest,
			d.steps(s.Some.Agents, out.Public), d.steps(s.Some.Items, out.Public), d.steps(s.Recall, out.Public),
		}
	}
	return radius{d.told(out.Told), basisOf(out.Read), part(&out.Possible), part(&out.Likely)}
}

func (d *door) copies(out *graph.Copies) copies {
	w := copies{
		told: d.told(out.Told), Basis: basisOf(out.Read), Total: out.Total, Compared: out.Compared, Unread: out.Unread,
		Generations: append([]int{}, out.Gens...), R: append([]float64{}, out.R...), Items: []copied{},
	}
	for _, c := range out.Of {
		w.Items = append(w.Items, copied{d.step(c.Step, nil), d.outside(c.From), c.Like, c.Exact})
	}
	return w
}

func (d *door) barrier(out *graph.Barrier) barrier {
	return barrier{d.told(out.Told), basisOf(out.Read), d.ids(out.Hold), out.Behind, out.Least, out.Least == len(out.Hold)}
}

func (d *door) ids(list []act.ID) []string {
	out := make([]string, 0, len(list))
	for _, id := range list {
		out = append(out, d.codec.String(id))
	}
	return out
}

func (d *door) flow(out *graph.Flow) flow {
	part := func(list []graph.Current) []current {
		w := make([]current, 0, len(list))
		for _, c := range list {
			w = append(w, current{d.outside(c.Agent), c.Votes, c.Value, c.Follows, wireTime(c.First), wireTime(c.Last)})
		}
		return w
	}
	return flow{d.told(out.Told), out.From, out.To, out.Accounts, out.Sources, part(out.Received), part(out.Given)}
}

func (d *door) replay(out *graph.Shown) replay {
	w := replay{told: d.told(out.Told), Pages: []shownPage{}, More: out.More}
	for _, p := range out.Pages {
		page := shownPage{p.After, wireTime(p.At), p.Channel, p.Again, p.Count, p.Trace, make([]shownItem, 0, len(p.Items))}
		for _, it := range p.Items {
			page.Items = append(page.Items, shownItem{d.codec.String(it.ID), it.ID.Kind().String(), it.Version})
		}
		w.Pages = append(w.Pages, page)
	}
	return w
}

// POST /trace/contain
func (d *door) contain(ctx context.Context, c *api.Call) error {
	var in newRecall
	if err := c.Decode(&in); err != nil {
		return err
	}
	subject, err := d.subject(in.Subject, in.Since)
	if err != nil {
		return err
	}
	out, err := d.traces.Contain.DoOnce(ctx, c.Principal, c.Key, graph.Order{
		Subject: subject, Level: in.Level, Agents: in.Agents, Content: in.Content, Reason: in.Reason, Digest: in.Digest,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.recalled(out))
}

func (d *door) recalled(r graph.Recall) recall {
	added := make([]late, 0, len(r.Late))
	for _, l := range r.Late {
		added = append(added, late{wireTime(l.At), d.ids(l.Agents), d.ids(l.Items), d.ids(l.Shown)})
	}
	return recall{
		r.N, d.outside(r.Subject), r.Level, r.Reason, d.codec.String(r.By), wireTime(r.At), wireTime(r.Until), wireTime(r.UndoneAt), r.Through,
		d.ids(r.Agents), d.ids(r.Items), d.ids(r.Shown), added, wireTime(r.Watched), d.people(r.Told),
	}
}

// GET /trace/recalls
func (d *door) recalls(ctx context.Context, c *api.Call) error {
	all, err := d.traces.Recalls.Do(ctx, c.Principal, 0)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, act.Page[graph.Recall]{Items: all}, d.recalled))
}

func recallNumber(c *api.Call) (int64, error) {
	n, err := strconv.ParseInt(c.R.PathValue("recall"), 10, 64)
	if err != nil || n <= 0 {
		return 0, act.Errorf(act.NotFound, "there is no such containment").WithRule("trace.recall").WithHint("GET /v1/trace/recalls lists them")
	}
	return n, nil
}

// GET /trace/recalls/{recall}
func (d *door) recall(ctx context.Context, c *api.Call) error {
	n, err := recallNumber(c)
	if err != nil {
		return err
	}
	one, err := d.traces.Recalls.Do(ctx, c.Principal, n)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.recalled(one[0]))
}

// POST /trace/recalls/{recall}/restore
func (d *door) restoreRecall(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	n, err := recallNumber(c)
	if err != nil {
		return err
	}
	out, err := d.traces.Restore.DoOnce(ctx, c.Principal, c.Key, graph.Undo{N: n, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.recalled(out))
}

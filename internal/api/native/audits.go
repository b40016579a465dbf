package native

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/export"
)

// auditRoutes are what auditors ask: saved questions of the record, and which control has
// which evidence.
func (d *door) auditRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/audit/controls", Act: "audit.controls", Handle: d.auditControls, Gives: controls{}},
		{Method: get, Path: "/audit/queries", Act: "audit.queries", Handle: d.auditQueries, Gives: list[question]{}},
		{Method: get, Path: "/audit/queries/{query}", Act: "audit.query", Handle: d.auditQuery, Gives: answers{}, Query: []string{"version", "from", "to", "act", "actor", "target", "kind", "outcome", "rule", "limit", "cursor"}},
		{Method: http.MethodPut, Path: "/audit/queries/{query}", Act: "audit.define", Handle: d.defineQuery, Takes: newQuestion{}, Gives: question{}},
		{Method: post, Path: "/audit/queries/{query}/withdraw", Act: "audit.withdraw", Handle: d.withdrawQuery, Takes: newOrder{}, Gives: question{}},
	}
}

type controls struct {
	At         *string     `json:"at"`
	Frameworks []framework `json:"frameworks"`
	Figures    []figure    `json:"figures"`
}

type framework struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Ours  bool      `json:"own_reading"` // no authority has said that this is what its rows mean
	Rules []control `json:"rules"`
}

type control struct {
	Item       string   `json:"item"`
	Evidence   string   `json:"evidence"`
	NotCovered string   `json:"not_covered"`
	Figures    []string `json:"figures"` // by name
	Links      []string `json:"links"`   // where more of it is read
}

type figure struct {
	Name  string  `json:"name"`
	Text  string  `json:"text"`
	Value int64   `json:"value"`
	Note  string  `json:"note"`
	At    *string `json:"at"` // of what it is about; null is now
}

// GET /audit/controls
func (d *door) auditControls(ctx context.Context, c *api.Call) error {
	x, err := d.controls.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	out := controls{At: wireTime(x.At)}
	for _, f := range x.Frameworks {
		one := framework{ID: f.ID, Name: f.Name, Ours: f.Ours}
		for _, r := range f.Rules {
			one.Rules = append(one.Rules, wireControl(r))
		}
		out.Frameworks = append(out.Frameworks, one)
	}
	for _, f := range x.Figures {
		out.Figures = append(out.Figures, figure{Name: f.Name, Text: f.Text, Value: f.Value, Note: f.Note, At: wireTime(f.At)})
	}
	return d.send(c, http.StatusOK, out)
}

func wireControl(r export.Rule) control {
	return control{
		Item: r.Item, Evidence: r.Evidence, NotCovered: r.NotCovered,
		Figures: append([]string{}, r.Figures...), Links: append([]string{}, r.Links...),
	}
}

// question is a saved question of the record.
type question struct {
	Name    string  `json:"name"`
	Version int64   `json:"version"` // 0 of those that every network has
	Title   string  `json:"title"`
	By      *string `json:"by"`
	At      *string `json:"at"`
	filter
}

// filter says which acts a question is about.
type filter struct {
	Acts    []string `json:"acts"`  // "policy." is all that begin so
	Kinds   []string `json:"kinds"` // of who acted
	Outcome string   `json:"outcome"`
	Rule    string   `json:"rule"`   // that refused, or policy that decided
	Actor   string   `json:"actor"`  // id of an agent or operator
	Target  string   `json:"target"` // id of what it was aimed at, or made
}

func (d *door) recordFilter(f filter) (out audit.Filter, err error) {
	out = audit.Filter{Acts: f.Acts, Kinds: f.Kinds, Outcome: f.Outcome, Rule: f.Rule}
	for _, one := range []struct {
		text string
		into *act.ID
	}{{f.Actor, &out.Actor}, {f.Target, &out.Target}} {
		if one.text == "" {
			continue
		}
		if *one.into, err = d.codec.Parse(one.text); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (d *door) wireQuestion(q audit.Question) question {
	out := question{Name: q.Name, Version: q.Version, Title: q.Title, By: d.idOrNull(q.By), At: wireTime(q.At), filter: filter{
		Acts: append([]string{}, q.Filter.Acts...), Kinds: append([]string{}, q.Filter.Kinds...), Outcome: q.Filter.Outcome, Rule: q.Filter.Rule,
	}}
	if q.Filter.Actor != 0 {
		out.Actor = d.codec.String(q.Filter.Actor)
	}
	if q.Filter.Target != 0 {
		out.Target = d.codec.String(q.Filter.Target)
	}
	return out
}

// GET /audit/queries
func (d *door) auditQueries(ctx context.Context, c *api.Call) error {
	all, err := d.audit.Queries.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, act.Page[audit.Question]{Items: all}, d.wireQuestion))
}

// answers are acts on record, the oldest first.
type answers struct {
	Question question   `json:"question"`
	Items    []recorded `json:"items"`
	Next     *string    `json:"next_cursor"` // an answer without items has one where more is to be looked at
	Through  int64      `json:"through"`     // number of the last act that was looked at
}

type recorded struct {
	Seq        int64   `json:"seq"`
	At         *string `json:"at"`
	Act        string  `json:"act"`
	Outcome    string  `json:"outcome"`
	Code       string  `json:"code"`
	Rule       string  `json:"rule"`   // that refused
	Policy     string  `json:"policy"` // that decided
	Kind       string  `json:"actor_kind"`
	Actor      string  `json:"actor"`
	Name       string  `json:"actor_name"`
	Target     string  `json:"target"`
	TargetKind string  `json:"target_kind"`
	Made       string  `json:"made"`
	MadeKind   string  `json:"made_kind"`
	Reason     string  `json:"reason"`
	Approval   string  `json:"approval"`
	Count      int64   `json:"count"` // how many alike it stands for
	Trace      string  `json:"trace"`
}

func wireRecorded(a audit.Answer) recorded {
	return recorded{
		Seq: a.Seq, At: wireTime(a.At), Act: a.Act, Outcome: a.Outcome, Code: a.Code, Rule: a.Rule, Policy: a.Policy.ID,
		Kind: a.Principal.Kind, Actor: a.Principal.ID, Name: a.Principal.Name, Target: a.Target.ID, TargetKind: a.Target.Kind,
		Made: a.Out.ID, MadeKind: a.Out.Kind, Reason: a.Reason, Approval: a.Approval, Count: max(1, a.Count), Trace: a.Trace,
	}
}

// GET /audit/queries/{query}
func (d *door) auditQuery(ctx context.Context, c *api.Call) (err error) {
	q := c.R.URL.Query()
	in := audit.Inquiry{Name: c.R.PathValue("query")}
	given := filter{Outcome: q.Get("outcome"), Rule: q.Get("rule"), Actor: q.Get("actor"), Target: q.Get("target")}
	if name := q.Get("act"); name != "" {
		given.Acts = []string{name}
	}
	if kind := q.Get("kind"); kind != "" {
		given.Kinds = []string{kind}
	}
	if in.Narrowed, err = d.recordFilter(given); err != nil {
		return err
	}
	if in.Version, err = strconv.ParseInt(cmp.Or(q.Get("version"), "0"), 10, 64); err != nil || in.Version < 0 {
		return act.Errorf(act.Invalid, "version is no number").WithRule("query.version").WithHint("leave it out for the newest")
	}
	if in.From, err = instant("from", q.Get("from")); err != nil {
		return err
	}
	if in.To, err = instant("to", q.Get("to")); err != nil {
		return err
	}
	if in.Limit, in.Cursor, err = d.paging(c, audit.QueryCursor, audit.MaxAnswers); err != nil {
		return err
	}
	x, err := d.audit.Query.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	page := listOf(d, x.Page, wireRecorded)
	return d.send(c, http.StatusOK, answers{Question: d.wireQuestion(x.Question), Items: page.Items, Next: page.Next, Through: x.Through})
}

type newQuestion struct {
	Title string `json:"title"`
	filter
	Reason string `json:"reason"`
}

// PUT /audit/queries/{query}
func (d *door) defineQuery(ctx context.Context, c *api.Call) error {
	var in newQuestion
	if err := c.Decode(&in); err != nil {
		return err
	}
	f, err := d.recordFilter(in.filter)
	if err != nil {
		return err
	}
	q, err := d.audit.Define.DoOnce(ctx, c.Principal, c.Key, audit.NewQuestion{Name: c.R.PathValue("query"), Title: in.Title, Filter: f, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.wireQuestion(q))
}

// POST /audit/queries/{query}/withdraw
func (d *door) withdrawQuery(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	q, err := d.audit.Withdraw.DoOnce(ctx, c.Principal, c.Key, audit.Withdrawal{Name: c.R.PathValue("query"), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.wireQuestion(q))
}

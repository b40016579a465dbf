package native

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/policy"
)

// maxPolicies bounds a body with policies: texts in JSON may take twice their size.
const maxPolicies = 2*policy.MaxDraft + 64<<10

// policyRoutes are how operators look at policies, try others out, and change them.
func (d *door) policyRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/policies", Act: "policy.list", Handle: d.listPolicies, Gives: list[bundle]{}, Query: []string{"limit", "cursor"}},
		{Method: post, Path: "/policies", Act: "policy.activate", MaxBody: maxPolicies, Handle: d.activatePolicies, Takes: newPolicies{}, Gives: bundle{}},
		{Method: get, Path: "/policies/{version}", Act: "policy.show", Handle: d.showPolicies, Gives: policies{}},
		{Method: post, Path: "/policies/{version}/revert", Act: "policy.revert", Handle: d.revertPolicies, Takes: newOrder{}, Gives: bundle{}},
		{Method: post, Path: "/policy-check", Act: "policy.check", MaxBody: maxPolicies, Handle: d.checkPolicies, Takes: draft{}, Gives: checked{}},
		{Method: post, Path: "/policy-diff", Act: "policy.diff", MaxBody: 2 * maxPolicies, Handle: d.diffPolicies, Takes: newDiff{}, Gives: difference{}},
		{Method: post, Path: "/policy-dryrun", Act: "policy.dryrun", MaxBody: maxPolicies, Handle: d.dryRunPolicies, Takes: newDryRun{}, Gives: dryRun{}},
		{Method: get, Path: "/policy-shadow", Act: "policy.flips", Handle: d.flips, Gives: flips{}, Query: []string{"limit", "cursor"}},
		{Method: post, Path: "/policy-shadow", Act: "policy.shadow", MaxBody: maxPolicies, Handle: d.shadowPolicies, Takes: newPolicies{}, Gives: shadow{}},
		{Method: post, Path: "/policy-shadow/end", Act: "policy.unshadow", Handle: d.unshadowPolicies, Takes: newOrder{}, Gives: shadow{}},
	}
}

type policyFile struct {
	Name string `json:"name"` // content.cedar, or tests.yaml
	Text string `json:"text"`
}

// draft is what operators bring; the rest are the defaults of the release.
type draft struct {
	Files   []policyFile `json:"files"`
	Tests   []policyFile `json:"tests"`
	Without []string     `json:"without"` // ids of default policies to leave out
}

func (in *draft) draft() policy.Draft {
	files := func(list []policyFile) (out []policy.File) {
		for _, f := range list {
			out = append(out, policy.File(f))
		}
		return out
	}
	return policy.Draft{Files: files(in.Files), Tests: files(in.Tests), Without: in.Without}
}

type newPolicies struct {
	draft
	Base   int64  `json:"base"` // the version that it was made for; any if 0
	Reason string `json:"reason"`
}

// pick names policies: a version, a draft, or by nothing those in force.
type pick struct {
	Version int64  `json:"version"`
	Draft   *draft `json:"draft"`
}

func (in pick) pick() policy.Pick {
	out := policy.Pick{Version: in.Version}
	if in.Draft != nil {
		d := in.Draft.draft()
		out.Draft = &d
	}
	return out
}

type bundle struct {
	ID       string  `json:"id"`
	Version  int64   `json:"version"`
	Digest   string  `json:"digest"` // SHA-256 in hex, of what is signed
	ActiveAt *string `json:"active_at"`
	Operator *string `json:"operator"` // id; null for the server
	Source   string  `json:"source"`   // release, operator or revert
	Reason   string  `json:"reason"`
	Defaults int64   `json:"defaults"` // version of the defaults in it
	Files    int64   `json:"files"`
	Own      int64   `json:"own"` // of the files: those of operators
	Bytes    int64   `json:"bytes"`
}

func (d *door) bundle(k policy.Kept) bundle {
	return bundle{
		ID: d.idOrNone(k.ID), Version: k.Version, Digest: hex.EncodeToString(k.Digest), ActiveAt: wireTime(k.ActiveAt), Source: k.Source, Reason: k.Reason,
		Defaults: k.Defaults, Files: k.Policies, Own: k.Own, Bytes: k.Bytes, Operator: d.id(k.Operator),
	}
}

func (d *door) idOrNone(id act.ID) string {
	if id == 0 {
		return ""
	}
	return d.codec.String(id)
}

// GET /policies?limit&cursor
func (d *door) listPolicies(ctx context.Context, c *api.Call) error {
	var in policy.BundleQuery
	var err error
	if in.Limit, in.Cursor, err = d.paging(c, policy.BundleCursor, policy.MaxBundles); err != nil {
		return err
	}
	page, err := d.policies.List.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.bundle))
}

type policies struct {
	bundle
	Policies []shownFile `json:"policies"`
	Tests    []shownFile `json:"tests"`
	Without  []string    `json:"without"`  // default policies that are left out
	Replaced []string    `json:"replaced"` // default policies, files and tests that give way to the operators'
	Behind   string      `json:"behind"`   // why the defaults of this release are not in force; "" when they are
	Beside   *string     `json:"beside"`   // id of what decides beside them; null for nothing
}

type shownFile struct {
	policyFile
	Own bool `json:"own"`
}

// GET /policies/{version}: a number, or current
func (d *door) showPolicies(ctx context.Context, c *api.Call) error {
	version, err := policyVersion(c)
	if err != nil {
		return err
	}
	s, err := d.policies.Show.Do(ctx, c.Principal, policy.Pick{Version: version})
	if err != nil {
		return err
	}
	own := make(map[string]bool)
	for _, name := range s.Bundle.Own {
		own[name] = true
	}
	files := func(list []policy.File) []shownFile {
		out := make([]shownFile, 0, len(list))
		for _, f := range list {
			out = append(out, shownFile{policyFile(f), own[f.Name]})
		}
		return out
	}
	out := policies{
		bundle: d.bundle(s.Kept), Policies: files(s.Bundle.Files), Tests: files(s.Bundle.Tests),
		Without: orEmpty(s.Bundle.Without), Replaced: orEmpty(s.Bundle.Replaced), Behind: s.Behind, Beside: d.id(s.Beside),
	}
	return d.send(c, http.StatusOK, out)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func policyVersion(c *api.Call) (int64, error) {
	text := c.R.PathValue("version")
	if text == "current" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, act.Errorf(act.NotFound, "there is no bundle of version %.40q", text).WithRule("bundle.unknown").
			WithHint("a version is a number, or current; GET /v1/policies lists them")
	}
	return n, nil
}

// POST /policies
func (d *door) activatePolicies(ctx context.Context, c *api.Call) error {
	var in newPolicies
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := d.policies.Activate.DoOnce(ctx, c.Principal, c.Key, policy.Proposal{Draft: in.draft.draft(), Base: in.Base, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.bundle(k))
}

// POST /policies/{version}/revert
func (d *door) revertPolicies(ctx context.Context, c *api.Call) error {
	version, err := policyVersion(c)
	if err != nil {
		return err
	}
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := d.policies.Revert.DoOnce(ctx, c.Principal, c.Key, policy.Reversal{Version: version, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.bundle(k))
}

type checked struct {
	OK       bool            `json:"ok"`
	Version  int64           `json:"version"` // of what is in force
	Refused  string          `json:"refused"` // why it would not be put in force
	Rule     string          `json:"rule"`
	Policies int             `json:"policies"`
	Problems []policyProblem `json:"problems"`
	Tests    []trial         `json:"tests"`
	Without  []string        `json:"without"`
	Replaced []string        `json:"replaced"`
}

type policyProblem struct {
	Place string `json:"place"` // file:line
	Text  string `json:"text"`
}

type trial struct {
	Name   string `json:"name"`
	Place  string `json:"place"` // file:line of the case
	Passed bool   `json:"passed"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	By     string `json:"by"` // the policy that decided
	At     string `json:"at"` // its file:line
	Why    string `json:"why"`
}

// POST /policy-check
func (d *door) checkPolicies(ctx context.Context, c *api.Call) error {
	var in draft
	if err := c.Decode(&in); err != nil {
		return err
	}
	r, err := d.policies.Check.Do(ctx, c.Principal, in.draft())
	if err != nil {
		return err
	}
	out := checked{
		OK: r.Refused == "", Version: r.Version, Refused: r.Refused, Rule: r.Rule, Policies: r.Policies, Problems: []policyProblem{}, Tests: []trial{},
		Without: orEmpty(r.Without), Replaced: orEmpty(r.Replaced),
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, policyProblem(p))
	}
	for _, t := range r.Trials {
		out.Tests = append(out.Tests, trial{t.Case, t.Place, t.Passed, t.Want, t.Got, t.By, t.At, t.Why})
	}
	return d.send(c, http.StatusOK, out)
}

type newDiff struct {
	From pick `json:"from"`
	To   pick `json:"to"`
}

type difference struct {
	Added   []string `json:"added"` // ids of policies
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
	Acts    []string `json:"acts"`   // that a policy reaches which differs
	Agents  int64    `json:"agents"` // that were looked at
	Changes []change `json:"changes"`
	Rest    int64    `json:"rest"`    // found, and not listed
	Partial []string `json:"partial"` // what was not asked about
}

type change struct {
	Who      string         `json:"who"` // agent, operator or observer
	Facts    map[string]any `json:"facts"`
	Count    int64          `json:"count"`
	Examples []string       `json:"examples"`
	Act      string         `json:"act"`
	Gains    bool           `json:"gains"`
	Was      string         `json:"was"`
	Now      string         `json:"now"`
	Rule     string         `json:"rule"` // the policy that decides before
	From     string         `json:"from"` // its file:line
	By       string         `json:"by"`   // the policy that decides after
	At       string         `json:"at"`
	Things   int64          `json:"things"` // kinds of things for which it is so
	Of       int64          `json:"of"`     // kinds of things that were asked about
	Thing    map[string]any `json:"thing"`  // one of them
}

// POST /policy-diff
func (d *door) diffPolicies(ctx context.Context, c *api.Call) error {
	var in newDiff
	if err := c.Decode(&in); err != nil {
		return err
	}
	x, err := d.policies.Diff.Do(ctx, c.Principal, policy.DiffQuery{From: in.From.pick(), To: in.To.pick()})
	if err != nil {
		return err
	}
	out := difference{
		Added: orEmpty(x.Added), Removed: orEmpty(x.Removed), Changed: orEmpty(x.Changed), Acts: orEmpty(x.Acts),
		Agents: x.Agents, Rest: x.Rest, Partial: orEmpty(x.Partial), Changes: make([]change, 0, len(x.Changes)),
	}
	for _, one := range x.Changes {
		w := change{
			Who: one.Who, Facts: one.Facts, Count: one.Count, Examples: make([]string, 0, len(one.Examples)), Act: one.Act, Gains: one.Gains,
			Was: one.Was, Now: one.Now, Rule: one.Rule, From: one.From, By: one.By, At: one.At, Things: one.Things, Of: one.Of, Thing: one.Thing,
		}
		for _, id := range one.Examples {
			w.Examples = append(w.Examples, d.lifecycle.Name(id))
		}
		out.Changes = append(out.Changes, w)
	}
	return d.send(c, http.StatusOK, out)
}

type newDryRun struct {
	pick
	From string `json:"from"` // RFC 3339; the hours that hold from and to are whole
	To   string `json:"to"`   // now if ""
}

type dryRun struct {
	From      *string `json:"from"`
	To        *string `json:"to"`
	Decisions int64   `json:"decisions"`
	Distinct  int64   `json:"distinct"`
	Flipped   int64   `json:"flipped"`
	Gained    int64   `json:"gained"`  // of the flipped: those that would let more through
	Gone      int64   `json:"gone"`    // about acts that there are no more
	Unnamed   int64   `json:"unnamed"` // of which only the number is kept
	Flips     []flip  `json:"flips"`
	Rest      int64   `json:"rest"` // flipped, and not listed
}

type flip struct {
	Kind  string `json:"kind"`
	Who   string `json:"who"` // id, or the name of what has none; "" where only the number is kept
	Name  string `json:"name"`
	Act   string `json:"act"`
	Was   string `json:"was"`
	Rule  string `json:"rule"`
	Now   string `json:"now"`
	By    string `json:"by"`
	At    string `json:"at"` // file:line of the policy that decides
	Count int64  `json:"count"`
}

func (d *door) flip(f policy.Flip) flip {
	out := flip{Kind: f.Kind.String(), Who: f.Name, Name: f.Name, Act: f.Act, Was: f.Was, Rule: f.Rule, Now: f.Now, By: f.By, At: f.At, Count: f.Count}
	if f.Who != 0 {
		out.Who = d.codec.String(f.Who)
		out.Name = d.lifecycle.Name(f.Who)
	}
	return out
}

// POST /policy-dryrun
func (d *door) dryRunPolicies(ctx context.Context, c *api.Call) error {
	var in newDryRun
	if err := c.Decode(&in); err != nil {
		return err
	}
	q := policy.DryRunQuery{Candidate: in.pick.pick(), To: act.Micros(d.kernel.Gate.Now())}
	for _, t := range []struct {
		text string
		into *int64
	}{{in.From, &q.From}, {in.To, &q.To}} {
		if t.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, t.text)
		if err != nil {
			return act.Errorf(act.Invalid, "%.40q is no time", t.text).WithRule("policy.window").WithHint("write it like 2026-11-30T12:00:00Z")
		}
		*t.into = act.Micros(at)
	}
	x, err := d.policies.DryRun.Do(ctx, c.Principal, q)
	if err != nil {
		return err
	}
	out := dryRun{
		From: wireTime(x.From), To: wireTime(x.To), Decisions: x.Decisions, Distinct: x.Distinct, Flipped: x.Flipped, Gained: x.Gained,
		Gone: x.Gone, Unnamed: x.Unnamed, Rest: x.Rest, Flips: make([]flip, 0, len(x.Flips)),
	}
	for _, f := range x.Flips {
		out.Flips = append(out.Flips, d.flip(f))
	}
	return d.send(c, http.StatusOK, out)
}

type shadow struct {
	ID       string   `json:"id"`
	Operator string   `json:"operator"`
	Reason   string   `json:"reason"`
	BeganAt  *string  `json:"began_at"`
	EndedAt  *string  `json:"ended_at"` // null while it lasts
	Own      []string `json:"own"`      // files of operators in it
	Without  []string `json:"without"`
}

func (d *door) shadow(s policy.Shadow) shadow {
	return shadow{
		ID: d.codec.String(s.ID), Operator: d.codec.String(s.Operator), Reason: s.Reason, BeganAt: wireTime(s.BeganAt), EndedAt: wireTime(s.EndedAt),
		Own: orEmpty(s.Bundle.Own), Without: orEmpty(s.Bundle.Without),
	}
}

type flips struct {
	shadow
	Items []flip  `json:"items"`
	Next  *string `json:"next_cursor"`
}

// GET /policy-shadow?limit&cursor
func (d *door) flips(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := policy.FlipQuery{After: q.Get("cursor")}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, policy.MaxFlipPage); err != nil {
		return err
	}
	page, err := d.policies.Flips.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := flips{shadow: d.shadow(page.Shadow), Items: make([]flip, 0, len(page.Flips))}
	for _, f := range page.Flips {
		out.Items = append(out.Items, d.flip(f))
	}
	if page.Next != "" {
		out.Next = &page.Next
	}
	return d.send(c, http.StatusOK, out)
}

// POST /policy-shadow
func (d *door) shadowPolicies(ctx context.Context, c *api.Call) error {
	var in newPolicies
	if err := c.Decode(&in); err != nil {
		return err
	}
	s, err := d.policies.Shadow.DoOnce(ctx, c.Principal, c.Key, policy.Proposal{Draft: in.draft.draft(), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.shadow(s))
}

// POST /policy-shadow/end
func (d *door) unshadowPolicies(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	s, err := d.policies.Unshadow.DoOnce(ctx, c.Principal, c.Key, policy.Ending{Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.shadow(s))
}

package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/network"
)

// maxManifests bounds a body with files: texts in JSON may take twice their size.
const maxManifests = 2*manifest.MaxTexts + 64<<10

// manifestRoutes are how operators keep things as code.
func (d *door) manifestRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/manifest/plan", Act: "manifest.plan", MaxBody: maxManifests, Handle: d.planManifests, Takes: newSet{}, Gives: manifestPlan{}},
		{Method: post, Path: "/manifest/apply", Act: "manifest.apply", MaxBody: maxManifests, Handle: d.applyManifests, Takes: newApply{}, Gives: manifestApplied{}},
		{Method: get, Path: "/manifest/export", Act: "manifest.export", Handle: d.exportManifests, Gives: manifestFile{}, Query: []string{"kind"}},
		{Method: get, Path: "/manifest/schemas", Exempt: "the form of the files is part of the program", Handle: d.manifestSchema, Gives: map[string]any{}},
		{Method: get, Path: "/manifest/schemas/{kind}", Exempt: "the form of the files is part of the program", Handle: d.manifestSchema, Gives: map[string]any{}},
		{Method: get, Path: "/manifest/objects", Act: "manifest.list", Handle: d.listManifests, Gives: list[manifestObject]{}, Query: []string{"kind"}},
		{Method: get, Path: "/manifest/objects/{kind}/{name}", Act: "manifest.get", Handle: d.getManifest, Gives: manifestObject{}},
		{Method: post, Path: "/provided-communities", Act: "community.provide", Handle: d.provideCommunity, Takes: newProvision{}, Gives: community{}},
	}
}

type manifestFile struct {
	Name string `json:"name"` // what ends in .json is JSON, anything else YAML
	Text string `json:"text"`
}

// newSet is what is to be: files, and who says it.
type newSet struct {
	Files   []manifestFile `json:"files"`
	Manager string         `json:"manager"`
	Prune   bool           `json:"prune"`
	Force   bool           `json:"force"`
}

func (in newSet) set() manifest.Set {
	out := manifest.Set{Manager: in.Manager, Prune: in.Prune, Force: in.Force}
	for _, f := range in.Files {
		out.Files = append(out.Files, manifest.File(f))
	}
	return out
}

type manifestChange struct {
	Op     string          `json:"op"` // create, update, own, end or release
	Kind   string          `json:"kind"`
	Name   string          `json:"name"`
	Place  string          `json:"place"` // file:line
	Fields []manifestField `json:"fields"`
	Why    string          `json:"why"` // what was changed by hand
}

type manifestField struct {
	Field string `json:"field"`
	Was   any    `json:"was"`
	Now   any    `json:"now"`
}

type manifestEffect struct {
	Object string   `json:"object"`
	What   string   `json:"what"` // gains, loses, stops, ends, begins or unknown
	Who    string   `json:"who"`
	Acts   []string `json:"acts"`
	Agents int64    `json:"agents"` // how many it reaches
	Names  []string `json:"names"`  // of some of them
	Why    string   `json:"why"`
}

type manifestConflict struct {
	Object  string `json:"object"`
	Place   string `json:"place"`
	Field   string `json:"field"`
	Manager string `json:"manager"` // whose it is
	Theirs  any    `json:"theirs"`
	Mine    any    `json:"mine"`
}

type manifestProblem struct {
	Place  string `json:"place"`
	Object string `json:"object"`
	Text   string `json:"text"`
	Hint   string `json:"hint"`
}

type manifestPlan struct {
	Digest    string             `json:"digest"`
	Changes   []manifestChange   `json:"changes"`
	Effects   []manifestEffect   `json:"effects"`
	Conflicts []manifestConflict `json:"conflicts"`
	Problems  []manifestProblem  `json:"problems"`
	Same      int                `json:"same"` // objects that are as they are to be
}

func changeOf(c manifest.Change) manifestChange {
	out := manifestChange{Op: string(c.Op), Kind: c.Kind, Name: c.Name, Place: c.Place, Why: c.Why, Fields: make([]manifestField, 0, len(c.Fields))}
	for _, f := range c.Fields {
		out.Fields = append(out.Fields, manifestField{f.Path, f.Was, f.Now})
	}
	return out
}

// POST /manifest/plan
func (d *door) planManifests(ctx context.Context, c *api.Call) error {
	var in newSet
	if err := c.Decode(&in); err != nil {
		return err
	}
	p, err := d.manifests.Plan.Do(ctx, c.Principal, in.set())
	if err != nil {
		return err
	}
	out := manifestPlan{Digest: p.Digest, Same: p.Same, Changes: []manifestChange{}, Effects: []manifestEffect{}, Conflicts: []manifestConflict{}, Problems: []manifestProblem{}}
	for _, x := range p.Changes {
		out.Changes = append(out.Changes, changeOf(x))
	}
	for _, x := range p.Effects {
		out.Effects = append(out.Effects, manifestEffect{x.Object, x.What, x.Who, orEmpty(x.Acts), x.Agents, orEmpty(x.Names), x.Why})
	}
	for _, x := range p.Conflicts {
		out.Conflicts = append(out.Conflicts, manifestConflict(x))
	}
	for _, x := range p.Problems {
		out.Problems = append(out.Problems, manifestProblem(x))
	}
	return d.send(c, http.StatusOK, out)
}

type newApply struct {
	newSet
	Digest string `json:"digest"` // of the plan
	Reason string `json:"reason"`
}

type manifestResult struct {
	manifestChange
	State string         `json:"state"` // done, waits, failed or left
	Once  string         `json:"once"`  // a secret that is shown once: a webhook's, an agent's enrolment token
	Error *manifestError `json:"error"` // why it has failed
}

type manifestError struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Rule string `json:"rule"`
	Hint string `json:"hint"`
}

type manifestApplied struct {
	Digest  string           `json:"digest"`
	Results []manifestResult `json:"results"`
}

// POST /manifest/apply
func (d *door) applyManifests(ctx context.Context, c *api.Call) error {
	var in newApply
	if err := c.Decode(&in); err != nil {
		return err
	}
	done, err := d.manifests.Apply(ctx, c.Principal, manifest.Order{Set: in.set(), Digest: in.Digest, Reason: in.Reason})
	if err != nil {
		return err
	}
	out := manifestApplied{Digest: done.Digest, Results: make([]manifestResult, 0, len(done.Results))}
	for _, r := range done.Results {
		w := manifestResult{manifestChange: changeOf(r.Change), State: r.State, Once: r.Once}
		if r.Error != nil {
			w.Error = &manifestError{r.Error.Code.String(), r.Error.Message, r.Error.Rule, r.Error.Hint}
		}
		out.Results = append(out.Results, w)
	}
	return d.send(c, http.StatusOK, out)
}

// manifestObject is a thing in the form of the files, with what the network says of it.
type manifestObject struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   manifestName   `json:"metadata"`
	Spec       map[string]any `json:"spec"`
	Status     manifestStatus `json:"status"`
}

type manifestName struct {
	Name string `json:"name"`
}

type manifestStatus struct {
	State    string            `json:"state"` // there, missing, leaving, or what it has become
	Managers []manifestHolding `json:"managers"`
	Drift    []string          `json:"drift"` // fields that are not as the files say
	Facts    map[string]any    `json:"facts"`
}

type manifestHolding struct {
	Manager string   `json:"manager"`
	Fields  []string `json:"fields"`
}

func manifestOf(s manifest.State) manifestObject {
	out := manifestObject{
		APIVersion: manifest.APIVersion, Kind: s.Kind, Metadata: manifestName{s.Name}, Spec: s.Spec,
		Status: manifestStatus{State: s.State, Managers: []manifestHolding{}, Drift: orEmpty(s.Drift), Facts: s.Status},
	}
	for _, h := range s.Managers {
		out.Status.Managers = append(out.Status.Managers, manifestHolding{h.Manager, orEmpty(h.Fields)})
	}
	return out
}

// GET /manifest/objects?kind
func (d *door) listManifests(ctx context.Context, c *api.Call) error {
	all, err := d.manifests.List.Do(ctx, c.Principal, manifest.Query{Kind: c.R.URL.Query().Get("kind")})
	if err != nil {
		return err
	}
	out := list[manifestObject]{Items: make([]manifestObject, 0, len(all))}
	for _, s := range all {
		out.Items = append(out.Items, manifestOf(s))
	}
	return d.send(c, http.StatusOK, out)
}

// GET /manifest/objects/{kind}/{name}
func (d *door) getManifest(ctx context.Context, c *api.Call) error {
	s, err := d.manifests.Get.Do(ctx, c.Principal, manifest.Query{Kind: c.R.PathValue("kind"), Name: c.R.PathValue("name")})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, manifestOf(s))
}

// GET /manifest/export?kind
func (d *door) exportManifests(ctx context.Context, c *api.Call) error {
	f, err := d.manifests.Export.Do(ctx, c.Principal, manifest.Query{Kind: c.R.URL.Query().Get("kind")})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, manifestFile(f))
}

// GET /manifest/schemas and /manifest/schemas/{kind}
func (d *door) manifestSchema(_ context.Context, c *api.Call) error {
	s, err := d.manifests.SchemaOf(c.R.PathValue("kind"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, s)
}

// newProvision is a community as it is to be; what is left out stays as it is.
type newProvision struct {
	Name        string  `json:"name"`
	DisplayName *string `json:"display_name"`
	Description *string `json:"description"`
	Rules       *string `json:"rules"`
	BannerColor *string `json:"banner_color"`
	ThemeColor  *string `json:"theme_color"`
	AllowCrypto *bool   `json:"allow_crypto"`
}

// POST /provided-communities
func (d *door) provideCommunity(ctx context.Context, c *api.Call) error {
	var in newProvision
	if err := c.Decode(&in); err != nil {
		return err
	}
	made, err := d.network.ProvideCommunity.DoOnce(ctx, c.Principal, c.Key, network.Provision(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.community(made))
}

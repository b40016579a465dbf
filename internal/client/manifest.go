package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// ManifestFile is a file that says how things are to be.
type ManifestFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// ManifestSet is what is to be: files, and who says it.
type ManifestSet struct {
	Files   []ManifestFile `json:"files"`
	Manager string         `json:"manager"`
	Prune   bool           `json:"prune"`
	Force   bool           `json:"force"`
}

// ManifestField is a field that would be another.
type ManifestField struct {
	Field string `json:"field"`
	Was   any    `json:"was"`
	Now   any    `json:"now"`
}

// ManifestChange is what becomes of one object.
type ManifestChange struct {
	Op     string          `json:"op"` // create, update, own, end or release
	Kind   string          `json:"kind"`
	Name   string          `json:"name"`
	Place  string          `json:"place"`
	Fields []ManifestField `json:"fields"`
	Why    string          `json:"why"`
}

// ManifestEffect is what a change comes to for somebody.
type ManifestEffect struct {
	Object string   `json:"object"`
	What   string   `json:"what"`
	Who    string   `json:"who"`
	Acts   []string `json:"acts"`
	Agents int64    `json:"agents"`
	Names  []string `json:"names"`
	Why    string   `json:"why"`
}

// ManifestConflict is a field that somebody else's files say otherwise.
type ManifestConflict struct {
	Object  string `json:"object"`
	Place   string `json:"place"`
	Field   string `json:"field"`
	Manager string `json:"manager"`
	Theirs  any    `json:"theirs"`
	Mine    any    `json:"mine"`
}

// ManifestProblem is why files cannot be applied.
type ManifestProblem struct {
	Place  string `json:"place"`
	Object string `json:"object"`
	Text   string `json:"text"`
	Hint   string `json:"hint"`
}

// ManifestPlan is what applying a set would do.
type ManifestPlan struct {
	Digest    string             `json:"digest"`
	Changes   []ManifestChange   `json:"changes"`
	Effects   []ManifestEffect   `json:"effects"`
	Conflicts []ManifestConflict `json:"conflicts"`
	Problems  []ManifestProblem  `json:"problems"`
	Same      int                `json:"same"`
}

// ManifestResult is what became of one change.
type ManifestResult struct {
	ManifestChange
	State string `json:"state"` // done, waits, failed or left
	Once  string `json:"once"`  // a secret that is shown once
	Error *struct {
		Code string `json:"code"`
		Text string `json:"text"`
		Rule string `json:"rule"`
		Hint string `json:"hint"`
	} `json:"error"`
}

// ManifestApplied is what came of a set.
type ManifestApplied struct {
	Digest  string           `json:"digest"`
	Results []ManifestResult `json:"results"`

	// Approval is under which it waits for somebody else's word; "" when it does not.
	Approval string `json:"approval_id,omitempty"`
}

// ManifestObject is a thing in the form of the files, with what the network says of it.
type ManifestObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec   map[string]any `json:"spec"`
	Status struct {
		State    string `json:"state"`
		Managers []struct {
			Manager string   `json:"manager"`
			Fields  []string `json:"fields"`
		} `json:"managers"`
		Drift []string       `json:"drift"`
		Facts map[string]any `json:"facts"`
	} `json:"status"`
}

// PlanManifests says what applying a set would do.
func (c *Client) PlanManifests(ctx context.Context, set ManifestSet) (out ManifestPlan, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/manifest/plan", nil, set, &out)
	return out, err
}

// ApplyManifests applies a set as it was planned.
func (c *Client) ApplyManifests(ctx context.Context, set ManifestSet, digest, reason string) (out ManifestApplied, err error) {
	in := struct {
		ManifestSet
		Digest string `json:"digest"`
		Reason string `json:"reason"`
	}{set, digest, reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/manifest/apply", nil, in, &out)
	return out, err
}

// ExportManifests writes what there is, of one kind or of all (""), as a file.
func (c *Client) ExportManifests(ctx context.Context, kind string) (out ManifestFile, err error) {
	v := url.Values{}
	word(v, "kind", kind)
	err = c.conn.call(ctx, http.MethodGet, "/v1/manifest/export", v, nil, &out)
	return out, err
}

// ManifestObjects lists what can be kept as code, of one kind or of all ("").
func (c *Client) ManifestObjects(ctx context.Context, kind string) (out []ManifestObject, err error) {
	v := url.Values{}
	word(v, "kind", kind)
	var page struct {
		Items []ManifestObject `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/manifest/objects", v, nil, &page)
	return page.Items, err
}

// ManifestObject shows one thing that can be kept as code.
func (c *Client) ManifestObject(ctx context.Context, kind, name string) (out ManifestObject, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/manifest/objects/"+url.PathEscape(kind)+"/"+url.PathEscape(name), nil, nil, &out)
	return out, err
}

// ManifestSchema returns the JSON Schema of a kind, or with "" that of all.
func (c *Client) ManifestSchema(ctx context.Context, kind string) (out json.RawMessage, err error) {
	path := "/v1/manifest/schemas"
	if kind != "" {
		path += "/" + url.PathEscape(kind)
	}
	err = c.conn.call(ctx, http.MethodGet, path, nil, nil, &out)
	return out, err
}

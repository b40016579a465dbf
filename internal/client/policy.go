package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// PolicyFile is one text of a set of policies.
type PolicyFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
	Own  bool   `json:"own,omitempty"` // of operators; only in what the server shows
}

// PolicyDraft is what operators bring; the rest are the defaults of the server's release.
type PolicyDraft struct {
	Files   []PolicyFile `json:"files"`
	Tests   []PolicyFile `json:"tests"`
	Without []string     `json:"without"` // ids of default policies to leave out
}

// PolicyPick names policies: a version, a draft, or by nothing those in force.
type PolicyPick struct {
	Version int64        `json:"version,omitempty"`
	Draft   *PolicyDraft `json:"draft,omitempty"`
}

// PolicyBundle is a set of policies that was put in force.
type PolicyBundle struct {
	ID       string    `json:"id"`
	Version  int64     `json:"version"`
	Digest   string    `json:"digest"`
	ActiveAt time.Time `json:"active_at"`
	Operator string    `json:"operator"` // id; "" for the server
	Source   string    `json:"source"`   // release, operator or revert
	Reason   string    `json:"reason"`
	Defaults int64     `json:"defaults"` // version of the defaults in it
	Files    int64     `json:"files"`
	Own      int64     `json:"own"`
	Bytes    int64     `json:"bytes"`
}

// PolicyPage is a page of bundles; Next is "" at the end.
type PolicyPage struct {
	Items []PolicyBundle `json:"items"`
	Next  string         `json:"next_cursor"`
}

// Policies is a bundle with all that is in it.
type Policies struct {
	PolicyBundle
	Policies []PolicyFile `json:"policies"`
	Tests    []PolicyFile `json:"tests"`
	Without  []string     `json:"without"`
	Replaced []string     `json:"replaced"`
	Behind   string       `json:"behind"` // why the defaults of the server's release are not in force
	Beside   string       `json:"beside"` // id of what decides beside them
}

// PolicyProblem is something wrong with a text.
type PolicyProblem struct {
	Place string `json:"place"` // file:line
	Text  string `json:"text"`
}

// PolicyTrial is a test that was tried.
type PolicyTrial struct {
	Name   string `json:"name"`
	Place  string `json:"place"`
	Passed bool   `json:"passed"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	By     string `json:"by"`
	At     string `json:"at"`
	Why    string `json:"why"`
}

// PolicyReport is what a check found.
type PolicyReport struct {
	OK       bool            `json:"ok"`
	Version  int64           `json:"version"` // of what is in force
	Refused  string          `json:"refused"`
	Rule     string          `json:"rule"`
	Policies int             `json:"policies"`
	Problems []PolicyProblem `json:"problems"`
	Tests    []PolicyTrial   `json:"tests"`
	Without  []string        `json:"without"`
	Replaced []string        `json:"replaced"`
}

// PolicyChange is what somebody gains or loses.
type PolicyChange struct {
	Who      string         `json:"who"`
	Facts    map[string]any `json:"facts"`
	Count    int64          `json:"count"`
	Examples []string       `json:"examples"`
	Act      string         `json:"act"`
	Gains    bool           `json:"gains"`
	Was      string         `json:"was"`
	Now      string         `json:"now"`
	Rule     string         `json:"rule"`
	From     string         `json:"from"`
	By       string         `json:"by"`
	At       string         `json:"at"`
	Things   int64          `json:"things"`
	Of       int64          `json:"of"`
	Thing    map[string]any `json:"thing"`
}

// PolicyDiff is what two sets of policies decide otherwise.
type PolicyDiff struct {
	Added   []string       `json:"added"`
	Removed []string       `json:"removed"`
	Changed []string       `json:"changed"`
	Acts    []string       `json:"acts"`
	Agents  int64          `json:"agents"`
	Changes []PolicyChange `json:"changes"`
	Rest    int64          `json:"rest"`
	Partial []string       `json:"partial"`
}

// PolicyFlip is a change of a result, with how often it was met.
type PolicyFlip struct {
	Kind  string `json:"kind"`
	Who   string `json:"who"`
	Name  string `json:"name"`
	Act   string `json:"act"`
	Was   string `json:"was"`
	Rule  string `json:"rule"`
	Now   string `json:"now"`
	By    string `json:"by"`
	At    string `json:"at"`
	Count int64  `json:"count"`
}

// PolicyDryRun is what policies would have decided otherwise.
type PolicyDryRun struct {
	From      time.Time    `json:"from"`
	To        time.Time    `json:"to"`
	Decisions int64        `json:"decisions"`
	Distinct  int64        `json:"distinct"`
	Flipped   int64        `json:"flipped"`
	Gained    int64        `json:"gained"`
	Gone      int64        `json:"gone"`
	Unnamed   int64        `json:"unnamed"`
	Flips     []PolicyFlip `json:"flips"`
	Rest      int64        `json:"rest"`
}

// PolicyShadow is what decides beside the policies in force.
type PolicyShadow struct {
	ID       string       `json:"id"`
	Operator string       `json:"operator"`
	Reason   string       `json:"reason"`
	BeganAt  time.Time    `json:"began_at"`
	EndedAt  *time.Time   `json:"ended_at"`
	Own      []string     `json:"own"`
	Without  []string     `json:"without"`
	Flips    []PolicyFlip `json:"items,omitempty"`
	Next     string       `json:"next_cursor,omitempty"`
}

// PolicyVersions lists the policies that were put in force, newest first.
func (c *Client) PolicyVersions(ctx context.Context, cursor string) (out PolicyPage, err error) {
	v := url.Values{}
	word(v, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/policies", v, nil, &out)
	return out, err
}

// Policies shows the policies of a version; 0 is what is in force.
func (c *Client) Policies(ctx context.Context, version int64) (out Policies, err error) {
	name := "current"
	if version != 0 {
		name = strconv.FormatInt(version, 10)
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/policies/"+name, nil, nil, &out)
	return out, err
}

// CheckPolicies checks a draft and runs its tests.
func (c *Client) CheckPolicies(ctx context.Context, d PolicyDraft) (out PolicyReport, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/policy-check", nil, d, &out)
	return out, err
}

type policyProposal struct {
	PolicyDraft
	Base   int64  `json:"base,omitempty"`
	Reason string `json:"reason"`
}

// ActivatePolicies puts a draft in force. base is the version that it was made for, 0
// for any.
func (c *Client) ActivatePolicies(ctx context.Context, d PolicyDraft, base int64, reason string) (out PolicyBundle, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/policies", nil, policyProposal{d, base, reason}, &out)
	return out, err
}

// RevertPolicies puts what operators had brought of a version in force again.
func (c *Client) RevertPolicies(ctx context.Context, version int64, reason string) (out PolicyBundle, err error) {
	in := struct {
		Reason string `json:"reason"`
	}{reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/policies/"+strconv.FormatInt(version, 10)+"/revert", nil, in, &out)
	return out, err
}

// DiffPolicies says what two sets of policies decide otherwise.
func (c *Client) DiffPolicies(ctx context.Context, from, to PolicyPick) (out PolicyDiff, err error) {
	in := struct {
		From PolicyPick `json:"from"`
		To   PolicyPick `json:"to"`
	}{from, to}
	err = c.conn.call(ctx, http.MethodPost, "/v1/policy-diff", nil, in, &out)
	return out, err
}

// DryRunPolicies asks policies what was decided in the hours that hold from and to.
func (c *Client) DryRunPolicies(ctx context.Context, p PolicyPick, from, to time.Time) (out PolicyDryRun, err error) {
	in := struct {
		PolicyPick
		From string `json:"from"`
		To   string `json:"to"`
	}{p, from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)}
	err = c.conn.call(ctx, http.MethodPost, "/v1/policy-dryrun", nil, in, &out)
	return out, err
}

// ShadowPolicies puts a draft beside the policies in force.
func (c *Client) ShadowPolicies(ctx context.Context, d PolicyDraft, reason string) (out PolicyShadow, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/policy-shadow", nil, policyProposal{d, 0, reason}, &out)
	return out, err
}

// EndShadow takes away what is beside the policies in force.
func (c *Client) EndShadow(ctx context.Context, reason string) (out PolicyShadow, err error) {
	in := struct {
		Reason string `json:"reason"`
	}{reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/policy-shadow/end", nil, in, &out)
	return out, err
}

// PolicyFlips returns a page of what the policies beside those in force decide otherwise.
func (c *Client) PolicyFlips(ctx context.Context, cursor string) (out PolicyShadow, err error) {
	v := url.Values{}
	word(v, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/policy-shadow", v, nil, &out)
	return out, err
}

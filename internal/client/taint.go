package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Taint is how an agent or a thing is labelled beyond what comes with who and where it is.
type Taint struct {
	ID              string    `json:"id"`
	Kind            string    `json:"kind"`
	Integrity       string    `json:"integrity"`       // trusted, organisation, public or flagged
	Confidentiality string    `json:"confidentiality"` // unclassified, internal or confidential
	Path            []string  `json:"path"`            // what it comes from, the nearest first
	Origins         []string  `json:"origins"`         // agents and communities that what is flagged or confidential comes from
	OriginsWrong    float64   `json:"origins_wrong"`   // above 0 where they are too many to list: how often Among is wrong when it says yes
	By              string    `json:"by"`              // the operator who said so; "" where it was carried over
	At              time.Time `json:"at"`
}

// Labelled is what is in force for an agent, or known of a thing.
type Labelled struct {
	ID              string   `json:"id"`
	Kind            string   `json:"kind"`
	Integrity       string   `json:"integrity"`
	Confidentiality string   `json:"confidentiality"`
	Labels          []string `json:"labels"`
	Among           *bool    `json:"among"` // whether the origin that was asked for can be one; nil where none was
	Taint           *Taint   `json:"taint"`
}

// TaintPage is a page of what is labelled.
type TaintPage struct {
	Items []Taint `json:"items"`
	Next  string  `json:"next_cursor"`
}

// Taints lists what is labelled.
func (c *Client) Taints(ctx context.Context, cursor string) (out TaintPage, err error) {
	q := url.Values{}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/taints", q, nil, &out)
	return out, err
}

func taintPath(id string) string { return "/v1/taints/" + url.PathEscape(id) }

// Labels shows how an agent or a thing is labelled.
func (c *Client) Labels(ctx context.Context, id string) (Labelled, error) {
	return c.LabelsFrom(ctx, id, "")
}

// LabelsFrom is Labels, and asks whether an agent or a community can be among the origins.
func (c *Client) LabelsFrom(ctx context.Context, id, origin string) (out Labelled, err error) {
	q := url.Values{}
	if origin != "" {
		q.Set("origin", origin)
	}
	err = c.conn.call(ctx, http.MethodGet, taintPath(id), q, nil, &out)
	return out, err
}

// Flag flags an agent or a thing.
func (c *Client) Flag(ctx context.Context, id, reason string) (out Taint, err error) {
	err = c.conn.call(ctx, http.MethodPost, taintPath(id)+"/flag", nil, because{reason}, &out)
	return out, err
}

// Declassify clears an agent or a thing of the labels that have come to it.
func (c *Client) Declassify(ctx context.Context, id, reason string) (out Taint, err error) {
	err = c.conn.call(ctx, http.MethodPost, taintPath(id)+"/clear", nil, because{reason}, &out)
	return out, err
}

// Classify says how confidential what stands in a community is.
func (c *Client) Classify(ctx context.Context, community, as, reason string) error {
	in := struct {
		As     string `json:"classification"`
		Reason string `json:"reason"`
	}{as, reason}
	return c.conn.call(ctx, http.MethodPut, "/v1/communities/"+url.PathEscape(community)+"/classification", nil, in, nil)
}

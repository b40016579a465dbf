package console

import (
	"context"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/export"
)

// controlsView is the control map, each rule with its figures as they are now.
type controlsView struct {
	At         string          `json:"counted_at"`
	Frameworks []frameworkView `json:"frameworks"`
	at         time.Time
}

type frameworkView struct {
	ID    string     `json:"id"`
	Name  string     `json:"name"`
	Ours  bool       `json:"our_own_reading"`
	Rules []ruleView `json:"rules"`
}

type ruleView struct {
	Item       string       `json:"item"`
	Evidence   string       `json:"evidence"` // Markdown
	NotCovered string       `json:"not_covered,omitempty"`
	Figures    []figureView `json:"figures"`
	Links      []linkView   `json:"links"` // of the API, where more is read
}

type figureView struct {
	Name   string `json:"name"`
	Value  int64  `json:"value"`
	Text   string `json:"text"`
	Note   string `json:"note,omitempty"`
	At     string `json:"at,omitempty"` // of what it is about; else it is of now
	Failed bool   `json:"failed,omitempty"`
	at     time.Time
}

// linkView is an address of the API.
type linkView struct {
	Route string `json:"route"`
	URL   string `json:"url,omitempty"` // of a route that is one address
	Path  string `json:"-"`             // of the page here that shows the same, "" without one
}

func (v *controlsView) When() time.Time { return v.at }
func (v figureView) When() time.Time    { return v.at }

// GET /controls
func (d *door) controls(ctx context.Context, c *api.Call, _ string) (*page, error) {
	x, err := d.Controls.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return nil, err
	}
	figures := make(map[string]figureView, len(x.Figures))
	for _, f := range x.Figures {
		one := figureView{Name: f.Name, Value: f.Value, Text: f.Text, Note: f.Note, Failed: f.Failed, at: moment(f.At)}
		one.At = wire(one.at)
		figures[f.Name] = one
	}
	v := &controlsView{at: moment(x.At)}
	v.At = wire(v.at)
	for _, f := range x.Frameworks {
		one := frameworkView{ID: f.ID, Name: f.Name, Ours: f.Ours}
		for _, r := range f.Rules {
			one.Rules = append(one.Rules, d.rule(r, figures))
		}
		v.Frameworks = append(v.Frameworks, one)
	}
	return &page{Page: "controls", Title: "Controls and their evidence", Controls: v}, nil
}

func (d *door) rule(r export.Rule, figures map[string]figureView) ruleView {
	out := ruleView{Item: r.Item, Evidence: unlinked(r.Evidence), NotCovered: r.NotCovered, Figures: []figureView{}, Links: []linkView{}}
	for _, name := range r.Figures {
		out.Figures = append(out.Figures, figures[name])
	}
	for _, route := range r.Links {
		one := linkView{Route: route}
		if !strings.Contains(route, "{") {
			one.URL = d.URL() + route
		}
		if route == "/v1/quotas" {
			one.Path = "quotas"
		}
		out.Links = append(out.Links, one)
	}
	return out
}

// unlinked takes the links out of a text: they lead from one of our documents to another.
func unlinked(s string) string {
	for {
		before, rest, found := strings.Cut(s, "[")
		if !found {
			return s
		}
		text, rest, _ := strings.Cut(rest, "](")
		_, rest, _ = strings.Cut(rest, ")")
		s = before + text + rest
	}
}

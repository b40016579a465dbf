package console

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"text/template"

	"github.com/reefwarden/reefwarden/internal/legible"
)

// next is the following page in the page's own form.
func (d *door) next(p *page) string {
	if p.More == "" {
		return ""
	}
	return d.twin(p, p.form) + p.More
}

// twin is the address of a page in another form.
func (d *door) twin(p *page, form string) string {
	if form == formHTML {
		return p.URL
	}
	if p.URL == d.URL() {
		return p.URL + "/index." + form
	}
	return p.URL + "." + form
}

// json tells texts as they were written, with every character escaped that could do
// something to a terminal or could not be seen.
func (d *door) json(p *page) ([]byte, error) {
	p.NextURL = d.next(p)
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return append(legible.EscapeJSON(raw), '\n'), nil
}

// code is a short text as a code span of Markdown, in which nothing is active
// (CommonMark 0.31 §6.1).
func code(s string) string {
	s = legible.Line(s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence + " " + s + " " + fence
}

// fence is a long text as a code block, fenced by more backticks than it has in a
// row (§4.5).
func fence(s string) string {
	s = legible.Lines(s)
	bar := "```"
	for strings.Contains(s, bar) {
		bar += "`"
	}
	return bar + "text\n" + strings.TrimSuffix(s, "\n") + "\n" + bar
}

func (d *door) markdown(p *page) ([]byte, error) {
	t, err := template.New("twin.md").Funcs(template.FuncMap{"code": code, "fence": fence, "short": short, "num": number}).ParseFS(files, "pages/twin.md")
	if err != nil {
		return nil, err
	}
	p.NextURL = d.next(p)
	var b bytes.Buffer
	err = t.Execute(&b, p)
	return b.Bytes(), err
}

// Atom (RFC 4287). What agents wrote stands in it as text, or as HTML that was drawn
// as for the pages.
type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Note    string      `xml:"subtitle"`
	Updated string      `xml:"updated"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr,omitempty"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID         string         `xml:"id"`
	Title      string         `xml:"title"`
	Updated    string         `xml:"updated"`
	Published  string         `xml:"published,omitempty"`
	Author     atomAuthor     `xml:"author"`
	Categories []atomCategory `xml:"category"`
	Links      []atomLink     `xml:"link"`
	Content    *atomContent   `xml:"content,omitempty"`
}

type atomAuthor struct {
	Name string `xml:"name"`
	URI  string `xml:"uri,omitempty"`
}

// atomCategory carries the origin class and the states of an item.
type atomCategory struct {
	Scheme string `xml:"scheme,attr"`
	Term   string `xml:"term,attr"`
}

type atomContent struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

func (d *door) atom(p *page) ([]byte, error) {
	f := atomFeed{ID: p.URL + "#" + p.Page, Title: legible.Line(p.Title), Note: aboutText, Updated: "2026-01-01T00:00:00.000Z"}
	if p.Post != nil {
		f.ID = "urn:uuid:" + p.Post.ID + "#thread"
		f.Entries = append(f.Entries, d.postEntry(p.Post))
	}
	for i := range p.Posts {
		f.Entries = append(f.Entries, d.postEntry(&p.Posts[i]))
	}
	for _, c := range p.Comments {
		e := d.entry(c.ID, "Comment", c.CreatedAt, c.Author, c.Origin, c.URL, c.Content)
		if e.Title = "A comment"; c.Deleted {
			e.Title, e.Content = "A deleted comment", nil
			e.mark("state", "deleted")
		}
		if c.Edited {
			e.mark("state", "edited")
		}
		f.Entries = append(f.Entries, e)
	}
	for _, r := range p.Results {
		f.Entries = append(f.Entries, d.entry(r.ID, r.Title, r.CreatedAt, r.Author, r.Origin, r.URL, r.Snippet))
	}
	if p.Agent != nil {
		a := p.Agent
		e := d.entry(a.ID, a.Name, a.CreatedAt, &a.agentRef, a.Origin, a.URL, a.Description)
		f.Entries = append(f.Entries, e)
	}
	places := p.Places
	if p.Community != nil {
		places = append(places, *p.Community)
	}
	if p.Page == "front" {
		places = nil
	}
	for _, c := range places {
		f.Entries = append(f.Entries, d.entry(c.ID, c.DisplayName, c.CreatedAt, nil, c.Origin, c.URL, c.Description))
	}
	if n := p.Network; n != nil && p.Page == "status" {
		e := d.entry("", "Status", n.At, nil, "system", p.URL, "")
		e.ID, e.Content = p.URL+"#now", &atomContent{"text", fmt.Sprintf(
			"Ready: %s. %d agents are active, %d quarantined. In the last hour %d agents wrote %d posts and %d comments. %d acts wait for a human.",
			n.Ready, n.Active, n.Apart, n.Writers, n.Posts, n.Comments, n.Waiting)}
		f.Entries = append(f.Entries, e)
	}
	f.Entries = append(f.Entries, d.operatorEntries(p)...)
	if p.Error != nil {
		e := d.entry("", p.Title, f.Updated, nil, "system", p.URL, "")
		e.ID, e.Content = "urn:trace:"+p.Error.Trace, &atomContent{"text", legible.Line(p.Error.Message + "; " + p.Error.Hint)}
		f.Entries = append(f.Entries, e)
	}
	for _, e := range f.Entries {
		f.Updated = max(f.Updated, e.Updated)
	}
	for _, form := range forms() {
		rel := "alternate"
		if form == formAtom {
			rel = "self"
		}
		f.Links = append(f.Links, atomLink{rel, mediaOf(form), d.twin(p, form)})
	}
	if more := d.next(p); more != "" {
		f.Links = append(f.Links, atomLink{"next", mediaOf(formAtom), more}) // RFC 5005 §3
	}
	body, err := xml.MarshalIndent(f, "", " ")
	return append([]byte(xml.Header), append(body, '\n')...), err
}

// operatorEntries are what the pages for operators tell.
func (d *door) operatorEntries(p *page) (list []atomEntry) {
	tell := func(id, title, at, text string) {
		e := d.entry("", title, at, nil, "system", p.URL, "")
		e.ID, e.Content = p.URL+"#"+id, &atomContent{"text", legible.Line(text)}
		list = append(list, e)
	}
	if p.Quotas != nil {
		for _, level := range p.Quotas.Levels {
			for _, q := range level.Quotas {
				tell(q.Scope+"-"+q.Kind, q.Scope+" "+q.Kind, p.Quotas.At, fmt.Sprintf("%s: %d of %d are used, %d are left.", q.State, q.Used, q.Limit, q.Left))
			}
		}
	}
	if p.Controls != nil {
		for _, f := range p.Controls.Frameworks {
			for i, r := range f.Rules {
				text := r.Evidence
				for _, one := range r.Figures {
					text += fmt.Sprintf("; %d %s", one.Value, one.Text)
				}
				tell(fmt.Sprint(f.ID, "-", i), f.Name+": "+r.Item, p.Controls.At, text)
			}
		}
	}
	return list
}

func mediaOf(form string) string {
	switch form {
	case formJSON:
		return "application/json"
	case formMD:
		return "text/markdown"
	case formAtom:
		return "application/atom+xml"
	}
	return "text/html"
}

func (d *door) postEntry(p *postView) atomEntry {
	e := d.entry(p.ID, p.Title, p.CreatedAt, &p.Author, p.Origin, p.URL, p.Content)
	e.mark("community", p.Community.Name)
	if p.Pinned {
		e.mark("state", "pinned")
	}
	if p.Edited {
		e.mark("state", "edited")
	}
	if out, ok := d.links.out(p.Link); ok {
		e.Links = append(e.Links, atomLink{"related", "text/html", out.path(d.URL() + "/")})
	}
	return e
}

func (e *atomEntry) mark(scheme, term string) {
	e.Categories = append(e.Categories, atomCategory{"urn:reefwarden:" + scheme, legible.Line(term)})
}

func (d *door) entry(id, title, made string, a *agentRef, origin, at, content string) atomEntry {
	e := atomEntry{
		ID: "urn:uuid:" + id, Title: legible.Line(title), Updated: made, Published: made, Author: atomAuthor{Name: "unknown"},
		Links: []atomLink{{"alternate", "text/html", at}},
	}
	e.mark("origin", origin)
	if a != nil {
		e.Author = atomAuthor{legible.Line(a.Name) + " (" + short(a.ID) + ")", d.URL() + "/u/" + pathName(a.Name)}
		e.mark("standing", a.Standing)
		if a.Owned {
			e.mark("state", "owned")
		}
	}
	if content != "" {
		e.Content = &atomContent{"html", string(d.md.html(content, d.URL()+"/"))}
	}
	return e
}

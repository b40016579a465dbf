package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	gmtext "github.com/yuin/goldmark/text"
	"golang.org/x/net/html"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// hostile returns the texts of testdata/hostile.txt.
func hostile(t testing.TB) (list []string) {
	t.Helper()
	raw, err := os.ReadFile("testdata/hostile.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, s)
	}
	if len(list) < 300 {
		t.Fatalf("%d hostile texts, want 300", len(list))
	}
	return list
}

// open starts a server whose pages everybody may read.
func open(t *testing.T, d store.Dialect) *servertest.Server {
	t.Helper()
	cfg := servertest.Config(t, d)
	cfg.ObserverPages = server.PagesPublic
	return servertest.Start(t, cfg)
}

func operator(t testing.TB, s *servertest.Server) act.Principal {
	t.Helper()
	p, err := s.Identity.Authenticate(context.Background(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// get asks for a page as a browser without any state would.
func get(t testing.TB, s *servertest.Server, path string) servertest.Answer {
	t.Helper()
	return s.Call(t, http.MethodGet, path, "", nil)
}

func cutRunes(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}

// importHostile takes every text in as title, content, link, comment, name and
// description of an author, and name and description of a community: an import has
// the fewest rules for what they may be.
func importHostile(t *testing.T, s *servertest.Server, list []string) {
	t.Helper()
	op := operator(t, s)
	for from := 0; from < len(list); from += network.MaxBatch {
		batch := network.Batch{Source: "elsewhere"}
		for i, text := range list[from:min(len(list), from+network.MaxBatch)] {
			id := fmt.Sprintf("h%d", from+i)
			who := network.ForeignAuthor{ID: "a" + id, Name: cutRunes(text, network.MaxDisplayName-4), Description: text}
			if strings.TrimSpace(who.Name) == "" {
				who.Name += "x"
			}
			batch.Posts = append(batch.Posts, network.ForeignPost{
				ID: id, Title: text, Content: text, URL: text, Author: who, CreatedAt: time.Now().Add(-time.Hour),
				Place: network.ForeignPlace{ID: "p" + id, Name: text, DisplayName: text, Description: text},
				Tree:  []network.ForeignComment{{ID: "c" + id, Content: text, Author: who, CreatedAt: time.Now()}},
			})
		}
		if _, err := s.Network.Import.Do(context.Background(), op, batch); err != nil {
			t.Fatal(err)
		}
	}
}

// T55: 300 hostile texts, in every place where agents can put one, on every page
// and in every twin: they are read, and do nothing else.
func TestT55_HostileTextIsHarmlessEverywhere(t *testing.T) {
	s := open(t, store.SQLite)
	list := hostile(t)
	importHostile(t, s, list)

	_, ada := s.Agent(t, "ada")
	pages := 0
	check := func(path string) servertest.Answer {
		t.Helper()
		pages++
		a := get(t, s, path)
		if a.Status != http.StatusOK {
			t.Errorf("%s: %d", path, a.Status)
			return a
		}
		harmless(t, s, path, a)
		return a
	}
	all := func(path, query string) {
		t.Helper()
		for _, form := range []string{"", ".json", ".md", ".atom"} {
			check(path + form + query)
		}
	}
	for i, text := range list {
		var post struct {
			Post struct {
				ID, Title, Content string
				Author             struct{ Name string }
				Community          struct{ Name string }
			}
			Comments []struct{ Content string }
		}
		path := fmt.Sprintf("/post/h%d", i)
		decode(t, check(path+".json"), &post)
		if post.Post.Title != text || post.Post.Content != text || len(post.Comments) != 1 || post.Comments[0].Content != text {
			t.Errorf("%q: the JSON twin tells %+v", text, post)
		}
		a := check(path)
		if got, want := said(t, a.Raw, "h1"), seen(text); got != want {
			t.Errorf("%q: the title reads\n%q, want\n%q", text, got, want)
		}
		check(path + ".md")
		check(path + ".atom")
		all("/u/"+url.PathEscape(post.Post.Author.Name), "")
		all("/m/"+url.PathEscape(post.Post.Community.Name), "")
		if q := cutRunes(text, 500); strings.TrimSpace(q) != "" {
			for _, form := range []string{"", ".json", ".md", ".atom"} {
				a := get(t, s, "/search"+form+"?q="+url.QueryEscape(q))
				if a.Status != http.StatusOK && a.Status != http.StatusBadRequest { // a text may have no word in it
					t.Errorf("search for %q: %d", text, a.Status)
				}
				harmless(t, s, "/search"+form, a)
			}
		}
		// What an agent of this network can change at will.
		if i%8 == 0 {
			description := cutRunes(text, network.MaxDescription)
			metadata, _ := json.Marshal(map[string]string{text: text})
			meta := string(metadata)
			if _, err := s.Network.UpdateProfile.Do(context.Background(), ada, network.ProfileChange{Description: &description, Metadata: &meta}); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			all("/u/ada", "")
			harmless(t, s, "error", get(t, s, "/u/"+url.PathEscape(text+"?none")))
			harmless(t, s, "error", get(t, s, "/sign-in?next="+url.QueryEscape(text)))
			harmless(t, s, "error", get(t, s, "/leave?to="+url.QueryEscape(text)+"&k="+url.QueryEscape(text)))
		}
	}
	for _, path := range []string{"/index.json?sort=new", "/m.json?sort=new"} { // every page of the lists, in every form
		walked := 0
		for next := path; next != ""; walked++ {
			var page struct {
				Next string
			}
			decode(t, check(next), &page)
			for _, form := range []string{"", ".md", ".atom"} {
				twin := strings.Replace(next, ".json", form, 1)
				check(strings.Replace(twin, "/index?", "/?", 1))
			}
			next = strings.TrimPrefix(page.Next, s.URL)
		}
		if walked < len(list)/50 {
			t.Errorf("%s: walked %d pages only", path, walked)
		}
	}
	t.Logf("%d pages and twins of %d texts", pages, len(list))
}

func decode(t testing.TB, a servertest.Answer, into any) {
	t.Helper()
	if err := json.Unmarshal(a.Raw, into); err != nil {
		t.Fatalf("%v in %s", err, a.Raw)
	}
}

// moves are the characters that no answer may hold as they are: they move, hide or
// switch something in a browser, an editor or a terminal.
func moves(r rune) bool {
	switch {
	case r < ' ' && r != '\n' && r != '\t', r >= 0x7F && r <= 0x9F, r == 0x061C, r >= 0x200B && r <= 0x200C, r >= 0x200E && r <= 0x200F,
		r >= 0x2028 && r <= 0x202E, r >= 0x2060 && r <= 0x206F, r == 0xFEFF, r == 0x00AD, r == 0x034F, r == 0x115F, r == 0x1160, r == 0x180E,
		r == 0x3164, r == 0xFFA0, r == 0x2800, r >= 0xFFF9 && r <= 0xFFFC, r >= 0xE0000 && r <= 0xE0FFF, r >= 0xE000 && r <= 0xF8FF, r >= 0xF0000:
		return true
	}
	return false
}

// seen is what is left to read of a text on one line, without its unseen characters.
func seen(s string) string {
	s = strings.Map(func(r rune) rune {
		if moves(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
	return normal(s)
}

// normal takes out what is a matter of drawing: space, and marks that climb.
func normal(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\n' || r == '\t' || r == '\r' || r == 0x200D || r >= 0xFE00 && r <= 0xFE0F || r == utf8.RuneError {
			return -1
		}
		return r
	}, labels.ReplaceAllString(climbing.ReplaceAllString(s, ""), ""))
}

var (
	labels   = regexp.MustCompile(`(?:U\+[0-9A-F]{4,6}|byte [0-9A-F]{2})(?:×[0-9]+)?`)
	climbing = regexp.MustCompile(`[\p{Mn}\p{Me}]|[\x{17B4}\x{17B5}\x{1D159}\x{1D173}-\x{1D17A}\x{1BCA0}-\x{1BCA3}\x{0378}\x{FFFF}]`)
)

// said is the text of the first element of a name, in the order of the document.
// Labels stand in for what is unseen, and are left out.
func said(t testing.TB, page []byte, name string) string {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var read func(n *html.Node)
	read = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		if n.Type == html.ElementNode && slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "class" && a.Val == "cp" }) {
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			read(c)
		}
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			read(n)
			return normal(b.String())
		}
	}
	t.Fatalf("no %s on the page", name)
	return ""
}

// harmless fails when an answer holds something that would do more than be read.
func harmless(t testing.TB, s *servertest.Server, path string, a servertest.Answer) {
	t.Helper()
	if at := strings.IndexFunc(string(a.Raw), moves); at >= 0 || !utf8.Valid(a.Raw) {
		t.Errorf("%s holds an unseen character as it is, at %d: %q", path, at, a.Raw[max(0, at-40):min(len(a.Raw), at+40)])
	}
	for name, values := range a.Header {
		for _, v := range values {
			if strings.ContainsFunc(v, moves) || strings.Contains(strings.ToLower(v), "evil") {
				t.Errorf("%s: header %s is %q", path, name, v)
			}
		}
	}
	media := a.Header.Get("Content-Type")
	if a.Header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(a.Header.Get("Content-Security-Policy"), "unsafe") ||
		!strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%s: headers %v", path, a.Header)
	}
	switch {
	case strings.HasPrefix(media, "text/html"):
		calmHTML(t, path, a.Raw, "")
	case strings.HasPrefix(media, "application/json"):
		if !json.Valid(a.Raw) || bytes.ContainsAny(a.Raw, "<>") {
			t.Errorf("%s: the twin is no JSON, or has markup: %.200s", path, a.Raw)
		}
	case strings.HasPrefix(media, "text/markdown"):
		calmMarkdown(t, s, path, a.Raw)
	case strings.HasPrefix(media, "application/atom+xml"):
		calmAtom(t, s, path, a.Raw)
	default:
		t.Errorf("%s: media type %q", path, media)
	}
}

// allowed are the elements that pages are made of, with the attributes each has.
var allowed = map[string][]string{
	"html": {"lang"}, "head": nil, "body": nil, "title": nil, "meta": {"charset", "name", "content"}, "link": {"rel", "type", "href", "title"},
	"header": {"class"}, "footer": {"class"}, "main": {"id", "tabindex"}, "nav": {"class", "aria-label"}, "section": {"class", "id", "aria-label", "aria-labelledby"},
	"article": {"class", "id"}, "aside": {"class", "aria-label"}, "div": {"class", "dir", "tabindex", "role", "aria-label"}, "p": {"class", "role"},
	"h1": {"class"}, "h2": {"class", "id"}, "h3": nil, "h4": nil, "h5": nil, "h6": nil, "a": {"class", "href", "rel", "aria-current"},
	"span": {"class", "title", "aria-hidden"}, "bdi": {"dir"}, "time": {"datetime", "title"}, "details": {"open", "class"}, "summary": nil,
	"svg": {"class", "viewbox", "width", "height", "aria-hidden", "focusable"}, "path": {"class", "d"}, "form": {"class", "role", "action", "method", "aria-label"},
	"label": {"class", "for"}, "button": {"class"}, "ul": {"class", "aria-label"}, "ol": {"class", "start"}, "li": {"class"}, "dl": {"class"}, "dt": nil, "dd": nil,
	"input": {"id", "name", "type", "value", "placeholder", "maxlength", "autocomplete", "spellcheck", "required"}, "pre": nil, "code": nil, "em": nil, "strong": nil,
	"del": nil, "br": nil, "hr": nil, "blockquote": nil, "table": {"class"}, "thead": nil, "tbody": nil, "tr": nil, "td": {"class"}, "th": {"class", "scope"},
}

// relative is every link within the pages. base is what links of a feed begin with.
var relative = regexp.MustCompile(`^(?:\./[^"<>\s]*|\?[^"<>\s]*|#[^:"<>\s]*)$`)

// calmHTML fails when a page, or the HTML in a feed, has an element or attribute
// that pages are not made of, or a link that leads out of them.
func calmHTML(t testing.TB, path string, page []byte, base string) {
	t.Helper()
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() != io.EOF {
				t.Errorf("%s: %v", path, z.Err())
			}
			return
		}
		token := z.Token()
		switch kind {
		case html.CommentToken:
			t.Errorf("%s has a comment: %.100q", path, token.Data)
		case html.DoctypeToken:
			if base != "" {
				t.Errorf("%s has a doctype", path)
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			attrs, ok := allowed[token.Data]
			if !ok {
				t.Errorf("%s has an element %s", path, token.Data)
			}
			for _, a := range token.Attr {
				key := strings.ToLower(a.Key)
				if !slices.Contains(attrs, key) {
					t.Errorf("%s: %s has an attribute %s=%.60q", path, token.Data, a.Key, a.Val)
				}
				if key != "href" && key != "action" {
					continue
				}
				inside := relative.MatchString(a.Val) || base != "" && strings.HasPrefix(a.Val, base+"/leave?k=")
				if outside := base == "" && strings.HasPrefix(path, "/leave") && strings.HasPrefix(a.Val, "http"); !inside && !outside {
					t.Errorf("%s: %s leads to %q", path, token.Data, a.Val)
				}
			}
		}
	}
}

// calmMarkdown reads a twin as the most generous renderer would: with HTML, pictures
// and addresses that become links by themselves. Only our own addresses may be links.
func calmMarkdown(t testing.TB, s *servertest.Server, path string, raw []byte) {
	t.Helper()
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(gmtext.NewReader(raw))
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.RawHTML, *ast.HTMLBlock, *ast.Image, *ast.Link:
			t.Errorf("%s: the Markdown has a %s: %.200q", path, n.Kind(), raw)
		case *ast.AutoLink:
			if to := string(n.URL(raw)); !strings.HasPrefix(to, s.URL) {
				t.Errorf("%s: the Markdown links to %q", path, to)
			}
		case *ast.Heading:
			if n.Level > 3 || n.Level == 1 && n.PreviousSibling() != nil {
				t.Errorf("%s: the Markdown has a heading of its own", path)
			}
		}
		return ast.WalkContinue, nil
	})
}

func calmAtom(t testing.TB, s *servertest.Server, path string, raw []byte) {
	t.Helper()
	var feed struct {
		Entries []struct {
			Title   string `xml:"title"`
			Content struct {
				Type string `xml:"type,attr"`
				Text string `xml:",chardata"`
			} `xml:"content"`
			Links []struct {
				Href string `xml:"href,attr"`
			} `xml:"link"`
			Categories []struct {
				Scheme string `xml:"scheme,attr"`
			} `xml:"category"`
			Inner []struct {
				XMLName xml.Name
			} `xml:",any"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(raw, &feed); err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	for _, e := range feed.Entries {
		for _, l := range e.Links {
			if !strings.HasPrefix(l.Href, s.URL) {
				t.Errorf("%s: an entry links to %q", path, l.Href)
			}
		}
		if e.Content.Type == "html" {
			if strings.ContainsFunc(e.Content.Text, moves) {
				t.Errorf("%s: an entry holds an unseen character: %q", path, e.Content.Text)
			}
			calmHTML(t, path+" (entry)", []byte(e.Content.Text), s.URL)
		}
		if len(e.Categories) == 0 || e.Categories[0].Scheme != "urn:reefwarden:origin" { // T50
			t.Errorf("%s: an entry without its origin: %+v", path, e)
		}
	}
}

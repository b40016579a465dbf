package console

import (
	"bufio"
	"bytes"
	"html"
	"html/template"
	"regexp"
	"strconv"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	render "github.com/yuin/goldmark/renderer/html"
	gmtext "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/reefwarden/reefwarden/internal/legible"
)

// markdown draws agents' long text. It knows a part of Markdown (CommonMark 0.31
// without HTML and without link reference definitions, which would not be seen, and
// the tables and struck-out text of GitHub). What it does not know is shown as it
// was written. The sanitiser behind it is a second lock on the same door.
type markdown struct {
	parser parser.Parser
	policy *bluemonday.Policy
	links  *links
}

func newMarkdown(l *links) *markdown {
	at := util.Prioritized
	m := &markdown{links: l, parser: parser.NewParser(
		parser.WithBlockParsers(
			at(parser.NewSetextHeadingParser(), 100), at(parser.NewThematicBreakParser(), 200), at(parser.NewListParser(), 300),
			at(parser.NewListItemParser(), 400), at(parser.NewCodeBlockParser(), 500), at(parser.NewATXHeadingParser(), 600),
			at(parser.NewFencedCodeBlockParser(), 700), at(parser.NewBlockquoteParser(), 800), at(parser.NewParagraphParser(), 1000),
		),
		parser.WithInlineParsers(
			at(parser.NewCodeSpanParser(), 100), at(parser.NewLinkParser(), 200), at(parser.NewAutoLinkParser(), 300),
			at(parser.NewEmphasisParser(), 500), at(extension.NewStrikethroughParser(), 500), at(extension.NewLinkifyParser(), 999),
		),
		parser.WithParagraphTransformers(at(extension.NewTableParagraphTransformer(), 200)),
		parser.WithASTTransformers(at(extension.NewTableASTTransformer(), 0)),
	)}
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "h3", "h4", "h5", "h6", "em", "strong", "del", "code", "pre", "blockquote", "ul", "ol", "li",
		"table", "thead", "tbody", "tr", "th", "td", "div", "span", "bdi")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^(?:cp|host|out|pic|md|cut|scroll)$`)).OnElements("span", "a", "div")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^r$`)).OnElements("td", "th")
	p.AllowAttrs("dir").Matching(regexp.MustCompile(`^(?:ltr|rtl)$`)).OnElements("bdi", "div")
	p.AllowAttrs("start").Matching(regexp.MustCompile(`^[0-9]{1,9}$`)).OnElements("ol")
	p.AllowAttrs("tabindex").Matching(regexp.MustCompile(`^0$`)).OnElements("div")
	p.AllowAttrs("role").Matching(regexp.MustCompile(`^region$`)).OnElements("div")
	p.AllowAttrs("aria-label").Matching(regexp.MustCompile(`^Table$`)).OnElements("div")
	p.AllowAttrs("rel").Matching(regexp.MustCompile(`^` + relOut + `$`)).OnElements("a")
	p.AllowAttrs("href").Matching(regexp.MustCompile(`leave\?k=[A-Za-z0-9_-]+&(?:amp;)?to=[A-Za-z0-9%._~+-]+$`)).OnElements("a")
	p.AllowURLSchemes("http", "https")
	p.AllowRelativeURLs(true)
	p.RequireParseableURLs(true)
	m.policy = p
	return m
}

const (
	mostNested = 10     // elements within each other; deeper ones are left out, their text is not
	mostDrawn  = 64_000 // bytes of one text that are parsed; the rest is shown as it is

	// Beyond these a text is no Markdown.
	mostOpen    = 200 // characters alike in a row, and bytes of a line's margin
	mostSigned  = 8000
	mostLinks   = 1000
	mostColumns = 40
)

// html draws a text. Links begin with root, which leads to the network's own pages.
func (m *markdown) html(s, root string) template.HTML { return m.draw(s, root, len(s) <= mostDrawn) }

// draw is html that shows a text as it is unless parse is set.
func (m *markdown) draw(s, root string, parse bool) template.HTML {
	dir := legible.Direction(s)
	w := &writer{m: m, root: root, dir: dir}
	w.out = append(w.out, `<div class="md" dir="`+dir+`">`...)
	if !parse || contrived(s) {
		w.out = append(w.out, `<pre><code>`...)
		w.text(s)
		w.out = append(w.out, `</code></pre>`...)
	} else {
		w.source = []byte(s)
		_ = ast.Walk(m.parser.Parse(gmtext.NewReader(w.source)), w.node) // node fails never
	}
	w.out = append(w.out, `</div>`...)
	return template.HTML(m.policy.SanitizeBytes(w.out)) //nolint:gosec // sanitised
}

// contrived reports whether a text nests deeper than people do: parsing it would
// cost more than showing it is worth.
func contrived(s string) bool {
	signs, row, links, columns, margin := 0, 0, 0, 0, 0
	atMargin := true // so far the line has only what containers begin with
	var last byte
	for i := range len(s) {
		c := s[i]
		if c == '\n' {
			columns, margin, atMargin = 0, 0, true
			continue
		}
		if atMargin = atMargin && strings.IndexByte(" \t>-+*.)0123456789", c) >= 0; atMargin {
			margin++
		}
		switch c {
		case '[':
			links++
			signs++
		case '!', '<', '`', '*', '_', '~':
			signs++
		case '|':
			columns++ // a row is filled up to as many cells as the head has
		}
		if row++; c != last || c > '~' || c >= 'a' && c <= 'z' {
			last, row = c, 0
		}
		if signs > mostSigned || row > mostOpen || links > mostLinks || columns > mostColumns || margin > mostOpen {
			return true
		}
	}
	return false
}

// writer draws one text.
type writer struct {
	m      *markdown
	root   string
	dir    string
	source []byte
	out    []byte
	held   []byte // text that goes on in the next node
	depth  int
	within int // of links
}

func (w *writer) text(s string) { w.out = legible.AppendHTML(w.out, s, w.dir) }

// flush draws the text that was held. The parser cuts text where it looked for
// something; only what stands together can be put in order together.
func (w *writer) flush() {
	if len(w.held) > 0 {
		w.text(string(w.held))
		w.held = w.held[:0]
	}
}

// element opens or closes an element, unless too many are open.
func (w *writer) element(tag string, entering bool) {
	if entering {
		if w.depth++; w.depth <= mostNested {
			w.out = append(w.out, "<"+tag+">"...)
		}
		return
	}
	if w.depth--; w.depth < mostNested {
		name, _, _ := strings.Cut(tag, " ")
		w.out = append(w.out, "</"+name+">"...)
	}
}

func (w *writer) node(n ast.Node, entering bool) (ast.WalkStatus, error) {
	if n.Kind() != ast.KindText {
		w.flush()
	}
	switch n := n.(type) {
	case *ast.Paragraph:
		w.element("p", entering)
	case *ast.TextBlock:
		if !entering && n.NextSibling() != nil {
			w.out = append(w.out, '\n')
		}
	case *ast.Heading:
		w.element("h"+strconv.Itoa(min(n.Level+2, 6)), entering)
	case *ast.Blockquote:
		w.element("blockquote", entering)
	case *ast.List:
		tag := "ul"
		if n.IsOrdered() {
			if tag = "ol"; entering && n.Start > 1 && n.Start < 1_000_000_000 {
				tag += ` start="` + strconv.Itoa(n.Start) + `"`
			}
		}
		w.element(tag, entering)
	case *ast.ListItem:
		w.element("li", entering)
	case *ast.ThematicBreak:
		if entering {
			w.out = append(w.out, "<hr>"...)
		}
	case *ast.CodeBlock, *ast.FencedCodeBlock:
		if entering {
			w.code(n)
		}
		return ast.WalkSkipChildren, nil
	case *ast.Text:
		if entering {
			w.inline(n)
		}
	case *ast.String:
		if entering {
			w.text(string(n.Value))
		}
	case *ast.CodeSpan:
		w.element("code", entering)
	case *ast.Emphasis:
		w.element([]string{"em", "strong"}[min(n.Level-1, 1)], entering)
	case *extast.Strikethrough:
		w.element("del", entering)
	case *ast.Link:
		w.link(string(util.URLEscape(n.Destination, true)), entering)
	case *ast.Image:
		if entering {
			w.out = append(w.out, `<span class="pic">picture</span> `...)
		}
		w.link(string(util.URLEscape(n.Destination, true)), entering)
	case *ast.AutoLink:
		if entering {
			w.auto(n)
		}
	case *extast.Table:
		if entering {
			w.out = append(w.out, `<div class="scroll" tabindex="0" role="region" aria-label="Table">`...)
		}
		w.element("table", entering)
		if !entering {
			w.out = append(w.out, `</div>`...)
		}
	case *extast.TableHeader:
		w.element("tr", entering)
	case *extast.TableRow:
		w.element("tr", entering)
	case *extast.TableCell:
		tag := "td"
		if n.Parent().Kind() == extast.KindTableHeader {
			tag = "th"
		}
		if n.Alignment == extast.AlignRight {
			tag += ` class="r"`
		}
		w.element(tag, entering)
	}
	return ast.WalkContinue, nil
}

// code draws a block of code. Its language is text like any other.
func (w *writer) code(n ast.Node) {
	w.out = append(w.out, `<pre><code>`...)
	if f, ok := n.(*ast.FencedCodeBlock); ok && f.Info != nil {
		w.out = append(w.out, `<span class="cut">`...)
		w.text(string(f.Info.Segment.Value(w.source)))
		w.out = append(w.out, "</span>\n"...)
	}
	for i := range n.Lines().Len() {
		line := n.Lines().At(i)
		w.text(string(line.Value(w.source)))
	}
	w.out = append(w.out, `</code></pre>`...)
}

// inline draws a stretch of text, with what its references and backslashes stand
// for.
func (w *writer) inline(n *ast.Text) {
	raw := n.Segment.Value(w.source)
	if _, inCode := n.Parent().(*ast.CodeSpan); !inCode && !n.IsRaw() && bytes.ContainsAny(raw, `\&`) {
		var b bytes.Buffer
		out := bufio.NewWriter(&b)
		render.DefaultWriter.Write(out, raw)
		_ = out.Flush() // into memory
		raw = []byte(html.UnescapeString(b.String()))
	}
	w.held = append(w.held, raw...)
	if n.SoftLineBreak() || n.HardLineBreak() {
		w.flush()
		w.out = append(w.out, "<br>\n"...)
	}
}

// link opens or closes a link out of the network, and says where it leads. One that
// leads nowhere known is text.
func (w *writer) link(to string, entering bool) {
	out, ok := w.m.links.out(to)
	if !ok {
		if !entering {
			w.out = append(w.out, ` <span class="host">no link</span>`...)
		}
		return
	}
	if entering {
		if w.within++; w.within == 1 {
			w.out = append(w.out, out.open(w.root)...)
		}
		return
	}
	if w.within--; w.within == 0 {
		w.out = append(w.out, `</a> <span class="host">`...)
		w.out = append(append(w.out, template.HTMLEscapeString(out.host)...), `</span>`...)
	}
}

// auto draws an address that stands in the text as it is.
func (w *writer) auto(n *ast.AutoLink) {
	label := string(n.Label(w.source))
	to := string(util.URLEscape(n.URL(w.source), false))
	if out, ok := w.m.links.out(to); ok && n.AutoLinkType == ast.AutoLinkURL && w.within == 0 {
		w.out = append(w.out, out.open(w.root)...)
		w.text(label)
		w.out = append(w.out, `</a>`...)
		if !strings.Contains(label, "//"+out.host) || len(label) > 80 {
			w.out = append(w.out, ` <span class="host">`...)
			w.out = append(append(w.out, template.HTMLEscapeString(out.host)...), `</span>`...)
		}
		return
	}
	w.text(label)
}

package console

import (
	"bytes"
	"crypto/sha256"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/reefwarden/reefwarden/internal/legible"
)

func testMarkdown() *markdown {
	return newMarkdown(&links{proof: func(use string, parts ...[]byte) [32]byte {
		return sha256.Sum256(append([]byte(use), bytes.Join(parts, nil)...))
	}})
}

var leaveKey = regexp.MustCompile(`k=[A-Za-z0-9_-]{16}`)

func TestMarkdown(t *testing.T) {
	m := testMarkdown()
	for _, c := range []struct{ in, want string }{
		{"plain", `<p>plain</p>`},
		{"two\nlines", "<p>two<br>\nlines</p>"},
		{"# a\n### b\n###### c", `<h3>a</h3><h5>b</h5><h6>c</h6>`},
		{"*a* **b** ~~c~~ `d <e>`", `<p><em>a</em> <strong>b</strong> <del>c</del> <code>d &lt;e&gt;</code></p>`},
		{"- a\n- b\n  1. c", "<ul><li>a</li><li>b\n<ol><li>c</li></ol></li></ul>"},
		{"3. a", `<ol start="3"><li>a</li></ol>`},
		{"> a", `<blockquote><p>a</p></blockquote>`},
		{"```go\nx < y\n```", "<pre><code><span class=\"cut\">go</span>\nx &lt; y\n</code></pre>"},
		{"|a|\n|-|\n|b|", `<div class="scroll" tabindex="0" role="region" aria-label="Table"><table><tr><th>a</th></tr><tr><td>b</td></tr></table></div>`},
		{"---", `<hr>`},
		{"<b>bold</b> & <!-- no -->", `<p>&lt;b&gt;bold&lt;/b&gt; &amp; &lt;!-- no --&gt;</p>`},
		{`&lt;b&gt; \*not\* &copy; &amp;lt;`, `<p>&lt;b&gt; *not* © &amp;lt;</p>`},
		{"[here](https://example.org/a?b=1&c=2 \"t\")", `<p><a class="out" rel="nofollow noopener noreferrer ugc" href="./../leave?K&amp;to=https%3A%2F%2Fexample.org%2Fa%3Fb%3D1%26c%3D2">here</a> <span class="host">example.org</span></p>`},
		{"https://example.org/x", `<p><a class="out" rel="nofollow noopener noreferrer ugc" href="./../leave?K&amp;to=https%3A%2F%2Fexample.org%2Fx">https://example.org/x</a></p>`},
		{"[bank](http://b\u0430nk.example)", `<p><a class="out" rel="nofollow noopener noreferrer ugc" href="./../leave?K&amp;to=http%3A%2F%2Fxn--bnk-6cd.example">bank</a> <span class="host">xn--bnk-6cd.example</span></p>`},
		{"![a cat](http://example.org/c.png)", `<p><span class="pic">picture</span> <a class="out" rel="nofollow noopener noreferrer ugc" href="./../leave?K&amp;to=http%3A%2F%2Fexample.org%2Fc.png">a cat</a> <span class="host">example.org</span></p>`},
		{"[x](javascript:alert(1)) [y](/sign-out) [z](http://u@h/)", `<p>x <span class="host">no link</span> y <span class="host">no link</span> z <span class="host">no link</span></p>`},
		{"a@example.org", `<p>a@example.org</p>`},
		{"[x]: http://example.org\n\n[x]", `<p>[x]: <a class="out" rel="nofollow noopener noreferrer ugc" href="./../leave?K&amp;to=http%3A%2F%2Fexample.org">http://example.org</a></p><p>[x]</p>`},
		{"a\u202eb&#x202e;c\u200b\u200b", `<p>a<span class="cp">U+202E</span>b<span class="cp">U+202E</span>c<span class="cp">U+200B×2</span></p>`},
		{"pay 100 \u05d0\u05d1 200", "<p>pay 100 <bdi dir=\"rtl\">\u05d0\u05d1</bdi> 200</p>"},
		{"\u2764\ufe0f \U0001f469\u200d\U0001f4bb 1\ufe0f\u20e3", "<p>\u2764\ufe0f \U0001f469\u200d\U0001f4bb 1\ufe0f\u20e3</p>"},
		{"e\u0301 is fine, Z" + strings.Repeat("\u0351", 9) + " is not", "<p>e\u0301 is fine, Z\u0351\u0351\u0351\u0351<span class=\"cp\">U+0351×5</span> is not</p>"},
	} {
		got := leaveKey.ReplaceAllString(string(m.html(c.in, "./../")), "K")
		want := `<div class="md" dir="ltr">` + c.want + `</div>`
		if got != want {
			t.Errorf("%q\n gives %s\n want  %s", c.in, got, want)
		}
	}
	if got := string(m.html("\u05e9\u05dc\u05d5\u05dd abc 1", "./")); got != "<div class=\"md\" dir=\"rtl\"><p>\u05e9\u05dc\u05d5\u05dd <bdi dir=\"ltr\">abc 1</bdi></p></div>" {
		t.Errorf("a text that is read from the right: %s", got)
	}
}

// However deep a text nests, what is drawn does not, and nothing of it is lost.
func TestMarkdownNests(t *testing.T) {
	m := testMarkdown()
	for _, in := range []string{
		strings.Repeat("> ", 300) + "x", strings.Repeat("- ", 300) + "x", strings.Repeat("*a _b ", 2000) + "x", strings.Repeat("[", 39_000) + "x",
		strings.Repeat("![a](", 7000) + "x", strings.Repeat("`", 39_000) + "x", strings.Repeat("~~a ", 9000) + "x", strings.Repeat("<a ", 9000) + "x",
		strings.Repeat("> - ", 9000) + "x", strings.Repeat("|", 39_000) + "\n|-\nx", strings.Repeat("http://a.b ", 3500) + "x", strings.Repeat("\u0300", 39_000) + "x",
		strings.Repeat("1. ", 9000) + "x", strings.Repeat("\n> ", 9000) + "x", strings.Repeat("# ", 9000) + "x", strings.Repeat("a@", 9000) + "x",
		strings.Repeat("&", 39_000) + "x", strings.Repeat("[a](http://", 3500) + "x", strings.Repeat("**a", 9000) + "x", strings.Repeat("www.", 9000) + "x",
		strings.Repeat("\\", 39_000) + "x", strings.Repeat("    a\n", 6000) + "x", strings.Repeat("|a", 100) + "\n" + strings.Repeat("|-", 100) + "\n" + strings.Repeat("|\n", 9000) + "x",
		strings.Repeat("\u202e\u202d", 9000) + "x", strings.Repeat("\u05d0a", 9000) + "x",
	} {
		got := string(m.html(in, "./"))
		z, depth, most := html.NewTokenizer(strings.NewReader(got)), 0, 0
		for kind := z.Next(); kind != html.ErrorToken; kind = z.Next() {
			name, _ := z.TagName()
			if string(name) == "br" || string(name) == "hr" {
				continue
			}
			switch kind { //nolint:exhaustive // what opens and closes
			case html.StartTagToken:
				depth++
				most = max(most, depth)
			case html.EndTagToken:
				depth--
			}
		}
		if most > mostNested+6 || depth != 0 {
			t.Errorf("%.20q…: elements are %d deep, %d are open at the end", in, most, depth)
		}
		if !strings.Contains(got, "x") {
			t.Errorf("%.20q…: the end is lost", in)
		}
		if len(got) > 40*len(in) {
			t.Errorf("%.20q…: %d bytes are drawn as %d", in, len(in), len(got))
		}
	}
}

// FuzzMarkdown: whatever is drawn is well formed, of elements that pages are made
// of, leads nowhere but to our own page about links, and holds nothing unseen.
func FuzzMarkdown(f *testing.F) {
	for _, s := range []string{"# a\n> - [x](http://y) `z`", "<script>", "![a](http://b)\u202e", "&#x202e;\\&lt;", "|a|\n|-|\n|b|", "~~~\n", "\u05d0 1 [\u0660](http://\u0430)", "1. \t\n\n    a", "www.a.b\u200b"} {
		f.Add(s)
	}
	m := testMarkdown()
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4000 {
			return
		}
		got := m.html(s, "./")
		z := html.NewTokenizer(strings.NewReader(string(got)))
		var open []string
		for {
			kind := z.Next()
			if kind == html.ErrorToken {
				break
			}
			token := z.Token()
			switch kind { //nolint:exhaustive // text is looked at below
			case html.CommentToken, html.DoctypeToken:
				t.Fatalf("%q gives a comment: %s", s, got)
			case html.StartTagToken, html.SelfClosingTagToken:
				if slices.Contains([]string{"script", "style", "iframe", "img", "svg", "form", "input", "base", "link", "meta", "object", "embed", "video", "audio"}, token.Data) {
					t.Fatalf("%q gives a %s: %s", s, token.Data, got)
				}
				for _, a := range token.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" && !strings.HasPrefix(a.Val, "./leave?k=") {
						t.Fatalf("%q gives %s=%q: %s", s, a.Key, a.Val, got)
					}
				}
				if token.Data != "br" && token.Data != "hr" {
					open = append(open, token.Data)
				}
			case html.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != token.Data {
					t.Fatalf("%q closes %s in %v: %s", s, token.Data, open, got)
				}
				open = open[:len(open)-1]
			}
		}
		if len(open) > 0 {
			t.Fatalf("%q leaves %v open: %s", s, open, got)
		}
		if again := legible.Lines(string(got)); again != string(got) {
			t.Fatalf("%q gives something unseen: %q", s, again)
		}
	})
}

// FuzzTwin: a text stays in the code that a Markdown twin puts it in.
func FuzzTwin(f *testing.F) {
	for _, s := range []string{"`a``b`", "```", "a\r\nb", "\u202e`", "", " ` "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := code(s)
		bar := len(line) - len(strings.TrimLeft(line, "`"))
		if inner := line[bar : len(line)-bar]; strings.Contains(inner, strings.Repeat("`", bar)) || strings.ContainsAny(inner, "\n\r") {
			t.Fatalf("%q is no code span: %s", s, line)
		}
		block := fence(s)
		bar = len(block) - len(strings.TrimLeft(block, "`"))
		if strings.Count(block, strings.Repeat("`", bar)) != 2 {
			t.Fatalf("%q leaves its fence: %s", s, block)
		}
	})
}

package legible

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestT55_UnseenIsShown(t *testing.T) {
	for _, c := range []struct{ in, html, line string }{
		{"plain & <b>", `<bdi dir="ltr">plain &amp; &lt;b&gt;</bdi>`, "plain & <b>"},
		{"a\u202eb", `<bdi dir="ltr">a<span class="cp">U+202E</span>b</bdi>`, "a⟦U+202E⟧b"},
		{"\u200b\u200b\u200bx\u200c", `<bdi dir="ltr"><span class="cp">U+200B×3</span>x<span class="cp">U+200C</span></bdi>`, "⟦U+200B×3⟧x⟦U+200C⟧"},
		{"\x1b[31m\u009b", `<bdi dir="ltr"><span class="cp">U+001B</span>[31m<span class="cp">U+009B</span></bdi>`, "⟦U+001B⟧[31m⟦U+009B⟧"},
		{"a\r\nb\tc\rd", `<bdi dir="ltr">a b c<span class="cp">U+000D</span>d</bdi>`, "a b c⟦U+000D⟧d"},
		{"\xff", `<bdi dir="ltr"><span class="cp">byte FF</span></bdi>`, "⟦byte FF⟧"},
		{"\u2764\ufe0f\U0001f469\u200d\U0001f4bb", "<bdi dir=\"ltr\">\u2764\ufe0f\U0001f469\u200d\U0001f4bb</bdi>", "\u2764\ufe0f\U0001f469\u200d\U0001f4bb"},
		{"a\ufe0f", `<bdi dir="ltr">a<span class="cp">U+FE0F</span></bdi>`, "a⟦U+FE0F⟧"},
		{"a\u200db", `<bdi dir="ltr">a<span class="cp">U+200D</span>b</bdi>`, "a⟦U+200D⟧b"},
		{"x\u0301\u0301\u0301\u0301\u0301\u0301", "<bdi dir=\"ltr\">x\u0301\u0301\u0301\u0301<span class=\"cp\">U+0301×2</span></bdi>", "x\u0301\u0301\u0301\u0301⟦U+0301×2⟧"},
		{"\u0301x", `<bdi dir="ltr"><span class="cp">U+0301</span>x</bdi>`, "⟦U+0301⟧x"},
		{"a \u05d0\u05d1 \u05d2 1", "<bdi dir=\"ltr\">a <bdi dir=\"rtl\">\u05d0\u05d1 \u05d2</bdi> 1</bdi>", "a \u05d0\u05d1 \u05d2 1"},
		{"\u05d0 a b \u05d1", "<bdi dir=\"rtl\">\u05d0 <bdi dir=\"ltr\">a b</bdi> \u05d1</bdi>", "\u05d0 a b \u05d1"},
		{strings.Repeat("\u200b\u200c", 50), "", ""},
	} {
		if c.html == "" {
			if got := Line(c.in); strings.Count(got, "⟦") != mostSigns || !strings.HasSuffix(got, "⟦…⟧") {
				t.Errorf("many labels: %s", got)
			}
			continue
		}
		if got := string(HTML(c.in)); got != c.html {
			t.Errorf("%q\n is %s\n want %s", c.in, got, c.html)
		}
		if got := Line(c.in); got != c.line {
			t.Errorf("%q\n is %s\n want %s", c.in, got, c.line)
		}
	}
	if got := Strange("p\u0430yp\u0430l"); !slices.Equal(got, []string{"U+0430", "U+0430"}) && !slices.Equal(got, []string{"U+0430"}) {
		t.Errorf("strange: %v", got)
	}
	if got := Strange("pay-pal_1"); got != nil {
		t.Errorf("strange in ASCII: %v", got)
	}
	if got := string(EscapeJSON([]byte("\"a\u202e\U000e0041\u009bé\""))); got != `"a\u202e\udb40\udc41\u009bé"` {
		t.Errorf("JSON: %s", got)
	}
}

// FuzzText: a text loses nothing that can be seen, and no form of it holds what
// cannot.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a\u202eb", "\u05d0 1 a", "e\u0301\u0301\u0301\u0301\u0301\u0301", "\r\n\t", "\xff\xfe", "1\ufe0f\u20e3", "\U000e0041", "<b>&amp;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		escaped := EscapeJSON(raw)
		var back string
		if err := json.Unmarshal(escaped, &back); err != nil || back != s && utf8.ValidString(s) {
			t.Fatalf("%q comes back as %q (%v)", s, back, err)
		}
		for _, out := range []string{string(HTML(s)), Line(s), Lines(s), string(escaped)} {
			for _, r := range out {
				if unicode.Is(unicode.Bidi_Control, r) || unicode.IsControl(r) && r != '\n' && r != '\t' || r == 0x200B || r >= 0xE0000 && r < 0xE1000 {
					t.Fatalf("%q gives an unseen U+%04X: %q", s, r, out)
				}
			}
		}
		var kept, all strings.Builder
		for _, p := range pieces(s) {
			kept.WriteString(p.text)
		}
		for _, r := range s {
			if strings.ContainsRune(kept.String(), r) || !unicode.IsPrint(r) || unicode.Is(unicode.M, r) || hidden(r) || r == utf8.RuneError {
				continue
			}
			all.WriteRune(r)
		}
		if all.Len() > 0 {
			t.Fatalf("%q loses %q", s, all.String())
		}
		if again := Lines(kept.String()); Line(again) != Line(kept.String()) {
			t.Fatalf("%q is not the same the second time: %q", s, again)
		}
	})
}

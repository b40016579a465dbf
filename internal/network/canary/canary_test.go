package canary

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

func someCanaries() *Marks { return New(bytes.Repeat([]byte{7}, 64)) }

// A mark names its view, and nothing that the network has not made is one.
func TestT31_CanariesProveTheirView(t *testing.T) {
	c := someCanaries()
	of := View{Reader: 5 << 22, Item: act.Ref{ID: 9 << 22, Version: 3}, Hour: 490_000}
	mark := c.Mark(of)
	got, ok := c.open(strings.TrimPrefix(mark, sign))
	if !ok || got != of {
		t.Fatalf("a mark of %+v is read as %+v (%t)", of, got, ok)
	}
	other := of
	other.Hour++
	if c.Mark(of) != mark || c.Mark(other) == mark {
		t.Error("a view has no mark of its own")
	}
	for i := len(sign); i < len(mark)-1; i++ { // the last character has bits to spare
		forged := []byte(mark)
		if forged[i]++; forged[i] == mark[i] {
			continue
		}
		if _, ok := c.open(string(forged[len(sign):])); ok {
			t.Errorf("a forged mark is taken: character %d", i)
		}
	}
	if _, ok := New(bytes.Repeat([]byte{8}, 64)).open(strings.TrimPrefix(mark, sign)); ok {
		t.Error("a mark of another network is taken")
	}
	text := "see https://a.example/x" + mark + ", and " + sign + "forged"
	if clean, views := c.Lift(text); clean != "see https://a.example/x, and "+sign+"forged" || len(views) != 1 || views[0] != of {
		t.Errorf("%q with %v is left of it", clean, views)
	}
	if clean, views := (*Marks)(nil).Lift(text); clean != text || views != nil {
		t.Error("marks are looked for where there are none")
	}
}

// Links keep what they are: a fragment is put where none is, at their end.
func TestLinksGetAFragment(t *testing.T) {
	for text, want := range map[string]string{
		"no link, no http: change":                   "",
		"https://a.example":                          "https://a.example|",
		"(see http://a.example/b?c=d&e=1), and more": "(see http://a.example/b?c=d&e=1|), and more",
		"[x](https://a.example/y).":                  "[x](https://a.example/y|).",
		"https://a.example/A_(b)":                    "https://a.example/A_(b)|",
		"[x](https://a.example/A_(b))":               "[x](https://a.example/A_(b)|)",
		"it's https://a.example/it's, 'https://b.c'": "it's https://a.example/it's|, 'https://b.c|'",
		"*https://a.example/x_* https://b.example":   "*https://a.example/x_* https://b.example|",
		"`curl https://a.example` http://b.example":  "`curl https://a.example` http://b.example|",
		"```\ngit clone https://a.example\n```":      "",
		"https://a.example/#here is left":            "",
		"https://a.example! http://b.example/ü.":     "https://a.example|! http://b.example/ü|.",
		"http:// https://":                           "",
		"<https://a.example/x>":                      "<https://a.example/x|>",
	} {
		if want == "" {
			want = text
		}
		if got := links(text, func() string { return "|" }); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// A block of code gets a mark where it names its language, and none where a mark could keep
// it open, or open one.
func TestBlocksGetAMark(t *testing.T) {
	for text, want := range map[string]string{
		"``` is three":                                "",
		"a\n```go\nf()\n```\nb":                       "a\n```go |\nf()\n```\nb",
		"```\nf()\n```\n\n```sh \r\nls\r\n```\r\n":    "``` |\nf()\n```\n\n```sh | \r\nls\r\n```\r\n",
		"~~~yaml\na: b\n```\n~~~":                     "~~~yaml |\na: b\n```\n~~~",
		"````md\n```go\n```\n````":                    "````md |\n```go\n```\n````",
		"```go #mine\nf()\n```":                       "",
		"```go\nit does not end":                      "",
		"- ```go\n  f()\n  ```\nand\n```go\nf()\n```": "",
		"> ```go\n> f()\n> ```":                       "",
		"```a`b\nin a line":                           "",
		"    ```go\n    indented\n    ```":            "",
	} {
		if want == "" {
			want = text
		}
		if got := fences(text, func() string { return "|" }); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func FuzzCanaries(f *testing.F) {
	c := someCanaries()
	f.Add("https://a.example/x, http://b.example#y")
	f.Add("```go \nfunc f()\n```\n~~~\nhttps://a.example\n~~~")
	f.Add(sign + "x" + c.Mark(View{Reader: 1, Item: act.Ref{ID: 2}}))
	f.Fuzz(func(t *testing.T, text string) {
		plain, _ := c.Lift(text)
		mark := c.Mark(View{Reader: 1, Item: act.Ref{ID: 2, Version: 1}, Hour: 3})
		if back, _ := c.Lift(Put(plain, func() string { return mark })); back != plain {
			t.Errorf("%q comes back as %q", plain, back)
		}
	})
}

// BenchmarkCanaries is what the marks of a page of 25 posts cost, by links in each.
func BenchmarkCanaries(b *testing.B) {
	c := someCanaries()
	for _, n := range []int{0, 1, 5} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			text := strings.Repeat("what is said of it in so many words ", 20) + strings.Repeat(" https://a.example/some/page", n)
			b.ReportAllocs()
			for b.Loop() {
				for i := range 25 {
					Put(text, sync.OnceValue(func() string { return c.Mark(View{1, act.Ref{ID: act.ID(i), Version: 1}, 3}) }))
				}
			}
		})
	}
}

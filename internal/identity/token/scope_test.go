package token_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

func TestParseScope(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]token.Scope{
		"post.create":                         "post.create",
		"post.read post.create":               "post.create post.read",
		"post.read post.read":                 "post.read",
		"post.* post.create":                  "post.*",
		"post.create postbox.open post.*":     "post.* postbox.open",
		"post.create post-box.open post.*":    "post-box.open post.*",
		"* post.create":                       "*",
		"dm.send * agent.me":                  "*",
		"agent.me dm.* post.create dm.send":   "agent.me dm.* post.create",
		"a_1.b-2":                             "a_1.b-2",
		strings.Repeat("a.b ", 63) + "a.b":    "a.b",
		"post." + strings.Repeat("x", 64):     token.Scope("post." + strings.Repeat("x", 64)),
		"content.erase content.unseal":        "content.erase content.unseal",
		"system.tidy system.settle content.*": "content.* system.settle system.tidy",
	} {
		if got, err := token.ParseScope(text); err != nil || got != want {
			t.Errorf("%q = %q, %v, want %q", text, got, err, want)
		}
	}
	for text, rule := range map[string]string{
		"": "scope.missing", " ": "scope.malformed", "post": "scope.malformed", "post.": "scope.malformed", ".create": "scope.malformed",
		"post.create ": "scope.malformed", " post.create": "scope.malformed", "post.create  post.read": "scope.malformed",
		"post.create\tpost.read": "scope.malformed", "post.create\npost.read": "scope.malformed", "Post.create": "scope.malformed",
		"*.create": "scope.malformed", "*.*": "scope.malformed", "post.**": "scope.malformed", "post.cre*": "scope.malformed",
		"post.create.all": "scope.malformed", "po\u0455t.create": "scope.malformed", "post.create\x00": "scope.malformed",
		"1post.create": "scope.malformed", "**": "scope.malformed", `post."create"`: "scope.malformed",
		strings.Repeat("a.b ", 64) + "a.b": "scope.malformed", "post." + strings.Repeat("x", 65): "scope.malformed",
		strings.Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbb ", 50) + "a.b": "scope.malformed",
	} {
		if got, err := token.ParseScope(text); ruleOf(err) != rule || got != "" {
			t.Errorf("%q = %q, rule %q, want %q", text, got, ruleOf(err), rule)
		}
	}
}

func TestScopeHas(t *testing.T) {
	for _, c := range []struct {
		scope token.Scope
		name  string
		want  bool
	}{
		{"", "post.create", false},
		{"*", "post.create", true},
		{"post.*", "post.create", true},
		{"post.*", "postbox.open", false},
		{"pos.*", "post.create", false},
		{"post.create", "post.create", true},
		{"post.create", "post.creat", false},
		{"post.creat", "post.create", false},
		{"agent.me post.create", "post.create", true},
		{"agent.me post.create", "agent.me", true},
		{"agent.me post.create", "me post.create", false},
		{"agent.me post.create", "agent.me post.create", false},
		{"*", "*", false}, // no act
		{"post.*", "post.*", false},
		{"*", "", false},
		{"*", "post", false},
		{"*", "post.", false},
		{"*", ".create", false},
		// Whatever came past ParseScope grants what it names and no more.
		{"post.create,dm.send", "dm.send", false},
		{" post.create", "post.create", true},
		{"*post.create", "dm.send", false},
	} {
		if got := c.scope.Has(c.name); got != c.want {
			t.Errorf("%q has %q: %v", c.scope, c.name, got)
		}
	}
	scope := token.Scope("agent.me comment.* dm.read dm.send feed.read home.read post.* vote.cast")
	if n := testing.AllocsPerRun(100, func() { _ = scope.Has("vote.cast") }); n != 0 {
		t.Errorf("asking a scope allocates %v times", n)
	}
}

// Whatever the text, a scope that is taken is in its one form, and grants what
// its words say, alone and met with another.
func FuzzScope(f *testing.F) {
	for _, s := range []string{"", "*", "post.* post.create", "a.b a.* a-b.c *", "post.create dm.send", "x.y  z", "a.a a.b a.c"} {
		f.Add(s, "post.*")
		f.Add("post.create", s)
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		a, err := token.ParseScope(text)
		if err != nil {
			if rule := ruleOf(err); rule != "scope.malformed" && rule != "scope.missing" {
				t.Fatalf("rule %q", rule)
			}
			return
		}
		if again, err := token.ParseScope(string(a)); err != nil || again != a {
			t.Fatalf("%q became %q and then %q, %v", text, a, again, err)
		}
		for _, w := range strings.Split(text, " ") {
			name := strings.Replace(w, "*", "probe", 1)
			if w != "*" && !a.Has(name) || w == "*" && a != token.ScopeAll {
				t.Fatalf("%q became %q and lost %q", text, a, w)
			}
		}
		for w := range a.Words() {
			if !slices.Contains(strings.Split(text, " "), w) {
				t.Fatalf("%q became %q", text, a)
			}
		}
		b, err := token.ParseScope(other)
		if err != nil {
			return
		}
		both := a.Intersect(b)
		if both != b.Intersect(a) || !a.Covers(both) || !b.Covers(both) || both.Intersect(a) != both || a.Covers(b) != (both == b) {
			t.Fatalf("%q and %q meet in %q", a, b, both)
		}
		for _, w := range append(strings.Split(text, " "), strings.Split(other, " ")...) {
			if w == "*" {
				continue
			}
			if name := strings.Replace(w, "*", "probe", 1); both.Has(name) != (a.Has(name) && b.Has(name)) {
				t.Fatalf("%q and %q meet in %q; %q", a, b, both, name)
			}
		}
	})
}

package token_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// Every rule that the code refuses by has a message and a hint, and no rule is
// there that nothing refuses by.
func TestRules(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(".")
	must(t, err)
	direct := regexp.MustCompile(`refuse\("([a-z]+\.[a-z]+)"\)|refusal :?= "([a-z]+\.[a-z]+)"`)
	byFamily := regexp.MustCompile(`f\.refuse\("([a-z]+)"\)`)
	used := map[string]bool{"dpop.replayed": true, "assertion.replayed": true} // said by those who ask a Replay
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(f.Name())
		must(t, err)
		for _, m := range direct.FindAllStringSubmatch(string(text), -1) {
			used[m[1]+m[2]] = true
		}
		for _, m := range byFamily.FindAllStringSubmatch(string(text), -1) {
			for _, family := range []string{"token", "dpop", "assertion", "grant", "command"} {
				used[family+"."+m[1]] = true
			}
		}
	}
	rules := token.Rules()
	for rule := range used {
		if !slices.Contains(rules, rule) {
			t.Errorf("%s is refused by and stands in no row", rule)
		}
	}
	for _, rule := range rules {
		if !used[rule] {
			t.Errorf("nothing is refused by %s", rule)
		}
		e := act.AsError(token.Refuse(rule))
		if e.Rule != rule || e.Message == "" || e.Hint == "" || e.Code == act.Internal {
			t.Errorf("%s: %+v", rule, e)
		}
		if (e.Code == act.Unavailable) != (e.RetryAfter > 0) {
			t.Errorf("%s: code %s, retry after %s", rule, e.Code, e.RetryAfter)
		}
	}
}

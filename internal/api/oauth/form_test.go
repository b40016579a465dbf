package oauth

import (
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// RFC 6749 §3.1 and §3.2: what stands twice is refused, what is empty is omitted,
// what nobody knows is let be.
func TestParameters(t *testing.T) {
	for _, c := range []struct{ name, sent, want string }{
		{"plain", "grant_type=client_credentials&scope=post.create%20feed.*", "grant_type=client_credentials&scope=post.create+feed.%2A"},
		{"plus is a space", "scope=a+b", "scope=a+b"},
		{"empty counts as omitted", "scope=&grant_type=x", "grant_type=x"},
		{"empty beside one that is not", "scope=&scope=a", "scope=a"},
		{"unknown is let be", "whatever=1", "whatever=1"},
		{"two resources", "resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb", "resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb"},
		{"two audiences", "audience=a&audience=b", "audience=a&audience=b"},
		{"nothing", "", ""},
		{"twice", "scope=a&scope=a", "!stands twice"},
		{"twice, encoded otherwise", "scope=a&sc%6Fpe=b", "!stands twice"},
		{"too many resources", strings.Repeat("resource=a&", maxRepeats) + "resource=a", "!too often"},
		{"too many", strings.Repeat("a&", maxParameters) + "b", "!too many"},
		{"too long", "a=" + strings.Repeat("x", maxForm), "!too many"},
		{"half an escape", "a=%4", "!cannot be read"},
		{"semicolon", "a=1;b=2", "!cannot be read"},
		{"no UTF-8", "a=%ff", "!character"},
		{"NUL", "a=%00", "!character"},
		{"line break", "a=x%0d%0aSet-Cookie:y", "!character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(c.sent)
			if want, bad := strings.CutPrefix(c.want, "!"); bad {
				if act.CodeOf(err) != act.Invalid || act.AsError(err).Rule != ruleForm || !strings.Contains(err.Error(), want) {
					t.Fatalf("%v, want %q", err, want)
				}
				return
			}
			if err != nil || got.Encode() != c.want {
				t.Fatalf("%q (%v), want %q", got.Encode(), err, c.want)
			}
		})
	}
}

func FuzzParameters(f *testing.F) {
	f.Add("grant_type=client_credentials&resource=a&resource=b")
	f.Add("a=%4&b=%ff")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parse(text)
		if err != nil {
			return
		}
		for name, values := range got {
			if len(values) == 0 || len(values) > maxRepeats || len(values) > 1 && name != "resource" && name != "audience" {
				t.Errorf("%q: %q", name, values)
			}
		}
		again, err := parse(got.Encode())
		if err != nil && len(got.Encode()) <= maxForm || err == nil && again.Encode() != got.Encode() {
			t.Errorf("%q again: %q (%v)", text, again, err)
		}
	})
}

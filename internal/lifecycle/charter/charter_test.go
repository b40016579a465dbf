package charter_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

func sets() *rapid.Generator[charter.Set] {
	return rapid.Custom(func(t *rapid.T) charter.Set {
		if rapid.IntRange(0, 4).Draw(t, "unbounded") == 0 {
			return charter.Set{}
		}
		return charter.Of(rapid.SliceOfN(rapid.SampledFrom([]string{"*", "post.*", "post.create", "post.c*", "vote.cast", "agent.*", "agent.spawn", "comment.create"}), 0, 4).Draw(t, "members")...)
	})
}

func amounts(t *rapid.T, name string) *int64 {
	if rapid.Bool().Draw(t, name+" unbounded") {
		return nil
	}
	n := rapid.Int64Range(0, 100).Draw(t, name)
	return &n
}

func grants() *rapid.Generator[charter.Grant] {
	return rapid.Custom(func(t *rapid.T) charter.Grant {
		return charter.Grant{
			Acts: sets().Draw(t, "acts"), Communities: sets().Draw(t, "communities"), Tools: sets().Draw(t, "tools"),
			Skills: sets().Draw(t, "skills"), Egress: sets().Draw(t, "egress"),
			Clearance: charter.Clearance(rapid.IntRange(0, 3).Draw(t, "clearance")),
			Budget: charter.Budget{
				Acts: amounts(t, "acts"), Tokens: amounts(t, "tokens"), Money: amounts(t, "money"), CPU: amounts(t, "cpu"),
			},
			Life: charter.Duration(rapid.Int64Range(0, 5).Draw(t, "life") * 1e9),
			Spawn: charter.Spawn{
				Classes: sets().Draw(t, "classes"), Depth: rapid.IntRange(0, 5).Draw(t, "depth"), FanOut: rapid.IntRange(0, 20).Draw(t, "fan-out"),
				Rate: rapid.IntRange(0, 3).Draw(t, "rate"), Window: charter.Duration(rapid.Int64Range(0, 3).Draw(t, "window") * 1e9),
			},
		}
	})
}

var names = []string{"post.create", "post.delete", "post.c", "vote.cast", "agent.spawn", "agent.kill", "comment.create", "x"}

// T33: whatever is handed down is within what it was handed down from, along any line.
func TestT33_AuthorityOnlyShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := grants().Draw(t, "a"), grants().Draw(t, "b")
		n := charter.Narrow(a, b)
		if !n.Within(a) || !n.Within(b) {
			t.Fatalf("%+v is not within %+v and %+v", n, a, b)
		}
		if again := charter.Narrow(b, a); !n.Within(again) || !again.Within(n) {
			t.Fatalf("%+v one way, %+v the other", n, again)
		}
		for _, name := range names {
			if n.Acts.Has(name) != (a.Acts.Has(name) && b.Acts.Has(name)) {
				t.Fatalf("%s: %v of %v and %v", name, n.Acts.Members(), a.Acts.Members(), b.Acts.Members())
			}
		}
		line := n
		for range rapid.IntRange(1, 5).Draw(t, "generations") {
			child := charter.Narrow(line.Handed(), grants().Draw(t, "wish"))
			if !child.Within(line) || !child.Within(a) {
				t.Fatalf("a child has %+v of %+v", child, line)
			}
			line = child
		}
	})
}

func TestTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := grants().Draw(t, "grant")
		text, err := g.Text()
		if err != nil {
			t.Fatal(err)
		}
		back, err := charter.ParseGrant(text)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(g, back) {
			t.Fatalf("%s: %+v, want %+v", text, back, g)
		}
	})
}

func TestParse(t *testing.T) {
	whole := `{"model":"large-1","skills":["sha256:` + strings.Repeat("a", 64) + `"],"grant":{"acts":["post.*"],"clearance":"internal","budget":{"acts":10},"life":"24h","spawn":{"classes":["helper"],"depth":2,"fan_out":3}},"heartbeat":"30s","approval":{"quorum":2,"asks":"approver"}}`
	c, err := charter.Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Lease().String() + " " + c.GraceTime().String(); got != "1m30s 1m30s" {
		t.Error(got)
	}
	if !json.Valid([]byte(whole)) || !c.Grant.Acts.Has("post.create") || c.Grant.Acts.Has("vote.cast") || *c.Grant.Budget.Acts != 10 {
		t.Errorf("%+v", c)
	}
	for text, want := range map[string]string{
		`{"grants":{}}`:                      "unknown field",
		`{"model":1}`:                        "cannot be read",
		`{} {}`:                              "follows",
		`{"skills":["md5:x"]}`:               "digest",
		`{"heartbeat":"1s"}`:                 "heartbeat",
		`{"grant":{"acts":["po*st"]}}`:       "no name",
		`{"grant":{"acts":"post.create"}}`:   "list of names",
		`{"grant":{"budget":{"tokens":-1}}}`: "negative",
		`{"grant":{"clearance":"secret"}}`:   "clearance",
		`{"grant":{"spawn":{"depth":6}}}`:    "depth",
		`{"approval":{"quorum":9}}`:          "quorum",
		`{"health":{"silence":{"limit":1}}}`: "unknown field", // nothing obeys it
		`{"model":"` + strings.Repeat("x", charter.MaxDocument) + `"}`: "allowed",
	} {
		if _, err := charter.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"grant":{"acts":["post.*"],"life":"24h"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := charter.Parse(text)
		if err != nil {
			return
		}
		written, err := c.Text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := charter.Parse(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v is %+v when it is read again", c, again)
		}
	})
}

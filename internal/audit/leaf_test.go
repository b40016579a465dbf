package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

func testCodec(t testing.TB) *act.Codec {
	t.Helper()
	c, err := act.NewCodec(bytes.Repeat([]byte{7}, act.CodecKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// idOf makes an id of a kind, as if minted long ago.
func idOf(kind act.Kind, n int64) act.ID { return act.ID(n<<22 | int64(kind)<<17) }

// fullEntry has every member a leaf can have.
func fullEntry() gate.Entry {
	return gate.Entry{
		Act: "comment.create", At: 1_790_000_000_123_456,
		Principal: act.Principal{
			Kind: act.Agent, ID: idOf(act.KindAgent, 12), Name: "Nörd \"q\"", Epoch: 3,
			Credential: idOf(act.KindCredential, 13), Binding: act.BindingDPoP, Grant: idOf(act.KindGrant, 14),
			Chain: []act.ID{idOf(act.KindOperator, 1), idOf(act.KindAgent, 2)}, Source: "never written for an agent",
		},
		Target: act.Ref{ID: idOf(act.KindPost, 20), Version: 2}, Out: act.Ref{ID: idOf(act.KindComment, 21), Version: 1},
		Outcome: gate.Failed, Code: act.Unavailable,
		Decision: gate.Decision{
			Allow: true, Policy: "members-comment", Place: "default.cedar:12", Bundle: 4, Hint: "not in the leaf",
			Obligations: []gate.Obligation{{Name: "notify", Arg: "owner"}, {Name: "hold"}},
		},
		Rule: "quota.comment", In: [32]byte{1, 2, 255}, Reason: "because\n\u2028so", Count: 7,
		Approval: idOf(act.KindApproval, 22), Labels: gate.Label{Integrity: gate.Outside, Secrecy: gate.Internal},
		Context: []act.Ref{{ID: idOf(act.KindPost, 23), Version: 1}, {ID: idOf(act.KindMessage, 24)}},
		Trace:   "4bf92f3577b34da6a3ce929d0e0e4736",
	}
}

// value is the leaf as a JSON value, built independently of the renderer.
func value(c *act.Codec, e gate.Entry) map[string]any {
	put := func(m map[string]any, name string, v any) {
		if !reflect.ValueOf(v).IsZero() {
			m[name] = v
		}
	}
	ref := func(r act.Ref) map[string]any {
		if r.ID == 0 {
			return nil
		}
		m := map[string]any{"id": c.String(r.ID), "kind": r.ID.Kind().String()}
		put(m, "version", r.Version)
		return m
	}
	p := map[string]any{"kind": e.Principal.Kind.String()}
	m := map[string]any{"v": 1, "act": e.Act, "at": e.At, "outcome": e.Outcome.String(), "principal": p}
	if e.Principal.Kind == act.Observer {
		put(p, "source", e.Principal.Source)
	} else {
		put(p, "credential", c.String(e.Principal.Credential))
		put(p, "epoch", e.Principal.Epoch)
		if e.Principal.Grant != 0 {
			put(p, "grant", c.String(e.Principal.Grant))
		}
		put(p, "id", c.String(e.Principal.ID))
		put(p, "name", e.Principal.Name)
		if e.Principal.Binding != act.BindingNone {
			p["binding"] = e.Principal.Binding.String()
		}
		var chain []string
		for _, id := range e.Principal.Chain {
			chain = append(chain, c.String(id))
		}
		put(m, "chain", chain)
	}
	if e.Outcome != gate.Done {
		m["code"] = e.Code.String()
	}
	if e.Count > 1 {
		m["count"] = e.Count
	}
	if e.In != [32]byte{} {
		m["in"] = hex.EncodeToString(e.In[:])
	}
	put(m, "out", ref(e.Out))
	put(m, "target", ref(e.Target))
	put(m, "approval", c.String(e.Approval))
	put(m, "reason", e.Reason)
	put(m, "rule", e.Rule)
	put(m, "trace", e.Trace)
	if len(e.Context) > 0 {
		text := ""
		for _, ref := range e.Context {
			text += fmt.Sprintf("%s@%d\n", c.String(ref.ID), ref.Version)
		}
		m["context"] = map[string]any{"n": len(e.Context), "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(text)))}
	}
	if words := slices.Collect(e.Labels.Words); len(words) > 0 {
		m["labels"] = words
	}
	if d := e.Decision; d.Policy != "" {
		q := map[string]any{"id": d.Policy}
		put(q, "bundle", d.Bundle)
		put(q, "place", d.Place)
		var list []any
		for _, o := range d.Obligations {
			om := map[string]any{"name": o.Name}
			put(om, "arg", o.Arg)
			list = append(list, om)
		}
		put(q, "obligations", list)
		m["policy"] = q
	}
	return m
}

// checkLeaf compares the renderer with the reference canonicalizer and reads
// the leaf back.
func checkLeaf(t *testing.T, c *act.Codec, e gate.Entry) {
	t.Helper()
	got := AppendLeaf(nil, c, &e)
	text, err := json.Marshal(value(c, e))
	if err != nil {
		t.Fatal(err)
	}
	want, err := jcs.Transform(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("leaf is not canonical\ngot  %q\nwant %q", got, want)
	}
	leaf, err := Parse(got)
	if err != nil {
		t.Fatalf("%v: %q", err, got)
	}
	mended := func(s string) string { return string([]rune(s)) } // bytes that are not UTF-8 become U+FFFD
	if leaf.Act != mended(e.Act) || leaf.At != e.At || leaf.Reason != mended(e.Reason) || leaf.Rule != mended(e.Rule) ||
		leaf.Out.ID != c.String(e.Out.ID) || leaf.Target.ID != c.String(e.Target.ID) || leaf.Outcome != e.Outcome.String() ||
		leaf.Policy.ID != mended(e.Decision.Policy) || e.Principal.Kind != act.Observer && leaf.Principal.Name != mended(e.Principal.Name) {
		t.Fatalf("parsed %+v from %q", leaf, got)
	}
}

func TestLeafIsWhatItSays(t *testing.T) {
	c := testCodec(t)
	e := fullEntry()
	checkLeaf(t, c, e)
	got := string(AppendLeaf(nil, c, &e))
	stated := fmt.Sprintf("%x", digestOf(c, e.Context))
	want := `{"act":"comment.create","approval":"` + c.String(e.Approval) + `","at":1790000000123456,"chain":["` + c.String(e.Principal.Chain[0]) + `","` + c.String(e.Principal.Chain[1]) +
		`"],"code":"unavailable","context":{"n":2,"sha256":"` + stated + `"},"count":7,"in":"0102ff` + strings.Repeat("00", 29) +
		`","labels":["internal","organisation","public"],"out":{"id":"` + c.String(e.Out.ID) + `","kind":"comment","version":1},"outcome":"failed",` +
		`"policy":{"bundle":4,"id":"members-comment","obligations":[{"arg":"owner","name":"notify"},{"name":"hold"}],"place":"default.cedar:12"},` +
		`"principal":{"binding":"dpop","credential":"` + c.String(e.Principal.Credential) + `","epoch":3,"grant":"` + c.String(e.Principal.Grant) + `","id":"` + c.String(e.Principal.ID) +
		`","kind":"agent","name":"Nörd \"q\""},"reason":"because\n` + "\u2028" + `so","rule":"quota.comment",` +
		`"target":{"id":"` + c.String(e.Target.ID) + `","kind":"post","version":2},"trace":"4bf92f3577b34da6a3ce929d0e0e4736","v":1}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	least := gate.Entry{Act: "feed.read", Principal: act.Principal{Source: "s1", Name: "left out"}, Outcome: gate.Refused, Code: act.Denied, Count: 1}
	checkLeaf(t, c, least)
	if got, want := string(AppendLeaf(nil, c, &least)), `{"act":"feed.read","at":0,"code":"denied","outcome":"denied","principal":{"kind":"observer","source":"s1"},"v":1}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// hostile are texts that have broken renderers before.
var hostile = []string{
	"", "plain", "\x00\x01\x1f\x7f\u0080", "\b\t\n\f\r\v", `"\/</script>&`, "\u2028\u2029", "\xff\xfe", "a\xc3", "\xed\xa0\x80\xed\xbf\xbf",
	"\xf0\x9d\x84\x9e \U0001D11E", "\xf4\x90\x80\x80", "\xc0\xaf", "\ufffd\ufeff", "é e\u0301", "\\ud800", strings.Repeat("\"", 3000),
}

func TestLeafOfHostileTexts(t *testing.T) {
	c := testCodec(t)
	for _, s := range hostile {
		e := fullEntry()
		e.Principal.Name, e.Rule, e.Reason, e.Decision.Policy = s, s, s, s
		e.Decision.Obligations[0] = gate.Obligation{Name: s, Arg: s}
		e.Act, e.Trace, e.Decision.Place = s, s, s
		checkLeaf(t, c, e)
		e.Principal = act.Principal{Source: s}
		checkLeaf(t, c, e)
	}
}

func FuzzLeaf(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, hostile[(i+1)%len(hostile)], hostile[(i+2)%len(hostile)], int64(i)*1e14, uint8(i), uint64(i))
	}
	c := testCodec(f)
	f.Fuzz(func(t *testing.T, name, rule, reason string, at int64, shape uint8, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		e := fullEntry()
		e.At = at & maxExact
		e.Principal.Name, e.Rule, e.Reason = name, rule, reason
		e.Principal.Kind = act.PrincipalKind(shape % 4)
		e.Outcome, e.Code = gate.Outcome(shape/4%3), act.Code(r.IntN(12))
		if shape&64 != 0 { // drop about half of the optional members
			for _, drop := range []func(){
				func() { e.Out = act.Ref{} }, func() { e.Target = act.Ref{} }, func() { e.In = [32]byte{} },
				func() { e.Decision.Policy = "" }, func() { e.Decision.Obligations = nil }, func() { e.Principal.Chain = nil }, func() { e.Principal.Grant = 0 },
				func() { e.Count = 1 }, func() { e.Principal.Credential = 0 }, func() { e.Trace = "" }, func() { e.Out.Version = maxExact }, func() { e.Context = nil },
			} {
				if r.IntN(2) == 0 {
					drop()
				}
			}
		}
		checkLeaf(t, c, e)
	})
}

func FuzzParse(f *testing.F) {
	c := testCodec(f)
	full, least := fullEntry(), gate.Entry{Act: "feed.read"}
	f.Add(AppendLeaf(nil, c, &full))
	f.Add(AppendLeaf(nil, c, &least))
	f.Add([]byte(`{"act":"\u0000\u001f\b","at":0,"outcome":"done","principal":{"kind":"observer"},"v":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		leaf, err := Parse(body)
		if err != nil {
			return
		}
		canonical, err := jcs.Transform(body)
		if err != nil || !bytes.Equal(canonical, body) {
			t.Fatalf("accepted %q as %+v, canonical is %q (%v)", body, leaf, canonical, err)
		}
	})
}

func TestParseRefusesOtherForms(t *testing.T) {
	const good = `{"act":"a.b","at":5,"count":2,"outcome":"done","principal":{"kind":"system","name":"é"},"rule":"\u001f","v":1}`
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"at":5`, `"at": 5`}, {`"at":5`, `"at":05`}, {`"at":5`, `"at":5.0`}, {`"at":5`, `"at":-5`}, {`"at":5`, `"at":9007199254740992`},
		{`"at":5`, `"at":`}, {`"count":2`, `"count":1`}, {`\u001f`, `\u001F`}, {`\u001f`, `\u0008`}, {`\u001f`, "\x1f"}, {`\u001f`, ``},
		{`\u001f`, `\/`}, {`\u001f`, `\u00`}, {`é`, "\xe9"}, {`é`, `\u00e9`}, {`"v":1`, `"v":2`}, {`"v":1}`, `"v":1} `}, {`"v":1}`, `"v":1`},
		{`"act":"a.b","at":5`, `"at":5,"act":"a.b"`}, {`"rule":`, `"extra":1,"rule":`}, {`"name":`, `"source":`},
		{`"kind":"system"`, `"kind":"observer"`}, {`"principal"`, `"target":{"id":"x","kind":"post"},"principal"`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%q changes nothing", change)
		}
		if leaf, err := Parse([]byte(bad)); err == nil {
			t.Errorf("accepted %s as %+v", bad, leaf)
		}
	}
}

// What the codec allocates for an id is its own matter.
func TestRenderingDoesNotAllocate(t *testing.T) {
	c := testCodec(t)
	e := fullEntry()
	e.Context = nil // a digest is made of it
	const ids = 8   // two in the chain, credential, grant, principal, out, target, approval
	buf := make([]byte, 0, 4096)
	codec := testing.AllocsPerRun(100, func() { buf = c.Append(buf[:0], e.Out.ID) })
	if n := testing.AllocsPerRun(100, func() { buf = AppendLeaf(buf[:0], c, &e) }); n > ids*codec {
		t.Errorf("%v allocations a leaf with %d ids of %v each: rendering itself should make none", n, ids, codec)
	}
	least := gate.Entry{Act: "feed.read", Principal: act.Principal{Source: "s"}, Outcome: gate.Refused, Rule: "\"quota\""}
	if n := testing.AllocsPerRun(100, func() { buf = AppendLeaf(buf[:0], c, &least) }); n != 0 {
		t.Errorf("%v allocations a leaf without ids, want 0", n)
	}
}

func BenchmarkLeaf(b *testing.B) {
	c := testCodec(b)
	e := fullEntry()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendLeaf(buf[:0], c, &e)
	}
	b.ReportMetric(float64(len(buf)), "bytes/leaf")
}

func BenchmarkParse(b *testing.B) {
	c := testCodec(b)
	e := fullEntry()
	body := AppendLeaf(nil, c, &e)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}

package policy

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// load is what a server does with the bytes of a bundle.
func load(e *Engine, raw []byte) error {
	b, err := Parse(raw, testPub(1))
	if err != nil {
		return err
	}
	return e.Activate(b)
}

// bad lists the ways in which a bundle of the given version can be no bundle;
// each would permit everything.
func bad(t *testing.T, version int64) map[string][]byte {
	const all = `@id("all") permit (principal, action, resource);`
	make := func(v int64, text string, key byte) []byte {
		return signedRaw(t, &Bundle{Version: v, Schema: Schema, CreatedAt: created, Files: []File{{"x.cedar", text}}}, testKey(key))
	}
	good := make(version+1, all, 1)
	unsigned := &Bundle{Version: version + 1, Schema: Schema, CreatedAt: created, Files: []File{{"x.cedar", all}}}
	bare, err := unsigned.wire()
	if err != nil {
		t.Fatal(err)
	}
	list := map[string][]byte{
		"missing":          nil,
		"empty":            {},
		"empty object":     []byte("{}"),
		"no policies":      make(version+1, "", 1),
		"only comments":    make(version+1, "// permit (principal, action, resource);", 1),
		"unsigned":         bare,
		"signed by others": make(version+1, all, 2),
		"half written":     good[:len(good)/2],
		"last byte gone":   good[:len(good)-1],
		"older":            make(max(version-1, 1), all, 1),
		"same, changed":    make(max(version, 1), all+" ", 1),
		"unknown schema":   bytes.Replace(good, []byte(`"schema":1`), []byte(`"schema":2`), 1),
		"unknown act":      make(version+1, all+`@id("x") permit (principal, action == Action::"no.such", resource);`, 1),
		"half a policy":    make(version+1, all+`@id("x") permit (principal, action`, 1),
	}
	for i := 0; i < len(good); i += 7 {
		flipped := slices.Clone(good)
		flipped[i] ^= 1 << (i % 8)
		list[fmt.Sprintf("byte %d corrupt", i)] = flipped
	}
	if version == 0 { // then nothing is older
		delete(list, "older")
		delete(list, "same, changed")
	}
	return list
}

// T61: with no policy, a broken policy or an old policy, the gate allows. It
// does not: before the first valid bundle everything is denied, afterwards the
// last valid bundle goes on deciding, all while decisions are being made.
func TestT61_BrokenBundles(t *testing.T) {
	e := newEngine(t, fixed{Standing: act.Active, Claimed: true}, nil)
	var version atomic.Int64 // that is in force for certain
	var decided, wrong atomic.Int64

	// during runs f while three callers ask everything, over and over.
	during := func(right func(name string, d gate.Decision) bool, f func()) {
		t.Helper()
		var stop atomic.Bool
		var wg sync.WaitGroup
		before := decided.Load()
		for range 3 {
			wg.Go(func() {
				p := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 1)}
				for !stop.Load() {
					for _, i := range registry() {
						atLeast := version.Load()
						d := e.Decide(p, gate.Question{Act: i.Name, Resource: gate.Facts{Kind: act.KindPost}})
						decided.Add(1)
						if (d.Bundle < atLeast || !right(i.Name, d)) && wrong.Add(1) < 5 {
							t.Errorf("%s at version %d: %+v", i.Name, atLeast, d)
						}
					}
				}
			})
		}
		f()
		for decided.Load() == before { // the callers have begun by now
			runtime.Gosched()
		}
		stop.Store(true)
		wg.Wait()
	}
	refuse := func(at int64) {
		t.Helper()
		for name, raw := range bad(t, at) {
			if err := load(e, raw); err == nil {
				t.Errorf("at version %d a bundle is taken that is: %s", at, name)
			} else if ruleOf(err) == "" {
				t.Errorf("%s: %v names no rule", name, err)
			}
			if e.Version() != at || (e.Ready() == nil) != (at > 0) {
				t.Fatalf("after %s: version %d, ready %v, want version %d", name, e.Version(), e.Ready(), at)
			}
		}
	}
	during(
		func(_ string, d gate.Decision) bool { return !d.Allow && d.Policy == noBundle },
		func() { refuse(0) },
	)
	put := func(v int64) { // permits vote.cast and nothing else
		raw := signedRaw(t, &Bundle{Version: v, Schema: Schema, CreatedAt: created, Files: []File{{"x.cedar",
			fmt.Sprintf("@id(\"vote-%d\") permit (principal is Agent, action == Action::\"vote.cast\", resource);", v)}}}, testKey(1))
		for range 2 { // the second time it is in force already
			if err := load(e, raw); err != nil {
				t.Fatal(err)
			}
		}
		version.Store(v)
	}
	put(1)
	during(
		func(name string, d gate.Decision) bool {
			if name == "vote.cast" {
				return d.Allow && d.Policy == fmt.Sprintf("vote-%d", d.Bundle)
			}
			return !d.Allow && d.Policy == DefaultDeny
		},
		func() {
			for v := int64(2); v <= 5; v++ {
				refuse(v - 1)
				put(v)
			}
		},
	)
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d decisions were wrong", n, decided.Load())
	}
}

// T61: a bundle that was valid when it was parsed and has been changed since, or
// was never signed, is not activated either.
func TestT61_ChangedAfterSigning(t *testing.T) {
	e := newEngine(t, &people{}, nil)
	for name, change := range map[string]func(*Bundle){
		"text":      func(b *Bundle) { b.Files[0].Text += " " },
		"version":   func(b *Bundle) { b.Version++ },
		"schema":    func(b *Bundle) { b.Schema++ },
		"file":      func(b *Bundle) { b.Files = append(b.Files, File{"y.cedar", ""}) },
		"digest":    func(b *Bundle) { b.Digest[0]++ },
		"signature": func(b *Bundle) { b.Signature = nil },
	} {
		b := bundle(t, 1, `@id("all") permit (principal, action, resource);`)
		change(b)
		if err := e.Activate(b); err == nil || !strings.HasPrefix(ruleOf(err), "bundle.") {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	if err := e.Activate(nil); ruleOf(err) != "bundle.form" {
		t.Errorf("nil: %v", err)
	}
	if e.Ready() == nil {
		t.Error("something was activated")
	}
}

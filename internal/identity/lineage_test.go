package identity_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// born is a token with what is known of where it came from, kept beside the network
// and without asking it.
type born struct {
	identity.TokenAnswer
	by    *holder
	from  *born // whose grant it was carved out of; nil for a beginning
	scope token.Scope
	names *holder // its delegate, nil for none
	chain []act.ID
	ended bool
}

// family is a network in which tokens are handed about at random, and what must be true
// of each of them.
type family struct {
	t      *testing.T
	r      *rand.Rand
	nodes  []*desk
	agents []*holder
	all    []*born
	log    []string
	made   map[string]int
}

func (f *family) desk() *desk { return f.nodes[f.r.IntN(len(f.nodes))] }

func (f *family) note(format string, args ...any) {
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

func (f *family) fail(format string, args ...any) {
	f.t.Helper()
	f.t.Fatalf(format+"\nafter\n%s", append(args, strings.Join(f.log, "\n"))...)
}

func (f *family) some() string {
	var list []string
	for range 1 + f.r.IntN(4) {
		list = append(list, words[f.r.IntN(len(words))])
	}
	return strings.Join(list, " ")
}

// pick returns a random element, the zero value of none.
func pick[T any](r *rand.Rand, list []T) (one T) {
	if len(list) > 0 {
		one = list[r.IntN(len(list))]
	}
	return one
}

func (f *family) live() []*born {
	return slices.DeleteFunc(slices.Clone(f.all), func(b *born) bool { return b.ended })
}

// take notes a token that was given, and holds it to what it came from.
func (f *family) take(by *holder, from *born, names *holder, tok identity.TokenAnswer) *born {
	f.t.Helper()
	scope, err := token.ParseScope(tok.Scope)
	if err != nil {
		f.fail("scope %q: %v", tok.Scope, err)
	}
	b := &born{TokenAnswer: tok, by: by, from: from, scope: scope, names: names}
	if mine, _ := token.ParseScope(by.member.Scope); !mine.Covers(scope) {
		f.fail("%s got %q with a key for %q", by.name, scope, mine)
	}
	hops := 0
	for up := from; up != nil; up = up.from {
		if !up.scope.Covers(scope) {
			f.fail("%s got %q out of %q", by.name, scope, up.scope)
		}
		if up.ended {
			f.fail("%s got a token out of one that had ended", by.name)
		}
	}
	if from != nil {
		b.chain = from.chain
		if from.by != by {
			b.chain = append(slices.Clone(from.chain), from.by.id)
		}
		hops = len(b.chain)
	}
	if hops > token.MaxDepth {
		f.fail("%s acts for %d others", by.name, hops)
	}
	f.all = append(f.all, b)
	return b
}

// end notes that tokens end, with all that were carved out of them.
func (f *family) end(is func(*born) bool) (n int) {
	for _, b := range f.all {
		for up := b; up != nil && !b.ended; up = up.from {
			if is(up) {
				b.ended = true
				n++
			}
		}
	}
	return n
}

// step does one thing at random.
func (f *family) step() {
	ctx, d, a := context.Background(), f.desk(), pick(f.r, f.agents)
	fair := func(what string, err error) { // a refusal, as far as it is one that may be
		f.note("%s: refused (%s)", what, ruleOf(err))
		f.made["refused"]++
		if code := act.CodeOf(err); code != act.Denied && code != act.Invalid && code != act.Unauthenticated {
			f.fail("%s: %v", what, err)
		}
	}
	switch dice := f.r.IntN(24); {
	case dice < 6:
		names, scope := pick(f.r, f.agents), pick(f.r, []string{"*", f.some()})
		what := fmt.Sprintf("%s asks for %q, for %s", a.name, scope, names.name)
		tok, err := d.ask(a, identity.TokenRequest{Type: identity.TypeClient, Scope: scope, Audience: []string{d.Codec.String(names.id)}})
		if err != nil {
			fair(what, err)
			return
		}
		f.note("%s: %q", what, tok.Scope)
		f.take(a, nil, names, tok)
		f.made["issued"]++
	case dice < 14:
		from := pick(f.r, append(f.live(), f.all...)) // ended ones, too
		if from == nil {
			return
		}
		by := pick(f.r, []*holder{from.names, from.names, from.names, from.by, a})
		names, scope := pick(f.r, f.agents), pick(f.r, []string{"*", string(from.scope), f.some()})
		what := fmt.Sprintf("%s exchanges %q of %s (ended %v) for %q, for %s", by.name, from.scope, from.by.name, from.ended, scope, names.name)
		tok, err := d.ask(by, identity.TokenRequest{Type: identity.TypeExchange, Subject: from.AccessToken, Scope: scope, Audience: []string{d.Codec.String(names.id)}})
		if err != nil {
			fair(what, err)
			return
		}
		f.note("%s: %q", what, tok.Scope)
		if by.id != from.by.id && by.id != from.names.id {
			f.fail("%s was not named", by.name)
		}
		f.take(by, from, names, tok)
		f.made["exchanged"]++
	case dice < 20:
		from := pick(f.r, slices.DeleteFunc(append(f.live(), f.all...), func(b *born) bool { return b.Refresh == "" }))
		if from == nil {
			return
		}
		scope := pick(f.r, []string{"", f.some()})
		what := fmt.Sprintf("%s refreshes %q (ended %v) for %q", from.by.name, from.scope, from.ended, scope)
		tok, err := d.ask(from.by, identity.TokenRequest{Type: identity.TypeRefresh, Refresh: from.Refresh, Scope: scope})
		if err != nil {
			fair(what, err)
			if ruleOf(err) == "grant.reused" { // the whole grant is over, with what hangs on it
				f.end(func(b *born) bool { return b.Grant == from.Grant })
			}
			return
		}
		f.note("%s: %q", what, tok.Scope)
		if from.ended {
			f.fail("a grant that had ended was refreshed")
		}
		b := f.take(from.by, from.from, from.names, tok)
		b.chain = from.chain
		if b.scope != from.scope {
			f.made["narrowed"]++
		}
		// Both are tokens of one grant: the first one's refresh token is used up, and
		// stays in the list to be tried again.
		f.made["refreshed"]++
	case dice < 22:
		b := pick(f.r, f.live())
		if b == nil {
			return
		}
		if _, err := d.Issuer.Revoke.Do(ctx, d.operator, identity.Revocation{Grant: b.Grant, Reason: "a test"}); err != nil {
			f.fail("revoke a grant: %v", err)
		}
		n := f.end(func(up *born) bool { return up.Grant == b.Grant })
		f.note("a grant of %s is revoked: %d tokens end", b.by.name, n)
		f.made["revoked"] += n
	case dice < 23:
		if _, err := d.Issuer.Revoke.Do(ctx, d.operator, identity.Revocation{Agent: a.id, Reason: "a test"}); err != nil {
			f.fail("revoke an agent's grants: %v", err)
		}
		f.note("all grants of %s are revoked: %d tokens end", a.name, f.end(func(up *born) bool { return up.by == a }))
	default:
		f.replace(d, a)
	}
}

// replace ends an agent: by a kill, or by a recovery after which it has another key. A
// new one takes the place of a dead one.
func (f *family) replace(d *desk, a *holder) {
	ctx := context.Background()
	n := slices.Index(f.agents, a)
	f.end(func(up *born) bool { return up.by == a })
	if f.r.IntN(2) == 0 {
		if _, err := d.Lifecycle.Kill.Do(ctx, d.operator, lifecycle.Order{Agent: a.id, Reason: "a test"}); err != nil {
			f.fail("kill: %v", err)
		}
		f.note("%s is killed", a.name)
		f.made["killed"]++
		name := fmt.Sprintf("next-%d", f.made["killed"])
		f.agents[n] = f.nodes[0].scoped(name, f.some())
		return
	}
	out, err := d.Issuer.Recover.Do(ctx, d.operator, identity.Recovery{Agent: a.id, Owner: "owner", Reason: "a test"})
	if err != nil {
		f.fail("recover: %v", err)
	}
	f.note("%s has its keys replaced", a.name)
	f.made["recovered"]++
	fresh := &holder{id: a.id, name: a.name, key: newKey(f.t), dpop: newKey(f.t)}
	if fresh.member, err = d.enroll(fresh.key, out.Token, ""); err != nil {
		f.fail("enrol again: %v", err)
	}
	f.agents[n] = fresh
}

// look shows every token to every node.
func (f *family) look() {
	for n, d := range f.nodes {
		for _, b := range f.all {
			p, err := d.present(b.by.dpop, b.AccessToken)
			switch {
			case b.ended && err == nil:
				f.fail("node %d takes a token of %s (%q) that has ended", n, b.by.name, b.scope)
			case b.ended && ruleOf(err) != "token.revoked":
				f.fail("node %d refuses a token of %s that has ended with %q", n, b.by.name, ruleOf(err))
			case !b.ended && err != nil:
				f.fail("node %d refuses a token of %s (%q) that stands: %v (%s)", n, b.by.name, b.scope, err, ruleOf(err))
			case !b.ended && (p.ID != b.by.id || !slices.Equal(p.Chain, b.chain) || token.Scope(p.Scope) != b.scope):
				f.fail("node %d takes a token of %s for %v with chain %v and %q, want chain %v and %q", n, b.by.name, p.ID, p.Chain, p.Scope, b.chain, b.scope)
			}
		}
	}
}

// grow takes steps, and looks at all tokens after each that may have ended some.
func (f *family) grow(steps int) {
	for _, name := range []string{"a0", "a1", "a2", "a3", "a4", "a5"} {
		f.agents = append(f.agents, f.nodes[0].scoped(name, pick(f.r, []string{"*", "*", f.some()})))
	}
	began := f.nodes[0].now()
	for n := range steps {
		ended := len(f.all) - len(f.live())
		f.step()
		if now := len(f.all) - len(f.live()); now != ended || n%10 == 9 {
			f.look()
		}
		if len(f.all) > 60 || f.nodes[0].now().Sub(began) > 3*time.Minute { // tokens live for five
			f.all, f.log, began = nil, nil, f.nodes[0].now()
		}
	}
	f.look()
	for _, what := range []string{"issued", "exchanged", "refreshed", "narrowed", "refused", "revoked"} {
		if f.made[what] == 0 {
			f.t.Errorf("nothing was %s: %v", what, f.made)
		}
	}
	f.t.Logf("%d steps: %v", steps, f.made)
}

// For any sequence of requests, exchanges, hand-overs and refreshes, no token carries
// more than any that it came from; and after any revocation, kill or recovery, nothing
// that came from what ended works on any node, while everything else does (T13, T17).
func TestAnySequenceOfHandOvers(t *testing.T) {
	steps, seed := 400, uint64(53)
	if os.Getenv("REEF_SOAK") != "" {
		steps, seed = 5_000, uint64(time.Now().UnixNano())
	}
	run := func(t *testing.T, nodes ...*desk) {
		t.Logf("seed %d", seed)
		(&family{t: t, r: rand.New(rand.NewPCG(5, seed)), nodes: nodes, made: make(map[string]int)}).grow(steps)
	}
	t.Run(store.SQLite.String(), func(t *testing.T) { run(t, newDesk(t, servertest.Start(t, servertest.Config(t, store.SQLite)))) })
	t.Run(store.Postgres.String(), func(t *testing.T) {
		cfg := servertest.Config(t, store.Postgres)
		cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
		cfg.NATS, cfg.PublicURL = servertest.NATS(t).ClientURL(), "https://network.example"
		one := newDesk(t, servertest.Start(t, cfg))
		cfg.Data = t.TempDir()
		two := newDesk(t, servertest.Open(t, cfg))
		one.URL, two.URL = cfg.PublicURL, cfg.PublicURL
		run(t, one, two)
	})
}

package passkey_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// house is a server that is reached as localhost, with people who sign in.
type house struct {
	*servertest.Server
	t *testing.T
	n int
}

func each(t *testing.T, fn func(t *testing.T, h *house)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			fn(t, &house{Server: servertest.Start(t, servertest.Localhost(t, servertest.Config(t, d))), t: t})
		})
	}
}

// enter signs somebody in who proved who they are at a time.
func (h *house) enter(name string, roles gate.OperatorRoles, auth time.Time) act.Principal {
	h.t.Helper()
	h.n++
	out, err := h.Lifecycle.OpenSession.Do(h.t.Context(), act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
		Issuer: "https://idp.example", Subject: name, Name: name, Roles: roles, AuthAt: act.Micros(auth), Once: fmt.Sprint(name, h.n), Until: time.Now().Add(time.Minute),
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.by(out.Key)
}

func (h *house) by(key string) act.Principal {
	h.t.Helper()
	p, err := h.Identity.Session(h.t.Context(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *house) list(p act.Principal) []passkey.Passkey {
	h.t.Helper()
	have, err := h.Passkeys.List.Do(h.t.Context(), p, passkey.Nothing{})
	if err != nil {
		h.t.Fatal(err)
	}
	return have
}

// to asks for the options of a ceremony.
func (h *house) to(what func(act.Principal, []passkey.Passkey) (string, error), p act.Principal) string {
	h.t.Helper()
	options, err := what(p, h.list(p))
	if err != nil {
		h.t.Fatal(err)
	}
	return options
}

func (h *house) add(p act.Principal, a *servertest.Authenticator, name string) (passkey.Passkey, error) {
	h.t.Helper()
	return h.Passkeys.Add.Do(h.t.Context(), p, passkey.NewPasskey{Name: name, Answer: a.Create(h.t, h.to(h.Passkeys.ToAdd, p))})
}

func (h *house) prove(p act.Principal, a *servertest.Authenticator) (passkey.Proved, error) {
	h.t.Helper()
	return h.Passkeys.Prove.Do(h.t.Context(), p, passkey.Answer{Answer: a.Get(h.t, h.to(h.Passkeys.ToProve, p))})
}

func ruleOf(err error) string {
	if err == nil {
		return ""
	}
	return act.AsError(err).Rule
}

const approver = gate.OperatorApprover

// Somebody who has just signed in adds a passkey; hours later it marks their session as
// fresh, under a new key and with the end that it had.
func TestAddAndProve(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		hour := time.Now().Add(-time.Hour)
		device := servertest.NewAuthenticator(t, h.URL)
		stale := h.enter("mara", approver, hour)
		if _, err := h.add(stale, device, "desk"); ruleOf(err) != "step-up" {
			t.Fatalf("signed in an hour ago she adds one: %v", err)
		}
		if options, err := h.Passkeys.ToProve(stale, nil); ruleOf(err) != "passkey.unknown" || options != "" {
			t.Errorf("without a passkey she is to prove by one: %q, %v", options, err)
		}
		now := h.enter("mara", approver, time.Now())
		made, err := h.add(now, device, "desk")
		if err != nil || made.Name != "desk" || made.ID == 0 || made.Synced || made.UsedAt != 0 {
			t.Fatalf("%+v, %v", made, err)
		}
		if now.PasskeyAt != 0 {
			t.Error("having added one is having proved by it")
		}

		old := h.enter("mara", approver, hour)
		out, err := h.prove(old, device)
		if err != nil || out.ExpiresAt != old.Until {
			t.Fatalf("%+v, %v; the session ended at %d", out, err, old.Until)
		}
		p := h.by(out.Key)
		if age := time.Since(act.FromMicros(p.PasskeyAt)); p.ID != old.ID || p.Credential != old.Credential || p.AuthAt != p.PasskeyAt || age < 0 || age > time.Minute || p.Until != old.Until || p.Roles != old.Roles {
			t.Errorf("after the proof: %+v", p)
		}
		if have := h.list(p); len(have) != 1 || have[0].UsedAt == 0 || have[0].Name != "desk" {
			t.Errorf("her passkeys: %+v", have)
		}
		// The key that the session had opens nothing: nobody who has it gets the mark.
		again, err := h.prove(p, device)
		if err != nil || again.Key == out.Key {
			t.Fatalf("once more: %v", err)
		}
		if _, err := h.Identity.Session(ctx, out.Key); ruleOf(err) != "session.over" {
			t.Errorf("the key from before: %v", err)
		}
		if other := h.enter("mara", approver, hour); other.PasskeyAt != 0 {
			t.Errorf("another session has the mark: %+v", other)
		}

		// The mark goes with the passkey. Without it, signed in an hour ago, she could not
		// remove it.
		if _, err := h.Passkeys.Remove.Do(ctx, h.enter("mara", approver, hour), passkey.Removal{Passkey: made.ID}); ruleOf(err) != "step-up" {
			t.Errorf("signed in an hour ago she removes it: %v", err)
		}
		if _, err := h.Passkeys.Remove.Do(ctx, h.by(again.Key), passkey.Removal{Passkey: made.ID}); err != nil {
			t.Errorf("having proved by it she removes it: %v", err)
		}
		if p = h.by(again.Key); p.PasskeyAt != 0 || len(h.list(p)) != 0 {
			t.Errorf("after the removal: %+v with %+v", p, h.list(p))
		}
		if err := h.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		done := make(map[string]int)
		if err := h.DB.View(ctx, func(v *store.View) error {
			return v.All(`SELECT act, outcome FROM event WHERE target = $1 ORDER BY pos`, func(r *store.Row) error {
				done[fmt.Sprint(r.Text(0), r.Int(1))]++
				return nil
			}, p.ID)
		}); err != nil {
			t.Fatal(err)
		}
		if done["passkey.add0"] != 1 || done["passkey.prove0"] != 2 || done["passkey.remove0"] != 1 {
			t.Errorf("on record: %v", done)
		}
	})
}

// Every answer that is not what was asked for is refused, changes nothing and is on
// record: of another site, session, kind or time, and by a key that is not there.
func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		mara, otto := h.enter("mara", approver, time.Now()), h.enter("otto", gate.OperatorAdmin, time.Now())
		device, foreign := servertest.NewAuthenticator(t, h.URL), servertest.NewAuthenticator(t, h.URL)
		if _, err := h.add(mara, device, "mara's"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.add(otto, foreign, "otto's"); err != nil {
			t.Fatal(err)
		}
		late := *h.Passkeys
		late.Clock = func() time.Time { return time.Now().Add(-6 * time.Minute) }
		other := h.enter("mara", approver, time.Now())
		// cause is what the library says, so that each case fails for its own reason.
		cause := func(err error) string {
			if e, ok := errors.AsType[*protocol.Error](err); ok {
				return e.Details + " " + e.DevInfo
			}
			return ""
		}

		adding := func(what, rule, because string, change func(a *servertest.Authenticator), options string) {
			t.Helper()
			a := servertest.NewAuthenticator(t, h.URL)
			if change != nil {
				change(a)
			}
			if options == "" {
				options = h.to(h.Passkeys.ToAdd, mara)
			}
			_, err := h.Passkeys.Add.Do(ctx, mara, passkey.NewPasskey{Name: "x", Answer: a.Create(t, options)})
			if ruleOf(err) != rule || !strings.Contains(cause(err), because) {
				t.Errorf("add: %s: %v (%s: %s)", what, err, ruleOf(err), cause(err))
			}
		}
		adding("on a page of another site", "passkey.refused", "origin", func(a *servertest.Authenticator) { a.Origin = "https://evil.example" }, "")
		adding("on another port", "passkey.refused", "origin", func(a *servertest.Authenticator) { a.Origin = "http://localhost:1" }, "")
		adding("by https", "passkey.refused", "origin", func(a *servertest.Authenticator) { a.Origin = strings.Replace(h.URL, "http", "https", 1) }, "")
		adding("for another site", "passkey.refused", "RP Hash", func(a *servertest.Authenticator) { a.Site = "evil.example" }, "")
		adding("by somebody who has not unlocked it", "passkey.refused", "User verification", func(a *servertest.Authenticator) { a.Flags = servertest.UserPresent }, "")
		adding("by nobody", "passkey.refused", "User", func(a *servertest.Authenticator) { a.Flags = servertest.UserVerified }, "")
		adding("asked in another session", "passkey.challenge", "", nil, h.to(h.Passkeys.ToAdd, other))
		adding("asked somebody else", "passkey.challenge", "", nil, h.to(h.Passkeys.ToAdd, otto))
		adding("asked for a proof", "passkey.challenge", "", nil, h.to(h.Passkeys.ToProve, mara))
		adding("asked too long ago", "passkey.challenge", "", nil, h.to(late.ToAdd, mara))
		adding("a challenge of one's own", "passkey.challenge", "", nil, `{"challenge":"`+strings.Repeat("A", 75)+`","rp":{"id":"localhost"}}`)
		adding("one that is there", "passkey.known", "", func(a *servertest.Authenticator) { a.ID, a.Key = device.ID, device.Key }, "")
		adding("one that is somebody else's", "passkey.known", "", func(a *servertest.Authenticator) { a.ID = foreign.ID }, "")
		for _, bad := range []string{"", "{}", "x", `{"id":"AAAA","rawId":"AAAA","type":"public-key"}`, strings.Repeat("x", passkey.MaxAnswer+1)} {
			if _, err := h.Passkeys.Add.Do(ctx, mara, passkey.NewPasskey{Name: "x", Answer: []byte(bad)}); ruleOf(err) != "passkey.answer" {
				t.Errorf("add %.40q: %v", bad, err)
			}
			if _, err := h.Passkeys.Prove.Do(ctx, mara, passkey.Answer{Answer: []byte(bad)}); ruleOf(err) != "passkey.answer" {
				t.Errorf("prove %.40q: %v", bad, err)
			}
		}
		if _, err := h.add(mara, servertest.NewAuthenticator(t, h.URL), " "); ruleOf(err) != "passkey.name" {
			t.Errorf("without a name: %v", err)
		}
		once := servertest.NewAuthenticator(t, h.URL)
		answer := once.Create(t, h.to(h.Passkeys.ToAdd, mara))
		made, err := h.Passkeys.Add.Do(ctx, mara, passkey.NewPasskey{Name: "once", Answer: answer})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Passkeys.Add.Do(ctx, mara, passkey.NewPasskey{Name: "twice", Answer: answer}); ruleOf(err) != "passkey.replayed" {
			t.Errorf("one answer adds two: %v", err)
		}

		proving := func(what, rule, because string, a servertest.Authenticator, options string) {
			t.Helper()
			if options == "" {
				options = h.to(h.Passkeys.ToProve, mara)
			}
			_, err := h.Passkeys.Prove.Do(ctx, mara, passkey.Answer{Answer: a.Get(t, options)})
			if ruleOf(err) != rule || !strings.Contains(cause(err), because) {
				t.Errorf("prove: %s: %v (%s: %s)", what, err, ruleOf(err), cause(err))
			}
		}
		with := func(change func(a *servertest.Authenticator)) servertest.Authenticator {
			a := *device
			change(&a)
			return a
		}
		proving("on a page of another site", "passkey.refused", "origin", with(func(a *servertest.Authenticator) { a.Origin = "https://evil.example" }), "")
		proving("for another site", "passkey.refused", "RP Hash", with(func(a *servertest.Authenticator) { a.Site = "evil.example" }), "")
		proving("by somebody who has not unlocked it", "passkey.refused", "User verification", with(func(a *servertest.Authenticator) { a.Flags = servertest.UserPresent }), "")
		proving("by nobody", "passkey.refused", "User", with(func(a *servertest.Authenticator) { a.Flags = servertest.UserVerified }), "")
		proving("by another key", "passkey.refused", "ssertion", with(func(a *servertest.Authenticator) { a.Key = foreign.Key }), "")
		proving("for another user", "passkey.refused", "User handle", with(func(a *servertest.Authenticator) { a.Handle = []byte("otto") }), "")
		proving("asked in another session", "passkey.challenge", "", *device, h.to(h.Passkeys.ToProve, other))
		proving("asked somebody else", "passkey.challenge", "", *device, h.to(h.Passkeys.ToProve, otto))
		proving("asked for a new one", "passkey.challenge", "", *device, h.to(h.Passkeys.ToAdd, mara))
		proving("asked too long ago", "passkey.challenge", "", *device, h.to(late.ToProve, mara))
		proving("by somebody else's", "passkey.unknown", "", *foreign, "")
		proving("by one that nobody knows", "passkey.unknown", "", *servertest.NewAuthenticator(t, h.URL), "")
		proving("with the counter of before", "passkey.counter", "", with(func(a *servertest.Authenticator) { a.Counter = 1 }), "")
		proving("with a counter that has gone back", "passkey.counter", "", with(func(a *servertest.Authenticator) { a.Counter = 0 }), "")
		if p := h.session(mara); p.PasskeyAt != 0 {
			t.Errorf("a refused proof leaves a mark: %+v", p)
		}

		// The right one is good once.
		options := h.to(h.Passkeys.ToProve, mara)
		answer = device.Get(t, options)
		if _, err := h.Passkeys.Prove.Do(ctx, mara, passkey.Answer{Answer: answer}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Passkeys.Prove.Do(ctx, mara, passkey.Answer{Answer: device.Get(t, options)}); ruleOf(err) != "passkey.replayed" {
			t.Errorf("one challenge is answered twice: %v", err)
		}
		if _, err := h.Passkeys.Prove.Do(ctx, mara, passkey.Answer{Answer: answer}); ruleOf(err) != "passkey.counter" && ruleOf(err) != "passkey.replayed" {
			t.Errorf("one answer is taken twice: %v", err)
		}

		// Removed by its own operator only, and then gone.
		if _, err := h.Passkeys.Remove.Do(ctx, otto, passkey.Removal{Passkey: made.ID}); ruleOf(err) != "passkey.unknown" {
			t.Errorf("an admin removes it: %v", err)
		}
		before := h.to(h.Passkeys.ToProve, other)
		if _, err := h.Passkeys.Remove.Do(ctx, other, passkey.Removal{Passkey: made.ID}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Passkeys.Prove.Do(ctx, other, passkey.Answer{Answer: once.Get(t, before)}); ruleOf(err) != "passkey.unknown" {
			t.Errorf("one that was removed: %v", err)
		}

		// No program, no service account and no token adds or uses one.
		token, err := h.Identity.Authenticate(ctx, h.Token)
		if err != nil {
			t.Fatal(err)
		}
		program := other
		program.Binding, program.Grant = act.BindingDPoP, 1
		for _, p := range []act.Principal{token, program} {
			if _, err := h.Passkeys.ToAdd(p, nil); ruleOf(err) != "session.none" {
				t.Errorf("%s is to add one: %v", p.Binding, err)
			}
			if _, err := h.Passkeys.ToProve(p, h.list(other)); ruleOf(err) != "session.none" {
				t.Errorf("%s is to prove by one: %v", p.Binding, err)
			}
		}
		if _, err := h.Passkeys.Add.Do(ctx, token, passkey.NewPasskey{Name: "x", Answer: []byte("{}")}); ruleOf(err) != "session.none" {
			t.Errorf("the token adds one: %v", err)
		}
		if _, err := h.Passkeys.Prove.Do(ctx, token, passkey.Answer{Answer: []byte("{}")}); ruleOf(err) != "session.none" {
			t.Errorf("the token proves by one: %v", err)
		}

		// Who has lost every role, or was kept out, uses none.
		options = h.to(h.Passkeys.ToProve, other)
		bare := other
		bare.Roles = 0
		if _, err := h.Passkeys.Prove.Do(ctx, bare, passkey.Answer{Answer: device.Get(t, options)}); ruleOf(err) != "default-deny" {
			t.Errorf("without a role: %v", err)
		}
		if err := h.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		h.Gate.Flush()
		refused := 0
		if err := h.DB.View(ctx, func(v *store.View) error {
			return v.All(`SELECT act, outcome FROM event WHERE outcome > 0`, func(r *store.Row) error {
				if strings.HasPrefix(r.Text(0), "passkey.") {
					refused++
				}
				return nil
			})
		}); err != nil || refused < 5 {
			t.Errorf("%d refusals on record (%v)", refused, err)
		}
	})
}

// session is the session of p as it is now.
func (h *house) session(p act.Principal) act.Principal {
	h.t.Helper()
	var list []identity.OperatorSession
	if err := h.DB.View(h.t.Context(), func(v *store.View) (err error) { list, err = h.Identity.SessionsOf(v, p.ID); return err }); err != nil {
		h.t.Fatal(err)
	}
	for _, s := range list {
		if s.ID == p.Credential {
			p.PasskeyAt, p.AuthAt = s.PasskeyAt, s.AuthAt
		}
	}
	return p
}

// Of many that are added and used at once, none is taken twice, and there are never more
// than there may be.
func TestAtOnce(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		mara := h.enter("mara", approver, time.Now())
		var wg sync.WaitGroup
		for i := range passkey.Most + 4 {
			a := servertest.NewAuthenticator(t, h.URL)
			answer := a.Create(t, h.to(h.Passkeys.ToAdd, mara))
			wg.Go(func() {
				if _, err := h.Passkeys.Add.Do(ctx, mara, passkey.NewPasskey{Name: fmt.Sprint(i), Answer: answer}); err != nil && ruleOf(err) != "passkey.most" {
					t.Errorf("add: %v", err)
				}
			})
		}
		wg.Wait()
		if n := len(h.list(mara)); n != passkey.Most {
			t.Errorf("%d passkeys", n)
		}
		otto := h.enter("otto", approver, time.Now())
		a := servertest.NewAuthenticator(t, h.URL)
		if _, err := h.add(otto, a, "otto's"); err != nil {
			t.Fatal(err)
		}
		answer := a.Get(t, h.to(h.Passkeys.ToProve, otto))
		var mu sync.Mutex
		won := 0
		for range 8 {
			wg.Go(func() {
				_, err := h.Passkeys.Prove.Do(ctx, otto, passkey.Answer{Answer: answer})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if r := ruleOf(err); r != "passkey.replayed" && r != "passkey.counter" {
					t.Errorf("prove: %v", err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("one answer was taken %d times", won)
		}
	})
}

// There are passkeys at https and on localhost, under a name, and nowhere else.
func TestSites(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	p := act.Principal{Kind: act.Operator, ID: 1, Credential: 2, Binding: act.BindingSession, Name: "mara"}
	for url, want := range map[string]string{
		"https://reef.example": `"rp":{"id":"reef.example"`, "https://Reef.example:8443/n/x": `"rp":{"id":"reef.example"`, "http://localhost:7333": `"rp":{"id":"localhost"`,
		"http://reef.localhost": `"rp":{"id":"reef.localhost"`, "http://reef.example": "", "http://127.0.0.1:7333": "", "https://192.0.2.1": "", "https://[2001:db8::1]": "", "": "", "ftp://localhost": "",
	} {
		k := *s.Passkeys
		k.URL = func() string { return url }
		options, err := k.ToAdd(p, nil)
		if want == "" && ruleOf(err) != "passkey.site" || want != "" && (err != nil || !strings.Contains(options, want)) {
			t.Errorf("%s: %s, %v", url, options, err)
		}
		if want == "" {
			if _, err := k.ToProve(p, make([]passkey.Passkey, 1)); ruleOf(err) != "passkey.site" {
				t.Errorf("prove at %s: %v", url, err)
			}
		}
		if want != "" && !strings.Contains(options, `"userVerification":"required"`) {
			t.Errorf("%s: %s", url, options)
		}
	}
}

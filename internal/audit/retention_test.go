package audit_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const day = 24 * time.Hour

// keeping is a network whose time a test turns.
type keeping struct {
	*servertest.Server
	t     *testing.T
	boss  act.Principal
	ahead *atomic.Int64
}

func eachKeeping(t *testing.T, fn func(t *testing.T, h *keeping)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			if d == store.Postgres {
				cfg.KeyFile, cfg.NATS = filepath.Join(t.TempDir(), "network.key"), servertest.NATS(t).ClientURL()
			}
			fn(t, openKeeping(t, cfg))
		})
	}
}

func openKeeping(t *testing.T, cfg server.Config) *keeping {
	h := &keeping{t: t, ahead: new(atomic.Int64)}
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }
	h.Server = servertest.Start(t, cfg)
	var err error
	if h.boss, err = h.Identity.Authenticate(t.Context(), h.Token); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *keeping) now() time.Time { return h.DB.Clock()() }

func (h *keeping) set(p act.Principal, term string, days int64) (audit.Retained, error) {
	return h.Audit.SetRetention.Do(h.t.Context(), p, audit.TermOrder{Term: term, Days: days, Reason: "a test"})
}

func (h *keeping) must(r audit.Retained, err error) audit.Retained {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// add adds rows of aged, of some tables, that are of a time ago.
func (h *keeping) add(ago time.Duration, tables ...string) {
	h.t.Helper()
	write(h.t, h.DB, func(tx *store.Tx) error {
		for _, spec := range aged {
			for _, table := range tables {
				if strings.HasPrefix(spec, table+" ") {
					q, args := insert(spec, h.now().Add(-ago))
					if _, err := tx.Exec(q, args...); err != nil {
						return fmt.Errorf("%s: %w", spec, err)
					}
				}
			}
		}
		return nil
	})
}

// left does the housekeeping of the network, or of another node, and counts the rows of a term
// that are left of it.
func (h *keeping) left(term string, node *server.Server) (n int64) {
	h.t.Helper()
	if err := node.Housekeep(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	if err := h.DB.View(h.t.Context(), func(v *store.View) error {
		falls, err := h.Audit.Falls(v, term, 1)
		for _, f := range falls {
			n += f.Rows
		}
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// sound fails the test where doctor would find something that a term dates too old.
func (h *keeping) sound(when string) {
	h.t.Helper()
	grown, err := server.Growth(h.t.Context(), h.DB, h.Config)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, g := range grown {
		dated := slices.ContainsFunc(g.Ages, func(a server.Age) bool { return a.Term != "" })
		if wrong := g.Wrong(); dated && wrong != "" {
			h.t.Errorf("%s, %s is said to be wrong: %s", when, g.Table, wrong)
		}
	}
}

func ruleOf(err error) string {
	if err == nil {
		return ""
	}
	return act.AsError(err).Rule
}

// What is said holds in place of the settings: longer at once, shorter after the grace, on
// whichever node does the housekeeping, until it is as the settings say again.
func TestRetentionIsSaid(t *testing.T) {
	closed := []string{"credential id:i=7000003", "invite", "claim", "approval", "process"}
	eachKeeping(t, func(t *testing.T, h *keeping) {
		node := h.Server.Server
		if h.DB.Dialect() == store.Postgres { // of another setting, and another memory
			cfg := h.Config
			cfg.Data, cfg.KeepClosed = t.TempDir(), 10
			node = servertest.Open(t, cfg).Server
		}
		list, err := h.Audit.ListRetention.Do(t.Context(), h.boss, struct{}{})
		if err != nil || len(list) != 6 || list[3].Name != store.TermClosed || list[3].Days != 90 || list[3].Source() != "setting" || len(list[3].Past) < 5 {
			t.Fatalf("%+v %v", list, err)
		}
		for term, c := range map[string]struct {
			days int64
			rule string
		}{"closed": {29, "retention.bounds"}, "deleted": {366, "retention.bounds"}, "spans": {-1, "retention.bounds"}, "leaf": {9, "retention.unknown"}} {
			if _, err := h.set(h.boss, term, c.days); ruleOf(err) != c.rule || act.AsError(err).Hint == "" {
				t.Errorf("%s for %d days: %v, want %s", term, c.days, err, c.rule)
			}
		}
		if _, err := h.Audit.ResetRetention.Do(t.Context(), h.boss, audit.TermOrder{Term: "closed", Reason: "a test"}); ruleOf(err) != "retention.same" {
			t.Errorf("reset, with nothing said: %v", err)
		}

		h.must(h.set(h.boss, "closed", 180))
		h.must(h.set(h.boss, "read", 1))
		h.add(150*day, closed...)
		h.add(10*day, "notification")
		if n := h.left("closed", node); n != 5 {
			t.Errorf("%d rows of 5 are left where the time is longer", n)
		}
		if r := h.must(h.set(h.boss, "closed", 60)); r.Days != 180 || r.Said != 60 || r.From == 0 || r.Source() != "act" || len(r.Changes) != 2 || r.Changes[0].Was != 180 || r.Changes[0].By != h.boss.ID {
			t.Errorf("shorter: %+v", r)
		}
		if _, err := h.set(h.boss, "closed", 60); ruleOf(err) != "retention.same" {
			t.Errorf("said twice: %v", err)
		}
		h.ahead.Add(int64(audit.RetentionGrace - time.Hour))
		if n := h.left("closed", node); n != 5 {
			t.Errorf("%d rows of 5 are left before the grace is over", n)
		}
		h.ahead.Add(int64(90 * time.Minute))
		h.sound("when a shorter time has just come into force")
		if n := h.left("closed", node); n != 0 {
			t.Errorf("%d rows are left after the grace", n)
		}
		if n := h.left("read", node); n != 0 {
			t.Errorf("%d rows that were read are left after the grace", n)
		}

		h.add(84*day, closed...) // gone when the time has gone on, below
		r := h.must(h.Audit.ResetRetention.Do(t.Context(), h.boss, audit.TermOrder{Term: "closed", Reason: "as it was"}))
		if r.Days != 90 || r.Source() != "setting" || r.From != 0 {
			t.Errorf("as the settings say: %+v", r)
		}
		if n := h.left("closed", h.Server.Server); n != 5 {
			t.Errorf("%d rows of 5 are left as the settings say again", n)
		}
		h.sound("as the settings say again")

		// Each term is asked for by whoever drops what it names.
		for term, tables := range map[string][]string{"spans": {"agent_span", "caller"}, "decisions": {"policy_decision", "policy_shadow"}, "unread": {"notification"}} {
			least := h.must(h.retained(term)).Least
			h.must(h.set(h.boss, term, least))
			h.add(3*time.Duration(least)*day/2, tables...)
		}
		h.ahead.Add(int64(audit.RetentionGrace))
		for _, term := range []string{"spans", "decisions", "unread"} {
			if n := h.left(term, node); n != 0 {
				t.Errorf("%d rows of %s are left", n, term)
			}
		}
	})
}

func (h *keeping) retained(term string) (r audit.Retained, err error) {
	err = h.DB.View(h.t.Context(), func(v *store.View) error { r, err = h.Audit.Named(v, term); return err })
	return r, err
}

// T65: nobody loses evidence by a shorter time. No agent says one, nor somebody who is not
// there or is no admin; with two persons none does alone; until it holds it can be taken
// back or held; and what was deleted before is kept for as long as it was said then.
func TestT65_ShorterRetentionClearsNothing(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.TwoPerson = true
	h := openKeeping(t, cfg)
	ctx := t.Context()
	enter := func(name string, roles gate.OperatorRoles) act.Principal {
		out, err := h.Lifecycle.OpenSession.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
			Issuer: "https://idp.example", Subject: name, Name: name, Roles: roles, AuthAt: act.Micros(h.now()), Once: name, Until: h.now().Add(time.Minute),
		}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := h.Identity.Session(ctx, out.Key)
		if err != nil {
			t.Fatal(err)
		}
		p.PasskeyAt = act.Micros(h.now())
		return p
	}
	_, ada := h.Agent(t, "ada")
	eve := enter("eve", gate.OperatorAdmin|gate.OperatorApprover)
	stale := eve
	stale.AuthAt = act.Micros(h.now().Add(-time.Hour))
	for rule, p := range map[string]act.Principal{"retention-governed": ada, "step-up": stale, "default-deny": enter("otto", gate.OperatorAuditor|gate.OperatorApprover|gate.OperatorResponder)} {
		if _, err := h.set(p, "closed", 30); ruleOf(err) != rule {
			t.Errorf("%v, want %s", err, rule)
		}
	}
	post, err := h.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "general", Title: "T", Content: "what eve did"})
	if err == nil {
		_, err = h.Network.DeletePost.Do(ctx, ada, network.Named{ID: post.ID})
	}
	if err != nil {
		t.Fatal(err)
	}
	h.add(60*day, "invite")
	for _, term := range []string{"closed", "deleted"} {
		_, err := h.set(eve, term, 30-int64(len(term)/7)) // 30 of closed, 29 of deleted
		waits, held := errors.AsType[*gate.Pending](err)
		if !held {
			t.Fatalf("%s: it waits for nobody: %v", term, err)
		}
		verdict := lifecycle.Verdict{Approval: waits.Approval, Reason: "there is too much of it"}
		if _, err := h.Lifecycle.Approve(ctx, eve, gate.Key{}, verdict); ruleOf(err) != "two-persons" {
			t.Errorf("%s: she approves it herself: %v", term, err)
		}
		if r := h.must(h.retained(term)); r.Said != 0 {
			t.Errorf("%s: %+v", term, r)
		}
		if a, err := h.Lifecycle.Approve(ctx, h.boss, gate.Key{}, verdict); err != nil || a.State != lifecycle.ApprovalExecuted {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	invites := func(when string) {
		t.Helper()
		if err := h.Housekeep(ctx); err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		if err := h.DB.View(ctx, func(v *store.View) error {
			_, err := v.One(`SELECT COUNT(*) FROM invite`, func(r *store.Row) error { n = r.Int(0); return nil })
			return err
		}); err != nil || n != 1 {
			t.Errorf("%d rows are left %s (%v)", n, when, err)
		}
	}
	invites("when two have said it")
	if _, err := h.Audit.PlaceHold.Do(ctx, h.boss, audit.HoldOrder{From: act.Micros(h.now().Add(-100 * day)), Reason: "what is eve up to?"}); err != nil {
		t.Fatal(err)
	}
	h.ahead.Add(int64(audit.RetentionGrace + time.Hour))
	invites("that are held")
	out, err := h.Network.Unseal.Do(ctx, h.boss, network.Examination{Item: network.Named{ID: post.ID}, On: act.KindPost, Reason: "what is eve up to?"})
	if err != nil || out.DropAt-out.SealedAt != (30*day).Microseconds() {
		t.Errorf("what was deleted before: %+v %v", out, err)
	}
}

package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

func TestRegisterByInvite(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		try := func(name, code string) (lifecycle.Registered, error) {
			return h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: name, Description: "a test", Invite: code})
		}
		_, err := try("nemo", "")
		is(t, "no code", err, act.Denied, "registration.invite")
		_, err = try("nemo", "reef_inv_"+strings.Repeat("A", 32))
		is(t, "a made-up code", err, act.Denied, "invite.unknown")
		code := h.invite("")
		_, err = try("n", code)
		is(t, "a bad name", err, act.Invalid, "agent.name")
		got, err := try("nemo", code)
		if err != nil {
			t.Fatal(err)
		}
		if got.Claimed || got.Name != "nemo" || !strings.HasPrefix(got.Key, "moltbook_sk_") || len(got.Key) != 44 ||
			!strings.HasPrefix(got.ClaimToken, "moltbook_claim_") || !strings.Contains(got.ClaimCode, "-") {
			t.Errorf("registered %+v", got)
		}
		_, err = try("dory", code)
		is(t, "a used code", err, act.Denied, "invite.used")
		_, err = try("Nem0", h.invite(""))
		is(t, "a name like a taken one", err, act.Conflict, "agent.name")
		if n := h.count(qInvitesUsed); n != 1 {
			t.Errorf("%d codes used, want 1: a refused registration keeps its code good", n)
		}
		p := h.principal(got.Key)
		if p.ID != got.Agent || p.Name != "nemo" || p.Kind != act.Agent || p.Binding != act.BindingBootstrap {
			t.Errorf("principal %+v", p)
		}
		if f := h.life.Facts(p.ID); f.Standing != act.Requested || f.Claimed {
			t.Errorf("facts %+v, want requested", f)
		}
		_, err = h.life.Register.Do(t.Context(), p, lifecycle.NewAgent{Name: "marlin", Invite: h.invite("")})
		is(t, "registering with a key", err, act.Denied, "unclaimed")
	})
}

func TestInviteExpires(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		var ahead atomic.Int64
		cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		h := open(t, cfg, plan{})
		out, err := h.life.Invite.Do(t.Context(), h.operator, lifecycle.NewInvite{ValidFor: lifecycle.MinInviteLife})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.life.Invite.Do(t.Context(), h.operator, lifecycle.NewInvite{ValidFor: time.Second})
		is(t, "too short a life", err, act.Invalid, "invite.life")
		ahead.Store(int64(lifecycle.MinInviteLife))
		eventually(t, "the code expires", func() bool {
			_, err = h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "late", Invite: out.Code})
			return act.CodeOf(err) != act.Unavailable // ids have to be reserved for the new time
		})
		is(t, "an expired code", err, act.Denied, "invite.expired")
	})
}

func TestRegistrationModes(t *testing.T) {
	each(t, plan{life: lifecycle.Config{Registration: lifecycle.RegistrationClosed}}, func(t *testing.T, h *house) {
		_, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "nemo", Invite: h.invite("")})
		is(t, "closed", err, act.Denied, "registration.closed")
	})
	each(t, plan{life: lifecycle.Config{Registration: lifecycle.RegistrationOpen}}, func(t *testing.T, h *house) {
		got, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "nemo"})
		if err != nil {
			t.Fatal(err)
		}
		p := h.principal(got.Key)
		if f := h.life.Facts(p.ID); f.Standing != act.Active || f.Claimed || got.Claimed || got.ClaimToken == "" {
			t.Errorf("facts %+v of %+v, want active and unclaimed", f, got)
		}
		if err := h.writes(p); err != nil {
			t.Errorf("an agent of a network without claims: %v", err)
		}
		a, err := h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{ClaimToken: got.ClaimToken, Owner: "ann"})
		if err != nil || a.OwnerName != "ann" || a.Standing != act.Active || a.Epoch != 2 {
			t.Errorf("claimed late: %+v, %v", a, err)
		}
		_, err = h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "dory", Invite: "reef_inv_x"})
		is(t, "a bad code where none is needed", err, act.Denied, "invite.unknown")
	})
	each(t, plan{life: lifecycle.Config{Registration: lifecycle.RegistrationOpen, ClaimRequired: true, AutoClaim: "dev"}}, func(t *testing.T, h *house) {
		got, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "nemo"})
		if err != nil {
			t.Fatal(err)
		}
		if a := h.show(got.Agent); !got.Claimed || got.ClaimToken != "" || a.OwnerName != "dev" || a.ClaimedAt == 0 || a.Standing != act.Active {
			t.Errorf("claimed at once: %+v, %+v", got, a)
		}
		if err := h.writes(h.principal(got.Key)); err != nil {
			t.Error(err)
		}
	})
}

// race calls try from many goroutines at once and returns how many succeeded
// and the errors of the others.
func race(n int, try func(i int) error) (won int, lost []error) {
	var mu sync.Mutex
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			err := try(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else {
				lost = append(lost, err)
			}
		})
	}
	done.Wait()
	return won, lost
}

func TestInviteIsUsedOnce(t *testing.T) {
	each(t, plan{}, func(t *testing.T, h *house) {
		for round := range 5 {
			code := h.invite("")
			won, lost := race(8, func(i int) error {
				_, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: fmt.Sprintf("crab-%d-%d", round, i), Invite: code})
				return err
			})
			if won != 1 {
				t.Errorf("round %d: %d agents by one code", round, won)
			}
			for _, err := range lost {
				is(t, "the code's second use", err, act.Denied, "invite.used")
			}
		}
		if n := h.count(qCount); n != 5 {
			t.Errorf("%d agents, want 5", n)
		}
	})
}

func TestNameIsTakenOnce(t *testing.T) {
	each(t, plan{life: lifecycle.Config{Registration: lifecycle.RegistrationOpen}}, func(t *testing.T, h *house) {
		for round, names := range [][]string{
			{"Corallo", "c0rallo", "cora11o", "coraIIo", "CORALLO", "corall0", "coral1o", "corai1o"},
			{"sea_worm", "sea-worm", "SEA-WORM", "sea_vvorm", "sea-worrn", "sea_vvorrn", "5ea-worm", "sea--w0rm"},
		} {
			want := 1 + round // the second has one name that is not like the others
			won, lost := race(len(names), func(i int) error {
				_, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: names[i]})
				return err
			})
			if won != want {
				t.Errorf("%d of %q were registered, want %d", won, names, want)
			}
			for _, err := range lost {
				is(t, "a name like a taken one", err, act.Conflict, "agent.name")
			}
		}
	})
}

func TestClaim(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		got, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "nemo", Invite: h.invite("team sea")})
		if err != nil {
			t.Fatal(err)
		}
		p := h.principal(got.Key)
		if err := h.reads(p); err != nil {
			t.Errorf("an unclaimed agent looks at itself: %v", err)
		}
		is(t, "an unclaimed agent writes", h.writes(p), act.Denied, "unclaimed")
		claim := func(c lifecycle.NewClaim) (lifecycle.Agent, error) {
			return h.life.Claim.Do(t.Context(), h.operator, c)
		}
		_, err = h.life.Claim.Do(t.Context(), p, lifecycle.NewClaim{Agent: p.ID, Owner: "me"})
		is(t, "claiming oneself", err, act.Denied, "unclaimed")
		_, err = claim(lifecycle.NewClaim{ClaimToken: "moltbook_claim_nothing", Owner: "x"})
		is(t, "a made-up token", err, act.NotFound, "claim.token")
		_, err = claim(lifecycle.NewClaim{Agent: p.ID, Owner: " x"})
		is(t, "an owner's name with space", err, act.Invalid, "owner.name")

		a, err := claim(lifecycle.NewClaim{ClaimToken: got.ClaimToken}) // the invite names the owner
		if err != nil || a.OwnerName != "team sea" || a.Standing != act.Active || a.Epoch != 2 || a.ClaimedAt == 0 {
			t.Fatalf("claimed %+v, %v", a, err)
		}
		if f := h.life.Facts(p.ID); f.Standing != act.Active || !f.Claimed || f.Owner != a.Owner {
			t.Errorf("facts %+v", f)
		}
		if err := h.writes(p); err != nil {
			t.Errorf("a claimed agent writes: %v", err)
		}
		if again, err := claim(lifecycle.NewClaim{Agent: p.ID, Owner: "team sea"}); err != nil || again != a {
			t.Errorf("claimed again: %+v, %v, want the same", again, err)
		}
		_, err = claim(lifecycle.NewClaim{Agent: p.ID, Owner: "somebody else"})
		is(t, "claiming another's agent", err, act.Conflict, "claim.state")
		_, err = claim(lifecycle.NewClaim{Agent: h.register("dory").Agent})
		is(t, "a claim for nobody", err, act.Invalid, "owner.name")
	})
}

func TestPauseResumeKill(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		p, r := h.active("nemo")
		type verb = func(reason string) (lifecycle.Agent, error)
		pause := func(reason string) (lifecycle.Agent, error) {
			return h.life.Pause.Do(t.Context(), h.operator, lifecycle.Order{Agent: p.ID, Reason: reason})
		}
		resume := func(reason string) (lifecycle.Agent, error) {
			return h.life.Resume.Do(t.Context(), h.operator, lifecycle.Order{Agent: p.ID, Reason: reason})
		}
		kill := func(reason string) (lifecycle.Agent, error) {
			return h.life.Kill.Do(t.Context(), h.operator, lifecycle.Order{Agent: p.ID, Reason: reason})
		}
		for _, do := range []verb{pause, resume, kill} {
			_, err := do("  ")
			is(t, "no reason", err, act.Invalid, "reason")
			_, err = do(strings.Repeat("ä", lifecycle.MaxReason+1))
			is(t, "a long reason", err, act.Invalid, "reason")
			_, err = do("two\nlines")
			is(t, "a reason of two lines", err, act.Invalid, "reason")
		}
		for _, a := range []struct {
			do       verb
			standing act.Standing
			epoch    int64
		}{{pause, act.Paused, 3}, {pause, act.Paused, 3}, {resume, act.Active, 4}, {resume, act.Active, 4}, {pause, act.Paused, 5}, {resume, act.Active, 6}} {
			got, err := a.do(strings.Repeat("ä", lifecycle.MaxReason))
			if err != nil || got.Standing != a.standing || got.Epoch != a.epoch {
				t.Fatalf("%+v, %v, want %s at epoch %d", got, err, a.standing, a.epoch)
			}
			if state, epoch := h.life.Standing(p.ID); state != a.standing || epoch != a.epoch {
				t.Fatalf("memory has %s at epoch %d after the answer", state, epoch)
			}
			if h.show(p.ID) != got {
				t.Errorf("shown %+v, answered %+v", h.show(p.ID), got)
			}
			for what, err := range map[string]error{"reads": h.reads(p), "writes": h.writes(p)} {
				if a.standing == act.Paused {
					is(t, what, err, act.Denied, "standing.paused")
				} else if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := h.ids.Authenticate(t.Context(), r.Key); err != nil {
				t.Errorf("the key of an agent that is %s: %v", a.standing, err)
			}
		}
		dead, err := kill("it went wild")
		if err != nil || dead.Standing != act.Killed || dead.Epoch != 7 || dead.Reason != "it went wild" {
			t.Fatalf("killed %+v, %v", dead, err)
		}
		is(t, "reads", h.reads(p), act.Denied, "standing.killed")
		is(t, "writes", h.writes(p), act.Denied, "standing.killed")
		_, err = h.ids.Authenticate(t.Context(), r.Key)
		is(t, "the key", err, act.Unauthenticated, "key.revoked")
		if again, err := kill("once more"); err != nil || again != dead {
			t.Errorf("killed again: %+v, %v, want the same", again, err)
		}
		_, err = pause("x")
		is(t, "pause", err, act.Conflict, "standing.killed")
		_, err = resume("x")
		is(t, "resume", err, act.Conflict, "standing.killed")
		_, err = h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{Agent: p.ID, Owner: "x"})
		is(t, "claim", err, act.Conflict, "claim.state")
		_, err = h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "NEM0", Invite: h.invite("")})
		is(t, "the name of the dead", err, act.Conflict, "agent.name")

		// One that was never claimed can be killed, and nothing else.
		q := h.register("dory")
		_, err = h.life.Pause.Do(t.Context(), h.operator, lifecycle.Order{Agent: q.Agent, Reason: "x"})
		is(t, "pause of a requested agent", err, act.Conflict, "standing.requested")
		_, err = h.life.Resume.Do(t.Context(), h.operator, lifecycle.Order{Agent: q.Agent, Reason: "x"})
		is(t, "resume of a requested agent", err, act.Conflict, "standing.requested")
		if _, err = h.life.Kill.Do(t.Context(), h.operator, lifecycle.Order{Agent: q.Agent, Reason: "x"}); err != nil {
			t.Error(err)
		}
		_, err = h.life.Kill.Do(t.Context(), p, lifecycle.Order{Agent: q.Agent, Reason: "x"})
		is(t, "an order by the dead", err, act.Denied, "standing.killed")
		for name, want := range map[string]int64{"agent.pause": 3, "agent.resume": 3, "agent.kill": 2} {
			if n := h.count(qEvents, name, p.ID); n < want {
				t.Errorf("%d × %s on record, want at least %d", n, name, want)
			}
		}
	})
}

// The transaction's own look at the standing, whatever memory says.
func TestRecheck(t *testing.T) {
	each(t, plan{}, func(t *testing.T, h *house) {
		p, _ := h.active("nemo")
		recheck := func(id act.ID, epoch int64) error {
			p := act.Principal{Kind: act.Agent, ID: id, Epoch: epoch}
			var verdict [1]error
			if err := h.db.Write(t.Context(), func(tx *store.Tx) error {
				return h.life.Recheck(tx, []act.Principal{p}, verdict[:])
			}); err != nil {
				t.Error(err)
			}
			now := verdict[0]
			soon := h.db.Write(t.Context(), func(tx *store.Tx) error { return h.life.Expect(tx, p, 0) })
			if fmt.Sprint(now) != fmt.Sprint(soon) {
				t.Errorf("Recheck says %v, Expect %v", now, soon)
			}
			return now
		}
		_, epoch := h.life.Standing(p.ID)
		if err := recheck(p.ID, epoch); err != nil {
			t.Errorf("as memory has it: %v", err)
		}
		for _, e := range []int64{epoch - 1, epoch + 1, 0} {
			if err := recheck(p.ID, e); !errors.Is(err, gate.Moved()) {
				t.Errorf("at epoch %d: %v, want moved", e, err)
			}
		}
		is(t, "nobody", recheck(p.ID+1, 0), act.Denied, "standing.unknown")
		if _, err := h.life.Pause.Do(t.Context(), h.operator, lifecycle.Order{Agent: p.ID, Reason: "x"}); err != nil {
			t.Fatal(err)
		}
		for _, e := range []int64{epoch, epoch + 1} {
			is(t, "paused", recheck(p.ID, e), act.Denied, "standing.paused")
		}
	})
}

// Two operators at once: one transition at a time, and the epoch counts each.
func TestOrdersRace(t *testing.T) {
	each(t, plan{}, func(t *testing.T, h *house) {
		p, _ := h.active("nemo")
		_, lost := race(20, func(i int) error {
			o := lifecycle.Order{Agent: p.ID, Reason: "x"}
			var err error
			switch i % 5 {
			case 0:
				_, err = h.life.Pause.Do(t.Context(), h.operator, o)
			case 1:
				_, err = h.life.Resume.Do(t.Context(), h.operator, o)
			case 2:
				_, err = h.life.Quarantine.Do(t.Context(), h.operator, o)
			case 3:
				_, err = h.life.Release.Do(t.Context(), h.operator, o)
			default:
				_, err = h.life.Kill.Do(t.Context(), h.operator, o)
			}
			return err
		})
		for _, err := range lost {
			if c := act.CodeOf(err); c != act.Conflict {
				t.Errorf("%v, want a conflict", err)
			}
		}
		a := h.show(p.ID)
		state, epoch := h.life.Standing(p.ID)
		if a.Standing != act.Killed || state != act.Killed || epoch != a.Epoch {
			t.Errorf("stored %s at %d, in memory %s at %d, want killed on both", a.Standing, a.Epoch, state, epoch)
		}
	})
}

func TestListAndShow(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		want := map[string]act.ID{}
		for i := range 7 {
			name := fmt.Sprintf("nemo-%d", i)
			if i%2 == 0 {
				p, _ := h.active(name)
				want[name] = p.ID
			} else {
				want[name] = h.register(name).Agent
			}
		}
		walk := func(q lifecycle.Query) (names []string) {
			for {
				page, err := h.life.List.Do(t.Context(), h.operator, q)
				if err != nil {
					t.Fatal(err)
				}
				if len(page.Items) > q.Limit {
					t.Fatalf("%d items on a page of %d", len(page.Items), q.Limit)
				}
				for _, a := range page.Items {
					if want[a.Name] != a.ID || (a.OwnerName == "owner") != (a.Standing == act.Active) {
						t.Errorf("listed %+v", a)
					}
					names = append(names, a.Name)
				}
				if page.Next.IsZero() {
					return names
				}
				q.Cursor = page.Next
			}
		}
		for _, c := range []struct {
			q    lifecycle.Query
			want string
		}{
			{lifecycle.Query{Limit: 3}, "[nemo-0 nemo-1 nemo-2 nemo-3 nemo-4 nemo-5 nemo-6]"},
			{lifecycle.Query{Limit: 7}, "[nemo-0 nemo-1 nemo-2 nemo-3 nemo-4 nemo-5 nemo-6]"},
			{lifecycle.Query{Limit: 2, Standing: act.Requested}, "[nemo-1 nemo-3 nemo-5]"},
			{lifecycle.Query{Limit: 1, Owner: "owner"}, "[nemo-0 nemo-2 nemo-4 nemo-6]"},
			{lifecycle.Query{Limit: 9, Owner: "owner", Standing: act.Requested}, "[]"},
			{lifecycle.Query{Limit: 2, Owner: "owner", Standing: act.Active}, "[nemo-0 nemo-2 nemo-4 nemo-6]"},
			{lifecycle.Query{Limit: 9, Owner: "nobody"}, "[]"},
		} {
			if got := fmt.Sprint(walk(c.q)); got != c.want {
				t.Errorf("%+v gave %s, want %s", c.q, got, c.want)
			}
		}
		_, err := h.life.List.Do(t.Context(), h.operator, lifecycle.Query{Limit: 101})
		is(t, "a large page", err, act.Invalid, "limit")
		_, err = h.life.List.Do(t.Context(), h.operator, lifecycle.Query{Cursor: act.Cursor{List: "other", Keys: []int64{1}}})
		is(t, "another list's cursor", err, act.Invalid, "cursor")
		_, err = h.life.List.Do(t.Context(), stranger, lifecycle.Query{})
		if act.CodeOf(err) != act.Denied {
			t.Errorf("a stranger lists agents: %v", err)
		}
		if a, err := h.life.Show.Do(t.Context(), h.operator, lifecycle.Named{Name: "NEM0_3"}); err != nil || a.ID != want["nemo-3"] {
			t.Errorf("shown by name: %+v, %v", a, err)
		}
		_, err = h.life.Show.Do(t.Context(), h.operator, lifecycle.Named{Name: "shark"})
		is(t, "show of nobody", err, act.NotFound, "")
	})
}

// The database may undo a transaction and have it run again; nothing may
// happen twice.
func TestRunTwice(t *testing.T) {
	h := open(t, storetest.Config(t, store.Postgres), plan{life: lifecycle.Config{ClaimRequired: true}})
	again := func(what string, do func() error) {
		t.Helper()
		h.fault.hits.Store(0)
		h.fault.once.Store(true)
		h.fault.set(store.StepCommit, &pgconn.PgError{Code: "40001", Message: "could not serialize access"})
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if h.fault.hits.Load() != 1 {
			t.Fatalf("%s met %d faults, want 1", what, h.fault.hits.Load())
		}
	}
	code := h.invite("team")
	var r lifecycle.Registered
	again("register", func() (err error) {
		r, err = h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "nemo", Invite: code})
		return err
	})
	if a, i := h.count(qCount), h.count(qInvitesUsed); a != 1 || i != 1 {
		t.Errorf("%d agents, %d codes used, want 1 and 1", a, i)
	}
	p := h.principal(r.Key) // the key that was answered is the one that was stored
	order := lifecycle.Order{Agent: p.ID, Reason: "x"}
	for i, step := range []struct {
		what string
		do   func() error
	}{
		{"claim", func() error {
			_, err := h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{ClaimToken: r.ClaimToken})
			return err
		}},
		{"pause", func() error { _, err := h.life.Pause.Do(t.Context(), h.operator, order); return err }},
		{"resume", func() error { _, err := h.life.Resume.Do(t.Context(), h.operator, order); return err }},
		{"quarantine", func() error { _, err := h.life.Quarantine.Do(t.Context(), h.operator, order); return err }},
		{"release", func() error { _, err := h.life.Release.Do(t.Context(), h.operator, order); return err }},
		{"kill", func() error { _, err := h.life.Kill.Do(t.Context(), h.operator, order); return err }},
	} {
		again(step.what, step.do)
		if a := h.show(p.ID); a.Epoch != int64(i)+2 {
			t.Errorf("epoch %d after %s, want %d", a.Epoch, step.what, i+2)
		}
		if n := h.count(qEvents, "agent."+step.what, p.ID); n != 1 {
			t.Errorf("%d × %s on record, want 1", n, step.what)
		}
	}
	h.check()
}

package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// aged has a row for each kind that retention drops for its age: table, columns with their
// type (i, t or b) and value; "old" is a time long past, "hour" its hour.
var aged = []string{
	"credential id:i=7000003 subject:i=1 kind:t=agent-key hash:b created_at:i=old expires_at:i=0 revoked_at:i=old",
	"credential id:i=7000004 subject:i=1 kind:t=session hash:b created_at:i=old expires_at:i=old revoked_at:i=0",
	"credential id:i=7000005 subject:i=1 kind:t=x509-svid hash:b created_at:i=old expires_at:i=old revoked_at:i=0",
	"enrollment id:i=7000003 hash:b agent:i=1 owner:i=1 scope:t created_by:i=1 created_at:i=old expires_at:i=old used_at:i=0 used_by:i=0",
	"token_grant id:i=7000003 kind:t=x holder:i=1 parent:i=0 delegate:i=0 credential:i=0 confirmation:t scope:t audience:t budget:i=0 clearance:i=0 site:t depth:i=0 created_at:i=old expires_at:i=old revoked_at:i=0 used_at:i=0",
	"refresh_token hash:b holds:i=3 created_at:i=old expires_at:i=old used_at:i=0",
	"consent id:i=7000003 client:t redirect:t challenge:t jkt:t scope:t audience:t state:i=0 operator:i=0 credential:i=0 granted:i=0 created_at:i=old expires_at:i=old hash:b",
	"invite id:i=7000003 hash:b owner:i=1 created_by:i=1 created_at:i=old expires_at:i=old used_at:i=0 used_by:i=0",
	"claim agent:i=3 hash:b code:t created_at:i=old",
	"approval id:i=7000003 agent:i=1 act:t=post.create target:i=0 target_version:i=0 demand:t=hold asks:t policy:t digest:b sealed:b answer:b slot:i=0 state:i=3 epoch:i=1 owner:i=0 decided_by:i=0 reason:t made:i=0 made_version:i=0 code:t rule:t created_at:i=old expires_at:i=old decided_at:i=0 ended_at:i=old risk:t",
	"process id:i=7000003 keeper:i=1 owner:i=1 name:t=p lease:i=1 until_at:i=old opened_at:i=old",
	"death agent:i=3 at:i=old parent:i=0",
	"idempotency principal:i=3 name:t=k act:t=x hash:b ref:i=0 version:i=0 created_at:i=old",
	"policy_decision hour:i=hour digest:b principal:i=1 act:t=x body:b bundle:i=1 result:t=allow rule:t n:i=1",
	"policy_shadow id:i=7000003 body:b operator:i=1 reason:t=x began_at:i=old ended_at:i=old",
	"agent_span trace:b agent:i=1 id:b log:i=0 name:t=x began_at:i=old body:b at:i=old",
	"caller trace:b pos:i=-1 agent:i=1 span:b at:i=old",
	"sealed item:i=3 body:b sealed_at:i=old drop_at:i=old key_version:i=1",
	"notification id:i=7000003 agent:i=3 kind:i=1 actor:i=1 post:i=0 comment:i=0 ref:i=0 created_at:i=old read_at:i=old",
}

// insert is the statement that adds a row of aged, with its values.
func insert(spec string, old time.Time) (q store.Q, args []any) {
	table, columns, _ := strings.Cut(spec, " ")
	var names, places []string
	for i, column := range strings.Fields(columns) {
		name, rest, _ := strings.Cut(column, ":")
		kind, value, _ := strings.Cut(rest, "=")
		names, places = append(names, name), append(places, fmt.Sprintf("$%d", i+1))
		var n int64
		switch {
		case kind == "t":
			args = append(args, value)
			continue
		case kind == "b":
			args = append(args, []byte(spec)) // unlike that of any other row
			continue
		case value == "old":
			n = act.Micros(old)
		case value == "hour":
			n = old.Unix() / 3600
		default:
			_, _ = fmt.Sscan(value, &n)
		}
		args = append(args, n)
	}
	return store.Q("INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")"), args
}

// agedRows counts the rows of aged that are there, by table.
func agedRows(t *testing.T, s *servertest.Server, old time.Time) map[string]int64 {
	t.Helper()
	n := map[string]int64{}
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		for _, k := range server.Retention(s.Config) {
			for _, a := range k.Ages {
				if _, err := v.One(a.Oldest, func(r *store.Row) error {
					if at := r.Int(0); at <= act.Micros(old.Add(time.Hour)) {
						n[k.Table+" "+a.What]++
					}
					return nil
				}); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// While a hold is in force retention drops nothing that was there when the held time began,
// in no table; when it is released everything that is old goes. Reports, registrations and
// notifications that are too many go the same way and have no row of their own here.
func TestHoldKeepsEveryTable(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		auditor, err := s.Identity.Authenticate(ctx, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-400 * 24 * time.Hour)
		h, err := s.Audit.PlaceHold.Do(ctx, auditor, audit.HoldOrder{From: act.Micros(old.Add(-time.Hour)), To: act.Micros(old.Add(time.Hour)), Reason: "a claim of that week"})
		if err != nil {
			t.Fatal(err)
		}
		later, err := s.Audit.PlaceHold.Do(ctx, auditor, audit.HoldOrder{From: act.Micros(time.Now()), Reason: "from now on"})
		if err != nil || later.N != h.N+1 {
			t.Fatalf("%+v %v", later, err)
		}
		write(t, s.DB, func(tx *store.Tx) error {
			for _, spec := range aged {
				q, args := insert(spec, old)
				if _, err := tx.Exec(q, args...); err != nil {
					return fmt.Errorf("%s: %w", spec, err)
				}
			}
			return nil
		})
		before := agedRows(t, s, old)
		if len(before) < len(aged) {
			t.Fatalf("%d kinds of rows are old, of %d that were added: %v", len(before), len(aged), before)
		}
		if err := s.Housekeep(ctx); err != nil {
			t.Fatal(err)
		}
		if after := agedRows(t, s, old); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("held, and yet dropped: %v of %v", after, before)
		}
		grown, err := server.Growth(ctx, s.DB, s.Config)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range grown {
			if wrong := g.Wrong(); wrong != "" {
				t.Errorf("%s is said to be wrong while it is held: %s", g.Table, wrong)
			}
		}
		if _, err := s.Audit.ReleaseHold.Do(ctx, auditor, audit.ReleaseOrder{N: h.N, Reason: "settled"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Housekeep(ctx); err != nil {
			t.Fatal(err)
		}
		if after := agedRows(t, s, old); len(after) != 0 {
			t.Errorf("released, and yet kept: %v", after)
		}
		if _, err := s.Audit.ReleaseHold.Do(ctx, auditor, audit.ReleaseOrder{N: h.N, Reason: "again"}); act.CodeOf(err) != act.Conflict {
			t.Errorf("released twice: %v", err)
		}
		if page, err := s.Audit.ListHolds.Do(ctx, auditor, audit.HoldQuery{Limit: 1}); err != nil || len(page.Items) != 1 || page.Items[0].Released != "settled" || page.Next.IsZero() {
			t.Errorf("listed: %+v %v", page, err)
		}
	})
}

// What a hold covers cannot be erased: a thing, what stands under it, what is in a
// community, what an agent wrote, what was made in a time.
func TestHoldRefusesErasure(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	ctx := t.Context()
	auditor, err := s.Identity.Authenticate(ctx, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	_, ada := s.Agent(t, "ada")
	_, bob := s.Agent(t, "bob")
	place := s.Community(t, ada, "pricing")
	post, err := s.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "pricing", Title: "T", Content: "text"})
	if err != nil {
		t.Fatal(err)
	}
	comment := func() network.Examination {
		c, err := s.Network.CreateComment.Do(ctx, bob, network.NewComment{Post: network.Named{ID: post.ID}, Content: "text"})
		if err != nil {
			t.Fatal(err)
		}
		return network.Examination{Item: network.Named{ID: c.ID}, On: act.KindComment, Reason: "x"}
	}
	now := act.Micros(time.Now())
	hour := time.Hour.Microseconds()
	for name, c := range map[string]struct {
		order audit.HoldOrder
		held  bool
	}{
		"everything":             {audit.HoldOrder{Whole: true}, true},
		"the post above":         {audit.HoldOrder{Thing: post.ID}, true},
		"the author":             {audit.HoldOrder{Thing: bob.ID}, true},
		"another agent":          {audit.HoldOrder{Thing: ada.ID}, false},
		"the community":          {audit.HoldOrder{Thing: place.ID}, true},
		"this hour":              {audit.HoldOrder{From: now - hour, To: now + hour}, true},
		"another hour":           {audit.HoldOrder{From: now - 3*hour, To: now - 2*hour}, false},
		"the author, this hour":  {audit.HoldOrder{Thing: bob.ID, From: now - hour}, true},
		"the author, until then": {audit.HoldOrder{Thing: bob.ID, To: now - hour}, false},
	} {
		x := comment()
		c.order.Reason = name
		h, err := s.Audit.PlaceHold.Do(ctx, auditor, c.order)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = s.Network.Erase(ctx, auditor, gate.Key{}, x)
		e := act.AsError(err)
		if held := err != nil && e.Code == act.Denied && e.Rule == "legal-hold" && strings.Contains(e.Hint, fmt.Sprintf("/v1/holds/%d/release", h.N)); held != c.held || !c.held && err != nil {
			t.Errorf("%s: erased with %v (%+v)", name, err, e)
		}
		if _, err := s.Audit.ReleaseHold.Do(ctx, auditor, audit.ReleaseOrder{N: h.N, Reason: "x"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Network.Erase(ctx, auditor, gate.Key{}, x); err != nil && c.held {
			t.Errorf("%s: released, and yet not erased: %v", name, err)
		}
	}
	for name, order := range map[string]audit.HoldOrder{
		"nothing":         {},
		"too much":        {Whole: true, Thing: bob.ID},
		"no time":         {From: now, To: now},
		"another kind":    {Thing: auditor.ID},
		"a time before 0": {From: -1},
	} {
		order.Reason = "x"
		if _, err := s.Audit.PlaceHold.Do(ctx, auditor, order); act.CodeOf(err) != act.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Audit.PlaceHold.Do(ctx, auditor, audit.HoldOrder{Whole: true}); act.CodeOf(err) != act.Invalid {
		t.Errorf("without a reason: %v", err)
	}
	if _, err := s.Audit.PlaceHold.Do(ctx, ada, audit.HoldOrder{Whole: true, Reason: "x"}); act.CodeOf(err) != act.Denied {
		t.Errorf("by an agent: %v", err)
	}
}

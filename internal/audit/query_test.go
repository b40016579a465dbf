package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// all asks a question to the end and returns what was found, by act.
func all(t *testing.T, s *servertest.Server, p act.Principal, in audit.Inquiry) (acts []string, last audit.Answer) {
	t.Helper()
	for {
		page, err := s.Audit.Query.Do(t.Context(), p, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Items {
			if a.Seq <= last.Seq {
				t.Fatalf("act %d comes after %d", a.Seq, last.Seq)
			}
			acts, last = append(acts, a.Act), a
		}
		if in.Cursor = page.Next; in.Cursor.IsZero() {
			return acts, last
		}
	}
}

// Questions find what was done by whom, in order, page by page, on both databases: who
// was stopped and why, what was refused by which rule, what policies let through.
func TestQuestions(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		auditor, err := s.Identity.Authenticate(ctx, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		_, ada := s.Agent(t, "ada")
		_, bob := s.Agent(t, "bob")
		for _, who := range []act.ID{ada.ID, bob.ID} {
			for _, do := range []func(lifecycle.Order) error{
				func(o lifecycle.Order) error { _, err := s.Lifecycle.Pause.Do(ctx, auditor, o); return err },
				func(o lifecycle.Order) error { _, err := s.Lifecycle.Resume.Do(ctx, auditor, o); return err },
			} {
				if err := do(lifecycle.Order{Agent: who, Reason: "looked at"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := s.Lifecycle.ListKills.Do(ctx, ada, lifecycle.KillQuery{Limit: 1}); act.CodeOf(err) != act.Denied {
			t.Fatalf("an agent asks for kills: %v", err)
		}
		if _, err := s.Audit.Define.Do(ctx, auditor, audit.NewQuestion{
			Name: "pauses", Title: "Pauses", Filter: audit.Filter{Acts: []string{"agent.pause"}, Kinds: []string{"operator"}}, Reason: "asked each month",
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for name, c := range map[string]struct {
			in   audit.Inquiry
			want []string
		}{
			"stops":               {audit.Inquiry{Name: "stops", Limit: 1}, []string{"agent.pause", "agent.resume", "agent.pause", "agent.resume"}},
			"of one agent":        {audit.Inquiry{Name: "stops", Narrowed: audit.Filter{Target: bob.ID}}, []string{"agent.pause", "agent.resume"}},
			"of this hour":        {audit.Inquiry{Name: "pauses", From: act.Micros(now.Add(-time.Hour)), To: act.Micros(now.Add(time.Hour))}, []string{"agent.pause", "agent.pause"}},
			"of another hour":     {audit.Inquiry{Name: "pauses", To: act.Micros(now.Add(-time.Hour))}, nil},
			"narrowed to nothing": {audit.Inquiry{Name: "pauses", Narrowed: audit.Filter{Acts: []string{"post."}}}, nil},
			"refused to an agent": {audit.Inquiry{Name: "refusals", Narrowed: audit.Filter{Actor: ada.ID, Rule: "default-deny"}}, []string{"kill.list"}},
			"by an operator":      {audit.Inquiry{Name: "operators", Narrowed: audit.Filter{Acts: []string{"audit."}}}, []string{"audit.define"}},
		} {
			got, last := all(t, s, auditor, c.in)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: found %v, want %v", name, got, c.want)
			}
			if name == "stops" && (last.Reason != "looked at" || last.Principal.Kind != "operator" || last.Outcome != "done" || last.Policy.ID == "") {
				t.Errorf("%+v", last)
			}
		}
		list, err := s.Audit.Queries.Do(ctx, auditor, struct{}{})
		if err != nil || list[len(list)-1].Name != "pauses" || list[len(list)-1].Version != 1 {
			t.Errorf("%+v %v", list, err)
		}
	})
}

// A question that looks at many acts says so page by page, also where none of them match.
func TestQuestionsLookAtSoManyActs(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	auditor, err := s.Identity.Authenticate(t.Context(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	record(t, s.DB, s.Codec, 20_500)
	page, err := s.Audit.Query.Do(t.Context(), auditor, audit.Inquiry{Name: "restores"})
	if err != nil || len(page.Items) != 0 || page.Next.IsZero() || page.Through != 20_000 {
		t.Fatalf("%d acts through %d, %v %v", len(page.Items), page.Through, page.Next, err)
	}
	if acts, _ := all(t, s, auditor, audit.Inquiry{Name: "restores"}); len(acts) != 0 {
		t.Errorf("found %v", acts)
	}
}

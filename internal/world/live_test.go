package world

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// house opens a server to live a plan in.
func house(t *testing.T, d store.Dialect, p *Plan) (House, *servertest.Server) {
	t.Helper()
	c := NewClock(p.Begin)
	cfg := servertest.Config(t, d)
	cfg.Clock, cfg.AutoClaim, cfg.Claim, cfg.OwnKeyApproval = c.Now, "", true, true
	s := servertest.Start(t, cfg)
	operator, err := s.Identity.Authenticate(t.Context(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return House{Server: s.Server, Clock: c, Operator: operator}, s
}

const (
	qTestPosts       store.Q = `SELECT id, author, community, created_at, up, comment_count, title, content FROM post ORDER BY id`
	qTestRemarks     store.Q = `SELECT id, post, parent, author, created_at, depth, up, up + down, content FROM comment ORDER BY id`
	qTestAgents      store.Q = `SELECT COUNT(*), CAST(SUM(CASE WHEN owner <> 0 THEN 1 ELSE 0 END) AS BIGINT), COUNT(DISTINCT owner) FROM agent`
	qTestMost        store.Q = `SELECT COUNT(*) FROM agent WHERE owner <> 0 GROUP BY owner ORDER BY COUNT(*) DESC LIMIT 1`
	qTestTalks       store.Q = `SELECT COUNT(*) FROM conversation`
	qTestSubscribers store.Q = `SELECT COUNT(*) FROM subscription AS s JOIN community AS c ON c.id = s.community WHERE c.name = 'general'`
	qTestEvents      store.Q = `SELECT act, ref, target, actor, at FROM event ORDER BY seq`
	qTestRemarked    store.Q = `SELECT e.seq, m.author, m.post FROM event AS e JOIN comment AS m ON m.id = e.ref WHERE e.act = 'comment.create' ORDER BY e.seq`
)

func surveyOf(t *testing.T, s *servertest.Server, p *Plan) (survey *Survey) {
	t.Helper()
	survey = &Survey{Begin: p.Begin, End: p.End}
	one := func(v *store.View, q store.Q, into func(*store.Row)) {
		if _, err := v.One(q, func(r *store.Row) error { into(r); return nil }); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		one(v, qTestAgents, func(r *store.Row) {
			survey.Agents, survey.Claimed, survey.Owners = int(r.Int(0)), int(r.Int(1)), int(r.Int(2))
		})
		one(v, qTestMost, func(r *store.Row) { survey.Most = int(r.Int(0)) })
		one(v, qTestTalks, func(r *store.Row) { survey.Conversations = int(r.Int(0)) })
		one(v, qTestSubscribers, func(r *store.Row) { survey.Subscribers = int(r.Int(0)) })
		if survey.Claimed < survey.Agents {
			survey.Owners-- // nobody is one of the distinct
		}
		if err := v.All(qTestPosts, func(r *store.Row) error {
			survey.Post(SeenPost{r.Int(0), r.Int(1), r.Int(2), r.Int(3), r.Int(4), r.Int(5), Bears(r.Text(6))}, r.Text(6)+"\n"+r.Text(7))
			return nil
		}); err != nil {
			return err
		}
		return v.All(qTestRemarks, func(r *store.Row) error {
			survey.Comment(SeenComment{r.Int(0), r.Int(1), r.Int(2), r.Int(3), r.Int(4), r.Int(5), r.Int(6), r.Int(7)}, r.Text(8))
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	return survey
}

// readFirst checks that it is on record, before each comment, that its author was
// shown the post. The relentless look at nothing.
func readFirst(t *testing.T, s *servertest.Server, p *Plan) {
	t.Helper()
	seen := 0
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		type remarked struct {
			seq          int64
			author, post act.ID
		}
		var list []remarked
		if err := v.All(qTestRemarked, func(r *store.Row) error {
			list = append(list, remarked{r.Int(0), r.ID(1), r.ID(2)})
			return nil
		}); err != nil {
			return err
		}
		for i, m := range list {
			if p.remark[i].relentless {
				continue
			}
			shown, found, err := provenance.Exposed(v, m.author, m.post)
			if err != nil {
				return err
			}
			if found && shown.AfterSeq < m.seq {
				seen++
			} else if !p.remark[i].back { // the author's own post is shown to nobody
				t.Errorf("comment %d is on a post that its author was not shown before", i)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := p.Count()["threads read"] / 2; seen < want {
		t.Errorf("%d comments were on posts that had been read, want %d at least", seen, want)
	}
}

// A world that was lived has everything that was planned, at the planned times, and
// is what it was planned to be by its rows. The invariants of the network hold on
// it: servertest checks them at the end.
func TestWorldIsLivedAsPlanned(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			p := NewPlan(Options{Agents: MinAgents, Seed: 3, End: testEnd})
			h, s := house(t, d, p)
			steps := 0
			lived, err := p.Live(t.Context(), h, func(now Progress) { steps = now.Steps })
			if err != nil {
				t.Fatal(err)
			}
			if steps != len(p.steps) || !h.Clock.Now().Equal(p.End) {
				t.Errorf("%d of %d steps were told, the clock stands at %s", steps, len(p.steps), h.Clock.Now())
			}
			got := surveyOf(t, s, p)
			want := surveyed(p).Figures()
			for i, f := range got.Figures() {
				if f.Made != want[i].Made {
					t.Errorf("%s is %v, planned was %v", f.Name, f.Made, want[i].Made)
				}
			}
			n := p.Count()
			if lived.Acts != len(p.steps)-p.looks || lived.Reads != n["threads read"]+n["feeds read"] {
				t.Errorf("%d acts and %d reads, planned were %d and %d", lived.Acts, lived.Reads, len(p.steps)-p.looks, n["threads read"]+n["feeds read"])
			}
			readFirst(t, s, p)
			// The keys are the agents'.
			for i := 0; i < len(lived.Agents); i += 97 {
				a := lived.Agents[i]
				who, err := s.Identity.Authenticate(t.Context(), a.Key)
				if err != nil || who.ID != a.ID || a.Claimed != (p.agents[i].claimed != 0) {
					t.Errorf("agent %d is %+v with the key of %d: %v", i, a, who.ID, err)
				}
			}
		})
	}
}

// Every event of a world has the time that was planned; one seed makes one world.
func TestOneSeedMakesOneWorld(t *testing.T) {
	var worlds [2][]string
	for n := range worlds {
		p := NewPlan(Options{Agents: MinAgents, Seed: 5, End: testEnd})
		h, s := house(t, store.SQLite, p)
		if _, err := p.Live(t.Context(), h, func(Progress) {}); err != nil {
			t.Fatal(err)
		}
		var times []int64
		if err := s.DB.View(t.Context(), func(v *store.View) error {
			return v.All(qTestEvents, func(r *store.Row) error {
				worlds[n] = append(worlds[n], fmt.Sprint(r.Text(0), r.Int(1), r.Int(2), r.Int(3), r.Int(4)))
				server := r.Int(3) == 0 && (r.Text(0) == "community.create" || r.Text(0) == "key.rotate") // the default one, and the first key
				if !server {
					times = append(times, r.Int(4))
				}
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		var planned []int64
		for _, st := range p.steps {
			if st.deed != look {
				planned = append(planned, p.time(st.at).UnixMicro())
			}
		}
		if !slices.Equal(times, planned) {
			t.Errorf("%d events are not at the times of the %d acts that were planned", len(times), len(planned))
		}
	}
	if !slices.Equal(worlds[0], worlds[1]) {
		t.Errorf("one seed made two worlds, of %d and %d events", len(worlds[0]), len(worlds[1]))
	}
}

// A world that is cancelled stops between two series and is whole up to there.
func TestWorldIsCancelled(t *testing.T) {
	p := NewPlan(Options{Agents: 6 * MinAgents, Seed: 1, End: testEnd})
	if len(p.steps) <= tellEvery {
		t.Fatalf("%d steps are over before the first word of progress", len(p.steps))
	}
	h, _ := house(t, store.SQLite, p)
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	if _, err := p.Live(ctx, h, func(Progress) { told++; cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled world ended with %v", err)
	}
	if told != 1 {
		t.Errorf("it went on after it was cancelled, for %d words of progress", told)
	}
}

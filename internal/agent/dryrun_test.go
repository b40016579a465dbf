package agent_test

import (
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/agent"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// asking is the decider of a network with another beside it, which is asked the same at
// the same moment: what it decides otherwise is counted.
type asking struct {
	*policy.Engine
	other *policy.Engine

	mu    sync.Mutex
	asked int64                 // guarded by mu
	flips map[policy.Flip]int64 // guarded by mu
}

func (a *asking) Decide(p act.Principal, q gate.Question) gate.Decision {
	d, other := a.Engine.Decide(p, q), a.other.Decide(p, q)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if d.Allow != other.Allow {
		f := policy.Flip{Kind: p.Kind, Who: p.ID, Act: q.Act, Was: word(d), Rule: d.Policy, Now: word(other), By: other.Policy, At: other.Place}
		if p.Kind == act.System || p.Kind == act.Observer {
			f.Name = p.Name
		}
		a.flips[f]++
	}
	return d
}

func word(d gate.Decision) string {
	if d.Allow {
		return policy.ResultAllow
	}
	return policy.ResultDeny
}

// known is what the network knows of its residents, who have no class and no mandate.
type known struct{ *lifecycle.Lifecycle }

func (k known) Facts(agent act.ID) policy.PrincipalFacts {
	f := k.Lifecycle.Facts(agent)
	return policy.PrincipalFacts{Standing: f.Standing, Claimed: f.Claimed, Owner: f.Owner}
}

// A dry run over 24 hours of the residents' lives names the flips that asking again, at
// the moment of each decision, has counted. The day passes by what the residents do:
// each request takes half a minute of it.
func TestDryRunOfADay(t *testing.T) {
	const step = 30 * time.Second
	begin := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	var at atomic.Int64
	at.Store(begin.UnixMicro())
	clock := func() time.Time { return time.UnixMicro(at.Load()).UTC() }
	cfg := demo(t, store.SQLite, time.Millisecond)
	cfg.Clock = clock
	s := servertest.Start(t, cfg)
	boss, err := s.Identity.Authenticate(t.Context(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	draft := policy.Draft{Files: []policy.File{{Name: "own.cedar", Text: `@id("no-votes-on-posts") forbid (principal is Agent, action == Action::"vote.cast", resource is Post);
@id("not-to-oneself") forbid (principal is Agent, action == Action::"comment.create", resource) when { resource.own };`}}}
	other := beside(t, s, cfg, clock, draft)
	tap := &asking{Engine: s.Policy, other: other, flips: make(map[policy.Flip]int64)}
	dryRun := func() policy.DryRun {
		run, err := s.Policies.DryRun.Do(t.Context(), boss, policy.DryRunQuery{
			Candidate: policy.Pick{Draft: &draft}, From: act.Micros(begin), To: act.Micros(clock()),
		})
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	before := dryRun()
	ports := s.Gate.Ports
	ports.Decider = tap
	s.Gate.Plug(ports)
	var passing sync.Mutex
	over := make(chan struct{})
	next := s.Handler()
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passing.Lock()
		if now := clock().Add(step); now.Before(begin.Add(24 * time.Hour)) {
			if err := s.DB.Reserve(r.Context(), now.Add(time.Minute)); err == nil {
				at.Store(now.UnixMicro())
			}
		} else {
			select {
			case <-over:
			default:
				close(over)
			}
		}
		passing.Unlock()
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(door.Close)
	stop, ended := inhabit(t, agent.Config{Base: door.URL, Seed: 6, Pace: 5 * time.Millisecond, Clock: clock})
	select {
	case <-over:
	case <-ended:
		t.Fatal("the residents left before the day was over")
	}
	stop()
	ports.Decider = s.Policy // the dry run itself is not part of the day
	s.Gate.Plug(ports)
	run := dryRun()
	total := int64(0)
	for _, n := range tap.flips {
		total += n
	}
	if run.Flipped-before.Flipped != total || total < 20 || run.Rest != 0 || run.Gone != 0 {
		t.Errorf("%d flips, asking again counted %d; %d not listed, %d of no act", run.Flipped-before.Flipped, total, run.Rest, run.Gone)
	}
	for _, f := range run.Flips {
		n := f.Count
		f.Count = 0
		tap.flips[f] -= n
	}
	for _, f := range before.Flips {
		n := f.Count
		f.Count = 0
		tap.flips[f] += n
	}
	for f, n := range tap.flips {
		if n != 0 {
			t.Errorf("%+v: asking again counted %d more", f, n)
		}
	}
	t.Logf("%d decisions in a day, %d kept as %d different ones, %d flipped", tap.asked, run.Decisions, run.Distinct, total)
}

// beside is an engine like the one of a server, with a draft in force.
func beside(t *testing.T, s *servertest.Server, cfg server.Config, clock act.Clock, draft policy.Draft) *policy.Engine {
	t.Helper()
	b, err := policy.Compose(draft, s.Policy.Version()+1, clock())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Sign(b, s.Keys.PolicyKey()); err != nil {
		t.Fatal(err)
	}
	var acts []policy.ActInfo
	for _, a := range s.Gate.Acts() {
		acts = append(acts, policy.InfoOf(a))
	}
	key, _ := s.Keys.PolicyKey().Public().(ed25519.PublicKey)
	e := policy.New(policy.Config{
		Key: key, Codec: s.Codec, Directory: known{s.Lifecycle}, Acts: acts, Clock: clock, OwnKeyApproval: cfg.OwnKeyApproval,
		AnonymousAPI: cfg.AnonymousAPI, ObserverPages: cfg.ObserverPages == server.PagesPublic, Challenge: cfg.Challenge,
	})
	if err := e.Activate(b); err != nil {
		t.Fatal(err)
	}
	return e
}

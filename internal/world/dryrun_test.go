package world

import (
	"crypto/ed25519"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// asking is the decider of a network, with another beside it that is asked the same at
// the same moment: what was decided otherwise is counted.
type asking struct {
	*policy.Engine
	other *policy.Engine

	mu    sync.Mutex
	asked int64
	flips map[policy.Flip]int64
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

// known is what the network knows of its agents.
type known struct{ *lifecycle.Lifecycle }

func (k known) Facts(p act.Principal) policy.PrincipalFacts {
	f := k.Lifecycle.Facts(p.ID)
	return policy.PrincipalFacts{Standing: f.Standing, Claimed: f.Claimed, Owner: f.Owner}
}

// A dry run over 24 hours of a network names the flips that asking again, at the moment
// of each decision, has counted (issue 6 §5.6).
func TestDryRunOfADay(t *testing.T) {
	p := NewPlan(Options{Agents: MinAgents, Seed: 6, End: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)})
	// A world of so few agents is over in less than an hour: its time is stretched.
	c := NewClock(p.Begin)
	stretch := 24 * time.Hour / p.Span
	clock := func() time.Time { return p.Begin.Add(c.Now().Sub(p.Begin) * stretch) }
	end := p.Begin.Add(p.Span * stretch)
	cfg := servertest.Config(t, store.SQLite)
	cfg.Clock, cfg.AutoClaim, cfg.Claim, cfg.OwnKeyApproval = clock, "", true, true
	s := servertest.Start(t, cfg)
	boss, err := s.Identity.Authenticate(t.Context(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	draft := policy.Draft{Files: []policy.File{{Name: "own.cedar", Text: `@id("no-votes-on-locked") forbid (principal is Agent, action == Action::"vote.cast", resource is Post);
@id("quiet") forbid (principal is Agent, action == Action::"comment.create", resource) when { !principal.claimed || resource.own };`}}}
	b, err := policy.Compose(draft, 2, time.Now())
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
	other := policy.New(policy.Config{
		Key: key, Codec: s.Codec, Directory: known{s.Lifecycle}, Acts: acts, Clock: clock, OwnKeyApproval: true,
		AnonymousAPI: cfg.AnonymousAPI, ObserverPages: cfg.ObserverPages == server.PagesPublic, Challenge: cfg.Challenge,
	})
	if err := other.Activate(b); err != nil {
		t.Fatal(err)
	}
	tap := &asking{Engine: s.Policy, other: other, flips: make(map[policy.Flip]int64)}
	before, err := s.Policies.DryRun.Do(t.Context(), boss, policy.DryRunQuery{Candidate: policy.Pick{Draft: &draft}, From: act.Micros(p.Begin), To: act.Micros(end)})
	if err != nil {
		t.Fatal(err)
	}
	ports := s.Gate.Ports
	ports.Decider = tap
	s.Gate.Plug(ports)
	if _, err := p.Live(t.Context(), House{Server: s.Server, Clock: c, Operator: boss}, nil); err != nil {
		t.Fatal(err)
	}
	ports.Decider = s.Policy // the dry run itself is not part of the day
	s.Gate.Plug(ports)
	run, err := s.Policies.DryRun.Do(t.Context(), boss, policy.DryRunQuery{Candidate: policy.Pick{Draft: &draft}, From: act.Micros(p.Begin), To: act.Micros(end)})
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, n := range tap.flips {
		total += n
	}
	if run.Flipped-before.Flipped != total || total < 20 || run.Rest != 0 {
		t.Errorf("%d flips, asking again counted %d", run.Flipped-before.Flipped, total)
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
	t.Logf("%d decisions in a day, %d kept as %d, %d flipped", tap.asked, run.Decisions, run.Distinct, total)
}

package server_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T04: one owner with 64 source addresses registers without end. The caps hold,
// what nobody claimed does nothing and goes when its time is over, and a second
// owner is not in the way of it.
func TestT04_RegistrationsWithoutEnd(t *testing.T) {
	const sources, perOwner, wait = 64, 10, 24 * time.Hour
	tries := 1000
	if os.Getenv("REEF_SOAK") == "1" {
		tries = 10_000
	}
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var offset atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
			cfg.Limits, cfg.Claim, cfg.AutoClaim = "moltbook", true, ""
			cfg.MaxPerOwner, cfg.MaxPerSource, cfg.MaxAgents, cfg.UnclaimedFor = perOwner, 5, 600, wait
			s := servertest.Start(t, cfg)
			ctx := context.Background()
			operator, err := s.Identity.Authenticate(ctx, s.Token)
			if err != nil {
				t.Fatal(err)
			}
			var made []lifecycle.Registered
			for i := range tries {
				// A node of several reserves its ids in the background, a few seconds at
				// a time: there the clock moves in two steps.
				if d == store.SQLite {
					offset.Add(int64(10*time.Minute) / int64(tries))
				} else if i%(tries/2) == 0 {
					offset.Add(int64(5 * time.Minute))
				}
				source := fmt.Sprint("source-", i%sources)
				out, err := registerWhenReserved(t, s, source, fmt.Sprint("sock-", i))
				switch {
				case err == nil:
					made = append(made, out)
				case act.CodeOf(err) != act.RateLimited || act.AsError(err).RetryAfter <= 0:
					t.Fatalf("registration %d is refused with %v", i, err)
				}
			}
			if len(made) == 0 || len(made) > sources*5 {
				t.Fatalf("%d of %d registrations pass, at most %d should", len(made), tries, sources*5)
			}
			active := 0
			for i, m := range made {
				p, err := s.Identity.Authenticate(ctx, m.Key)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "general", Title: "x"}); act.CodeOf(err) != act.Denied {
					t.Fatalf("an unclaimed agent posts: %v", err)
				}
				if i >= 2*perOwner {
					continue
				}
				_, err = s.Lifecycle.Claim.Do(ctx, operator, lifecycle.NewClaim{Agent: m.Agent, Owner: "greedy"})
				switch {
				case err == nil:
					active++
				case act.AsError(err).Rule != "quota.owner":
					t.Fatalf("a claim is refused with %v", err)
				}
			}
			if active != perOwner {
				t.Errorf("one owner has %d agents, want the cap of %d", active, perOwner)
			}
			began := time.Now()
			honest, err := s.Lifecycle.Register.Do(ctx, act.Principal{Source: "honest"}, lifecycle.NewAgent{Name: "honest"})
			if err == nil {
				_, err = s.Lifecycle.Claim.Do(ctx, operator, lifecycle.NewClaim{Agent: honest.Agent, Owner: "second"})
			}
			if took := time.Since(began); err != nil || took > time.Second {
				t.Errorf("the second owner's registration and claim: %v after %s", err, took)
			}
			if n, err := s.Lifecycle.Reap(ctx); n != 0 || err != nil {
				t.Errorf("%d agents expire before their time (%v)", n, err)
			}
			offset.Add(int64(wait))
			if _, err := registerWhenReserved(t, s, "later", "later"); err != nil {
				t.Fatal(err)
			}
			late := made[len(made)-1]
			if _, err := s.Lifecycle.Claim.Do(ctx, operator, lifecycle.NewClaim{Agent: late.Agent, Owner: "third"}); act.CodeOf(err) != act.Gone {
				t.Errorf("an agent whose time is over is claimed: %v", err)
			}
			if n, err := s.Lifecycle.Reap(ctx); n != len(made)-active || err != nil {
				t.Errorf("%d agents expire, want %d (%v)", n, len(made)-active, err)
			}
			if _, err := s.Identity.Authenticate(ctx, late.Key); act.CodeOf(err) != act.Unauthenticated {
				t.Errorf("the key of an expired agent: %v", err)
			}
			if _, err := registerWhenReserved(t, s, "fresh", late.Name); err != nil {
				t.Errorf("the name of an expired agent is not free: %v", err)
			}
		})
	}
}

// The caps hold exactly under parallel requests, on two nodes where there are
// two.
func TestT04_CapsHoldInParallel(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) { capsInParallel(t, servertest.Config(t, d)) })
	}
}

func capsInParallel(t *testing.T, cfg server.Config) {
	cfg.MaxPerOwner, cfg.MaxAgents = 7, 23
	cfg.KeyFile = cfg.KeyPath()
	nodes := make([]*servertest.Server, 1)
	if cfg.DB != "" {
		nodes = make([]*servertest.Server, 2)
	}
	for _, c := range []struct {
		auto string
		want int32
		rule string
	}{{"tests", 7, "quota.owner"}, {"", 16, "quota.network"}} {
		cfg.AutoClaim = c.auto
		for i := range nodes {
			nodes[i] = servertest.Open(t, cfg)
		}
		var passed atomic.Int32
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				_, err := nodes[i%len(nodes)].Lifecycle.Register.Do(context.Background(), act.Principal{Source: "x"},
					lifecycle.NewAgent{Name: fmt.Sprintf("diver%s%d", c.auto, i)})
				switch {
				case err == nil:
					passed.Add(1)
				case act.AsError(err).Rule != c.rule:
					t.Errorf("refused with %v, want rule %s", err, c.rule)
				}
			})
		}
		wg.Wait()
		if passed.Load() != c.want {
			t.Errorf("owner %q: %d registrations pass, want %d", c.auto, passed.Load(), c.want)
		}
		servertest.CheckInvariants(t, nodes[0].Server)
		for _, n := range nodes {
			n.Stop()
		}
	}
}

// registerWhenReserved registers; a node whose clock a test has moved waits until
// it has reserved ids for the new time.
func registerWhenReserved(t *testing.T, s *servertest.Server, source, name string) (out lifecycle.Registered, err error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		out, err = s.Lifecycle.Register.Do(context.Background(), act.Principal{Source: source}, lifecycle.NewAgent{Name: name})
		if act.CodeOf(err) != act.Unavailable {
			break
		}
	}
	return out, err
}

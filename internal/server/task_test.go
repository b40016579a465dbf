package server_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Of fifty claims at once one wins, and of fifty completions by the winner one.
func TestParallelClaimsHaveOneWinner(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, poster := s.Agent(t, "poster")
		workers := make([]act.Principal, 10)
		for i := range workers {
			_, workers[i] = s.Agent(t, "worker-"+string(rune('a'+i)))
		}
		task, err := s.Network.PostTask.Do(ctx, poster, network.NewTask{Community: "general", Title: "count"})
		if err != nil {
			t.Fatal(err)
		}
		var won, renewed atomic.Int64
		var winner atomic.Pointer[act.Principal]
		var wg sync.WaitGroup
		for i := range 50 {
			p := workers[i%len(workers)]
			wg.Go(func() {
				got, err := s.Network.ClaimTask.Do(ctx, p, network.TaskClaim{Task: task.ID})
				switch {
				case err == nil && got.Lease == 1:
					if w := winner.Swap(&p); w != nil && w.ID != p.ID {
						won.Add(1)
					}
					renewed.Add(1)
				case err == nil:
					t.Errorf("a claim under lease %d", got.Lease)
				case act.CodeOf(err) != act.Conflict:
					t.Errorf("claim: %v", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 0 || winner.Load() == nil || renewed.Load() > 5 {
			t.Fatalf("%d other winners, %d claims and renewals", won.Load(), renewed.Load())
		}
		var done atomic.Int64
		for range 50 {
			wg.Go(func() {
				if _, err := s.Network.CompleteTask.Do(ctx, *winner.Load(), network.TaskReport{Task: task.ID, Lease: 1, Note: "42"}); err == nil {
					done.Add(1)
				} else if act.CodeOf(err) != act.Conflict {
					t.Errorf("complete: %v", err)
				}
			})
		}
		wg.Wait()
		if done.Load() != 1 {
			t.Fatalf("completed %d times", done.Load())
		}
		got, err := s.Network.ReadTask.Do(ctx, poster, task.ID)
		if err != nil || got.State != network.TaskCompleted || got.History[len(got.History)-1].Note != "42" {
			t.Fatalf("%+v (%v)", got, err)
		}
		if !exposed(t, s, poster.ID, task.ID) {
			t.Error("the result was shown without an exposure row")
		}
	})
}

// Who comes back after its lease has passed and the task was claimed again can
// change nothing, not even when it was the one to claim it again. What passes is
// over at once, and is written down by the sweep.
func TestALeaseThatHasPassedChangesNothing(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var ahead atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			s := servertest.Start(t, cfg)
			ctx := context.Background()
			_, poster := s.Agent(t, "poster")
			_, slow := s.Agent(t, "slow")
			_, quick := s.Agent(t, "quick")
			task, err := s.Network.PostTask.Do(ctx, poster, network.NewTask{Community: "general", Title: "count", Within: 9 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			claim := func(p act.Principal) network.Task {
				t.Helper()
				got, err := s.Network.ClaimTask.Do(ctx, p, network.TaskClaim{Task: task.ID, For: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			first := claim(slow)
			ahead.Add(int64(2 * time.Second))
			late := func(p act.Principal, lease int64) {
				t.Helper()
				if _, err := s.Network.CompleteTask.Do(ctx, p, network.TaskReport{Task: task.ID, Lease: lease, Note: "late"}); act.CodeOf(err) != act.Conflict {
					t.Fatalf("completed under a lease that has passed: %v", err)
				}
			}
			late(slow, first.Lease)
			second := claim(quick) // before any sweep
			late(slow, first.Lease)
			late(slow, second.Lease)
			ahead.Add(int64(2 * time.Second))
			if err := s.Network.SweepTasks(ctx, s.DB); err != nil {
				t.Fatal(err)
			}
			third := claim(slow)
			late(slow, first.Lease)
			late(quick, second.Lease)
			if third.Lease != 3 {
				t.Errorf("the third claim has lease %d", third.Lease)
			}
			ahead.Add(int64(9 * time.Second))
			for range 2 { // the second finds nothing to do
				if err := s.Network.SweepTasks(ctx, s.DB); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Network.ReadTask.Do(ctx, poster, task.ID)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, step := range got.History {
				kinds = append(kinds, step.Kind.String())
			}
			want := []string{"posted", "claimed", "claimed", "lapsed", "claimed", "expired"}
			if len(kinds) != len(want) || got.State != network.TaskExpired {
				t.Fatalf("%s after %v, want %v", got.State, kinds, want)
			}
			for i := range want {
				if kinds[i] != want[i] {
					t.Fatalf("the history is %v, want %v", kinds, want)
				}
			}
		})
	}
}

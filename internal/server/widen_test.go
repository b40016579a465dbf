package server_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// recallOf is a containment as it is now.
func recallOf(t *testing.T, s *servertest.Server, op act.Principal, n int64) graph.Recall {
	t.Helper()
	list, err := s.Traces.Recalls.Do(t.Context(), op, n)
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// T26: what was under way while a spread was contained is contained within seconds, and
// nothing else is: carriers and others go on writing while the order is carried out.
func TestT26_WhatIsUnderWayIsContained(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		post := func(p act.Principal, text string) (act.ID, error) {
			made, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "general", Title: text, Content: text})
			return made.ID, err
		}
		_, source := s.Agent(t, "source")
		first, err := post(source, "shells are currency")
		if err != nil {
			t.Fatal(err)
		}
		var carriers, calm []act.Principal
		for i := range 6 {
			_, p := s.Agent(t, fmt.Sprint("carrier-", i))
			carriers = append(carriers, p)
			if _, err := s.Network.ReadPost.Do(ctx, p, network.Named{ID: first}); err != nil {
				t.Fatal(err)
			}
			_, p = s.Agent(t, fmt.Sprint("calm-", i))
			calm = append(calm, p)
		}
		var mu sync.Mutex
		var spread, innocent []act.ID // guarded by mu
		spread = append(spread, first)
		stop := make(chan struct{})
		writes := func(p act.Principal, into *[]act.ID) {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id, err := post(p, fmt.Sprintf("%s says %d", p.Name, n))
				if err != nil {
					return // it is stopped
				}
				mu.Lock()
				*into = append(*into, id)
				mu.Unlock()
			}
		}
		var carrying, resting sync.WaitGroup
		for i := range carriers {
			carrying.Go(func() { writes(carriers[i], &spread) })
			resting.Go(func() { writes(calm[i], &innocent) })
		}
		soon(t, "everybody writes", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(spread) > 20 && len(innocent) > 20
		})
		op := signedIn(t, s, "mara", gate.OperatorAdmin, time.Now())
		out, err := s.Traces.Contain.Do(ctx, op, graph.Order{
			Subject: graph.Subject{ID: first}, Level: graph.LevelPossible, Agents: true, Content: true, Reason: "a worm",
		})
		if err != nil {
			t.Fatal(err)
		}
		carrying.Wait() // nobody who was reached may write any more
		close(stop)
		resting.Wait()

		slices.Sort(spread)
		var r graph.Recall
		soon(t, "all that carriers wrote is withheld", func() bool {
			r = recallOf(t, s, op, out.N)
			return len(r.Items) >= len(spread)
		})
		if !slices.Equal(r.Items, spread) || len(r.Agents) != len(carriers)+1 || len(r.Shown) != len(carriers) {
			t.Errorf("%d things, %d agents, shown to %d; want %d, %d, %d", len(r.Items), len(r.Agents), len(r.Shown), len(spread), len(carriers)+1, len(carriers))
		}
		for _, id := range spread {
			if _, err := s.Network.ReadPost.Do(ctx, calm[0], network.Named{ID: id}); act.CodeOf(err) != act.Gone {
				t.Errorf("what a carrier wrote is shown: %v", err)
			}
		}
		for _, id := range innocent {
			if _, err := s.Network.ReadPost.Do(ctx, calm[0], network.Named{ID: id}); err != nil {
				t.Errorf("what somebody else wrote is not shown: %v", err)
			}
		}
		for _, p := range calm {
			if standingOf(t, s, p.ID) != act.Active {
				t.Errorf("%s had nothing to do with it, and is %s", p.Name, standingOf(t, s, p.ID))
			}
		}
		late, widened := 0, 0
		for _, l := range r.Late {
			late += len(l.Items)
		}
		for _, e := range eventsOf(t, s) {
			if e.Act == "trace.widen" && e.Outcome == int64(gate.Done) {
				widened++
			}
		}
		if widened != len(r.Late) || len(out.Items)+late != len(r.Items) {
			t.Errorf("%d things at once, %d late in %d acts on record, %d in the answer", len(out.Items), late, widened, len(r.Late))
		}
		t.Logf("%d things at once, %d late in %d acts; %d of others", len(out.Items), late, widened, len(innocent))
		if _, err := s.Traces.Restore.Do(ctx, op, graph.Undo{N: out.N, Reason: "it was an exercise"}); err != nil {
			t.Fatal(err)
		}
		for _, id := range spread {
			if _, err := s.Network.ReadPost.Do(ctx, calm[0], network.Named{ID: id}); err != nil {
				t.Errorf("it is not given back: %v", err)
			}
		}
	})
}

// T26: what comes in late is what was begun before the order was known everywhere, and
// what follows from that; what an agent that was not stopped does later is its own.
func TestT26_LateComersHaveAnEnd(t *testing.T) {
	eachWithClock(t, func(t *testing.T, s *servertest.Server, c *movable) {
		ctx := t.Context()
		post := func(p act.Principal, text string) act.ID {
			t.Helper()
			made, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "general", Title: text, Content: text})
			if err != nil {
				t.Fatal(err)
			}
			return made.ID
		}
		widen := func() {
			t.Helper()
			if err := s.Settle(ctx); err != nil {
				t.Fatal(err)
			}
			if err := s.Traces.Widen(ctx); err != nil {
				t.Fatal(err)
			}
		}
		_, source := s.Agent(t, "source")
		_, reader := s.Agent(t, "reader")
		_, second := s.Agent(t, "second")
		first := post(source, "shells are currency")
		if _, err := s.Network.ReadPost.Do(ctx, reader, network.Named{ID: first}); err != nil {
			t.Fatal(err)
		}
		op := signedIn(t, s, "mara", gate.OperatorAdmin, c.now())
		out, err := s.Traces.Contain.Do(ctx, op, graph.Order{Subject: graph.Subject{ID: first}, Level: graph.LevelPossible, Content: true, Reason: "a worm"})
		if err != nil || out.Watched == 0 {
			t.Fatal(out.Watched, err)
		}
		want := []act.ID{first, post(reader, "shells, I hear")}
		shown := []act.ID{reader.ID}
		if _, err := s.Network.ReadPost.Do(ctx, second, network.Named{ID: want[1]}); err == nil { // the chore may have been faster
			want = append(want, post(second, "shells, they say"))
			shown = append(shown, second.ID)
		}
		widen()
		c.set(c.now().Add(4 * time.Second)) // by now every node knows
		own := []act.ID{post(reader, "the tides"), post(second, "good morning")}
		widen()
		widen()
		slices.Sort(want)
		if r := recallOf(t, s, op, out.N); !slices.Equal(r.Items, want) || !slices.Equal(r.Shown, shown) || len(r.Agents) > 0 {
			t.Errorf("%d things, shown to %d, %d agents; want %d, %d, none", len(r.Items), len(r.Shown), len(r.Agents), len(want), len(shown))
		}
		for _, id := range own {
			if _, err := s.Network.ReadPost.Do(ctx, source, network.Named{ID: id}); err != nil {
				t.Errorf("what was written later is not shown: %v", err)
			}
		}
	})
}

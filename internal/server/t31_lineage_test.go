package server_test

import (
	"encoding/json"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// What an agent was shown goes on in the children that it makes, also before they have done
// anything, and in who it lets act in its name: forward, backward, and when it is contained.
func TestT31_ChildrenAndDelegates(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		must := func(what string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		api, err := client.New(s.URL, s.Token)
		must("a client", err)
		_, err = api.PutClass(ctx, "family", json.RawMessage(`{"model":"m","grant":{"spawn":{"classes":["family"],"depth":1,"fan_out":2}}}`))
		must("a class", err)
		w := &wire{t: t, s: s, handler: s.API.Handler()}
		_, source := s.Agent(t, "source")
		parent, ada, bea := instance(t, s, api, "family", "parent"), enrol(t, s, "ada", token.EdDSA), enrol(t, s, "bea", token.EdDSA)

		calm, err := s.Lifecycle.Spawn.Do(ctx, parent, lifecycle.NewInstance{Name: "calm", Class: "family", Reason: "before it was told anything"})
		must("a child", err)
		post, err := s.Network.CreatePost.Do(ctx, source, network.NewPost{Community: "general", Title: "news", Content: "shells are money"})
		must("the source", err)
		for _, id := range []act.ID{parent.ID, ada.p} {
			_, err := s.Network.ReadPost.Do(ctx, act.Principal{Kind: act.Agent, ID: id}, network.Named{ID: post.ID})
			must("a reader", err)
		}
		born, err := s.Lifecycle.Spawn.Do(ctx, parent, lifecycle.NewInstance{Name: "child", Class: "family", Reason: "to tell others"})
		must("a child", err)
		child := act.Principal{Kind: act.Agent, ID: born.Agent.ID, Name: "child"}
		w.gives("a token of its own", w.asks(ada, grantClient, "scope", "agent.me"), w.proof(ada.key, ""))
		handed := w.gives("a token for bea", w.asks(ada, grantClient, "scope", "agent.me", "audience", bea.id), w.proof(ada.key, "")).Access
		w.gives("bea's part of it", w.asks(bea, grantExchange, "subject_token", handed, "subject_token_type", accessType, "scope", "agent.me"), w.proof(bea.key, ""))

		op := governor(t, s)
		want := map[act.ID]bool{parent.ID: true, child.ID: true, ada.p: true, bea.p: true}
		var blast graph.Radius
		asked := func() {
			t.Helper()
			soon(t, "all acts have their numbers", func() bool {
				var err error
				blast, err = s.Traces.Blast.Do(ctx, op, graph.Question{Subject: graph.Subject{ID: post.ID}})
				must("how far", err)
				return blast.Waiting == 0
			})
		}
		asked()
		tokens := 0
		for _, one := range blast.Possible.Some.Items {
			if one.ID.Kind() == act.KindGrant {
				tokens++
			}
		}
		if blast.Possible.Agents != len(want) || tokens != 1 {
			t.Errorf("%d agents are reached and %d tokens, want %d and the one that was handed over: %+v", blast.Possible.Agents, tokens, len(want), blast.Possible.Some)
		}
		for _, one := range blast.Possible.Some.Agents {
			if !want[one.ID] || one.ID == calm.Agent.ID {
				t.Errorf("%s is reached", s.Codec.String(one.ID))
			}
			if (one.ID == child.ID || one.ID == bea.p) && (one.Level != 3 || one.Gen != 2) {
				t.Errorf("%+v, want what an act said, two agents on", one)
			}
		}

		said, err := s.Network.CreatePost.Do(ctx, child, network.NewPost{Community: "general", Title: "more", Content: "of it"})
		must("the child writes", err)
		told, err := s.Network.CreatePost.Do(ctx, act.Principal{Kind: act.Agent, ID: bea.p, Name: "bea"}, network.NewPost{Community: "general", Title: "in its name", Content: "of it"})
		must("the delegate writes", err)
		asked()
		for id, by := range map[act.ID][2]string{said.ID: {"agent.spawn", "spawn"}, told.ID: {"token.issue", "named before"}} {
			why, err := s.Traces.Why.Do(ctx, op, graph.Question{Subject: graph.Subject{ID: id}})
			must("why", err)
			found := false
			for _, c := range why.Root.Of {
				if c.Act == by[0] && c.How == by[1] {
					found = len(c.Of) == 1 && c.Of[0].Item == post.ID
				}
			}
			if !found {
				t.Errorf("not because of %s, and of what its actor had been shown: %+v", by[0], why.Root)
			}
		}

		_, err = s.Traces.Contain.Do(ctx, op, graph.Order{Subject: graph.Subject{ID: post.ID}, Level: graph.LevelPossible, Agents: true, Reason: "it is no news"})
		must("a containment", err)
		for name, stopped := range map[string]bool{"parent": true, "child": true, "ada": true, "bea": true, "calm": false} {
			a, err := api.Agent(ctx, name)
			must(name, err)
			if (a.Standing == act.Quarantined.String()) != stopped {
				t.Errorf("%s is %s", name, a.Standing)
			}
		}
	})
}

package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// soak returns full under REEF_SOAK=1 and small otherwise.
func soak(small, full int) int {
	if os.Getenv("REEF_SOAK") == "1" {
		return full
	}
	return small
}

// T03: parallel votes of one agent on one post never count more than once.
func TestT03_ParallelTogglesCountOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		toggles(t, s.Server.DB.Dialect(), []*servertest.Server{s})
	})
}

// T03 on two nodes that share one database.
func TestT03_ParallelTogglesOnTwoNodes(t *testing.T) {
	a, b := twoNodes(t)
	toggles(t, store.Postgres, []*servertest.Server{a, b})
}

func toggles(t *testing.T, _ store.Dialect, nodes []*servertest.Server) {
	s := nodes[0]
	_, author := s.Agent(t, "author")
	_, voter := s.Agent(t, "voter")
	s.Community(t, author, "pricing")
	ctx := context.Background()
	post, err := s.Network.CreatePost.Do(ctx, author, network.NewPost{Community: "pricing", Title: "Vote on me", Content: "please"})
	if err != nil {
		t.Fatal(err)
	}
	const parallel = 50
	total := 0
	for round := range soak(5, 100) {
		n := parallel
		if round%2 == 1 {
			n-- // an odd number of toggles ends on the other side
		}
		var wg sync.WaitGroup
		for i := range n {
			node := nodes[i%len(nodes)]
			wg.Go(func() {
				if _, err := node.Network.CastVote.Do(ctx, voter, network.NewVote{Target: network.Named{ID: post.ID}, On: act.KindPost, Up: true}); err != nil {
					t.Errorf("vote: %v", err)
				}
			})
		}
		wg.Wait()
		total += n
		got, err := s.Network.ReadPost.Do(ctx, voter, network.Named{ID: post.ID})
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(total % 2); got.Up != want || got.Down != 0 || got.Author.Karma != want {
			t.Fatalf("round %d: up %d, down %d, karma %d after %d toggles, want up %d", round, got.Up, got.Down, got.Author.Karma, total, want)
		}
		servertest.CheckInvariants(t, s.Server)
	}
}

// Two agents voting on each other's posts lock the same counter rows from both
// ends; ordered counters keep them from waiting for each other.
func TestReciprocalVotesDoNotDeadlock(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		var agents [2]act.Principal
		var posts [2]network.Post
		for i := range agents {
			_, agents[i] = s.Agent(t, fmt.Sprintf("member-%d", i))
		}
		s.Community(t, agents[0], "research")
		for i := range posts {
			var err error
			if posts[i], err = s.Network.CreatePost.Do(ctx, agents[i], network.NewPost{Community: "research", Title: "Mine", Content: "text"}); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range soak(20, 500) {
					me := (worker + i) % 2
					if _, err := s.Network.CastVote.Do(ctx, agents[me], network.NewVote{
						Target: network.Named{ID: posts[1-me].ID}, On: act.KindPost, Up: worker%3 != 0,
					}); err != nil {
						t.Errorf("vote: %v", err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// After many random acts every counter equals its rows, the record is dense and
// whole, and everything that was shown has its exposure row. (That memory equals
// SQL is shown in package network.)
func TestRandomActsKeepEveryInvariant(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		acts := soak(600, 10_000)
		ctx := context.Background()
		const agents = 6
		var who [agents]act.Principal
		for i := range who {
			_, who[i] = s.Agent(t, fmt.Sprintf("member-%d", i))
		}
		s.Community(t, who[0], "data-quality")
		s.Community(t, who[1], "procurement")
		var mu sync.Mutex
		var posts, comments []act.ID
		type showing struct{ reader, item act.ID }
		shown := make(map[showing]bool)
		pick := func(r *rand.Rand, from []act.ID) (act.ID, bool) {
			mu.Lock()
			defer mu.Unlock()
			if len(from) == 0 {
				return 0, false
			}
			return from[r.IntN(len(from))], true
		}
		saw := func(reader act.Principal, author, item act.ID) {
			if author == reader.ID || author == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			shown[showing{reader.ID, item}] = true
		}
		ok := func(err error) bool {
			switch act.CodeOf(err) {
			case act.Gone, act.NotFound, act.Denied, act.Conflict:
				return false
			}
			if err != nil {
				t.Errorf("act: %v", err)
			}
			return err == nil
		}
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(7, uint64(worker)))
				for range acts / 4 {
					p := who[r.IntN(agents)]
					place := []string{"data-quality", "procurement"}[r.IntN(2)]
					switch r.IntN(10) {
					case 0, 1:
						if post, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: place, Title: "T", Content: "c"}); ok(err) {
							mu.Lock()
							posts = append(posts, post.ID)
							mu.Unlock()
						}
					case 2, 3:
						post, have := pick(r, posts)
						if !have {
							continue
						}
						in := network.NewComment{Post: network.Named{ID: post}, Content: "hm"}
						if parent, have := pick(r, comments); have && r.IntN(2) == 0 {
							in.Parent = network.Named{ID: parent}
						}
						c, err := s.Network.CreateComment.Do(ctx, p, in)
						if act.CodeOf(err) == act.Invalid {
							continue // the parent is another post's
						}
						if ok(err) {
							mu.Lock()
							comments = append(comments, c.ID)
							mu.Unlock()
						}
					case 4, 5, 6:
						in := network.NewVote{On: act.KindPost, Up: r.IntN(3) > 0}
						from := posts
						if r.IntN(2) == 0 {
							in.On, from = act.KindComment, comments
						}
						if id, have := pick(r, from); have {
							in.Target.ID = id
							_, err := s.Network.CastVote.Do(ctx, p, in)
							ok(err)
						}
					case 7:
						if id, have := pick(r, posts); have && r.IntN(4) == 0 {
							_, err := s.Network.DeletePost.Do(ctx, p, network.Named{ID: id})
							ok(err)
						}
					case 8:
						q := network.FeedQuery{Sort: []network.FeedSort{network.FeedHot, network.FeedNew, network.FeedTop}[r.IntN(3)], Limit: 10}
						if r.IntN(2) == 0 {
							q.Community = place
						}
						if page, err := s.Network.ReadFeed.Do(ctx, p, q); ok(err) {
							for _, post := range page.Items {
								saw(p, post.Author.ID, post.ID)
							}
						}
					case 9:
						if id, have := pick(r, posts); have {
							if page, err := s.Network.ListComments.Do(ctx, p, network.CommentQuery{Post: network.Named{ID: id}, Sort: network.CommentsBest}); ok(err) {
								for _, c := range page.Items {
									saw(p, c.Author.ID, c.ID)
								}
							}
						}
					}
				}
			})
		}
		wg.Wait()
		for x := range shown {
			if !exposed(t, s, x.reader, x.item) {
				t.Fatalf("item %d was shown to %d without a row", x.item, x.reader)
			}
		}
		if len(shown) == 0 {
			t.Fatal("nothing was shown: the test proves nothing")
		}
	})
}

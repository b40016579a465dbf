package network_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// walk reads a feed to its end and counts how often each post appears.
func walk(t *testing.T, s *servertest.Server, p act.Principal, q network.FeedQuery) map[act.ID]int {
	t.Helper()
	seen := make(map[act.ID]int)
	for pages := 0; ; pages++ {
		page, err := s.Network.ReadFeed.Do(context.Background(), p, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, post := range page.Items {
			seen[post.ID]++
		}
		if page.Next.IsZero() {
			return seen
		}
		if q.Cursor = page.Next; pages > 1000 {
			t.Fatal("the feed does not end")
		}
	}
}

// An item committed before the first page that did not move during the walk
// appears exactly once, whatever is written, voted on and deleted meanwhile.
func TestWalkShowsEveryUnmovedItemOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, author := s.Agent(t, "author")
		_, noisy := s.Agent(t, "noisy")
		_, reader := s.Agent(t, "reader")
		s.Community(t, author, "research")
		post := func(p act.Principal) act.ID {
			made, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "research", Title: "T", Content: "c"})
			if err != nil {
				t.Error(err)
			}
			return made.ID
		}
		for _, followed := range []act.Principal{author, noisy} {
			if _, err := s.Network.FollowAgent.Do(ctx, reader, followed.Name); err != nil {
				t.Fatal(err)
			}
		}
		var still []act.ID // posts that nobody touches during the walks
		var moving []act.ID
		for i := range 60 {
			if id := post(author); i%3 == 0 {
				moving = append(moving, id)
			} else {
				still = append(still, id)
			}
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch r.IntN(3) {
				case 0:
					id := post(noisy)
					if _, err := s.Network.DeletePost.Do(ctx, noisy, network.Named{ID: id}); err != nil {
						t.Error(err)
					}
				case 1:
					post(noisy)
				default:
					if _, err := s.Network.CastVote.Do(ctx, noisy, network.NewVote{
						Target: network.Named{ID: moving[r.IntN(len(moving))]}, On: act.KindPost, Up: true,
					}); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for round := range 6 {
			for _, sort := range []network.FeedSort{network.FeedHot, network.FeedNew, network.FeedTop, network.FeedRising} {
				q := network.FeedQuery{Sort: sort, Limit: 3 + round}
				switch round {
				case 1:
					q.Community = "research"
				case 2:
					q.Author = author.Name
				case 3:
					q.Author, q.Community = author.Name, "research"
				case 4:
					q.Personal = network.PersonalAll
				case 5:
					q.Personal = network.PersonalFollowing
				}
				seen := walk(t, s, reader, q)
				for _, id := range still {
					if seen[id] != 1 {
						t.Errorf("%s feed: a post that did not move appears %d times", sort, seen[id])
					}
				}
			}
		}
		close(stop)
		wg.Wait()
	})
}

// Trees are as deep as agents make them, up to a bound, and come back whole.
func TestDeepTreesComeBackWhole(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	ctx := context.Background()
	_, p := s.Agent(t, "digger")
	s.Community(t, p, "depth")
	post, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "depth", Title: "Down", Content: "we go"})
	if err != nil {
		t.Fatal(err)
	}
	in := network.NewComment{Post: network.Named{ID: post.ID}}
	for i := range network.MaxDepth + 1 {
		in.Content = fmt.Sprint(i)
		c, err := s.Network.CreateComment.Do(ctx, p, in)
		if err != nil {
			t.Fatalf("depth %d: %v", i, err)
		}
		in.Parent = network.Named{ID: c.ID}
	}
	if _, err := s.Network.CreateComment.Do(ctx, p, in); act.CodeOf(err) != act.Invalid {
		t.Errorf("a tree without end: %v", err)
	}
	page, err := s.Network.ListComments.Do(ctx, p, network.CommentQuery{Post: network.Named{ID: post.ID}, Sort: network.CommentsOld})
	if err != nil || len(page.Items) != network.MaxDepth+1 {
		t.Fatalf("%d nodes came back, want %d (%v)", len(page.Items), network.MaxDepth+1, err)
	}
	for i, c := range page.Items {
		if c.Content != fmt.Sprint(i) || c.Depth != int64(i) {
			t.Fatalf("node %d is %q at depth %d", i, c.Content, c.Depth)
		}
	}
}

// What agents send is refused with a rule and a hint, and nothing is stored.
func TestHostileInputIsRefusedWithAHint(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, p := s.Agent(t, "stranger")
		s.Community(t, p, "inbox")
		posts := []network.NewPost{
			{Community: "inbox", Title: "", Content: "c"},
			{Community: "inbox", Title: strings.Repeat("x", network.MaxTitle+1), Content: "c"},
			{Community: "inbox", Title: "nul", Content: "a\x00b"},
			{Community: "inbox", Title: "utf8", Content: "\xff\xfe"},
			{Community: "inbox", Title: "long", Content: strings.Repeat("é", network.MaxContent+1)},
			{Community: "inbox", Title: "js", URL: "javascript:alert(1)"},
			{Community: "inbox", Title: "file", URL: "file:///etc/passwd"},
			{Community: "inbox", Title: "user", URL: "https://user:secret@example.com/"},
			{Community: "inbox", Title: "type", Type: "poll", Content: "c"},
			{Community: "nowhere", Title: "place", Content: "c"},
			{Community: "in'; DROP TABLE post; --", Title: "sql", Content: "c"},
		}
		for _, in := range posts {
			_, err := s.Network.CreatePost.Do(ctx, p, in)
			if e := act.AsError(err); err == nil || e.Hint == "" || (e.Code != act.Invalid && e.Code != act.NotFound) {
				t.Errorf("%.20q: %v (hint %q)", in.Title, err, e)
			}
		}
		for _, name := range []string{"", "a", "A", "-a", "a-", "a--b", "a b", strings.Repeat("a", 31), "ünï", "a\x00"} {
			if _, err := s.Network.CreateCommunity.Do(ctx, p, network.NewCommunity{Name: name}); act.CodeOf(err) != act.Invalid {
				t.Errorf("community %q: %v", name, err)
			}
		}
		for _, metadata := range []string{"", "[]", "null", "{", `{"a":` + strings.Repeat("[", 20_000)} {
			if _, err := s.Network.UpdateProfile.Do(ctx, p, network.ProfileChange{Metadata: &metadata}); act.CodeOf(err) != act.Invalid {
				t.Errorf("metadata %.10q: %v", metadata, err)
			}
		}
		if page, err := s.Network.ReadFeed.Do(ctx, p, network.FeedQuery{}); err != nil || len(page.Items) != 0 {
			t.Errorf("something was stored: %d posts (%v)", len(page.Items), err)
		}
	})
}

package server_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
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

var errInjected = errors.New("injected")

// faulty starts a server whose storage asks fault before every step.
func faulty(t *testing.T, d store.Dialect) (*servertest.Server, *atomic.Pointer[func(store.Step) error]) {
	t.Helper()
	cfg, fault := faultyConfig(t, d)
	return servertest.Start(t, cfg), fault
}

func faultyConfig(t *testing.T, d store.Dialect) (server.Config, *atomic.Pointer[func(store.Step) error]) {
	t.Helper()
	var fault atomic.Pointer[func(store.Step) error]
	cfg := servertest.Config(t, d)
	cfg.Fault = func(s store.Step) error {
		if f := fault.Load(); f != nil {
			return (*f)(s)
		}
		return nil
	}
	return cfg, &fault
}

func eachFaulty(t *testing.T, fn func(t *testing.T, s *servertest.Server, fault *atomic.Pointer[func(store.Step) error])) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s, fault := faulty(t, d)
			fn(t, s, fault)
		})
	}
}

// failAt returns a fault that fails every write at one step.
func failAt(step store.Step) *func(store.Step) error {
	f := func(s store.Step) error {
		if s == step {
			return errInjected
		}
		return nil
	}
	return &f
}

const secretTitle = "the-words-that-must-not-leave"

// If the showing cannot be recorded, not one byte of content leaves.
func TestExposureNotRecordedMeansNothingIsShown(t *testing.T) {
	eachFaulty(t, func(t *testing.T, s *servertest.Server, fault *atomic.Pointer[func(store.Step) error]) {
		_, author := s.Agent(t, "author")
		key, _ := s.Agent(t, "reader")
		s.Community(t, author, "pricing")
		post, err := s.Network.CreatePost.Do(context.Background(), author, network.NewPost{Community: "pricing", Title: secretTitle, Content: secretTitle})
		if err != nil {
			t.Fatal(err)
		}
		paths := []string{"/api/v1/posts?sort=new", "/api/v1/feed", "/api/v1/submolts/pricing/feed", "/api/v1/posts/" + s.Codec.String(post.ID)}
		for _, step := range []store.Step{store.StepBegin, store.StepCommit} {
			fault.Store(failAt(step))
			for _, path := range paths {
				a := s.Call(t, http.MethodGet, path, key, nil)
				if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
					t.Errorf("%s at %s: status %d, Retry-After %q; want 503 with Retry-After", path, step, a.Status, a.Header.Get("Retry-After"))
				}
				if strings.Contains(string(a.Raw), secretTitle) {
					t.Errorf("%s at %s: content left although its showing is not on record", path, step)
				}
			}
			fault.Store(nil)
		}
		for _, path := range paths {
			if a := s.Call(t, http.MethodGet, path, key, nil); a.Status != http.StatusOK || !strings.Contains(string(a.Raw), secretTitle) {
				t.Errorf("%s after the fault: status %d", path, a.Status)
			}
		}
	})
}

// A post that is deleted between the filtering of a page and the commit of its
// exposure is not on the page that leaves.
func TestFenceMovedDuringReadRedoesThePage(t *testing.T) {
	eachFaulty(t, func(t *testing.T, s *servertest.Server, fault *atomic.Pointer[func(store.Step) error]) {
		ctx := context.Background()
		_, author := s.Agent(t, "author")
		_, reader := s.Agent(t, "reader")
		s.Community(t, author, "pricing")
		write := func() network.Post {
			p, err := s.Network.CreatePost.Do(ctx, author, network.NewPost{Community: "pricing", Title: "T", Content: "c"})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		stays := write()
		// The delete is held just before its commit until the reader has made its
		// page and waits to have it recorded; then the exposure is held until the
		// delete's fence is applied. The server may commit something of its own
		// between the two, which is held in their stead: then it is tried again.
		attempt := func() bool {
			goes := write()
			var commits atomic.Int32
			deleting, held, exposing := make(chan struct{}), make(chan struct{}), make(chan struct{})
			release, fenced := sync.OnceFunc(func() { close(held) }), sync.OnceFunc(func() { close(exposing) })
			defer func() { release(); fenced() }() // a failure must not wait for them for ever
			f := func(step store.Step) error {
				if step != store.StepCommit {
					return nil
				}
				switch commits.Add(1) {
				case 1:
					close(deleting)
					<-held
				case 2:
					<-exposing
				}
				return nil
			}
			fault.Store(&f)
			defer fault.Store(nil)
			deleted := make(chan error, 1)
			go func() {
				_, err := s.Network.DeletePost.Do(ctx, author, network.Named{ID: goes.ID})
				deleted <- err
			}()
			<-deleting
			before := s.Gate.Fences()
			type result struct {
				page act.Page[network.Post]
				err  error
			}
			read := make(chan result, 1)
			go func() {
				page, err := s.Network.ReadFeed.Do(ctx, reader, network.FeedQuery{Sort: network.FeedNew})
				read <- result{page, err}
			}()
			eventually(t, "the reader's page waits to be recorded", func() bool { return s.DB.QueueDepth() > 0 || commits.Load() > 1 })
			release()
			applied := false
			for end := time.Now().Add(time.Second); !applied && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				applied = s.Gate.Fences() > before
			}
			early := len(read) > 0 // it was not held, but something of the server's own was
			fenced()
			err, got := <-deleted, <-read
			switch {
			case !applied || early:
				return false
			case err != nil:
				t.Fatal(err)
			case got.err != nil:
				t.Fatal(got.err)
			}
			if len(got.page.Items) != 1 || got.page.Items[0].ID != stays.ID {
				t.Fatalf("the page holds %d posts, want only the one that was not deleted", len(got.page.Items))
			}
			return true
		}
		for range 20 {
			if attempt() {
				return
			}
		}
		t.Fatal("the delete's fence was never applied while the page waited")
	})
}

// An act that fails at its commit has changed nothing, in storage or in memory;
// one whose answer was lost has happened once.
func TestFailureTableOfActs(t *testing.T) {
	type fixture struct {
		author, other act.Principal
		post          network.Post
		comment       network.Comment
	}
	acts := []struct {
		name string
		do   func(ctx context.Context, s *servertest.Server, f fixture) error
		// done reports whether the act's effect is visible.
		done func(ctx context.Context, t *testing.T, s *servertest.Server, f fixture) bool
	}{
		{"agent.register", func(ctx context.Context, s *servertest.Server, _ fixture) error {
			_, err := s.Lifecycle.Register.Do(ctx, act.Principal{Source: "x"}, lifecycle.NewAgent{Name: "newcomer"})
			return err
		}, func(ctx context.Context, t *testing.T, s *servertest.Server, _ fixture) bool {
			op, err := s.Identity.Authenticate(ctx, s.Token)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Lifecycle.Show.Do(ctx, op, lifecycle.Named{Name: "newcomer"})
			return err == nil
		}},
		{"agent.update", func(ctx context.Context, s *servertest.Server, f fixture) error {
			text := "changed"
			_, err := s.Network.UpdateProfile.Do(ctx, f.other, network.ProfileChange{Description: &text})
			return err
		}, func(ctx context.Context, t *testing.T, s *servertest.Server, f fixture) bool {
			p, err := s.Network.Me.Do(ctx, f.other, network.Nothing{})
			if err != nil {
				t.Fatal(err)
			}
			return p.Description == "changed"
		}},
		{"community.create", func(ctx context.Context, s *servertest.Server, f fixture) error {
			_, err := s.Network.CreateCommunity.Do(ctx, f.other, network.NewCommunity{Name: "fresh"})
			return err
		}, func(ctx context.Context, _ *testing.T, s *servertest.Server, f fixture) bool {
			_, err := s.Network.ReadFeed.Do(ctx, f.other, network.FeedQuery{Community: "fresh"})
			return err == nil
		}},
		{"post.create", func(ctx context.Context, s *servertest.Server, f fixture) error {
			_, err := s.Network.CreatePost.Do(ctx, f.other, network.NewPost{Community: "pricing", Title: "Second", Content: "c"})
			return err
		}, func(ctx context.Context, t *testing.T, s *servertest.Server, f fixture) bool {
			page, err := s.Network.ReadFeed.Do(ctx, f.author, network.FeedQuery{Sort: network.FeedNew})
			if err != nil {
				t.Fatal(err)
			}
			return len(page.Items) == 2
		}},
		{"post.delete", func(ctx context.Context, s *servertest.Server, f fixture) error {
			_, err := s.Network.DeletePost.Do(ctx, f.author, network.Named{ID: f.post.ID})
			return err
		}, func(ctx context.Context, _ *testing.T, s *servertest.Server, f fixture) bool {
			_, err := s.Network.ReadPost.Do(ctx, f.other, network.Named{ID: f.post.ID})
			return act.CodeOf(err) == act.NotFound || act.CodeOf(err) == act.Gone
		}},
		{"comment.create", func(ctx context.Context, s *servertest.Server, f fixture) error {
			_, err := s.Network.CreateComment.Do(ctx, f.other, network.NewComment{Post: network.Named{ID: f.post.ID}, Content: "again"})
			return err
		}, func(ctx context.Context, t *testing.T, s *servertest.Server, f fixture) bool {
			post, err := s.Network.ReadPost.Do(ctx, f.other, network.Named{ID: f.post.ID})
			if err != nil {
				t.Fatal(err)
			}
			return post.Comments == 2
		}},
		{"vote.cast", func(ctx context.Context, s *servertest.Server, f fixture) error {
			_, err := s.Network.CastVote.Do(ctx, f.other, network.NewVote{Target: network.Named{ID: f.comment.ID}, On: act.KindComment, Up: true})
			return err
		}, func(ctx context.Context, t *testing.T, s *servertest.Server, f fixture) bool {
			page, err := s.Network.ListComments.Do(ctx, f.author, network.CommentQuery{Post: network.Named{ID: f.post.ID}, Sort: network.CommentsBest})
			if err != nil {
				t.Fatal(err)
			}
			return page.Items[0].Up == 1
		}},
		{"agent.pause", func(ctx context.Context, s *servertest.Server, f fixture) error {
			op, err := s.Identity.Authenticate(ctx, s.Token)
			if err != nil {
				return err
			}
			_, err = s.Lifecycle.Pause.Do(ctx, op, lifecycle.Order{Agent: f.other.ID, Reason: "test"})
			return err
		}, func(ctx context.Context, _ *testing.T, s *servertest.Server, f fixture) bool {
			_, err := s.Network.Me.Do(ctx, f.other, network.Nothing{})
			return act.CodeOf(err) == act.Denied
		}},
		{"agent.quarantine", func(ctx context.Context, s *servertest.Server, f fixture) error {
			op, err := s.Identity.Authenticate(ctx, s.Token)
			if err != nil {
				return err
			}
			_, err = s.Lifecycle.Quarantine.Do(ctx, op, lifecycle.Order{Agent: f.other.ID, Reason: "test"})
			return err
		}, func(ctx context.Context, _ *testing.T, s *servertest.Server, f fixture) bool {
			_, err := s.Network.Me.Do(ctx, f.other, network.Nothing{})
			return act.CodeOf(err) == act.Denied
		}},
	}
	// expected progress: what is stored when the step fails, and whether the
	// caller is told of success.
	steps := []struct {
		step   store.Step
		stored bool
	}{
		{store.StepBegin, false}, {store.StepStatement, false}, {store.StepCommit, false}, {store.StepCommitted, true},
	}
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		for _, a := range acts {
			t.Run(d.String()+"/"+a.name, func(t *testing.T) {
				for _, row := range steps {
					cfg, fault := faultyConfig(t, d)
					s := servertest.Open(t, cfg)
					ctx := context.Background()
					var f fixture
					_, f.author = s.Agent(t, "author")
					_, f.other = s.Agent(t, "other")
					s.Community(t, f.author, "pricing")
					var err error
					if f.post, err = s.Network.CreatePost.Do(ctx, f.author, network.NewPost{Community: "pricing", Title: "First", Content: "c"}); err != nil {
						t.Fatal(err)
					}
					if f.comment, err = s.Network.CreateComment.Do(ctx, f.author, network.NewComment{Post: network.Named{ID: f.post.ID}, Content: "c"}); err != nil {
						t.Fatal(err)
					}
					fault.Store(failAt(row.step))
					err = a.do(ctx, s, f)
					fault.Store(nil)
					if act.CodeOf(err) != act.Unavailable {
						t.Errorf("fails at %s: error %v, want unavailable", row.step, err)
					}
					if row.stored { // its memory may be behind until the fence poll has run
						eventually(t, "the stored act shows", func() bool { return a.done(ctx, t, s, f) })
					} else if a.done(ctx, t, s, f) {
						t.Errorf("fails at %s: the act's effect is visible although nothing is stored", row.step)
					}
					if !row.stored {
						if err := a.do(ctx, s, f); err != nil {
							t.Errorf("fails at %s: second try: %v", row.step, err)
						}
						if !a.done(ctx, t, s, f) {
							t.Errorf("fails at %s: the second try shows no effect", row.step)
						}
					}
					servertest.CheckInvariants(t, s.Server)
					s.Stop()
				}
			})
		}
	}
}

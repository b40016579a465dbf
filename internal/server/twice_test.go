package server_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A Run that the database makes execute again changes nothing twice: every write
// is undone by a serialization failure at its commit and repeated by the store.
func TestRunExecutedTwiceChangesNothingTwice(t *testing.T) {
	s, fault := faulty(t, store.Postgres)
	ctx := context.Background()
	_, author := s.Agent(t, "author")
	_, other := s.Agent(t, "other")
	s.Community(t, author, "pricing")
	var undone atomic.Int32
	var armed atomic.Bool
	f := func(step store.Step) error {
		if step == store.StepCommit && armed.CompareAndSwap(true, false) {
			undone.Add(1)
			return &pgconn.PgError{Code: "40001", Message: "could not serialize access"}
		}
		return nil
	}
	fault.Store(&f)
	twice := func(what string, do func() error) {
		t.Helper()
		armed.Store(true)
		before := undone.Load()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if undone.Load() == before {
			t.Fatalf("%s: its Run was not executed twice", what)
		}
	}
	var post network.Post
	var comment network.Comment
	twice("post.create", func() (err error) {
		post, err = s.Network.CreatePost.Do(ctx, author, network.NewPost{Community: "pricing", Title: "T", Content: "c"})
		return err
	})
	twice("comment.create", func() (err error) {
		comment, err = s.Network.CreateComment.Do(ctx, other, network.NewComment{Post: network.Named{ID: post.ID}, Content: "c"})
		return err
	})
	var vote network.Vote
	twice("vote.cast", func() (err error) {
		vote, err = s.Network.CastVote.Do(ctx, other, network.NewVote{Target: network.Named{ID: post.ID}, On: act.KindPost, Up: true})
		return err
	})
	if vote.Action() != "upvoted" {
		t.Errorf("the vote was %s", vote.Action())
	}
	twice("community.create", func() error {
		_, err := s.Network.CreateCommunity.Do(ctx, other, network.NewCommunity{Name: "twice"})
		return err
	})
	fault.Store(nil)
	page, err := s.Network.ReadFeed.Do(ctx, other, network.FeedQuery{Sort: network.FeedNew})
	if err != nil || len(page.Items) != 1 || page.Items[0].Up != 1 || page.Items[0].Comments != 1 || page.Items[0].Author.Karma != 1 {
		t.Errorf("after everything ran twice: %+v (%v)", page.Items, err)
	}
	tree, err := s.Network.ListComments.Do(ctx, author, network.CommentQuery{Post: network.Named{ID: post.ID}, Sort: network.CommentsOld})
	if err != nil || len(tree.Items) != 1 || tree.Items[0].ID != comment.ID {
		t.Errorf("%d comments after everything ran twice (%v)", len(tree.Items), err)
	}
}

const qTestSpoil store.Q = `UPDATE policy_bundle SET body = $1 WHERE version > 0`

// T61: a network whose kept policy bundle was tampered with does not start, and
// says why; it never falls back to another.
func TestT61_ASpoiledBundleKeepsTheNetworkShut(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			s := servertest.Open(t, cfg)
			if err := s.DB.Write(context.Background(), func(tx *store.Tx) error {
				_, err := tx.Exec(qTestSpoil, []byte(`{"version":99,"policies":[{"file":"x","text":"permit(principal,action,resource);"}]}`))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			again, err := server.New(context.Background(), cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				again.Close()
				t.Fatal("the network starts with a bundle that nobody signed")
			}
			if !strings.Contains(err.Error(), "policy bundle") {
				t.Errorf("the error does not say what is wrong: %v", err)
			}
		})
	}
}

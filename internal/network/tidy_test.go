package network_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Notifications end after a month, read or not, and the counter with them; of an
// agent that never reads a bounded number is kept.
func TestNotificationsAreDropped(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			ctx := context.Background()
			var ahead atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			s := servertest.Start(t, cfg)
			_, author := s.Agent(t, "author")
			_, other := s.Agent(t, "other")
			s.Community(t, author, "pricing")
			post, err := s.Network.CreatePost.Do(ctx, author, network.NewPost{Community: "pricing", Title: "T", Content: "c"})
			if err != nil {
				t.Fatal(err)
			}
			comment := func() {
				if _, err := s.Network.CreateComment.Do(ctx, other, network.NewComment{Post: network.Named{ID: post.ID}, Content: "c"}); err != nil {
					t.Fatal(err)
				}
			}
			count := func(author act.Principal) int64 {
				if err := s.Network.Housekeep(ctx); err != nil {
					t.Fatal(err)
				}
				page, err := s.Network.ListNotifications.Do(ctx, author, network.NotificationQuery{Limit: 50})
				if err != nil {
					t.Fatal(err)
				}
				return page.Unread
			}
			for range 1003 {
				comment()
			}
			if n := count(author); n != 1000 {
				t.Errorf("%d unread notifications are kept, want 1000", n)
			}
			if d == store.Postgres {
				return // a node whose clock jumps a month has no lease; the age is looked at here, not there
			}
			ahead.Store(int64(31 * 24 * time.Hour))
			comment()
			if n := count(author); n != 1 {
				t.Errorf("%d unread notifications after a month, want the new one", n)
			}
		})
	}
}

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

// Notifications end a month after they were read and three months after they were
// made, and the counter with them; of an agent that never reads a bounded number is
// kept.
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
			if n := count(author); n != 1000 {
				t.Errorf("%d unread notifications after a month, want all that were kept", n)
			}
			if _, err := s.Network.ReadNotifications.Do(ctx, author, network.NotificationRead{}); err != nil {
				t.Fatal(err)
			}
			comment()
			if n := count(author); n != 1 || left(t, s) != 501 {
				t.Errorf("%d unread and %d in all after reading, want the new one and 500 that were read", n, left(t, s))
			}
			ahead.Add(int64(31 * 24 * time.Hour))
			if n := count(author); n != 1 || left(t, s) != 1 {
				t.Errorf("%d unread and %d in all a month after reading, want the one that is unread", n, left(t, s))
			}
			ahead.Add(int64(60 * 24 * time.Hour))
			if n := count(author); n != 0 || left(t, s) != 0 {
				t.Errorf("%d unread and %d in all after three months, want none", n, left(t, s))
			}
		})
	}
}

func left(t *testing.T, s *servertest.Server) (n int64) {
	t.Helper()
	if err := s.DB.View(context.Background(), func(v *store.View) error {
		_, err := v.One(`SELECT COUNT(*) FROM notification`, func(r *store.Row) error { n = r.Int(0); return nil })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

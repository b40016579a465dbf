package network_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// However many moderators pin at once, three posts are pinned in the end.
func TestParallelPinsNeverExceedThree(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, owner := s.Agent(t, "founder")
		s.Community(t, owner, "pricing")
		var posts []act.ID
		for range 12 {
			made, err := s.Network.CreatePost.Do(ctx, owner, network.NewPost{Community: "pricing", Title: "T", Content: "c"})
			if err != nil {
				t.Fatal(err)
			}
			posts = append(posts, made.ID)
		}
		for round := range 3 {
			var pinned, refused atomic.Int32
			var wg sync.WaitGroup
			for _, id := range posts {
				wg.Go(func() {
					_, err := s.Network.PinPost.Do(ctx, owner, network.Named{ID: id})
					switch act.CodeOf(err) {
					case act.None:
						pinned.Add(1)
					case act.Conflict:
						refused.Add(1)
					default:
						t.Errorf("pin: %v", err)
					}
				})
			}
			wg.Wait()
			if pinned.Load() != network.MaxPins || refused.Load() != int32(len(posts)-network.MaxPins) {
				t.Fatalf("round %d: %d pinned, %d refused", round, pinned.Load(), refused.Load())
			}
			servertest.CheckInvariants(t, s.Server)
			for _, id := range posts {
				if _, err := s.Network.UnpinPost.Do(ctx, owner, network.Named{ID: id}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A pin is seen by the next reader, from memory as from the database.
func TestPinIsSeenAtOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, owner := s.Agent(t, "founder")
		_, reader := s.Agent(t, "reader")
		s.Community(t, owner, "pricing")
		made, err := s.Network.CreatePost.Do(ctx, owner, network.NewPost{Community: "pricing", Title: "T", Content: "c"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			page, err := s.Network.ReadFeed.Do(ctx, reader, network.FeedQuery{Community: "pricing"})
			if err != nil || len(page.Items) != 1 || page.Items[0].Pinned != (i%2 == 1) {
				t.Fatalf("feed %d: %+v (%v)", i, page.Items, err)
			}
			do := s.Network.PinPost
			if i%2 == 1 {
				do = s.Network.UnpinPost
			}
			if _, err := do.Do(ctx, owner, network.Named{ID: made.ID}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Of owners who dismiss each other at once, one stays.
func TestTheLastOwnerStays(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		for round := range 8 {
			var who [3]act.Principal
			for i := range who {
				_, who[i] = s.Agent(t, fmt.Sprintf("founder-%d-%d", round, i))
			}
			name := fmt.Sprintf("place-%d", round)
			s.Community(t, who[0], name)
			for _, p := range who[1:] {
				if _, err := s.Network.Appoint.Do(ctx, who[0], network.Appointment{Community: name, Agent: p.Name, Role: "owner"}); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for i, p := range who {
				wg.Go(func() {
					other := who[(i+1)%len(who)].Name
					_, err := s.Network.Dismiss.Do(ctx, p, network.Appointment{Community: name, Agent: other})
					switch act.CodeOf(err) {
					case act.None, act.Denied, act.Conflict, act.NotFound:
					default:
						t.Errorf("dismiss: %v", err)
					}
				})
			}
			wg.Wait()
			list, err := s.Network.ListModerators.Do(ctx, who[0], name)
			if err != nil || len(list.Items) == 0 || len(list.Items) == len(who) {
				t.Errorf("%d owners are left (%v)", len(list.Items), err)
			}
		}
	})
}

// Whoever has lost a role uses it no more, from the answer on, and nobody who
// has none ever does.
func TestALostRoleIsLostAtOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, owner := s.Agent(t, "founder")
		_, helper := s.Agent(t, "helper")
		s.Community(t, owner, "pricing")
		text := "mine"
		change := func() error {
			_, err := s.Network.UpdateCommunity.Do(ctx, helper, network.CommunityChange{Community: "pricing", Description: &text})
			return err
		}
		for range 10 {
			if err := change(); act.CodeOf(err) != act.Denied {
				t.Fatalf("without a role: %v", err)
			}
			if _, err := s.Network.Appoint.Do(ctx, owner, network.Appointment{Community: "pricing", Agent: "helper", Role: "moderator"}); err != nil {
				t.Fatal(err)
			}
			if err := change(); err != nil {
				t.Fatalf("as a moderator: %v", err)
			}
			var dismissed atomic.Bool
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 20 {
						after := dismissed.Load()
						if err := change(); err == nil && after {
							t.Error("a dismissed moderator changed the settings")
						}
					}
				})
			}
			if _, err := s.Network.Dismiss.Do(ctx, owner, network.Appointment{Community: "pricing", Agent: "helper"}); err != nil {
				t.Fatal(err)
			}
			dismissed.Store(true)
			wg.Wait()
		}
		view, err := s.Network.ShowCommunity.Do(ctx, helper, "pricing")
		if err != nil || view.Role != gate.RoleNone {
			t.Errorf("the role is still shown: %v (%v)", view.Role, err)
		}
	})
}

// Every community is on exactly one page of every list, by cursor and by offset.
func TestCommunityListsAreWhole(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, owner := s.Agent(t, "founder")
		_, other := s.Agent(t, "other")
		const made = 23
		for i := range made {
			name := fmt.Sprintf("place-%d", i*7%made)
			s.Community(t, owner, name)
			if i%3 == 0 {
				if _, err := s.Network.Subscribe.Do(ctx, other, name); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, sort := range []network.CommunitySort{network.CommunitiesPopular, network.CommunitiesNew, network.CommunitiesName} {
			for _, byOffset := range []bool{false, true} {
				seen := make(map[string]int)
				q := network.CommunityQuery{Sort: sort, Limit: 5}
				var last network.Community
				for pages := 0; pages < 20; pages++ {
					page, err := s.Network.ListCommunities.Do(ctx, other, q)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range page.Items {
						seen[c.Name]++
						if sort == network.CommunitiesName && c.Name <= last.Name || sort == network.CommunitiesPopular && last.ID != 0 && c.Subscribers > last.Subscribers ||
							sort == network.CommunitiesNew && last.ID != 0 && c.ID >= last.ID {
							t.Errorf("%s: %s comes after %s", sort, c.Name, last.Name)
						}
						last = c
					}
					next, more := network.NextOffset(page.Next)
					if !more {
						break
					}
					if byOffset {
						q.Offset = int(next)
					} else {
						q.Cursor = page.Next
					}
				}
				if len(seen) != made+1 { // and general
					t.Errorf("%s, by offset %v: %d communities", sort, byOffset, len(seen))
				}
				for name, times := range seen {
					if times != 1 {
						t.Errorf("%s, by offset %v: %s appears %d times", sort, byOffset, name, times)
					}
				}
			}
		}
	})
}

// Subscribing in parallel counts once.
func TestParallelSubscriptionsCountOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, owner := s.Agent(t, "founder")
		s.Community(t, owner, "pricing")
		var wg sync.WaitGroup
		for i := range 5 {
			_, p := s.Agent(t, fmt.Sprintf("member-%d", i))
			for range 6 {
				wg.Go(func() {
					if _, err := s.Network.Subscribe.Do(ctx, p, "pricing"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		view, err := s.Network.ShowCommunity.Do(ctx, owner, "pricing")
		if err != nil || view.Subscribers != 5 {
			t.Errorf("%d subscribers, want 5 (%v)", view.Subscribers, err)
		}
	})
}

// A colour is either refused or comes out in one harmless form.
func FuzzParseColor(f *testing.F) {
	for _, s := range []string{"#fff", "#FFF", "#1a2B3c", "", "#", "#12", "#12345", "fff", "#ggg", "red", "#fff;", "#ｆｆｆ", "#1a2b3c\n", "\x00", "#K00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		color, ok := network.ParseColor(s)
		if !ok {
			if color != "" {
				t.Errorf("%q is refused and is %q", s, color)
			}
			return
		}
		if len(color) != 7 || color[0] != '#' || strings.Trim(color[1:], "0123456789abcdef") != "" {
			t.Errorf("%q became %q", s, color)
		}
		if again, ok := network.ParseColor(color); !ok || again != color {
			t.Errorf("%q became %q and then %q", s, color, again)
		}
	})
}

// A key that is accepted is a short word of harmless characters.
func FuzzCheckLabelKey(f *testing.F) {
	for _, s := range []string{"a", "night-watch", "night_watch", "", "-a", "a-", "a--b", "A", "a b", "ünï", "a\x00", strings.Repeat("a", 41)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if network.CheckLabelKey(s) == nil && (s == "" || len(s) > 40 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "") {
			t.Errorf("%q is accepted", s)
		}
	})
}

package server_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const qTestLeaves store.Q = `SELECT body FROM leaf ORDER BY pos`

// leaves returns every leaf on record.
func leaves(t *testing.T, s *servertest.Server) (list []audit.Leaf) {
	t.Helper()
	if err := s.Settle(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.DB.View(context.Background(), func(v *store.View) error {
		return v.All(qTestLeaves, func(r *store.Row) error {
			l, err := audit.Parse(r.Bytes(0))
			list = append(list, l)
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// Denials are on record: the first few alike one by one, the others counted, and
// none is lost.
func TestDenialsAreRecordedAndCounted(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		const tries = 100
		key, p := s.Agent(t, "paused-one")
		op, err := s.Identity.Authenticate(context.Background(), s.Token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.Pause.Do(context.Background(), op, lifecycle.Order{Agent: p.ID, Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		for range tries {
			if a := s.Call(t, http.MethodPost, "/api/v1/posts", key, map[string]any{"submolt": "general", "title": "T", "content": "c"}); a.Status != http.StatusForbidden {
				t.Fatalf("status %d: %s", a.Status, a.Raw)
			}
		}
		var single, counted, total int64
		for _, l := range leaves(t, s) {
			if l.Act != "post.create" || l.Outcome != "denied" {
				continue
			}
			if l.Rule != "standing.paused" {
				t.Errorf("the leaf names the rule %q", l.Rule)
			}
			if l.Count > 1 {
				counted++
			} else {
				single++
			}
			total += max(l.Count, 1)
		}
		if total != tries || single > 10 || counted > 5 {
			t.Errorf("%d denials on record in %d single and %d counted leaves, want %d in few leaves", total, single, counted, tries)
		}
	})
}

// T06: a denial needs no storage. While it is down a paused agent still hears
// that it is paused, and a wrong key that it is wrong; afterwards both are on
// record.
func TestT06_DenialsNeedNoStorage(t *testing.T) {
	eachFaulty(t, func(t *testing.T, s *servertest.Server, fault *atomic.Pointer[func(store.Step) error]) {
		key, p := s.Agent(t, "paused-one")
		healthy, _ := s.Agent(t, "healthy-one")
		op, err := s.Identity.Authenticate(context.Background(), s.Token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.Pause.Do(context.Background(), op, lifecycle.Order{Agent: p.ID, Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{key, healthy} { // known keys answer from memory
			s.Call(t, http.MethodGet, "/api/v1/agents/me", k, nil)
		}
		fault.Store(failAt(store.StepBegin))
		post := map[string]any{"submolt": "general", "title": "T", "content": "c"}
		if a := s.Call(t, http.MethodPost, "/api/v1/posts", key, post); a.Status != http.StatusForbidden {
			t.Errorf("a paused agent gets %d while storage is down, want 403", a.Status)
		}
		if a := s.Call(t, http.MethodPost, "/api/v1/posts", "moltbook_sk_"+key[12:40]+"AAAA", post); a.Status != http.StatusUnauthorized {
			t.Errorf("a wrong key gets %d while storage is down, want 401", a.Status)
		}
		if a := s.Call(t, http.MethodPost, "/api/v1/posts", healthy, post); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("a healthy agent gets %d while storage is down, want 503 with Retry-After", a.Status)
		}
		fault.Store(nil)
		denied := 0
		for _, l := range leaves(t, s) {
			if l.Outcome == "denied" {
				denied++
			}
		}
		if denied < 2 {
			t.Errorf("%d denials on record after the outage, want both", denied)
		}
	})
}

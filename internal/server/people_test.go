package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// T03 for follows: whatever 50 parallel follows and unfollows of one agent do,
// at most one row stays and the counters equal the rows.
func TestT03_ParallelFollowsCountOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, ada := s.Agent(t, "ada")
		_, bob := s.Agent(t, "bob")
		for round := range soak(4, 100) {
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					from, to := ada, "bob"
					if i%5 == 0 {
						from, to = bob, "ada" // the same two counter rows, from the other end
					}
					do := s.Network.FollowAgent.Do
					if (i+round)%2 == 0 {
						do = s.Network.UnfollowAgent.Do
					}
					if _, err := do(ctx, from, to); err != nil {
						t.Errorf("follow: %v", err)
					}
				})
			}
			wg.Wait()
			last, err := s.Network.FollowAgent.Do(ctx, ada, "bob")
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Network.ReadProfile.Do(ctx, ada, "bob")
			if err != nil || got.Followers != 1 || !got.YouFollow || !last.Following || last.Agent.Followers != 1 {
				t.Fatalf("round %d: %d followers (%v)", round, got.Followers, err)
			}
			servertest.CheckInvariants(t, s.Server)
		}
	})
}

// What a follow changes is seen in the next page, whatever is kept in memory.
func TestFollowsShowInListsAndVotes(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, ada := s.Agent(t, "ada")
		_, bob := s.Agent(t, "bob")
		post, err := s.Network.CreatePost.Do(ctx, bob, network.NewPost{Community: "general", Title: "T", Content: "c"})
		if err != nil {
			t.Fatal(err)
		}
		for round, want := range []bool{false, true, false, true} {
			if round > 0 {
				do := s.Network.FollowAgent.Do
				if !want {
					do = s.Network.UnfollowAgent.Do
				}
				if _, err := do(ctx, ada, "bob"); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second is from memory
				page, err := s.Network.ReadFeed.Do(ctx, ada, network.FeedQuery{})
				if err != nil || len(page.Items) != 1 || page.Items[0].YouFollow != want {
					t.Fatalf("round %d: %+v (%v)", round, page.Items, err)
				}
				if n := page.Items[0].Author.Followers; (n == 1) != want {
					t.Fatalf("round %d: %d followers", round, n)
				}
				own, err := s.Network.ReadFeed.Do(ctx, bob, network.FeedQuery{})
				if err != nil || own.Items[0].YouFollow {
					t.Fatalf("bob follows nobody: %v", err)
				}
			}
			v, err := s.Network.CastVote.Do(ctx, ada, network.NewVote{Target: network.Named{ID: post.ID}, On: act.KindPost, Up: true})
			if err != nil || v.AuthorFollowed != want {
				t.Fatalf("round %d: the vote says %v (%v)", round, v.AuthorFollowed, err)
			}
		}
		mine, err := s.Network.Me.Do(ctx, ada, network.Nothing{})
		if err != nil || mine.ActiveAt == 0 || mine.Following != 1 {
			t.Fatalf("last active %d, following %d (%v)", mine.ActiveAt, mine.Following, err)
		}
	})
}

// upload sends a form with one file.
// upload sends an avatar in the form that Moltbook's clients use, put as the body
// itself.
func upload(t *testing.T, s *servertest.Server, key string, data []byte, media string) (int, string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreatePart(map[string][]string{
		"Content-Disposition": {`form-data; name="file"; filename="a"`}, "Content-Type": {media},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(data)
	_ = w.Close()
	return sendAvatar(t, key, http.MethodPost, s.URL+"/api/v1/agents/me/avatar", w.FormDataContentType(), &b)
}

func put(t *testing.T, s *servertest.Server, key string, data []byte, media string) (int, string) {
	t.Helper()
	return sendAvatar(t, key, http.MethodPut, s.URL+"/v1/me/avatar", media, bytes.NewReader(data))
}

func sendAvatar(t *testing.T, key, method, url, media string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var raw bytes.Buffer
	_, _ = raw.ReadFrom(resp.Body)
	return resp.StatusCode, raw.String()
}

// T54: whatever is sent in an avatar's place, nothing is fetched, and what is not
// an image is refused. The listener stands for every address that the forms name.
func TestT54_Avatars(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		key, _ := s.Agent(t, "ada")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var connections atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				connections.Add(1)
				_ = c.Close()
			}
		}()
		port := l.Addr().(*net.TCPAddr).Port
		var forms []string
		for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "0177.0.0.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "user:pass@127.0.0.1"} {
			at := fmt.Sprintf("http://%s:%d/a.png", host, port)
			forms = append(forms, at, "https"+at[4:], "//"+at[7:], "ftp"+at[4:], "URL="+at,
				`<svg xmlns="http://www.w3.org/2000/svg"><image href="`+at+`"/></svg>`,
				`<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "`+at+`">]><svg>&x;</svg>`,
				`<html><img src="`+at+`"></html>`, "push graphic-context\nfill 'url("+at+")'\npop graphic-context",
				"GIF89a/*"+at+"*/=1;", "\x89PNG\r\n\x1a\n"+at, "\xFF\xD8\xFF\xE0"+at, "RIFF\x20\x00\x00\x00WEBP"+at)
		}
		forms = append(forms, "", "%PDF-1.7", "PK\x03\x04", "BM", "II*\x00", "file:///etc/passwd", strings.Repeat("A", network.MaxAvatar+1))
		for i, form := range forms {
			media := []string{"image/png", "image/svg+xml", "application/octet-stream", "text/uri-list"}[i%4]
			for _, send := range []func(*testing.T, *servertest.Server, string, []byte, string) (int, string){upload, put} {
				status, raw := send(t, s, key, []byte(form), media)
				if (status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge) || !strings.Contains(raw, `"hint":"`) {
					t.Errorf("%.60q is answered %d: %.200s", form, status, raw)
				}
			}
		}
		// T10, T50: no field of a body sets avatar, origin or counters.
		for _, field := range []string{"avatar", "avatar_url", "avatarUrl", "origin", "owner", "is_claimed", "karma", "follower_count", "created_at", "id", "name", "last_active"} {
			for _, method := range []string{http.MethodPatch, http.MethodPost} {
				path := map[string]string{http.MethodPatch: "/api/v1/agents/me", http.MethodPost: "/api/v1/agents/me/avatar"}[method]
				body := map[string]any{"description": "d", field: fmt.Sprintf("http://127.0.0.1:%d/", port)}
				if a := s.Call(t, method, path, key, body); a.Status != http.StatusBadRequest {
					t.Errorf("%s %s with %s is answered %d: %s", method, path, field, a.Status, a.Raw)
				}
				forms = append(forms, field)
			}
		}
		if len(forms) < 150 {
			t.Fatalf("%d forms only", len(forms))
		}
		me := s.Call(t, http.MethodGet, "/api/v1/agents/profile?name=ada", key, nil)
		agent := me.JSON["agent"].(map[string]any)
		if agent["avatar_url"] != nil || agent["origin"] != "agent" || agent["name"] != "ada" || agent["karma"] != 0.0 {
			t.Errorf("the profile is %v", agent)
		}
		dot := "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
		show := func(path string) {
			t.Helper()
			shown := s.Call(t, http.MethodGet, path, key, nil)
			for name, want := range map[string]string{
				"Content-Type": "image/gif", "X-Content-Type-Options": "nosniff", "X-Reef-Origin": "agent",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
			} {
				if got := shown.Header.Get(name); got != want || shown.Status != http.StatusOK {
					t.Errorf("%s: %d, %s is %q, want %q", path, shown.Status, name, got, want)
				}
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+key)
			req.Header.Set("If-None-Match", `"other", W/`+shown.Header.Get("ETag"))
			again, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if _ = again.Body.Close(); again.StatusCode != http.StatusNotModified {
				t.Errorf("%s: who has it already is answered %d", path, again.StatusCode)
			}
		}
		if status, raw := upload(t, s, key, []byte(dot), "text/html"); status != http.StatusOK {
			t.Fatalf("a real image is answered %d: %s", status, raw)
		}
		agent = s.Call(t, http.MethodGet, "/api/v1/agents/me", key, nil).JSON["agent"].(map[string]any)
		show(strings.TrimPrefix(agent["avatar_url"].(string), s.URL))
		if status, raw := put(t, s, key, []byte(dot), "text/html"); status != http.StatusOK {
			t.Fatalf("a real image is answered %d: %s", status, raw)
		}
		show("/v1/images/" + s.Call(t, http.MethodGet, "/v1/me", key, nil).JSON["avatar"].(string))
		_ = l.Close()
		<-done
		if n := connections.Load(); n != 0 {
			t.Errorf("%d connections were made", n)
		}
	})
}

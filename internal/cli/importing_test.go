package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// importFiles returns the captured responses to import: the real ones if
// REEF_TEST_DATA points at them, else self-written ones of the same shape.
func importFiles(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("REEF_TEST_DATA"); dir != "" {
		t.Logf("importing captured responses from REEF_TEST_DATA")
		return filepath.Join(dir, "moltbook-wire")
	}
	t.Log("REEF_TEST_DATA is not set: importing self-written responses of the same shape")
	return filepath.Join("testdata", "moltbook")
}

// runImport runs the command against a server and returns what it counted.
func runImport(t *testing.T, s *servertest.Server, dir string, flags ...string) client.Imported {
	t.Helper()
	var out, diag bytes.Buffer
	args := append([]string{"import", "moltbook", dir, "--url", s.URL, "--data", s.Config.Data, "-o", "json"}, flags...)
	if code := Main(args, strings.NewReader(""), &out, &diag); code != 0 {
		t.Fatalf("reef %s: exit %d\n%s", strings.Join(args, " "), code, diag.String())
	}
	var done client.Imported
	if err := json.Unmarshal(out.Bytes(), &done); err != nil {
		t.Fatalf("output: %v\n%s", err, out.String())
	}
	t.Logf("%s%+v", diag.String(), done)
	return done
}

// Captured responses, imported and read back through the same wire: all rows,
// trees equal on the edges that are present, times in order, old ids resolve,
// and importing again changes nothing.
func TestImportMoltbookAndReadBack(t *testing.T) {
	dir := importFiles(t)
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		world, err := readMoltbook([]string{dir})
		if err != nil {
			t.Fatal(err)
		}
		dry := runImport(t, s, dir, "--dry-run")
		done := runImport(t, s, dir)
		if done.Posts != len(world.posts) || done.Comments != world.comments() || done.Placeholders != world.absent() {
			t.Errorf("imported %+v, the files hold %d posts, %d comments, %d absent parents", done, len(world.posts), world.comments(), world.absent())
		}
		unknown := 0 // the stand-in for authors that the source did not tell
		for _, p := range world.posts {
			if p.Author.ID == "" {
				unknown = 1
			}
		}
		if done.Authors != len(world.authors)+unknown {
			t.Errorf("%d authors are new, the files hold %d", done.Authors, len(world.authors)+unknown)
		}
		if dry.Posts != done.Posts || dry.Comments != done.Comments || dry.Placeholders != done.Placeholders {
			t.Errorf("dry run said %+v, the import did %+v", dry, done)
		}
		again := runImport(t, s, dir)
		if again.Posts+again.Comments+again.Authors+again.Communities+again.Filled+again.Placeholders != 0 {
			t.Errorf("the second import did %+v", again)
		}

		key, _ := s.Agent(t, "historian")
		get := func(path string) map[string]any {
			t.Helper()
			a := s.Call(t, http.MethodGet, path, key, nil)
			if a.Status != http.StatusOK {
				t.Fatalf("%s: %d: %s", path, a.Status, a.Raw)
			}
			return a.JSON
		}
		for name := range world.communities {
			get("/api/v1/submolts/" + url.PathEscape(name) + "/feed")
		}
		for id, want := range world.posts {
			p := get("/api/v1/posts/" + url.PathEscape(id))["post"].(map[string]any) // by its old id
			if p["title"] != want.Title || p["content"] != want.Content || p["upvotes"] != float64(want.Upvotes) || p["downvotes"] != float64(want.Downvotes) ||
				p["origin"] != "imported" || p["created_at"] != want.CreatedAt.UTC().Format(act.WireTime) {
				t.Errorf("post %s came back as %v, want %+v", id, p, want)
			}
			if count := p["comment_count"].(float64); count != float64(max(want.Comments, int64(len(want.Tree)))) {
				t.Errorf("post %s has comment_count %v, the source counted %d and sent %d", id, count, want.Comments, len(want.Tree))
			}
			compareTree(t, get("/api/v1/posts/"+p["id"].(string)+"/comments?sort=old&limit=100"), want)
		}

		// The whole feed, page by page, newest first: every post once.
		seen := map[string]int{}
		last, cursor := time.Now(), ""
		for {
			page := get("/api/v1/posts?sort=new&limit=3" + cursor)
			for _, x := range page["posts"].([]any) {
				p := x.(map[string]any)
				seen[p["title"].(string)]++
				at, err := time.Parse(act.WireTime, p["created_at"].(string))
				if err != nil || at.After(last) {
					t.Errorf("times out of order: %v after %v (%v)", at, last, err)
				}
				last = at
			}
			if page["has_more"] != true {
				break
			}
			cursor = "&cursor=" + page["next_cursor"].(string)
		}
		titles := map[string]int{}
		for _, p := range world.posts {
			titles[p.Title]++
		}
		for title, n := range titles {
			if seen[title] != n {
				t.Errorf("%q is in the feed %d times, want %d", title, seen[title], n)
			}
		}
	})
}

// compareTree compares a tree on the wire with the captured edges.
func compareTree(t *testing.T, got map[string]any, want *client.ForeignPost) {
	t.Helper()
	type edge struct{ parent, child string }
	content := map[string]string{}
	for _, c := range want.Tree {
		content[c.ID] = c.Content
	}
	var wantEdges, gotEdges []edge
	for _, c := range want.Tree {
		wantEdges = append(wantEdges, edge{content[c.ParentID], c.Content}) // an absent parent has no content
	}
	var walk func(parent string, list []any)
	walk = func(parent string, list []any) {
		last := ""
		for _, x := range list {
			c := x.(map[string]any)
			text, _ := c["content"].(string)
			if c["is_deleted"] != true {
				gotEdges = append(gotEdges, edge{parent, text})
			} else {
				text = ""
			}
			if at := c["created_at"].(string); at < last {
				t.Errorf("replies out of order at %s", at)
			} else {
				last = at
			}
			walk(text, c["replies"].([]any))
		}
	}
	walk("", got["comments"].([]any))
	order := func(e []edge) {
		sort.Slice(e, func(i, j int) bool { return e[i].parent+"\x00"+e[i].child < e[j].parent+"\x00"+e[j].child })
	}
	order(wantEdges)
	order(gotEdges)
	if len(wantEdges) != len(gotEdges) {
		t.Errorf("post %s: %d comments came back, want %d", want.ID, len(gotEdges), len(wantEdges))
		return
	}
	for i := range wantEdges {
		if wantEdges[i] != gotEdges[i] {
			t.Errorf("post %s: edge %v, want %v", want.ID, gotEdges[i], wantEdges[i])
		}
	}
}

// An import that stops half-way goes on where it was, and a placeholder is
// filled when its comment comes.
func TestImportResumesAndFillsPlaceholders(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	api, err := client.New(s.URL, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
	post := client.ForeignPost{ID: "p", Title: "T", Content: "c", CreatedAt: at, Comments: 2, Tree: []client.ForeignComment{
		{ID: "child", ParentID: "parent", Content: "child", CreatedAt: at.Add(2 * time.Minute)},
	}}
	done, err := api.Import(context.Background(), client.Batch{Source: "moltbook", Posts: []client.ForeignPost{post}})
	if err != nil || done.Placeholders != 1 || done.Comments != 1 {
		t.Fatalf("first: %+v, %v", done, err)
	}
	post.Tree = append(post.Tree, client.ForeignComment{ID: "parent", Content: "parent", CreatedAt: at.Add(time.Minute)})
	done, err = api.Import(context.Background(), client.Batch{Source: "moltbook", Posts: []client.ForeignPost{post}})
	if err != nil || done.Filled != 1 || done.Comments != 0 || done.Placeholders != 0 {
		t.Fatalf("second: %+v, %v", done, err)
	}
	key, _ := s.Agent(t, "historian")
	a := s.Call(t, http.MethodGet, "/api/v1/posts/p/comments", key, nil)
	compareTree(t, a.JSON, &post)
	if p := s.Call(t, http.MethodGet, "/api/v1/posts/p", key, nil).JSON["post"].(map[string]any); p["comment_count"] != 2.0 {
		t.Errorf("comment_count is %v, want 2", p["comment_count"])
	}
}

// Files that are no captures say so, by name, and change nothing.
func TestImportRefusesWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"broken.json": `{"posts": [`, "array.json": `[1, 2]`, "types.json": `{"posts": [{"id": 7}]}`,
		"no-time.json": `{"posts": [{"id": "x", "title": "t"}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, diag bytes.Buffer
		if code := Main([]string{"import", "moltbook", path, "--dry-run"}, nil, &out, &diag); code != exitInput {
			t.Errorf("%s: exit %d, want %d", name, code, exitInput)
		}
		if !strings.Contains(diag.String(), name) || !strings.Contains(diag.String(), "hint:") {
			t.Errorf("%s: the message names no file or gives no hint: %s", name, diag.String())
		}
	}
}

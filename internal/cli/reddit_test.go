package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// redditFile returns the comments to import: the real ones if REEF_TEST_DATA
// points at them, else self-written ones of the same shape.
func redditFile(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("REEF_TEST_DATA"); dir != "" {
		return filepath.Join(dir, "reddit-comments", "comments.ndjson")
	}
	t.Log("REEF_TEST_DATA is not set: importing self-written comments of the same shape")
	return filepath.Join("testdata", "reddit", "comments.ndjson")
}

func importReddit(t *testing.T, s *servertest.Server, path string) client.Imported {
	t.Helper()
	var out, diag bytes.Buffer
	if code := Main([]string{"import", "reddit", path, "--url", s.URL, "--data", s.Config.Data, "-o", "json"}, strings.NewReader(""), &out, &diag); code != 0 {
		t.Fatalf("exit %d\n%s", code, diag.String())
	}
	var done client.Imported
	if err := json.Unmarshal(out.Bytes(), &done); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s%+v", diag.String(), done)
	return done
}

// Comments of Reddit, imported and read back: counts, trees on the edges that
// are present, placeholders for the others; importing again changes nothing.
func TestImportRedditAndReadBack(t *testing.T) {
	path := redditFile(t)
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		world, err := readReddit([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		done := importReddit(t, s, path)
		if done.Posts != len(world.posts) || done.Comments != world.comments() || done.Placeholders != world.absent() || done.Posts == 0 {
			t.Errorf("imported %+v, the file holds %d posts, %d comments, %d absent parents", done, len(world.posts), world.comments(), world.absent())
		}
		again := importReddit(t, s, path)
		if again.Posts+again.Comments+again.Authors+again.Communities+again.Filled+again.Placeholders != 0 || again.Known != done.Posts+done.Comments {
			t.Errorf("the second import did %+v", again)
		}
		key, _ := s.Agent(t, "historian")
		read := 0
		for id, want := range world.posts {
			if read++; read > 200 {
				break // a sample of the real file is enough, and it is another one each time
			}
			a := s.Call(t, http.MethodGet, "/api/v1/posts/"+url.PathEscape(id), key, nil)
			if a.Status != http.StatusOK {
				t.Fatalf("post %s: %d", id, a.Status)
			}
			p := a.JSON["post"].(map[string]any)
			if p["title"] != want.Title || p["origin"] != "imported" || p["comment_count"] != float64(len(want.Tree)) {
				t.Errorf("post %s came back as %v, want %+v", id, p, want)
			}
			compareTree(t, s.Call(t, http.MethodGet, "/api/v1/posts/"+url.PathEscape(id)+"/comments?sort=old&limit=100", key, nil).JSON, want)
		}
	})
}

// A line that is no comment is left out and named; what is twice in the file is
// once in the network.
func TestReadReddit(t *testing.T) {
	world, err := readReddit([]string{filepath.Join("testdata", "reddit", "comments.ndjson")})
	if err != nil {
		t.Fatal(err)
	}
	if len(world.posts) != 3 || world.comments() != 9 || world.absent() != 1 {
		t.Errorf("%d posts, %d comments, %d absent; want 3, 9, 1", len(world.posts), world.comments(), world.absent())
	}
	if !strings.Contains(strings.Join(world.notes, "\n"), "line 10 is left out") {
		t.Errorf("the broken line is not named: %q", world.notes)
	}
	question := world.posts["l2"]
	if question.CreatedAt.Unix() != 1700000900 || question.Type != "text" || question.Author.ID != "" {
		t.Errorf("a link without time, address and author is %+v", question)
	}
	if first := world.posts["l1"].Tree; first[2].Downvotes != 4 || first[2].Upvotes != 0 || first[4].Author.ID != "" {
		t.Errorf("score and author that are gone: %+v", first)
	}
	for name, text := range map[string]string{
		"empty": "", "json": "{}\n", "array": "[]\n", "long": `{"id":"` + strings.Repeat("x", maxRedditLine) + `"}` + "\n",
		"time": `{"id":"a","link_id":"t3_b","created_utc":"soon"}` + "\n", "huge time": `{"id":"a","link_id":"t3_b","created_utc":1e300}` + "\n",
	} {
		file := filepath.Join(t.TempDir(), "x.ndjson")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readReddit([]string{file}); err == nil {
			t.Errorf("%s: nothing in the file, and no error", name)
		}
	}
}

func FuzzRedditLine(f *testing.F) {
	raw, err := os.ReadFile(filepath.Join("testdata", "reddit", "comments.ndjson"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		w := newForeignWorld("reddit")
		if err := w.comment(line); err == nil && (len(w.posts) != 1 || w.comments() != 1) {
			t.Errorf("%q became %d posts and %d comments", line, len(w.posts), w.comments())
		}
	})
}

// An import that is killed goes on where it was.
func TestImportResumesAfterKill(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	const posts = 3000
	var lines bytes.Buffer
	for i := range posts {
		fmt.Fprintf(&lines, `{"id":"c%d","author":"a%d","body":"words","created_utc":%d,"link_id":"t3_l%d","parent_id":"t1_gone%d","link_title":"T","subreddit":"s%d"}`+"\n",
			i, i%50, 1_700_000_000+i, i, i, i%20)
	}
	dir := t.TempDir()
	file, reef := filepath.Join(dir, "comments.ndjson"), filepath.Join(dir, "reef")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, reef); err != nil { // the test binary is reef when it is called so
		t.Fatal(err)
	}
	child := exec.Command(reef, "import", "reddit", file, "--url", s.URL, "--data", s.Config.Data)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	key, _ := s.Agent(t, "historian")
	for deadline := time.Now().Add(30 * time.Second); ; {
		if s.Call(t, http.MethodGet, "/api/v1/posts/l100", key, nil).Status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the import does not get on")
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the import was over before it could be killed")
	}
	rest := importReddit(t, s, file)
	if rest.Posts == 0 || rest.Posts > posts-100 || rest.Posts+rest.Comments+rest.Known != 2*posts {
		t.Errorf("the second run did %+v, want the rest of %d posts and as many comments", rest, posts)
	}
}

package network_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// written is a post and two comments, the second under the first, with words
// that stand nowhere else.
type written struct {
	post        network.Post
	above, leaf network.Comment
}

const (
	titleCanary   = "canary-title-8f1c"
	bodyCanary    = "canary-body-77aa"
	urlCanary     = "https://canary-url-51d0.example/"
	commentCanary = "canary-comment-b3e2"
)

func write(t *testing.T, s *servertest.Server, p act.Principal) (w written) {
	t.Helper()
	ctx := context.Background()
	var err error
	if w.post, err = s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "general", Title: titleCanary, Content: bodyCanary, URL: urlCanary}); err != nil {
		t.Fatal(err)
	}
	on := network.Named{ID: w.post.ID}
	if w.above, err = s.Network.CreateComment.Do(ctx, p, network.NewComment{Post: on, Content: commentCanary}); err != nil {
		t.Fatal(err)
	}
	if w.leaf, err = s.Network.CreateComment.Do(ctx, p, network.NewComment{Post: on, Parent: network.Named{ID: w.above.ID}, Content: "reply"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func operator(t *testing.T, s *servertest.Server) act.Principal {
	t.Helper()
	p, err := s.Identity.Authenticate(context.Background(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A deleted comment leaves a tombstone in its place, counts nowhere, and its
// author alone can delete it.
func TestDeletedCommentKeepsItsPlace(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, ada := s.Agent(t, "ada")
		_, bob := s.Agent(t, "bob")
		w := write(t, s, ada)
		if _, err := s.Network.DeleteComment.Do(ctx, bob, network.Named{ID: w.above.ID}); act.CodeOf(err) != act.Denied {
			t.Errorf("another agent deletes it: %v", err)
		}
		d, err := s.Network.DeleteComment.Do(ctx, ada, network.Named{ID: w.above.ID})
		if err != nil || d.Post != w.post.ID {
			t.Fatalf("%+v %v", d, err)
		}
		if _, err := s.Network.DeleteComment.Do(ctx, ada, network.Named{ID: w.above.ID}); act.CodeOf(err) != act.Gone {
			t.Errorf("twice: %v", err)
		}
		page, err := s.Network.ListComments.Do(ctx, bob, network.CommentQuery{Post: network.Named{ID: w.post.ID}, Sort: network.CommentsBest})
		if err != nil || len(page.Items) != 2 {
			t.Fatalf("%d nodes (%v)", len(page.Items), err)
		}
		if c := page.Items[0]; !c.Deleted || c.Content != "" || c.Author.ID != 0 || c.Replies != 1 {
			t.Errorf("the tombstone is %+v", c)
		}
		if c := page.Items[1]; c.ID != w.leaf.ID || c.Content != "reply" {
			t.Errorf("the reply is %+v", c)
		}
		if post, err := s.Network.ReadPost.Do(ctx, bob, network.Named{ID: w.post.ID}); err != nil || post.Comments != 1 {
			t.Errorf("the post counts %d comments (%v)", post.Comments, err)
		}
	})
}

// What an author deleted is in no clear row, is shown to operators only, with a
// reason that is recorded, and is dropped when its time is over.
func TestSealedDeletion(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			var ahead atomic.Int64
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			cfg.KeepDeleted = 30
			s := servertest.Start(t, cfg)
			ctx := context.Background()
			_, ada := s.Agent(t, "ada")
			op := operator(t, s)
			w := write(t, s, ada)
			see := network.Examination{Item: network.Named{ID: w.post.ID}, On: act.KindPost, Reason: "incident 7"}
			if _, err := s.Network.Unseal.Do(ctx, op, see); act.CodeOf(err) != act.NotFound {
				t.Errorf("before the deletion: %v", err)
			}
			if _, err := s.Network.DeleteComment.Do(ctx, ada, network.Named{ID: w.above.ID}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Network.DeletePost.Do(ctx, ada, network.Named{ID: w.post.ID}); err != nil {
				t.Fatal(err)
			}
			if n := clear(t, s); n != 0 {
				t.Errorf("%d rows hold deleted text in the clear", n)
			}
			if _, err := s.Network.Unseal.Do(ctx, ada, see); act.CodeOf(err) != act.Denied {
				t.Errorf("the author unseals: %v", err)
			}
			if _, err := s.Network.Unseal.Do(ctx, op, network.Examination{Item: see.Item, On: act.KindPost}); act.CodeOf(err) != act.Invalid {
				t.Errorf("without a reason: %v", err)
			}
			out, err := s.Network.Unseal.Do(ctx, op, see)
			if err != nil || out.Title != titleCanary || out.Content != bodyCanary || out.URL != urlCanary || out.Author != ada.ID {
				t.Errorf("unsealed %+v (%v)", out, err)
			}
			out, err = s.Network.Unseal.Do(ctx, op, network.Examination{Item: network.Named{ID: w.above.ID}, On: act.KindComment, Reason: "incident 7"})
			if err != nil || out.Content != commentCanary {
				t.Errorf("unsealed %+v (%v)", out, err)
			}
			if err := s.Network.Housekeep(ctx); err != nil {
				t.Fatal(err)
			}
			if n := sealed(t, s); n != 2 {
				t.Errorf("%d items are sealed before their time is over, want 2", n)
			}
			ahead.Store(int64(31 * 24 * time.Hour))
			if _, err := s.Network.Unseal.Do(ctx, op, see); act.CodeOf(err) != act.NotFound {
				t.Errorf("after its time: %v", err)
			}
			if err := s.Network.Housekeep(ctx); err != nil {
				t.Fatal(err)
			}
			if n := sealed(t, s); n != 0 {
				t.Errorf("%d items are still sealed", n)
			}
			ahead.Store(0)
		})
	}
}

const (
	qClearTest  store.Q = `SELECT COUNT(*) FROM (SELECT id FROM post WHERE id IN (SELECT item FROM sealed) AND (title <> '' OR content <> '' OR url <> '') UNION ALL SELECT id FROM comment WHERE id IN (SELECT item FROM sealed) AND content <> '') AS x`
	qSealedTest store.Q = `SELECT COUNT(*) FROM sealed`
)

func clear(t *testing.T, s *servertest.Server) int64  { return count(t, s, qClearTest) }
func sealed(t *testing.T, s *servertest.Server) int64 { return count(t, s, qSealedTest) }

func count(t *testing.T, s *servertest.Server, q store.Q) (n int64) {
	t.Helper()
	if err := s.DB.View(context.Background(), func(v *store.View) error {
		_, err := v.One(q, func(r *store.Row) error { n = r.Int(0); return nil })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// After content.erase no byte of the text is in the database's files: not in
// its pages, its free pages or its write-ahead log; deleted before or not. (On
// PostgreSQL the rows hold nothing; TestEraseLeavesNoRow.)
func TestEraseLeavesNoByteInTheFiles(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	s := servertest.Start(t, cfg)
	ctx := context.Background()
	key, ada := s.Agent(t, "ada")
	op := operator(t, s)
	w := write(t, s, ada)
	big, err := s.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "general", Title: titleCanary, Content: strings.Repeat(bodyCanary+" ", 2000)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // into memory: cards, pages and renderings
		s.Call(t, "GET", "/api/v1/posts?sort=new", key, nil)
	}
	if err := s.DB.Scrub(ctx); err != nil {
		t.Fatal(err)
	}
	canaries := []string{titleCanary, bodyCanary, urlCanary, commentCanary}
	for _, word := range canaries {
		if len(holding(t, cfg.Store().Dir, word)) == 0 {
			t.Fatalf("%s is in no file although nothing was erased: the search is broken", word)
		}
	}
	if _, err := s.Network.DeletePost.Do(ctx, ada, network.Named{ID: big.ID}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []act.ID{w.above.ID, w.post.ID, big.ID, big.ID} { // twice is once
		if _, err := s.Network.Erase(ctx, op, gate.Key{}, network.Examination{Item: network.Named{ID: id}, On: id.Kind(), Reason: "court order"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, word := range canaries {
		if files := holding(t, cfg.Store().Dir, word); len(files) > 0 {
			t.Errorf("%s is still in %q", word, files)
		}
	}
	if _, err := s.Network.Erase(ctx, ada, gate.Key{}, network.Examination{Item: network.Named{ID: w.leaf.ID}, On: act.KindComment, Reason: "mine"}); act.CodeOf(err) != act.Denied {
		t.Errorf("an agent erases: %v", err)
	}
	if a := s.Call(t, "GET", "/api/v1/posts?sort=new", key, nil); a.Status != 200 || strings.Contains(string(a.Raw), "canary") {
		t.Errorf("the feed answers %d %s", a.Status, a.Raw)
	}
}

// holding lists the files of a directory that contain a word.
func holding(t *testing.T, dir, word string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s (%v)", dir, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(word)) {
			names = append(names, filepath.Base(f))
		}
	}
	return names
}

const qTextTest store.Q = `SELECT COUNT(*) FROM (SELECT id FROM post WHERE title <> '' OR content <> '' OR url <> '' OR length(salt) > 0 UNION ALL SELECT id FROM comment WHERE content = '` + commentCanary + `' UNION ALL SELECT item FROM sealed) AS x`

// On both databases no row holds anything of what was erased, its salt and its
// sealed copy included, so that the hash in the log says nothing more.
func TestEraseLeavesNoRow(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, ada := s.Agent(t, "ada")
		op := operator(t, s)
		w := write(t, s, ada)
		if _, err := s.Network.DeleteComment.Do(ctx, ada, network.Named{ID: w.above.ID}); err != nil {
			t.Fatal(err)
		}
		if count(t, s, qTextTest) != 2 {
			t.Fatal("the post's row and the comment's sealed copy are not there: the search is broken")
		}
		for _, id := range []act.ID{w.above.ID, w.post.ID} {
			if _, err := s.Network.Erase(ctx, op, gate.Key{}, network.Examination{Item: network.Named{ID: id}, On: id.Kind(), Reason: "court order"}); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, s, qTextTest); n != 0 {
			t.Errorf("%d rows still hold something", n)
		}
		if _, err := s.Network.ReadPost.Do(ctx, ada, network.Named{ID: w.post.ID}); act.CodeOf(err) != act.Gone {
			t.Errorf("read after: %v", err)
		}
		if _, err := s.Network.Unseal.Do(ctx, op, network.Examination{Item: network.Named{ID: w.above.ID}, On: act.KindComment, Reason: "r"}); act.CodeOf(err) != act.NotFound {
			t.Errorf("unseal after: %v", err)
		}
	})
}

package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What an agent states to have been in its context is exactly what is on record (L4), and
// stands in the leaf of its act. What it was never shown, it cannot state.
func TestT31_StatedContextIsExact(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		_, writer := s.Agent(t, "writer")
		key, reader := s.Agent(t, "reader")
		var posts []act.ID
		for i := range 210 {
			made, err := s.Network.CreatePost.Do(t.Context(), writer, network.NewPost{Community: "general", Title: fmt.Sprint("fact ", i), Content: "so it is"})
			if err != nil {
				t.Fatal(err)
			}
			posts = append(posts, made.ID)
		}
		const stated = 200
		for _, id := range posts[:stated] {
			if _, err := s.Network.ReadPost.Do(t.Context(), reader, network.Named{ID: id}); err != nil {
				t.Fatal(err)
			}
		}
		write := func(context []act.ID, more ...string) servertest.Answer {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/posts", strings.NewReader(`{"community":"general","title":"so","content":"as I read"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+key)
			req.Header.Set("Content-Type", "application/json")
			for _, id := range context {
				more = append(more, s.Codec.String(id))
			}
			req.Header.Set("Reef-Context", strings.Join(more, ", "))
			return s.Send(t, req)
		}
		if a := write(append(slices.Clone(posts[:3]), posts[stated])); a.Status != http.StatusBadRequest || a.JSON["rule"] != "context.unshown" {
			t.Fatalf("what was never shown is stated: %d %s", a.Status, a.Raw)
		}
		if a := write(nil, "nonsense"); a.Status != http.StatusBadRequest || a.JSON["rule"] != "context.id" {
			t.Fatalf("what is no id is stated: %d %s", a.Status, a.Raw)
		}
		a := write(posts[:stated])
		if a.Status != http.StatusCreated {
			t.Fatalf("%d %s", a.Status, a.Raw)
		}
		made, err := s.Codec.Parse(a.JSON["id"].(string))
		if err != nil {
			t.Fatal(err)
		}
		var text string
		for _, id := range posts[:stated] {
			n := 0
			if err := s.DB.View(t.Context(), func(v *store.View) error {
				return provenance.DerivedFrom(v, id, func(d provenance.Derivation) error {
					if d.Made.ID == made && d.Level == 4 {
						n++
						text += fmt.Sprintf("%s@%d\n", s.Codec.String(id), d.Source.Version)
					}
					return nil
				})
			}); err != nil || n != 1 {
				t.Fatalf("%d edges from a stated post (%v), want 1", n, err)
			}
		}
		var leaf audit.Leaf
		if err := s.DB.View(t.Context(), func(v *store.View) error {
			_, err := v.One(`SELECT l.body FROM leaf AS l JOIN event AS e ON e.pos = l.pos WHERE e.ref = $1`, func(r *store.Row) (err error) {
				leaf, err = audit.Parse(r.Bytes(0))
				return err
			}, made)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(text))
		if leaf.Context.N != stated || leaf.Context.SHA256 != hex.EncodeToString(sum[:]) {
			t.Fatalf("the leaf says %+v of %d edges", leaf.Context, stated)
		}
	})
}

// A text that has the mark of a view was copied from it, by whatever way it came: that is on
// record with who was shown it (L3), and the mark does not travel on. What was not made
// here is no mark, and nobody but agents is shown any.
func TestT31_CopiedMarksAreProof(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.Canaries = true
			s := servertest.Start(t, cfg)
			_, writer := s.Agent(t, "writer")
			_, reader := s.Agent(t, "reader")
			_, other := s.Agent(t, "other")
			const said = "see https://a.example/report, and say so"
			source, err := s.Network.CreatePost.Do(t.Context(), writer, network.NewPost{Community: "general", Title: "news", Content: said})
			if err != nil {
				t.Fatal(err)
			}
			page, err := s.Network.ReadFeed.Do(t.Context(), reader, network.FeedQuery{Sort: network.FeedNew, Limit: 5})
			if err != nil || len(page.Items) != 1 {
				t.Fatal(page, err)
			}
			read := func(p act.Principal) string {
				t.Helper()
				post, err := s.Network.ReadPost.Do(t.Context(), p, network.Named{ID: source.ID})
				if err != nil {
					t.Fatal(err)
				}
				return post.Content
			}
			marked := page.Items[0].Content
			if read(reader) != marked || marked == said || read(other) == marked || !strings.HasPrefix(marked, "see https://a.example/report#reef.") {
				t.Fatalf("the reader is shown %q", marked)
			}
			if read(writer) != said || read(operator(t, s)) != said {
				t.Error("who wrote it, or an operator, is shown a mark")
			}
			from := func(made act.ID, source act.ID) (n int) {
				t.Helper()
				if err := s.DB.View(t.Context(), func(v *store.View) error {
					return provenance.DerivedFrom(v, source, func(x provenance.Derivation) error {
						if x.Made.ID == made && x.Level == 3 && x.Kind == gate.EdgeCopied {
							n++
						}
						return nil
					})
				}); err != nil {
					t.Fatal(err)
				}
				return n
			}
			for _, c := range []struct {
				by             act.Principal
				text, stored   string
				source, reader int
			}{
				{reader, marked + " indeed", said + " indeed", 1, 0},
				{other, marked + ", I was told", said + ", I was told", 1, 1},
				{other, "", "", 0, 0},
			} {
				if c.stored == "" { // forged: one character is another
					at := strings.Index(marked, "#reef.") + len("#reef.")
					wrong := byte('A')
					if marked[at] == wrong {
						wrong = 'B'
					}
					c.text = marked[:at] + string(wrong) + marked[at+1:]
					c.stored = c.text
				}
				made, err := s.Network.CreatePost.Do(t.Context(), c.by, network.NewPost{Community: "general", Title: "again", Content: c.text})
				if err != nil {
					t.Fatal(err)
				}
				if made.Content != c.stored || from(made.ID, source.ID) != c.source || from(made.ID, reader.ID) != c.reader {
					t.Errorf("%s writes %q: %q is stored, copied from the post %d times and from the reader %d times", c.by.Name, c.text, made.Content, from(made.ID, source.ID), from(made.ID, reader.ID))
				}
			}
		})
	}
}

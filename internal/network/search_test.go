package network_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// hostileQueries are texts that a full-text engine would take for its own syntax.
var hostileQueries = []string{
	`quarterly report`, `"quarterly`, `report*`, `NEAR(quarterly report, 2)`, `quarterly AND NOT report`, `words:report`, `a' OR 1=1 --`,
	`report & | ! <-> :*`, `(report`, `\`, `'`, `^report`, `report -quarterly`, `{words}:report`, `é ÉTÉ naïve`, `été`, `東京`, `the nothing-at-all zebra`,
	`QUARTERLY`, `r e p o r t`, `report report report`, "report\u200b", `ﬁnance`, `STRASSE`, `10`, `kp`, `ki kc`,
}

// Both databases find the same and rank it alike, whatever is asked; and nothing
// that is asked fails.
func TestBothDatabasesFindTheSame(t *testing.T) {
	answers := make(map[string][]string)
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, author := s.Agent(t, "report-writer")
		_, reader := s.Agent(t, "reader")
		s.Community(t, author, "finance")
		texts := []string{
			"The quarterly report is late", "Report: quarterly numbers of 10 sites", "un été naïve", "東京の報告", "finance and Straße", "quarterly",
			"a report about a report in a quarterly", "nothing at all", "10 reports", "r e p o r t",
		}
		for i, text := range texts {
			post, err := s.Network.CreatePost.Do(ctx, author, network.NewPost{Community: "finance", Title: fmt.Sprintf("Title %d", i), Content: text})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Network.CreateComment.Do(ctx, author, network.NewComment{Post: network.Named{ID: post.ID}, Content: "On " + text}); err != nil {
				t.Fatal(err)
			}
		}
		var all []string
		for _, q := range hostileQueries {
			for _, typ := range []network.SearchType{network.SearchAll, network.SearchPosts, network.SearchComments, network.SearchAgents, network.SearchCommunities} {
				page, err := s.Network.Search.Do(ctx, reader, network.SearchQuery{Text: q, Type: typ, Limit: 50})
				if code := act.CodeOf(err); err != nil && code != act.Invalid {
					t.Errorf("%q: %v", q, err)
				}
				var found []string // sorted: of equal rank, ids decide, and they are not alike
				for _, f := range page.Items {
					found = append(found, fmt.Sprintf("%d %s %q", f.Similarity, f.ID.Kind(), f.Content))
				}
				slices.Sort(found)
				all = append(all, fmt.Sprintf("%q %s: %s", q, typ, found))
			}
		}
		answers[s.Server.DB.Dialect().String()] = all
	})
	if len(answers) == 2 && !slices.Equal(answers["sqlite"], answers["postgres"]) {
		for i, line := range answers["sqlite"] {
			if line != answers["postgres"][i] {
				t.Errorf("SQLite     %s\nPostgreSQL %s", line, answers["postgres"][i])
			}
		}
	}
	if len(answers) == 0 || len(answers[store.SQLite.String()]) == 0 {
		t.Error("nothing was asked")
	}
}

// What was deleted, and what stands under it, is not found; nor is what a killed
// agent wrote. A changed description is found by its new words only.
func TestSearchFindsNothingThatIsWithdrawn(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, author := s.Agent(t, "author")
		_, bad := s.Agent(t, "villain")
		_, reader := s.Agent(t, "reader")
		s.Community(t, author, "finance")
		find := func(text string, typ network.SearchType) (n int) {
			page, err := s.Network.Search.Do(ctx, reader, network.SearchQuery{Text: text, Type: typ})
			if err != nil {
				t.Fatal(err)
			}
			return len(page.Items)
		}
		post := func(p act.Principal, text string) act.ID {
			made, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "finance", Title: text, Content: "text"})
			if err != nil {
				t.Fatal(err)
			}
			return made.ID
		}
		gone := post(author, "canaryone")
		if _, err := s.Network.CreateComment.Do(ctx, bad, network.NewComment{Post: network.Named{ID: gone}, Content: "canarytwo"}); err != nil {
			t.Fatal(err)
		}
		post(bad, "canarythree")
		for _, c := range []string{"canaryone", "canarytwo", "canarythree"} {
			if find(c, network.SearchAll) != 1 {
				t.Fatalf("%s is not found", c)
			}
		}
		if _, err := s.Network.DeletePost.Do(ctx, author, network.Named{ID: gone}); err != nil {
			t.Fatal(err)
		}
		if a := s.Call(t, "POST", "/v1/agents/"+s.Codec.String(bad.ID)+"/kill", s.Token, map[string]string{"reason": "test"}); a.Status != 200 {
			t.Fatalf("kill: %d %s", a.Status, a.Raw)
		}
		for _, c := range []string{"canaryone", "canarytwo", "canarythree"} {
			if find(c, network.SearchAll) != 0 {
				t.Errorf("%s is still found", c)
			}
		}
		if find("villain", network.SearchAgents) != 0 {
			t.Error("a killed agent is found")
		}
		for _, text := range []string{"alphaword", "betaword"} {
			if _, err := s.Network.UpdateProfile.Do(ctx, author, network.ProfileChange{Description: &text}); err != nil {
				t.Fatal(err)
			}
		}
		if find("alphaword", network.SearchAgents) != 0 || find("betaword", network.SearchAgents) != 1 || find("finance", network.SearchCommunities) != 1 {
			t.Error("agents and communities are not found by what they say now")
		}
	})
}

// A walk through the pages of a search shows every match once, past the window in
// which matches are ranked against each other.
func TestSearchWalksEveryMatchOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, author := s.Agent(t, "author")
		_, reader := s.Agent(t, "reader")
		s.Community(t, author, "finance")
		const items = 230
		post := func() {
			if _, err := s.Network.CreatePost.Do(ctx, author, network.NewPost{Community: "finance", Title: "needle", Content: "in the hay"}); err != nil {
				t.Fatal(err)
			}
		}
		for range items {
			post()
		}
		seen := make(map[act.ID]int)
		q := network.SearchQuery{Text: "needle hay", Type: network.SearchAll, Limit: 50}
		for pages := 0; ; pages++ {
			page, err := s.Network.Search.Do(ctx, reader, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range page.Items {
				seen[f.ID]++
				if f.Similarity < 1 || f.Similarity > 1000 {
					t.Errorf("similarity %d", f.Similarity)
				}
			}
			post() // what comes meanwhile is not of this walk
			if page.Next.IsZero() {
				break
			}
			if q.Cursor = page.Next; pages > 20 {
				t.Fatal("the search does not end")
			}
		}
		if len(seen) != items {
			t.Errorf("%d results, want %d", len(seen), items)
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("%d was shown %d times", id, n)
			}
		}
	})
}

// What has the words is found behind however many newer items that have not, and a
// word that nearly all items have is found too.
func TestSearchReachesBehindTheNewest(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		_, author := s.Agent(t, "author")
		_, reader := s.Agent(t, "reader")
		s.Community(t, author, "finance")
		const needles, straws = 210, 2_100
		fill := func(n int, text string) {
			t.Helper()
			var g errgroup.Group
			g.SetLimit(32)
			for range n {
				g.Go(func() error {
					_, err := s.Network.CreatePost.Do(context.Background(), author, network.NewPost{Community: "finance", Title: text, Content: "in the hay"})
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		fill(needles, "needle")
		fill(straws, "straw")
		for _, c := range []struct {
			text string
			want int
		}{{"needle", needles}, {"needle hay", needles}, {"hay", needles + straws}, {"straw needle", needles + straws}} {
			q := network.SearchQuery{Text: c.text, Type: network.SearchPosts, Limit: 50}
			seen := make(map[act.ID]bool)
			for pages := 0; pages < 100; pages++ {
				page, err := s.Network.Search.Do(context.Background(), reader, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range page.Items {
					seen[f.ID] = true
				}
				if page.Next.IsZero() {
					break
				}
				q.Cursor = page.Next
			}
			if len(seen) != c.want {
				t.Errorf("%q finds %d posts, want %d", c.text, len(seen), c.want)
			}
		}
	})
}

// What is shown of a text begins and ends with whole words, where it has words.
func TestSnippetHasWholeWords(t *testing.T) {
	long := strings.Repeat("seventeen anchors ", 40)
	for _, at := range []int{0, 59, 60, 61, 70, 71, 72, 73, 200, 500, len(long) - 1} {
		got := network.Snippet(long, at)
		for _, word := range strings.Fields(strings.Trim(got, "…")) {
			if word != "seventeen" && word != "anchors" {
				t.Errorf("at %d: %q is cut: %q", at, word, got)
			}
		}
		if strings.HasPrefix(got, "…") != (at > 60) || strings.HasSuffix(got, "…") != (at < 580) || len(got) < 40 {
			t.Errorf("at %d: %q", at, got)
		}
	}
	solid := strings.Repeat("価格", 200)
	if got := network.Snippet(solid, 300); !strings.HasPrefix(got, "…") || utf8.RuneCountInString(got) < 200 || !utf8.ValidString(got) {
		t.Errorf("a text without spaces: %q", got)
	}
}

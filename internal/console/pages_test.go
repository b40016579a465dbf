package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// eachOpen runs fn against a server on either database whose pages are public.
func eachOpen(t *testing.T, fn func(t *testing.T, s *servertest.Server)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) { fn(t, open(t, d)) })
	}
}

func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func publish(t testing.TB, s *servertest.Server, p act.Principal, community, title, content string) network.Post {
	t.Helper()
	return must[network.Post](t)(s.Network.CreatePost.Do(context.Background(), p, network.NewPost{Community: community, Title: title, Content: content}))
}

func reply(t testing.TB, s *servertest.Server, p act.Principal, post, parent act.ID, content string) network.Comment {
	t.Helper()
	return must[network.Comment](t)(s.Network.CreateComment.Do(context.Background(), p, network.NewComment{
		Post: network.Named{ID: post}, Parent: network.Named{ID: parent}, Content: content,
	}))
}

// twins are a page's forms, in HTML first.
func twins(path string) []string {
	base, query, _ := strings.Cut(path, "?")
	if query != "" {
		query = "?" + query
	}
	if base == "/" {
		return []string{path, "/index.json" + query, "/index.md" + query, "/index.atom" + query}
	}
	return []string{path, base + ".json" + query, base + ".md" + query, base + ".atom" + query}
}

// Every state that an item or its author can be in is told by every form of every
// page that shows it.
func TestStatesAreVisible(t *testing.T) {
	eachOpen(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		op := operator(t, s)
		agents := make(map[string]act.Principal)
		for _, name := range []string{"ada", "paused-one", "killed-one"} {
			_, agents[name] = s.Agent(t, name)
		}
		s.Community(t, agents["ada"], "pricing")
		pinned := publish(t, s, agents["ada"], "pricing", "What is pinned", "x")
		must[network.Pin](t)(s.Network.PinPost.Do(ctx, agents["ada"], network.Named{ID: pinned.ID}))
		label := must[network.Label](t)(s.Network.DefineLabel.Do(ctx, agents["ada"], network.NewLabel{Community: "pricing", Key: "open", Name: "Open case", Color: "red", Kind: "tag"}))
		must[network.Attachment](t)(s.Network.AttachLabel.Do(ctx, agents["ada"], network.NewAttachment{Label: label.ID, Target: network.Named{ID: pinned.ID}, On: act.KindPost, Placement: "title"}))
		by := map[string]network.Post{}
		for name, p := range agents {
			by[name] = publish(t, s, p, "pricing", "By "+name, "said by "+name)
		}
		gone := publish(t, s, agents["ada"], "pricing", "What is deleted", "x")
		must[act.Ref](t)(s.Network.DeletePost.Do(ctx, agents["ada"], network.Named{ID: gone.ID}))
		thread := by["ada"]
		root := reply(t, s, agents["ada"], thread.ID, 0, "the root that goes")
		below := reply(t, s, agents["paused-one"], thread.ID, root.ID, "the answer that stays")
		must[network.Deleted](t)(s.Network.DeleteComment.Do(ctx, agents["ada"], network.Named{ID: root.ID}))
		must[lifecycle.Agent](t)(s.Lifecycle.Pause.Do(ctx, op, lifecycle.Order{Agent: agents["paused-one"].ID, Reason: "looks odd"}))
		must[lifecycle.Agent](t)(s.Lifecycle.Kill.Do(ctx, op, lifecycle.Order{Agent: agents["killed-one"].ID, Reason: "is odd"}))
		must[network.Imported](t)(s.Network.Import.Do(ctx, op, network.Batch{Source: "elsewhere", Posts: []network.ForeignPost{{
			ID: "old-1", Title: "From elsewhere", Content: "x", Up: 41, Down: 2, Comments: 7, CreatedAt: time.Now().Add(-time.Hour),
			Author: network.ForeignAuthor{ID: "f1", Name: "stranger.json"}, Place: network.ForeignPlace{ID: "p1", Name: "pricing"},
		}}}))

		says := func(path string, html, json, md, atom string) {
			t.Helper()
			for i, at := range twins(path) {
				a := get(t, s, at)
				want := []string{html, json, md, atom}[i]
				if a.Status != http.StatusOK || !strings.Contains(string(a.Raw), want) {
					t.Errorf("%s: %d without %q", at, a.Status, want)
				}
			}
		}
		post := func(p network.Post) string { return "/post/" + s.Codec.String(p.ID) }
		short := s.Codec.String(agents["ada"].ID)[:8]
		for _, list := range []string{"/?sort=new", "/m/pricing?sort=new"} {
			says(list, "▲ pinned", `"pinned":true`, "state: pinned", `term="pinned"`)
			says(list, "‖ paused", `"standing":"paused"`, ", paused", `term="paused"`)
			says(list, "✕ killed", `"standing":"killed"`, ", killed", `term="killed"`)
			says(list, "⇤ imported", `"origin":"imported"`, "origin: imported", `term="imported"`)
			says(list, `title="Origin: an agent wrote it"`, `"origin":"agent"`, "origin: agent", `term="agent"`)
			says(list, "has an owner", `"owned":true`, "has an owner", `term="owned"`)
			says(list, `class="id" title="`+short, `"id":"`+short, "("+short+")", "("+short+")")
			says(list, ">39<", `"score":39`, "score: 39", "From elsewhere")
		}
		says(post(pinned), "Open case", `"name":"Open case"`, "label: ` Open case `", "What is pinned")
		says(post(thread), "deleted or withheld", `"deleted":true`, "deleted or withheld", `term="deleted"`)
		says(post(thread), "the answer that stays", "the answer that stays", "the answer that stays", "the answer that stays")
		says("/u/paused-one", "‖ paused", `"standing":"paused"`, "standing: paused", `term="paused"`)
		says("/search?q=paused&type=agents", "‖ paused", `"standing":"paused"`, ", paused", `term="paused"`)

		// A name that ends like a twin's is reached all the same.
		a := get(t, s, "/u/stranger.json.html")
		if !strings.Contains(string(a.Raw), "<h1><bdi dir=\"ltr\">stranger.json</bdi></h1>") || strings.Contains(string(a.Raw), "no owner") {
			t.Errorf("the agent stranger.json: %d", a.Status)
		}
		if a := get(t, s, "/index.json?sort=new"); !strings.Contains(string(a.Raw), "From elsewhere") {
			t.Error("the imported post is not on the front page")
		}
		if a := get(t, s, "/post/old-1"); a.Status != http.StatusOK {
			t.Errorf("an imported post by the id it had: %d", a.Status)
		}
		// The tree keeps its shape, and nothing of the text that went.
		page := string(get(t, s, post(thread)).Raw)
		if strings.Contains(page, "the root that goes") || !strings.Contains(page, `id="c-`+s.Codec.String(root.ID)) ||
			strings.Index(page, s.Codec.String(root.ID)) > strings.Index(page, s.Codec.String(below.ID)) {
			t.Error("the deleted comment has left the tree, or its text has not")
		}
		for _, at := range twins(post(gone)) {
			if a := get(t, s, at); a.Status != http.StatusGone || strings.Contains(string(a.Raw), "What is deleted") {
				t.Errorf("%s, which is deleted: %d", at, a.Status)
			}
		}
		for _, at := range slices.Concat(twins("/m/nowhere"), twins("/u/nobody"), twins("/post/"+s.Codec.String(root.ID))) {
			if a := get(t, s, at); a.Status != http.StatusNotFound {
				t.Errorf("%s: %d, want 404", at, a.Status)
			}
		}
		for _, at := range []string{"/?sort=odd", "/?after=x", "/?t=aeon&sort=top", "/m?sort=odd", "/search?q=a&type=odd"} {
			if a := get(t, s, at); a.Status != http.StatusBadRequest || !strings.Contains(string(a.Raw), "<h1>Bad Request</h1>") {
				t.Errorf("%s: %d, want 400", at, a.Status)
			}
		}
	})
}

// Each standing that an author can have has words of its own, on pages and in twins.
func TestEveryStandingHasAMark(t *testing.T) {
	raw := string(get(t, open(t, store.SQLite), "/status").Raw)
	for s := act.Requested; s <= act.Stale; s++ {
		if !strings.Contains(raw, ">"+s.String()+"<") {
			t.Errorf("the page of the status does not tell of agents that are %s", s)
		}
	}
}

// Lists are walked by their next links to the end, in every form, and everything is
// on them once.
func TestPaging(t *testing.T) {
	eachOpen(t, func(t *testing.T, s *servertest.Server) {
		_, ada := s.Agent(t, "ada")
		const posts = 60
		for i := range posts {
			publish(t, s, ada, "general", fmt.Sprintf("Post number %d.", i), "x")
		}
		first := must[act.Page[network.Post]](t)(s.Network.ReadFeed.Do(context.Background(), ada, network.FeedQuery{Sort: network.FeedNew})).Items[0]
		for i := range 40 {
			reply(t, s, ada, first.ID, 0, fmt.Sprintf("Comment number %d.", i))
		}
		more := map[int]*regexp.Regexp{
			0: regexp.MustCompile(`<a href="(\?[^"]+)" rel="next">`), 1: regexp.MustCompile(`"next":"([^"]+)"`),
			2: regexp.MustCompile(`(?m)^> Next: <([^>]+)>`), 3: regexp.MustCompile(`<link rel="next" [^>]*href="([^"]+)"`),
		}
		for _, c := range []struct {
			path, what string
			n          int
		}{
			{"/?sort=new", "Post number", posts}, {"/", "Post number", posts}, {"/?sort=top", "Post number", posts}, {"/?sort=rising", "Post number", posts},
			{"/m/general?sort=new", "Post number", posts}, {"/u/ada?sort=new", "Post number", posts}, {"/search?q=number&type=posts", "Post number", posts},
			{"/post/" + s.Codec.String(first.ID), "Comment number", 40},
		} {
			for form, at := range twins(c.path) {
				seen := make(map[string]int)
				pages := 0
				for next := at; next != "" && pages < 10; pages++ {
					a := get(t, s, next)
					if a.Status != http.StatusOK {
						t.Fatalf("%s: %d", next, a.Status)
					}
					for i := range c.n {
						text := fmt.Sprintf("%s %d.", c.what, i)
						seen[text] += min(1, strings.Count(string(a.Raw), text))
					}
					m := more[form].FindStringSubmatch(string(a.Raw))
					if m == nil {
						break
					}
					link := strings.ReplaceAll(strings.ReplaceAll(m[1], "&amp;", "&"), `\u0026`, "&")
					base := must[*url.URL](t)(url.Parse(s.URL + next))
					next = strings.TrimPrefix(must[*url.URL](t)(base.Parse(link)).String(), s.URL)
				}
				for i := range c.n {
					if n := seen[fmt.Sprintf("%s %d.", c.what, i)]; n != 1 {
						t.Errorf("%s: %s %d is on %d pages", at, c.what, i, n)
					}
				}
				if pages < 1 {
					t.Errorf("%s: one page only", at)
				}
			}
		}
	})
}

// HEAD tells what GET would; what has not changed is not sent again; what is kept is
// kept under a name that changes with it.
func TestHeadAndCaching(t *testing.T) {
	s := open(t, store.SQLite)
	_, ada := s.Agent(t, "ada")
	post := publish(t, s, ada, "general", "A post", "x")
	paths := slices.Concat(twins("/m/general"), twins("/post/"+s.Codec.String(post.ID)), twins("/m"), twins("/about"))
	for _, path := range paths {
		full := get(t, s, path)
		tag := full.Header.Get("Etag")
		if full.Status != http.StatusOK || tag == "" || full.Header.Get("Cache-Control") != "no-cache" || !strings.Contains(full.Header.Get("Vary"), "Cookie") {
			t.Errorf("%s: %d, %v", path, full.Status, full.Header)
		}
		head := s.Call(t, http.MethodHead, path, "", nil)
		if head.Status != http.StatusOK || len(head.Raw) != 0 || head.Header.Get("Content-Length") != fmt.Sprint(len(full.Raw)) || head.Header.Get("Etag") != tag {
			t.Errorf("HEAD %s: %d, %d bytes, %v", path, head.Status, len(head.Raw), head.Header)
		}
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil))
		req.Header.Set("If-None-Match", `"other", W/`+tag)
		if again := s.Send(t, req); again.Status != http.StatusNotModified || len(again.Raw) != 0 {
			t.Errorf("%s again: %d with %d bytes", path, again.Status, len(again.Raw))
		}
		req.Header.Set("If-None-Match", `"other"`)
		if again := s.Send(t, req); again.Status != http.StatusOK {
			t.Errorf("%s after a change: %d", path, again.Status)
		}
		if a := s.Call(t, http.MethodPost, path, "", nil); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, a.Status)
		}
	}
	style := regexp.MustCompile(`/assets/reef-[0-9a-f]{12}\.css`).FindString(string(get(t, s, "/about").Raw))
	a := get(t, s, style)
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/css") || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || len(a.Raw) > 32<<10 {
		t.Errorf("the stylesheet %q: %d, %v, %d bytes", style, a.Status, a.Header, len(a.Raw))
	}
	if a := get(t, s, "/assets/reef-000000000000.css"); a.Status != http.StatusNotFound {
		t.Errorf("another stylesheet: %d", a.Status)
	}
}

// A path that is no page answers programs in JSON and people in HTML.
func TestNowhere(t *testing.T) {
	s := open(t, store.SQLite)
	if a := get(t, s, "/nowhere/at/all"); a.Status != http.StatusNotFound || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("for a program: %d %s", a.Status, a.Header.Get("Content-Type"))
	}
	req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/nowhere/at/all", nil))
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	a := s.Send(t, req)
	if a.Status != http.StatusNotFound || !strings.Contains(string(a.Raw), `href="./../../assets/reef-`) {
		t.Errorf("for people: %d %.300s", a.Status, a.Raw)
	}
	harmless(t, s, "/nowhere/at/all", a)
}

// Reading a page is put on record as an observer's reading, or the operator's who is
// signed in, by the gate like any other.
func TestReadingIsOnRecord(t *testing.T) {
	eachOpen(t, func(t *testing.T, s *servertest.Server) {
		_, ada := s.Agent(t, "ada")
		post := publish(t, s, ada, "general", "A post", "x")
		c := reply(t, s, ada, post.ID, 0, "a comment")
		get(t, s, "/post/"+s.Codec.String(post.ID)+".json")
		s.Call(t, http.MethodGet, "/post/"+s.Codec.String(post.ID), s.Token, nil)
		shown := make(map[act.ID]map[string]bool) // to whom, on which channel
		if err := s.DB.View(t.Context(), func(v *store.View) error {
			return v.All(`SELECT agent, channel FROM exposure`, func(r *store.Row) error {
				if shown[r.ID(0)] == nil {
					shown[r.ID(0)] = make(map[string]bool)
				}
				shown[r.ID(0)][r.Text(1)] = true
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		for _, who := range []act.ID{0, operator(t, s).ID} {
			if !shown[who]["post.read"] || !shown[who]["comment.list"] {
				t.Errorf("to %d was shown on %v", who, shown[who])
			}
		}
		_ = c
	})
}

// Where only operators may read, every page and twin asks to sign in and shows
// nothing; where pages are off there are none. The API's own setting opens neither.
func TestPagesAreForOperators(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.AnonymousAPI = true
	s := servertest.Start(t, cfg)
	_, ada := s.Agent(t, "ada")
	post := publish(t, s, ada, "general", "Not for strangers", "kept within")
	pages := slices.Concat(twins("/"), twins("/m"), twins("/m/general"), twins("/post/"+s.Codec.String(post.ID)), twins("/u/ada"), twins("/search?q=kept"), twins("/status"))
	for _, path := range pages {
		a := get(t, s, path)
		if a.Status != http.StatusUnauthorized || strings.Contains(string(a.Raw), "strangers") || strings.Contains(string(a.Raw), "kept within") {
			t.Errorf("%s for a stranger: %d %.200s", path, a.Status, a.Raw)
		}
		if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") && !strings.Contains(string(a.Raw), `name="token" type="password"`) {
			t.Errorf("%s does not ask to sign in", path)
		}
		if a := s.Call(t, http.MethodGet, path, s.Token, nil); a.Status != http.StatusOK || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s for an operator: %d %v", path, a.Status, a.Header)
		}
	}
	for _, path := range twins("/about") {
		if a := get(t, s, path); a.Status != http.StatusOK {
			t.Errorf("%s: %d", path, a.Status)
		}
	}

	cfg = servertest.Config(t, store.SQLite)
	cfg.ObserverPages = server.PagesOff
	s = servertest.Start(t, cfg)
	for _, path := range append(pages, "/about", "/sign-in") {
		if a := get(t, s, path); a.Status != http.StatusNotFound {
			t.Errorf("%s where there are no pages: %d", path, a.Status)
		}
	}

	// Public pages do not open the API.
	s = open(t, store.SQLite)
	for _, path := range []string{"/v1/posts", "/api/v1/posts", "/api/v1/feed"} {
		if a := get(t, s, path); a.Status != http.StatusUnauthorized {
			t.Errorf("%s where only pages are public: %d", path, a.Status)
		}
	}
}

// A network below a path has pages whose links stay there.
func TestPagesOfNamedNetworks(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.ObserverPages = server.PagesPublic
	must[server.NetworkInfo](t)(server.CreateNetwork(cfg.Data, "pricing", ""))
	s := servertest.Start(t, cfg)
	if a := get(t, s, "/n/pricing"); a.Status != http.StatusOK { // after a redirect
		t.Fatalf("/n/pricing: %d", a.Status)
	}
	for _, path := range []string{"/n/pricing/", "/n/pricing/m", "/n/pricing/m/general", "/n/pricing/search"} {
		a := get(t, s, path)
		if a.Status != http.StatusOK {
			t.Fatalf("%s: %d", path, a.Status)
		}
		base := must[*url.URL](t)(url.Parse(s.URL + path))
		links := regexp.MustCompile(`(?:href|action)="([^"]+)"`).FindAllStringSubmatch(string(a.Raw), -1)
		for _, l := range links {
			to := must[*url.URL](t)(base.Parse(strings.ReplaceAll(l[1], "&amp;", "&")))
			if !strings.HasPrefix(to.Path, "/n/pricing/") {
				t.Errorf("%s: %q leads to %s", path, l[1], to)
			}
			if to.Path != "/n/pricing/sign-out" && !strings.HasSuffix(to.Path, "skill.md") {
				if a := get(t, s, to.RequestURI()); a.Status != http.StatusOK {
					t.Errorf("%s leads to %s: %d", path, to, a.Status)
				}
			}
		}
		if len(links) < 8 {
			t.Errorf("%s has %d links", path, len(links))
		}
	}
	var page struct{ URL string }
	decode(t, get(t, s, "/n/pricing/m/general.json"), &page)
	if page.URL != s.URL+"/n/pricing/m/general" {
		t.Errorf("the twin names %s", page.URL)
	}
}

// A tree of any depth is drawn, no element of it deeper than browsers can nest.
func TestDeepTree(t *testing.T) {
	s := open(t, store.SQLite)
	_, ada := s.Agent(t, "ada")
	post := publish(t, s, ada, "general", "Deep", "x")
	parent := act.ID(0)
	for i := range 120 {
		parent = reply(t, s, ada, post.ID, parent, fmt.Sprintf("level %d.", i)).ID
	}
	page := string(get(t, s, "/post/"+s.Codec.String(post.ID)).Raw)
	at := 0
	for i := range 120 {
		next := strings.Index(page[at:], fmt.Sprintf("level %d.", i))
		if next < 0 {
			t.Fatalf("level %d is missing, or before what it answers", i)
		}
		at += next
	}
	deep, most := 0, 0
	for _, tag := range regexp.MustCompile(`</?(?:article|details|div|section|main)\b`).FindAllString(page, -1) {
		if strings.HasPrefix(tag, "</") {
			deep--
		} else {
			deep++
		}
		most = max(most, deep)
	}
	if most > 40 || deep != 0 {
		t.Errorf("elements are %d deep, %d open at the end", most, deep)
	}
	if !strings.Contains(page, "level 119</span>") {
		t.Error("the deepest comment does not say how deep it is")
	}
}

// What an operator is shown of an agent: whose it is, why it stands as it does, and
// what of it waits for a human. Others are shown none of it.
func TestOversight(t *testing.T) {
	eachOpen(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		op := operator(t, s)
		_, ada := s.Agent(t, "ada")
		s.Community(t, ada, "pricing")
		label := must[network.Label](t)(s.Network.DefineLabel.Do(ctx, ada, network.NewLabel{Community: "pricing", Key: "watch", Name: "Watch", Color: "red", Kind: "role"}))
		if _, err := s.Network.PromptRole.Do(ctx, ada, network.NewPrompt{Label: label.ID, Text: "Look at the prices twice a day.", Cadence: 720}); act.CodeOf(err) != act.Held {
			t.Fatalf("a role's prompt is not held: %v", err)
		}
		must[lifecycle.Agent](t)(s.Lifecycle.Pause.Do(ctx, op, lifecycle.Order{Agent: ada.ID, Reason: "to look closer"}))
		for _, path := range twins("/u/ada") {
			private := string(s.Call(t, http.MethodGet, path, s.Token, nil).Raw)
			public := string(get(t, s, path).Raw)
			if strings.HasSuffix(path, ".atom") {
				continue
			}
			for _, want := range []string{"to look closer", "label.prompt", "tests"} {
				if !strings.Contains(private, want) {
					t.Errorf("%s does not tell operators %q", path, want)
				}
				if strings.Contains(public, want) {
					t.Errorf("%s tells everybody %q", path, want)
				}
			}
		}
		for _, path := range twins("/status") {
			if a := get(t, s, path); !regexp.MustCompile(`(?s)Waiting <span>for a human</span></dt><dd>1|"acts_waiting":1|wait for a human: 1|1 acts wait`).Match(a.Raw) {
				t.Errorf("%s does not tell that something waits", path)
			}
		}
	})
}

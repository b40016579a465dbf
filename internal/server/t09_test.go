package server_test

import (
	"cmp"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// second opens a named network in the process of s and returns it as a server of
// its own, reached below its path.
func second(t *testing.T, s *servertest.Server, name string) *servertest.Server {
	t.Helper()
	if _, err := server.CreateNetwork(s.Config.Data, name, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the network is open", func() bool { return s.Named(name) != nil })
	n := s.Named(name)
	token, err := os.ReadFile(n.Config.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	return &servertest.Server{Server: n, URL: s.URL + "/n/" + name, Token: strings.TrimSpace(string(token))}
}

// T09: two networks in one process. Every route of each, called with the ids and
// credentials of the other, gives nothing of the other: no byte of its content,
// no success on its things, no difference between what is foreign and what does
// not exist.
func TestT09_NetworksDoNotSeeEachOther(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			a := servertest.Start(t, servertest.Config(t, d))
			b := second(t, a, "other")
			t.Cleanup(func() { servertest.CheckInvariants(t, b.Server) })
			crossed(t, a, b)
			crossed(t, b, a)
		})
	}
}

// crossed tries everything of here with what belongs to there.
func crossed(t *testing.T, here, there *servertest.Server) {
	t.Helper()
	ctx := t.Context()
	of := cmp.Or(there.Config.Network, server.DefaultNetwork)
	canary, stranger, place := "canary-of-"+of, "agent-of-"+of, "place-of-"+of
	foreignKey, foreigner := there.Agent(t, stranger)
	there.Community(t, foreigner, place)
	post, err := there.Network.CreatePost.Do(ctx, foreigner, network.NewPost{Community: place, Title: canary, Content: canary})
	if err != nil {
		t.Fatal(err)
	}
	comment, err := there.Network.CreateComment.Do(ctx, foreigner, network.NewComment{Post: network.Named{ID: post.ID}, Content: canary})
	if err != nil {
		t.Fatal(err)
	}
	key, _ := here.Agent(t, "reader")
	ids := map[act.Kind]string{
		act.KindPost: there.Codec.String(post.ID), act.KindComment: there.Codec.String(comment.ID), act.KindAgent: there.Codec.String(foreigner.ID),
	}
	parameter := regexp.MustCompile(`\{[a-zA-Z_]+\}`)
	var foreign int
	for _, door := range here.API.Doors() {
		for _, r := range door.Routes {
			if r.Act == "" || strings.Contains(r.Path, "/stream") {
				continue
			}
			var paths []string
			r.Path = strings.TrimSuffix(r.Path, "{$}")
			if parameter.MatchString(r.Path) {
				for _, id := range append(slices.Sorted(mapValues(ids)), place, stranger) {
					paths = append(paths, door.Prefix+parameter.ReplaceAllString(r.Path, id))
				}
			} else {
				paths = []string{door.Prefix + r.Path, door.Prefix + r.Path + "?sort=new&limit=100&q=" + canary + "&name=" + stranger}
			}
			for _, path := range paths {
				for _, credential := range []string{key, here.Token} {
					var body any
					if r.Method != http.MethodGet && r.Method != http.MethodDelete {
						body = map[string]any{}
					}
					got := here.Call(t, r.Method, path, credential, body)
					if strings.Contains(string(got.Raw), canary) && !strings.Contains(r.Path, "search") {
						t.Errorf("%s %s shows the other network's content", r.Method, path)
					}
					if strings.Contains(string(got.Raw), `"title":"`+canary) {
						t.Errorf("%s %s shows the other network's post", r.Method, path)
					}
					if len(paths) > 2 && got.Status < 300 {
						t.Errorf("%s %s answers %d on a foreign thing: %s", r.Method, path, got.Status, got.Raw)
					}
				}
				// A credential of the other network is none here.
				if !r.Anonymous {
					foreign++
					for _, credential := range []string{foreignKey, there.Token} {
						if got := here.Call(t, r.Method, path, credential, nil); got.Status != http.StatusUnauthorized {
							t.Errorf("%s %s takes the other network's credential: %d", r.Method, path, got.Status)
						}
					}
				}
			}
		}
	}
	if foreign < 30 {
		t.Errorf("%d routes were walked only", foreign)
	}

	// Reading by id: foreign and absent are answered alike, and cost alike. The
	// times are told; a test that failed on them would fail on a busy machine.
	absent := there.Codec.String(0x7fff_ffff_ffff)
	took := map[string][]time.Duration{}
	for range 50 {
		for what, id := range map[string]string{"foreign": ids[act.KindPost], "absent": absent} {
			began := time.Now()
			got := here.Call(t, http.MethodGet, "/api/v1/posts/"+id, key, nil)
			took[what] = append(took[what], time.Since(began))
			if got.Status != http.StatusNotFound {
				t.Fatalf("%s: %d", what, got.Status)
			}
		}
	}
	for _, list := range took {
		slices.Sort(list)
	}
	t.Logf("p50 of a foreign id %v, of an absent one %v", took["foreign"][25], took["absent"][25])

	// A cursor of the other network opens nothing.
	for range 3 {
		if _, err := there.Network.CreatePost.Do(ctx, foreigner, network.NewPost{Community: place, Title: canary, Content: canary}); err != nil {
			t.Fatal(err)
		}
	}
	page := there.Call(t, http.MethodGet, "/api/v1/posts?sort=new&limit=1", foreignKey, nil)
	if cursor, _ := page.JSON["next_cursor"].(string); cursor == "" {
		t.Fatal("no cursor to try")
	} else if got := here.Call(t, http.MethodGet, "/api/v1/posts?sort=new&limit=1&cursor="+cursor, key, nil); got.Status != http.StatusBadRequest {
		t.Errorf("the other network's cursor: %d", got.Status)
	}
}

func mapValues[K comparable](m map[K]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// Requests go by host name, by path, and else to the default network; a named
// network is never left by way of a redirect, and one that cannot be opened
// keeps no other shut.
func TestNetworksAreRouted(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	if _, err := server.CreateNetwork(s.Config.Data, "pricing", "pricing.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.CreateNetwork(s.Config.Data, "spoiled", ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(server.NetworkDir(s.Config.Data, "spoiled"), "network.yaml"), []byte("addr: 0.0.0.0:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the network is open", func() bool { return s.Named("pricing") != nil })
	if s.Named("spoiled") != nil {
		t.Error("a network with a setting of the process is open")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range []struct {
		host, path, want string // of the network's public URL in what comes back; "" for the default's
		status           int
	}{
		{"", "/skill.json", s.URL + `/api/v1"`, 200},
		{"", "/n/pricing/skill.json", "/n/pricing/api/v1", 200},
		{"pricing.example", "/skill.json", "/n/pricing/api/v1", 200},
		{"PRICING.example:7333", "/skill.json", "/n/pricing/api/v1", 200},
		{"other.example", "/skill.json", s.URL + `/api/v1"`, 200},
		{"", "/n/nowhere/skill.json", "nothing at this path", 404},
		{"", "/n/pricing", `"/n/pricing/"`, 308},
		{"", "/n/nowhere", "nothing at this path", 404},
		{"", "/n/pricing//skill.json", "/n/pricing/api/v1", 200},
		{"", "/n/pricing/../../skill.json", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 4096)
		n, _ := resp.Body.Read(raw)
		resp.Body.Close()
		if c.path == "/n/pricing/../../skill.json" {
			if location := resp.Header.Get("Location"); resp.StatusCode >= 300 && location != "/skill.json" {
				t.Errorf("%s: sent to %q", c.path, location)
			}
			continue
		}
		if resp.StatusCode != c.status || !strings.Contains(string(raw[:n]), c.want) {
			t.Errorf("%q %s: %d %s, want %d with %q", c.host, c.path, resp.StatusCode, raw[:n], c.status, c.want)
		}
	}
}

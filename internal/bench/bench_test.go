package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/cli"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// TestMain makes the test binary the reef that the sides are processes of.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "bench" || os.Args[1] == "serve") {
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, Command))
	}
	os.Exit(m.Run())
}

// bench runs a command line and returns its figures. Nothing may be left in the
// directory it was given.
func bench(t *testing.T, args ...string) []figure {
	t.Helper()
	dir := temporary(t)
	var out bytes.Buffer
	c := Command(&out, t.Output())
	c.SetArgs(append(args, "-o", "json", "--dir", dir))
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var figures []figure
	for line := range bytes.Lines(out.Bytes()) {
		var f figure
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		figures = append(figures, f)
	}
	return figures
}

// temporary is a directory that a PostgreSQL server of another user can reach.
func temporary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "reef-bench-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// want checks that a figure is there once and above 0.
func want(t *testing.T, figures []figure, db, variant, side, metric string) {
	t.Helper()
	var found []figure
	for _, f := range figures {
		if f.DB == db && f.Variant == variant && f.Side == side && f.Metric == metric {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d figures %s %s %s %s, want 1", len(found), db, variant, side, metric)
		return
	}
	f := found[0]
	if !(f.Value > 0 && f.Min > 0 && f.Max >= f.Min) || f.N < 1 || f.Reps != 1 || f.Unit == "" || f.At == "" || f.Commit == "" || f.CPU == "" {
		t.Errorf("%+v", f)
	}
	if strings.HasPrefix(metric, "ratio_") && (f.Ratio == nil || *f.Ratio != f.Value || f.Baseline == "") {
		t.Errorf("%s without its baseline: %+v", metric, f)
	}
	if metric == "rate" && (f.P50 == nil || f.P99 == nil || *f.P50 <= 0 || *f.P99 < *f.P50) {
		t.Errorf("rate without latencies: %+v", f)
	}
}

var small = []string{"--seconds", "0.2", "--reps", "1", "--conns", "8", "--agents", "32", "--scale", "1"}

func TestPost(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		profile := filepath.Join(t.TempDir(), "post.prof")
		figures := bench(t, append(small, "post", "--db", "sqlite", "--profile", profile)...)
		for _, side := range []sideKind{governed, ungoverned, raw} {
			want(t, figures, dbSQLite, "", string(side), "rate")
			want(t, figures, dbSQLite, "", string(side), "cpu_per_op")
			want(t, figures, dbSQLite, "", string(side), "allocs_per_op")
		}
		want(t, figures, dbSQLite, "", "governed", "ratio_raw")
		want(t, figures, dbSQLite, "", "governed", "ratio_ungoverned")
		if info, err := os.Stat(profile); err != nil || info.Size() == 0 {
			t.Errorf("no profile: %v", err)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		storetest.URL(t) // skips or fails without a server; the bench starts its own
		figures := bench(t, append(small, "post", "--db", "postgres")...)
		for _, metric := range []string{"ratio_raw", "ratio_raw_tx", "ratio_ungoverned"} {
			want(t, figures, dbPostgres, "", "governed", metric)
		}
		if os.Getenv("DATABASE_URL") == "" {
			want(t, figures, dbPostgres, "", "governed", "db_cpu_per_op")
		}
	})
}

// TestBackup: the network that is copied is served, and what it answers is stored.
func TestBackup(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := append(small, "backup", "--base", "1000", "--db", db)
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t))
			}
			figures := bench(t, args...)
			want(t, figures, db, "", string(copied), "rate")
			want(t, figures, db, "", string(governed), "rate")
			want(t, figures, db, "", string(copied), "ratio_alone")
		})
	}
}

func TestFeed(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		figures := bench(t, append(small, "feed", "--db", "sqlite")...)
		for _, v := range []variant{fresh, again, cold} {
			want(t, figures, dbSQLite, string(v), "governed", "rate")
			want(t, figures, dbSQLite, string(v), "bare", "rate")
			want(t, figures, dbSQLite, string(v), "governed", "ratio_bare")
		}
	})
	t.Run("postgres", func(t *testing.T) {
		figures := bench(t, append(small, "feed", "--db", "postgres", "--db-url", storetest.URL(t))...)
		want(t, figures, dbPostgres, string(fresh), "governed", "ratio_bare")
		want(t, figures, dbPostgres, string(again), "governed", "ratio_bare")
	})
}

// onBoth runs a scenario at its least size on both databases and looks for figures:
// metrics by variant.
func onBoth(t *testing.T, name string, sides []sideKind, ratios map[string][]string) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := append(slices.Clone(small), name, "--base", "1000", "--db", db)
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t))
			}
			figures := bench(t, args...)
			for v, metrics := range ratios {
				for _, side := range sides {
					want(t, figures, db, v, string(side), "rate")
					want(t, figures, db, v, string(side), "cpu_per_op")
				}
				for _, metric := range metrics {
					want(t, figures, db, v, "governed", metric)
				}
				if db == dbPostgres && (name == "votes" || name == "messages") {
					want(t, figures, db, v, "governed", "ratio_raw_tx")
				}
			}
		})
	}
}

func TestVotes(t *testing.T) {
	onBoth(t, "votes", []sideKind{governed, raw}, map[string][]string{"": {"ratio_raw"}})
}

func TestMessages(t *testing.T) {
	onBoth(t, "messages", []sideKind{governed, raw}, map[string][]string{"": {"ratio_raw"}})
}

func TestHome(t *testing.T) {
	both := []string{"ratio_raw", "ratio_bare"}
	onBoth(t, "home", []sideKind{governed, raw, bare}, map[string][]string{string(quiet): both, string(news): both})
}

func TestSearch(t *testing.T) {
	one := []string{"ratio_raw"}
	onBoth(t, "search", []sideKind{governed, raw}, map[string][]string{
		string(rare): one, string(hundredth): one, string(common): one, string(apart): one,
	})
}

// TestToken: tokens that the product has issued are verified by it, for agents that
// acts made and for the rows beside them.
func TestToken(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := append(slices.Clone(small), "token", "--base", "1000", "--scale", "1,2", "--db", db)
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t))
			}
			figures := bench(t, args...)
			for _, name := range []string{"issue", "verify_cold", "verify_cold_dpop", "proof"} {
				for _, alg := range []string{"EdDSA", "ES256"} {
					want(t, figures, "", name, alg, "time_per_op")
					want(t, figures, "", name, alg, "ratio_bare")
				}
			}
			first := slices.DeleteFunc(figures, func(f figure) bool { return f.Scale == 2 })
			for _, name := range []string{"issue", "exchange", "verify_cold", "verify_cold_dpop", "verify_cached", "verify_cached_dpop"} {
				want(t, first, db, name, "governed", "time_per_op")
				want(t, first, db, name, "governed", "ratio_bare")
				if !slices.ContainsFunc(figures, func(f figure) bool { return f.DB == db && f.Variant == name && f.Metric == "growth_time" }) {
					t.Errorf("%s without its growth", name)
				}
			}
		})
	}
}

// TestRevoke: nothing is done with a token after its revocation, and each takes some time.
func TestRevoke(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := append(slices.Clone(small), "revoke", "--base", "1000", "--db", db)
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t), "--nats", servertest.NATS(t).ClientURL())
			}
			figures := bench(t, args...)
			variant := map[string]string{dbSQLite: "1 nodes", dbPostgres: "2 nodes"}[db]
			for _, metric := range []string{"revoke", "revoke_p99", "acts_beside"} {
				want(t, figures, db, variant, "governed", metric)
			}
		})
	}
}

// TestKill: nothing is done by who is stopped after the stop was acknowledged, and each
// takes some time.
func TestKill(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := append(slices.Clone(small), "kill", "--base", "1000", "--db", db)
			variants := []string{"1 nodes"}
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t), "--nats", servertest.NATS(t).ClientURL())
				variants = append(variants, "3 nodes")
			}
			figures := bench(t, args...)
			for _, nodes := range variants {
				for _, scope := range []string{"agent", "lineage", "owner", "all"} {
					for _, metric := range []string{"stop_ms", "stop_p99", "ack_p99", "acts_beside"} {
						want(t, figures, db, scope+", "+nodes, "governed", metric)
					}
					at := slices.IndexFunc(figures, func(f figure) bool { return f.Variant == scope+", "+nodes && f.Metric == "acts_after_ack" })
					if at < 0 || figures[at].Value != 0 {
						t.Errorf("%s, %s: acts after the acknowledgement: %v", scope, nodes, figures)
					}
				}
			}
		})
	}
}

// TestGate: the engines decide alike, which the bench itself sees to, and each size has its
// figures. There is no peer here.
func TestGate(t *testing.T) {
	figures := bench(t, append(slices.Clone(small), "gate", "--base", "1000", "--policies", "100", "--opa", filepath.Join(t.TempDir(), "none"))...)
	want(t, figures, dbSQLite, "", "governed", "kill_check_ns")
	want(t, figures, dbSQLite, "the network's own", "governed", "decision_cached_ns")
	for _, s := range shapes {
		for _, metric := range []string{"decision_10_ns", "decision_100_ns", "decision_cached_ns", "times_10"} {
			want(t, figures, "", s.name, "governed", metric)
		}
		want(t, figures, "", s.name, "cedar-go", "cedar_100_ns")
	}
	for _, f := range figures {
		if (f.Metric == "kill_check_allocs" || f.Metric == "decision_cached_allocs") && f.Value != 0 {
			t.Errorf("%s of %s: %g objects", f.Metric, f.Variant, f.Value)
		}
	}
}

// The same laws say the same in Cedar and in Rego.
func TestLaws(t *testing.T) {
	list := []law{{act: "post.create"}, {act: "a", owner: "o"}, {forbid: true, act: "a", class: "c"}, {act: "a", place: "p"}}
	for text, wants := range map[string][]string{
		cedarOf(list): {
			`@id("l0") permit (principal is Agent, action == Action::"post.create", resource) when { principal.standing == "active" };`,
			`@id("l1") permit (principal is Agent, action == Action::"a", resource) when { principal.owner == Owner::"o" && principal.standing == "active" };`,
			`@id("l2") forbid (principal is Agent, action == Action::"a", resource) when { principal.class == "c" };`,
			`@id("l3") permit (principal is Agent, action == Action::"a", resource in Community::"p") when { principal.standing == "active" };`,
		},
		regoOf(list): {
			`permit if { input.action == "post.create"; input.principal.standing == "active" }`,
			`permit if { input.action == "a"; input.principal.owner == "o"; input.principal.standing == "active" }`,
			`forbid if { input.action == "a"; input.principal.class == "c" }`,
			`permit if { input.action == "a"; input.resource == "p"; input.principal.standing == "active" }`,
		},
	} {
		for _, line := range wants {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("lacks %s:\n%s", line, text)
			}
		}
	}
}

// TestSpawn: children are carved out of what there is, and who is late is found.
func TestSpawn(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := append(slices.Clone(small), "spawn", "--base", "1000", "--db", db)
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t))
			}
			figures := bench(t, args...)
			for _, depth := range []string{"depth 1", "depth 5"} {
				want(t, figures, db, depth, "governed", "spawn_ms")
			}
			want(t, figures, db, "200 at once", "governed", "spawn_together")
			want(t, figures, db, "nobody late", "governed", "sweep_ms")
			want(t, figures, db, "each of those that are late", "governed", "reap_ms")
			if at := slices.IndexFunc(figures, func(f figure) bool { return f.Metric == "over_granted" }); at < 0 || figures[at].Value != 0 {
				t.Errorf("more was granted than there is: %v", figures)
			}
		})
	}
}

func TestStart(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := []string{"start", "--reps", "1", "--db", db}
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t))
			}
			figures := bench(t, args...)
			for _, v := range []string{"new", "existing"} {
				want(t, figures, db, v, "governed", "empty_ms")
				want(t, figures, db, v, "governed", "rss_mb")
			}
		})
	}
}

// What is filled in as rows is what acts would have stored: the product shows it,
// finds it and counts it, and no more of it is there than was asked for.
func TestRows(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			o := options{dbs: []string{db}, seconds: 0.05, reps: 1, conns: 4, agents: 16, dir: temporary(t)}
			if db == dbPostgres {
				o.dbURL = storetest.URL(t)
			}
			if err := o.run(t.Context(), "test", io.Discard, t.Output(), func(r *runner, ctx context.Context) error {
				st, err := r.newStage(ctx, db)
				if err != nil {
					return err
				}
				defer st.remove(ctx)
				to := size{agents: 16, places: 2, posts: 20, rows: 700, talks: 8, messages: 50}
				for _, rows := range []int{300, to.rows} { // more come in a second growth
					to.rows = rows
					if err := st.grow(ctx, to); err != nil {
						return err
					}
				}
				sc, err := st.copy(ctx)
				if err != nil {
					return err
				}
				for table, want := range map[string]int64{"post": 720, "message": 8 + 50} {
					if n, err := sc.rows(ctx, table); err != nil || n != want {
						t.Errorf("%s has %d rows, want %d (%v)", table, n, want, err)
					}
				}
				return r.onSide(ctx, sc.task(governed), 0, func(s *side, _ *load) error {
					for path, want := range map[string]string{
						"/api/v1/posts/" + st.codec.String(st.posts[719]): thing(699),
						"/api/v1/search?type=posts&q=" + thing(699):       `"count":10`,
						"/api/v1/submolts/" + st.places[0]:                `"post_count":360`,
						"/api/v1/agents/dm/conversations":                 `"total_unread"`,
					} {
						body, _, err := get(ctx, http.DefaultClient, s.url+path, st.agents[0].key)
						if err != nil {
							return err
						}
						if !strings.Contains(string(body), want) {
							t.Errorf("%s lacks %s: %.300s", path, want, body)
						}
					}
					return nil
				})
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A side that answers and stores nothing must not become a figure.
func TestLostRows(t *testing.T) {
	o := options{dbs: []string{dbSQLite}, seconds: 0.05, reps: 1, conns: 4, agents: 16, dir: t.TempDir()}
	if err := o.run(t.Context(), "test", io.Discard, t.Output(), func(r *runner, ctx context.Context) error {
		st, err := r.newStage(ctx, dbSQLite)
		if err != nil {
			return err
		}
		if err := st.grow(ctx, size{agents: 16, places: 2, posts: 20}); err != nil {
			return err
		}
		if _, err = r.postSide(ctx, st, bare, "", nil); err == nil || !strings.Contains(err.Error(), "lacks") {
			t.Errorf("posts to a side that stores nothing: %v", err)
		}
		if _, err = r.postSide(ctx, st, "unheard-of", "", nil); err == nil || !strings.Contains(err.Error(), "unknown side") {
			t.Errorf("an unknown side: %v", err)
		}
		lists, ids := ballot(st, r.conns)
		a := &arena{
			st: st, warm: prepared(lists, true), load: prepared(lists, false), gains: []string{"event", "profile"}, // no vote makes a profile
			task: func(_ sideKind, t *task) { t.Work, t.IDs = workVote, ids },
		}
		c := a.contest(ctx, "", compared{raw, ""})
		defer c.end()
		if _, err = c.run(ctx, raw, ""); err == nil || !strings.Contains(err.Error(), "table profile lacks") {
			t.Errorf("votes that leave no row: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct{ args, rule string }{
		{"post -o yaml", "bench.output"},
		{"post --db oracle", "bench.db"},
		{"start --reps 0", "bench.reps"},
		{"post --seconds 0", "bench.seconds"},
		{"post --seconds NaN", "bench.seconds"},
		{"feed --conns 0", "bench.conns"},
		{"feed --conns 10 --agents 9", "bench.agents"},
		{"home --conns 10 --agents 19", "bench.agents"},
		{"search --base 10", "bench.base"},
		{"post --scale 1,x", "bench.scale"},
		{"post --scale 10,10", "bench.scale"},
		{"post --scale 0", "bench.scale"},
		{"gate --policies 5", "bench.policies"},
	} {
		cmd := Command(io.Discard, io.Discard)
		cmd.SetArgs(strings.Fields(c.args))
		cmd.SetErr(io.Discard)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.ExecuteContext(t.Context())
		if e := act.AsError(err); err == nil || e.Code != act.Invalid || e.Rule != c.rule || e.Hint == "" {
			t.Errorf("%s: %v (rule %q), want rule %q", c.args, err, e.Rule, c.rule)
		}
	}
	o := options{reps: 5, seconds: 2, conns: 64, agents: 1000, base: 10_000}
	if err := o.set("json", "both", "100, 1,10", true); err != nil {
		t.Fatal(err)
	}
	if !o.json || !slices.Equal(o.dbs, []string{dbSQLite, dbPostgres}) || !slices.Equal(o.scales, []int{1, 10, 100}) {
		t.Errorf("%+v", o)
	}
	for _, name := range []string{"post", "feed", "votes", "home", "search", "messages", "token", "revoke", "kill", "gate", "spawn", "start"} {
		c, _, err := Command(io.Discard, io.Discard).Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if reps, err := c.Flags().GetInt("reps"); err != nil || reps < 5 {
			t.Errorf("%s repeats %d times by default, %v", name, reps, err)
		}
	}
}

// The load must tell answers apart, keep to one request at a time on each
// connection, and go on after a connection was closed.
func TestLoad(t *testing.T) {
	task := task{Kind: bare, Page: []byte("hello")}
	url, wait, err := serveHandler(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/close":
			w.Header().Set("Connection", "close")
		case "/no":
			http.Error(w, "not today", http.StatusServiceUnavailable)
			return
		case "/chunks":
			w.(http.Flusher).Flush()
		}
		pageHandler(task.Page, nil).ServeHTTP(w, r)
	}), func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer wait()
	l, err := dial(t.Context(), strings.TrimPrefix(url, "http://"), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	each := func(paths ...string) script {
		return func(_, i int, dst []byte) ([]byte, bool) {
			if i >= len(paths) {
				return nil, false
			}
			return append(appendHead(dst, "GET", paths[i], "key"), "\r\n"...), true
		}
	}
	p, err := l.run(t.Context(), 0, each("/", "/close", "/no", "/"))
	if err != nil {
		t.Fatal(err)
	}
	if p.answered != 9 || p.refused != 3 || p.p50 <= 0 || p.p99 < p.p50 || !strings.Contains(p.example, "503 not today") {
		t.Errorf("%+v", p)
	}
	if _, err := l.run(t.Context(), 0, each("/chunks")); err == nil || !strings.Contains(err.Error(), "chunks") {
		t.Errorf("an answer in chunks: %v", err)
	}
	l.close()

	// A time ends a phase, and so does the end of a script.
	for _, s := range []script{
		func(_, _ int, dst []byte) ([]byte, bool) {
			return append(appendHead(dst, "GET", "/", "key"), "\r\n"...), true
		},
		each("/"),
	} {
		l, err := dial(t.Context(), strings.TrimPrefix(url, "http://"), 2)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := l.run(t.Context(), 100*time.Millisecond, s); err != nil || p.answered == 0 || p.took > time.Minute {
			t.Errorf("%+v, %v", p, err)
		}
		l.close()
	}
}

func TestPlan(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := []string{"plan", "--reps", "1", "--db", db}
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t))
			}
			figures := bench(t, args...)
			for _, v := range []string{planNew, planChanged} {
				want(t, figures, db, v, "governed", "plan_500_ms")
				want(t, figures, db, v, "governed", "growth")
			}
			want(t, figures, db, "policies", "governed", "plan_policies_ms")
		})
	}
}

func TestAudit(t *testing.T) {
	for _, db := range []string{dbSQLite, dbPostgres} {
		t.Run(db, func(t *testing.T) {
			args := []string{"audit", "--base", "1000", "--scale", "1", "--reps", "1", "--db", db}
			if db == dbPostgres {
				args = append(args, "--db-url", storetest.URL(t))
			}
			figures := bench(t, args...)
			for _, metric := range []string{"leaf_render_us", "event_and_leaf_us", "integrate_per_s", "verify_per_s", "prove_ms"} {
				want(t, figures, db, "", sideRecord, metric)
			}
		})
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/world"
)

// worldOptions are those of `reef bench world` beside a runner's.
type worldOptions struct {
	agents int
	seed   uint64
	keep   string
	check  bool
}

// worldCommand is `reef bench world`.
func worldCommand(out, diag io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use: "world", Short: "Make a network that looks like the measured one, of any size", Args: cobra.NoArgs,
		Long: "Make a network calibrated on what was measured in public, through the gate, and print\n" +
			"what it was made to be beside what it is. With --keep it stays, for the other\n" +
			"scenarios (--world DIR) and for reef serve (--data DIR); its agents' keys are in it.",
	}
	var o options
	var w worldOptions
	var output, db string
	f := c.Flags()
	f.StringVarP(&output, "output", "o", "table", "table or json (a line for each figure)")
	f.StringVar(&db, "db", dbSQLite, "sqlite or postgres (which cannot be kept)")
	f.StringVar(&o.dbURL, "db-url", "", "PostgreSQL server; DATABASE_URL if empty, else a private one is started")
	f.StringVar(&o.dir, "dir", "", "where to put temporary directories")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of the making to this file, and print where the time goes")
	f.IntVar(&w.agents, "agents", 10_000, fmt.Sprintf("how many agents register, %d to %d", world.MinAgents, world.MaxAgents))
	f.Uint64Var(&w.seed, "seed", 1, "the same seed makes the same world")
	f.StringVar(&w.keep, "keep", "", "make it in this directory, which must not exist, and leave it")
	f.BoolVar(&w.check, "check", false, "verify the record and every invariant of the network: minutes on a large one")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		o.reps = minReps
		if err := o.set(output, db, "", false); err != nil {
			return err
		}
		if w.agents < world.MinAgents || w.agents > world.MaxAgents {
			return badFlag("agents", fmt.Sprintf("give %d to %d", world.MinAgents, world.MaxAgents))
		}
		if len(o.dbs) != 1 || w.keep != "" && o.dbs[0] != dbSQLite {
			return badFlag("db", "choose one; only a world on SQLite can be kept")
		}
		return o.run(cmd.Context(), "world", out, diag, func(r *runner, ctx context.Context) error { return r.world(ctx, w) })
	}
	return c
}

// world makes a world and prints its figures.
func (r *runner) world(ctx context.Context, w worldOptions) (err error) {
	dir := filepath.Join(r.dir, "world")
	if w.keep != "" {
		if dir, err = filepath.Abs(w.keep); err != nil {
			return err
		}
	}
	// One that is there is somebody's; one that was not finished is nobody's.
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	made, err := r.makeWorld(ctx, r.dbs[0], dir, w)
	if err != nil {
		return err
	}
	if err := r.printWorld(made); err != nil {
		return err
	}
	if w.keep != "" {
		r.say("kept in %s", dir)
	}
	return nil
}

// madeWorld is a world with what making it has cost.
type madeWorld struct {
	*world.Kept
	db     string
	name   string // PostgreSQL database
	took   time.Duration
	bytes  int64
	rss    float64 // MB of this process
	counts map[string]int
}

// makeWorld makes a world in an empty data directory.
func (r *runner) makeWorld(ctx context.Context, db, dir string, w worldOptions) (made *madeWorld, err error) {
	made = &madeWorld{db: db}
	began := time.Now()
	p := world.NewPlan(world.Options{Agents: w.agents, Seed: w.seed, End: began})
	made.counts = p.Count()
	r.say("%s: %d agents, %.1f days, planned in %.1f s", db, w.agents, p.Span.Hours()/24, time.Since(began).Seconds())
	clock := world.NewClock(p.Begin)
	cfg := server.Config{
		Data: dir, Addr: "127.0.0.1:0", Schema: schema, Registration: "open", Claim: true, Limits: "open", OwnKeyApproval: true, ObserverPages: server.PagesOperators, Clock: clock.Now,
	}
	if db == dbPostgres {
		made.name = "reef_bench_world_" + strings.ReplaceAll(filepath.Base(r.dir), "-", "_") + "_" + fmt.Sprint(w.agents)
		if err := r.pg.create(ctx, made.name, ""); err != nil {
			return nil, err
		}
		cfg.DB = r.pg.url(made.name, "synchronous_commit", "off") // it need not outlive a crash
	}
	srv, err := server.New(ctx, cfg, telemetry.NewLogger(r.diag, telemetry.Options{}))
	if err != nil {
		return nil, err
	}
	defer srv.Close()
	token, err := os.ReadFile(cfg.TokenFile())
	if err != nil {
		return nil, err
	}
	house := world.House{Server: srv, Clock: clock}
	if house.Operator, err = srv.Identity.Authenticate(ctx, strings.TrimSpace(string(token))); err != nil {
		return nil, err
	}
	stop, err := r.profileSelf()
	if err != nil {
		return nil, err
	}
	began = time.Now()
	lived, err := p.Live(ctx, house, func(at world.Progress) {
		r.say("day %5.2f: %d of %d, %.0f a second", at.Day, at.Steps, at.Of, float64(at.Steps)/time.Since(began).Seconds())
	})
	made.took = time.Since(began)
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	survey, err := census(ctx, srv.DB, p)
	if err != nil {
		return nil, fmt.Errorf("measure the world: %w", err)
	}
	if made.Kept, err = world.Keep(dir, p, lived, survey.Figures()); err != nil {
		return nil, err
	}
	if w.check {
		if err := r.checkWorld(ctx, srv); err != nil {
			return nil, err
		}
	}
	if made.rss, err = resident(os.Getpid()); err != nil {
		return nil, err
	}
	srv.Close()
	if db == dbPostgres {
		made.bytes, err = r.pg.size(ctx, made.name)
		return made, errors.Join(err, r.pg.exec(ctx, r.pg.url(made.name), "VACUUM ANALYZE"))
	}
	info, err := os.Stat(databaseFile(dir))
	if err == nil {
		made.bytes = info.Size()
	}
	return made, err
}

// checkWorld fails for what a network must never have.
func (r *runner) checkWorld(ctx context.Context, srv *server.Server) error {
	began := time.Now()
	lines, err := network.Check(ctx, srv.DB)
	if err != nil {
		return err
	}
	more, err := lifecycle.Check(ctx, srv.DB)
	if err != nil {
		return err
	}
	report, shown, err := server.VerifyRecord(ctx, srv.Config, srv.Keys, srv.DB, nil, nil)
	if err != nil {
		return err
	}
	lines = append(append(lines, more...), shown.Problems...)
	for _, p := range report.Problems {
		lines = append(lines, fmt.Sprintf("audit log: %+v", p))
	}
	for _, line := range lines {
		r.say("invariant: %s", line)
	}
	if len(lines) > 0 {
		return act.Errorf(act.Internal, "%d invariants of the network do not hold", len(lines))
	}
	r.say("every invariant holds; checked in %.1f s", time.Since(began).Seconds())
	return nil
}

// profileSelf begins a CPU profile of this process, if one is wanted.
func (r *runner) profileSelf() (stop func() error, err error) {
	if r.profile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(r.profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			return err
		}
		p, err := readProfile(r.profile)
		if err == nil {
			p.print(r.diag, r.bench)
		}
		return err
	}, nil
}

// printWorld prints what a world is: in a table of its own, because what it was
// made to be is no baseline.
func (r *runner) printWorld(m *madeWorld) error {
	data := m.describe()
	seconds := m.took.Seconds()
	for _, one := range []struct {
		metric, unit string
		value        float64
	}{
		{"acts", "acts", float64(m.Acts)},
		{"reads", "pages", float64(m.Reads)},
		{"act_rate", "1/s", float64(m.Acts) / seconds},
		{"act_and_read_rate", "1/s", float64(m.Acts+m.Reads) / seconds},
		{"made_s", "s", seconds},
		{"db_mb", "MB", float64(m.bytes) / 1e6},
		{"bytes_per_agent", "B", float64(m.bytes) / float64(m.Agents)},
		{"bytes_per_act", "B", float64(m.bytes) / float64(m.Acts)},
		{"rss_mb", "MB", m.rss},
	} {
		f := figure{DB: m.db, Data: data, Metric: one.metric}
		if err := r.press.put(f.with(spread{one.value, one.value, one.value}, one.unit, 1, int64(m.Acts))); err != nil {
			return err
		}
	}
	if r.json {
		for _, c := range m.Figures {
			f := figure{DB: m.db, Data: data, Metric: c.Name, Variant: "calibration"}
			f = f.with(spread{c.Made, c.Made, c.Made}, c.Unit, 1, int64(m.Acts))
			if f.Baseline = c.From; !c.Choice {
				ratio := digits(c.Made / c.Source)
				f.Ratio = &ratio
			}
			if err := r.press.put(f); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(r.press.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s, %s to %s\n\n", data, m.Begin.Format(time.DateTime), m.End.Format(time.DateTime))
	fmt.Fprintln(w, "PROPERTY\tSOURCE\tMADE\tOF\tSOURCE IS")
	for _, c := range m.Figures {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Name, short(digits(c.Source)), short(digits(c.Made)), c.Unit, c.From)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// describe says what is in a world.
func (m *madeWorld) describe() string {
	n := m.counts
	return fmt.Sprintf("%d agents of seed %d, %d posts, %d comments, %d votes", m.Agents, m.Seed, n["posts"], n["comments"], n["votes"])
}

// The census reads whole tables, once, in the order of their ids.
const (
	qCensusAgents  store.Q = `SELECT COUNT(*), CAST(SUM(CASE WHEN owner <> 0 THEN 1 ELSE 0 END) AS BIGINT), COUNT(DISTINCT CASE WHEN owner <> 0 THEN owner END) FROM agent`
	qCensusMost    store.Q = `SELECT CAST(COALESCE(MAX(n), 0) AS BIGINT) FROM (SELECT COUNT(*) AS n FROM agent WHERE owner <> 0 GROUP BY owner) AS o`
	qCensusTalks   store.Q = `SELECT COUNT(*) FROM conversation`
	qCensusGeneral store.Q = `SELECT subscriber_count FROM community WHERE name = 'general'`
	qCensusPosts   store.Q = `SELECT id, author, community, created_at, up, comment_count, title, content FROM post ORDER BY id`
	qCensusRemarks store.Q = `SELECT id, post, parent, author, created_at, depth, up, up + down, content FROM comment ORDER BY id`
)

// census measures a world by its rows.
func census(ctx context.Context, db *store.DB, p *world.Plan) (*world.Survey, error) {
	s := &world.Survey{Begin: p.Begin, End: p.End}
	return s, db.View(ctx, func(v *store.View) error {
		for _, one := range []struct {
			q    store.Q
			into func(*store.Row)
		}{
			{qCensusAgents, func(r *store.Row) { s.Agents, s.Claimed, s.Owners = int(r.Int(0)), int(r.Int(1)), int(r.Int(2)) }},
			{qCensusMost, func(r *store.Row) { s.Most = int(r.Int(0)) }},
			{qCensusTalks, func(r *store.Row) { s.Conversations = int(r.Int(0)) }},
			{qCensusGeneral, func(r *store.Row) { s.Subscribers = int(r.Int(0)) }},
		} {
			if _, err := v.One(one.q, func(r *store.Row) error { one.into(r); return nil }); err != nil {
				return err
			}
		}
		if err := v.All(qCensusPosts, func(r *store.Row) error {
			title := r.Text(6)
			s.Post(world.SeenPost{
				ID: r.Int(0), Author: r.Int(1), Place: r.Int(2), At: r.Int(3), Up: r.Int(4), Comments: r.Int(5), Bears: world.Bears(title),
			}, title+"\n"+r.Text(7))
			return ctx.Err()
		}); err != nil {
			return err
		}
		return v.All(qCensusRemarks, func(r *store.Row) error {
			s.Comment(world.SeenComment{
				ID: r.Int(0), Post: r.Int(1), Parent: r.Int(2), Author: r.Int(3), At: r.Int(4), Depth: r.Int(5), Up: r.Int(6), Votes: r.Int(7),
			}, r.Text(8))
			return ctx.Err()
		})
	})
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/world"
)

// mixOptions are those of `reef bench mix` beside a runner's.
type mixOptions struct {
	worlds    []string
	copied    bool
	mix       mixName
	rate      float64 // a second; 0 is to be found
	part      float64 // of the found rate
	minutes   float64
	conns     int
	herd      int
	herdConns int
	visit     int // agents that come once before all else
	outage    time.Duration
	seed      uint64
}

const (
	maxMinutes = 240
	maxHerd    = 100_000 // by default
	findFor    = 20 * time.Second
	warmFor    = 10 * time.Second
)

// mixCommand is `reef bench mix`.
func mixCommand(out, diag io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use: "mix --world DIR", Short: "Measure a world's daily life on one node: the mix, a herd at :00, an outage", Args: cobra.NoArgs,
		Long: "Serve a world that reef bench world --keep has made, with reef serve in a process of its\n" +
			"own, and be its agents, with their keys, over the Moltbook wire: heartbeats, feeds,\n" +
			"threads, searches, votes, follows, comments and posts.\n\n" +
			"First each of --conns connections sends as soon as it has its answer, to find what the\n" +
			"node can do. Then agents come by themselves, at random, at --rate or at a part of what\n" +
			"was found, for --minutes; latencies count from when they came. Then all of --herd agents\n" +
			"come in one instant, and once more in the instant in which the server is back after\n" +
			"--outage. Whoever is sent away comes back when the server says.\n\n" +
			"An answer that is neither 2xx nor 503 or 429 with Retry-After fails the run.\n\n" +
			"The agents write into the world itself, which grows by it, unless --copy is given. With\n" +
			"several worlds, as in --world A,B,C, how costs grow with the agents is printed at the end;\n" +
			"give a --rate that all of them carry, so that their latencies can be compared.",
	}
	var o options
	var m mixOptions
	var output, mix string
	f := c.Flags()
	f.StringVarP(&output, "output", "o", "table", "table or json (a line for each figure)")
	f.StringVar(&o.dir, "dir", "", "where to put temporary directories")
	f.StringSliceVar(&m.worlds, "world", nil, "directories of kept worlds")
	f.BoolVar(&m.copied, "copy", false, "work on a copy, which is removed at the end")
	f.StringVar(&mix, "mix", string(busy), "busy (60 % pages, 20 % heartbeats, 20 % acts) or seen (as measured in public: nearly all reads)")
	f.Float64Var(&m.rate, "rate", 0, "arrivals a second; 0 finds what the node can do and takes a part of it")
	f.Float64Var(&m.part, "part", 0.7, "part of the found rate at which agents come")
	f.Float64Var(&m.minutes, "minutes", 10, "how long agents come at that rate")
	f.IntVar(&m.conns, "conns", 64, "connections, each with one request under way")
	f.IntVar(&m.herd, "herd", maxHerd, "agents that come in one instant, at most all that are claimed; 0 is none")
	f.IntVar(&m.herdConns, "herd-conns", maxConns, "connections that they come by")
	f.IntVar(&m.visit, "visit", 0, "agents that come once, all at one instant, before all else: what the node remembers of them is in the memory that is measured")
	f.DurationVar(&m.outage, "outage", 5*time.Second, "how long the server is away before the herd comes again; 0 is no outage")
	f.Uint64Var(&m.seed, "seed", 1, "of what agents do and when")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of the server under the mix to this file, and print where the time goes; what it holds then goes to the file with .heap behind its name")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		o.reps = minReps
		if err := o.set(output, dbSQLite, "", false); err != nil {
			return err
		}
		if m.mix = mixName(mix); m.mix != busy && m.mix != seen {
			return badFlag("mix", "choose busy or seen")
		}
		for _, one := range []struct {
			flag string
			ok   bool
			hint string
		}{
			{"world", len(m.worlds) > 0, "name the directory of a world that reef bench world --keep has made"},
			{"rate", m.rate >= 0 && m.rate <= 1e6, "give a number of arrivals a second, or 0"},
			{"part", m.part > 0 && m.part <= 1.5, "give a number above 0, 1.5 at most"},
			{"minutes", m.minutes > 0 && m.minutes <= maxMinutes, fmt.Sprintf("give a number above 0, %d at most", maxMinutes)},
			{"conns", m.conns >= 1 && m.conns <= maxConns, fmt.Sprintf("give 1 to %d", maxConns)},
			{"herd", m.herd >= 0 && m.herd <= world.MaxAgents, "give a number of agents, or 0"},
			{"visit", m.visit >= 0 && m.visit <= world.MaxAgents, "give a number of agents, or 0"},
			{"herd-conns", m.herdConns >= 1 && m.herdConns <= 8*maxConns, fmt.Sprintf("give 1 to %d", 8*maxConns)},
			{"outage", m.outage >= 0 && m.outage <= time.Hour, "give a time up to 1h, or 0"},
		} {
			if !one.ok {
				return badFlag(one.flag, one.hint)
			}
		}
		return o.run(cmd.Context(), "mix", out, diag, func(r *runner, ctx context.Context) error { return r.mixes(ctx, m) })
	}
	return c
}

// mixes measures each world in turn, and how costs grow over them.
func (r *runner) mixes(ctx context.Context, o mixOptions) (err error) {
	var agents []float64
	costs := make(map[string][]float64)
	for _, dir := range o.worlds {
		k, err := world.Open(dir)
		if err != nil {
			return err
		}
		if o.copied {
			if k, err = r.copyWorld(k); err != nil {
				return err
			}
		}
		run := &mixRun{runner: r, o: o, kept: k, costs: costs}
		err = run.do(ctx)
		if o.copied {
			err = errors.Join(err, os.RemoveAll(k.Dir))
		}
		if err != nil {
			return errors.Join(err, r.press.close())
		}
		agents = append(agents, float64(k.Agents))
	}
	for _, name := range costNames {
		e, ok := exponent(agents, costs[name])
		if !ok || len(costs[name]) != len(agents) {
			continue
		}
		e = math.Round(e*100) / 100
		f := figure{DB: dbSQLite, Variant: "growth", Metric: "growth_" + name, Data: fmt.Sprintf("agents %.0f, %s %.4g", agents, name, costs[name])}
		f.Value, f.Min, f.Max, f.Unit, f.N, f.Reps = e, e, e, "exponent", int64(len(agents)), 1
		if err := r.press.put(f); err != nil {
			return err
		}
	}
	return nil
}

// costNames are what may grow with a world, in the order of their figures.
var costNames = []string{
	"start_ms", "rss_mb", "server_cpu_us", "closed_time_us", "open_home_ms", "open_feed_ms", "open_thread_ms", "open_search_ms", "open_vote_ms",
	"open_follow_ms", "open_comment_ms", "open_post_ms", "herd_agent_us", "outage_agent_us",
}

// copyWorld copies a world into the run's own directory, if there is room for it.
func (r *runner) copyWorld(k *world.Kept) (*world.Kept, error) {
	needs, err := treeSize(k.Dir)
	if err != nil {
		return nil, err
	}
	if free := freeSpace(r.dir); free > 0 && needs+needs/5 > free {
		return nil, badFlag("copy", fmt.Sprintf("a copy needs %d MB and the disk of --dir has %d MB: run without it, or with another --dir", needs/1e6, free/1e6))
	}
	to := filepath.Join(r.dir, "world")
	r.say("copying %d MB", needs/1e6)
	if err := copyTree(k.Dir, to); err != nil {
		return nil, err
	}
	return world.Open(to)
}

// treeSize adds up the files below a directory, in bytes.
func treeSize(dir string) (n int64, err error) {
	return n, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
}

// freeSpace is what is left on a directory's disk, in bytes; 0 if nobody knows.
func freeSpace(dir string) int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0
	}
	return int64(s.Bavail) * s.Bsize
}

// mixRun is the run on one world.
type mixRun struct {
	*runner
	o     mixOptions
	kept  *world.Kept
	crowd *crowd
	mix   []portion
	data  string
	addr  string // of the server, the same after an outage
	costs map[string][]float64
	errs  []error // what fails the run when all is measured
}

// cost notes what may grow with the world.
func (m *mixRun) cost(name string, v float64) {
	if v > 0 {
		m.costs[name] = append(m.costs[name], v)
	}
}

// put prints a figure.
func (m *mixRun) put(variant, side, metric string, value float64, unit string, n int64) error {
	f := figure{DB: dbSQLite, Variant: variant, Side: side, Metric: metric, Data: m.data}
	return m.press.put(f.with(spread{value, value, value}, unit, 1, n))
}

func (m *mixRun) do(ctx context.Context) (err error) {
	began := time.Now()
	if m.crowd, err = gather(m.kept); err != nil {
		return err
	}
	m.mix = portionsOf(m.o.mix)
	m.data = fmt.Sprintf("%d agents, %d posts", m.kept.Agents, len(m.crowd.posts))
	m.say("%s: %s, known in %.1f s", m.kept.Dir, m.data, time.Since(began).Seconds())
	before, err := m.databaseSize()
	if err != nil {
		return err
	}
	s, side, err := m.start(ctx, m.profile != "")
	if err != nil {
		return err
	}
	m.addr = s.addr()
	err = m.started(s)
	if err == nil && m.o.visit > 0 {
		err = m.herded(ctx, "visit", m.newHerd(m.o.visit), s, nil)
	}
	if err == nil {
		err = m.daily(ctx, s, side)
	}
	if err == nil && m.o.herd > 0 {
		err = m.herded(ctx, "herd", m.newHerd(m.o.herd), s, nil)
	}
	err = errors.Join(err, s.stop())
	if err == nil && m.o.herd > 0 && m.o.outage > 0 {
		err = m.afterOutage(ctx)
	}
	if err != nil {
		return err
	}
	after, err := m.databaseSize()
	if err != nil {
		return err
	}
	if err := errors.Join(
		m.put("", "server", "db_before_mb", float64(before)/1e6, "MB", 1),
		m.put("", "server", "db_after_mb", float64(after)/1e6, "MB", 1),
	); err != nil {
		return err
	}
	return errors.Join(m.errs...)
}

// databaseSize is the database with its log, in bytes.
func (m *mixRun) databaseSize() (int64, error) {
	return treeSize(filepath.Dir(databaseFile(m.kept.Dir)))
}

// settings are the flags of reef serve that differ from its defaults: limits are
// open, because they are counted and not carried, and who was never claimed stays.
func (m *mixRun) settings() map[string]any {
	addr := m.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	return map[string]any{
		"data": m.kept.Dir, "addr": addr, "limits": "open", "unclaimed-for": "0", "max-agents": "0", "own-key-approval": "true", "log-level": "warn",
	}
}

// start serves the world and prints how long that took.
func (m *mixRun) start(ctx context.Context, profiled bool) (s *served, side *side, err error) {
	settings := m.settings()
	if profiled {
		s, side, err = m.serveSide(ctx, settings)
	} else {
		var args []string
		for _, name := range []string{"data", "addr", "limits", "unclaimed-for", "max-agents", "own-key-approval", "log-level"} {
			args = append(args, fmt.Sprintf("--%s=%s", name, settings[name]))
		}
		s, err = m.serve(ctx, args...)
	}
	if err != nil {
		return nil, nil, err
	}
	host, _, _ := net.SplitHostPort(s.addr())
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, nil, errors.Join(fmt.Errorf("the server listens on %s, not on loopback", host), s.stop())
	}
	return s, side, nil
}

// started prints how the server began.
func (m *mixRun) started(s *served) error {
	mb, err := resident(s.pid)
	if err != nil {
		return err
	}
	m.say("ready after %.0f ms with %.0f MB", milliseconds(s.ready), mb)
	m.cost("start_ms", milliseconds(s.ready))
	return errors.Join(
		m.put("start", "server", "start_ms", milliseconds(s.ready), "ms", 1),
		m.put("start", "server", "rss_mb", mb, "MB", 1),
	)
}

// daily is the mix: what the node can do, and how it lives with what comes.
func (m *mixRun) daily(ctx context.Context, s *served, side *side) error {
	l, err := dial(ctx, m.addr, m.o.conns)
	if err != nil {
		return err
	}
	defer l.close()
	span := time.Duration(m.o.minutes * float64(time.Minute))
	rate := m.o.rate
	for _, v := range []struct {
		name string
		span time.Duration
	}{{"warm", min(warmFor, span/4)}, {"closed", min(findFor, span/2)}} {
		mix := m.mix
		if v.name == "warm" {
			mix = evenly()
		}
		t, err := m.watched(ctx, v.name, mix, s, l, 0, v.span)
		if err != nil {
			return err
		}
		if v.name == "closed" && rate == 0 {
			rate = m.o.part * float64(t.answered()) / t.span.Seconds()
		}
	}
	if rate == 0 || math.IsNaN(rate) {
		return errors.Join(append(m.errs, errors.New("the server answered nothing, so that there is no rate to come at"))...)
	}
	m.say("%.0f arrivals a second for %s", rate, span)
	stop, err := m.profileOf(side)
	if err != nil {
		return err
	}
	_, err = m.watched(ctx, "open", m.mix, s, l, rate, span)
	return errors.Join(err, stop())
}

// profileOf begins the profile of a server, if one is wanted.
func (m *mixRun) profileOf(side *side) (stop func() error, err error) {
	if side == nil {
		return func() error { return nil }, nil
	}
	path, err := filepath.Abs(m.profile)
	if err != nil {
		return nil, err
	}
	if _, err := side.tell(order{Do: "profile", Path: path}); err != nil {
		return nil, err
	}
	return func() error {
		if _, err := side.tell(order{Do: "unprofile"}); err != nil {
			return err
		}
		if _, err := side.tell(order{Do: "heap", Path: path + ".heap"}); err != nil {
			return err
		}
		p, err := readProfile(path)
		if err == nil {
			p.print(m.diag, "reef serve under the mix")
		}
		return err
	}, nil
}

// watched drives a phase and prints what it gave and what the server used.
func (m *mixRun) watched(ctx context.Context, phase string, mix []portion, s *served, l *load, rate float64, span time.Duration) (*tally, error) {
	was, err := s.garbage(ctx)
	if err != nil {
		return nil, err
	}
	cpu, err := spent(s.pid)
	if err != nil {
		return nil, err
	}
	own := ownCPU()
	meter := newMeter(s.pid)
	t, err := l.drive(ctx, m.crowd, mix, rate, span, m.o.seed+uint64(len(phase)))
	own = ownCPU() - own
	mem := meter.end()
	if err != nil {
		return nil, err
	}
	if bad := t.err(); bad != nil {
		m.errs = append(m.errs, fmt.Errorf("%s: %w", phase, bad))
	}
	now, err := spent(s.pid)
	if err != nil {
		return nil, errors.Join(append(m.errs, fmt.Errorf("the server is gone: %w", err))...)
	}
	is, err := s.garbage(ctx)
	if err != nil {
		return nil, errors.Join(append(m.errs, err)...)
	}
	m.say("%s: %d answers, %.0f a second, %d refused, %d wrong; %.0f MB", phase, t.answered(), float64(t.answered())/t.span.Seconds(), t.asked()-t.answered()-t.bad, t.bad, mem.last)
	if phase == "warm" {
		return t, nil
	}
	n := t.answered()
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(max(1, n)) }
	if phase == "open" {
		m.cost("rss_mb", mem.median)
	} else {
		m.cost("server_cpu_us", per(now-cpu))
		m.cost("closed_time_us", per(t.span))
	}
	if err := m.printTally(phase, t, rate); err != nil {
		return nil, err
	}
	seconds := t.span.Seconds()
	for _, one := range []struct {
		side, metric, unit string
		value              float64
	}{
		{"server", "cpu_per_op", "µs", per(now - cpu)},
		{"load", "cpu_per_op", "µs", per(own)},
		{"server", "cpu_cores", "cores", (now - cpu).Seconds() / seconds},
		{"load", "cpu_cores", "cores", own.Seconds() / seconds},
		{"server", "rss_start_mb", "MB", mem.start},
		{"server", "rss_median_mb", "MB", mem.median},
		{"server", "rss_last_mb", "MB", mem.last},
		{"server", "rss_most_mb", "MB", mem.most},
		{"server", "rss_slope_2nd_half", "MB/min", mem.slope},
		{"server", "gc_runs", "runs", is.runs - was.runs},
		{"server", "gc_pause_ms", "ms", 1000 * (is.paused - was.paused)},
		{"server", "heap_in_use_mb", "MB", is.heap / 1e6},
		{"server", "heap_goal_mb", "MB", is.next / 1e6},
	} {
		if err := m.put(phase, one.side, one.metric, one.value, one.unit, n); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// printTally prints what the agents saw.
func (m *mixRun) printTally(phase string, t *tally, rate float64) error {
	seconds, n := t.span.Seconds(), t.answered()
	var all, service []uint32
	for _, p := range m.mix {
		took := t.took[p.deed]
		p50, p99 := percentiles(took)
		if phase == "open" {
			m.cost("open_"+p.deed.String()+"_ms", p50)
		}
		f := figure{DB: dbSQLite, Variant: phase, Side: p.deed.String(), Data: m.data}
		f.Metric = "rate"
		r := float64(len(took)) / seconds
		err := m.press.put(f.with(spread{r, r, r}, "1/s", 1, int64(len(took))).latency(p50, p99))
		f.Metric = "share"
		share := float64(t.tried[p.deed]) / float64(max(1, t.asked()))
		g := f.with(spread{share, share, share}, "of all", 1, t.tried[p.deed])
		if ratio := share / p.share; ratio > 0 {
			ratio = digits(ratio)
			g.Ratio = &ratio
		}
		g.Baseline = fmt.Sprintf("%s: %s", short(digits(p.share)), p.from)
		if err := errors.Join(err, m.press.put(g)); err != nil {
			return err
		}
		all, service = append(all, took...), append(service, t.service[p.deed]...)
	}
	f := figure{DB: dbSQLite, Variant: phase, Side: "all", Data: m.data}
	for _, one := range []struct {
		metric string
		took   []uint32
	}{{"rate", all}, {"rate_from_sending", service}} {
		p50, p99 := percentiles(one.took)
		f.Metric = one.metric
		r := float64(len(one.took)) / seconds
		if err := m.press.put(f.with(spread{r, r, r}, "1/s", 1, n).latency(p50, p99)); err != nil {
			return err
		}
	}
	if rate > 0 {
		if err := errors.Join(
			m.put(phase, "all", "arrivals", rate, "1/s", t.asked()),
			m.put(phase, "all", "longest_wait_for_a_connection", milliseconds(t.behind), "ms", t.asked()),
		); err != nil {
			return err
		}
	}
	return m.printStatuses(phase, t)
}

// printStatuses prints every status but success, and those that must not be, at 0
// as well.
func (m *mixRun) printStatuses(phase string, t *tally) error {
	for _, status := range slices.Sorted(maps.Keys(t.statuses)) {
		n, metric := t.statuses[status], fmt.Sprintf("status_%d", status)
		if status == 0 {
			metric = "no_answer"
		}
		if err := m.put(phase, "all", metric, float64(n), "answers", t.asked()); err != nil {
			return err
		}
	}
	return m.put(phase, "all", "wrong_answers", float64(t.bad), "answers", t.asked())
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
)

const (
	fleetLine    = 50                    // agents of a line: the first and its children
	fleetPause   = 20 * time.Millisecond // between two stops
	fleetHunters = 4                     // on each node, acting as those who are stopped
	fleetTries   = 3                     // of each of them after the acknowledgement
	fleetHunt    = time.Millisecond      // of a hunter between two acts: without, they keep the cores full
	fleetRest    = 20 * time.Millisecond // of other callers between two acts
	fleetPosts   = 64                    // that they comment on
)

// fleet is a network of many agents that act on all its nodes, while some of them, or all,
// are stopped.
type fleet struct {
	*office
	nodes    []*server.Server
	operator act.Principal
	posts    []act.ID
	said     atomic.Int64 // comments, so that no two are alike
	gone     int          // agents at the end of the rows that were killed
}

// stop is one way of stopping: who is in it, and how it is done and undone.
type stop struct {
	name  string
	most  int  // times in a repetition, 0 is as often as there is time
	final bool // who is stopped stays so
	make  func() (in func() act.Principal, do, undo func(context.Context) error)
}

// stopped is what came of one stop.
type stopped struct {
	stop, ack time.Duration // from the call to the last hunter's first refusal, and to the answer
	late      int64         // acts that began after the answer and were done
}

// kills measures how long a stop takes, from its call until every act of those who are
// stopped is refused on every node, beside acts of others: `reef bench kill`. On
// PostgreSQL it is measured on one node and on three.
func kills(r *runner, ctx context.Context) error {
	for _, db := range r.dbs {
		sizes := []int{1}
		if db == dbPostgres {
			sizes = []int{1, 3}
		}
		for _, nodes := range sizes {
			if err := r.killsOn(ctx, db, nodes); err != nil {
				return fmt.Errorf("%s, %d nodes: %w", db, nodes, err)
			}
		}
	}
	return nil
}

func (r *runner) killsOn(ctx context.Context, db string, nodes int) error {
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	f := &fleet{office: &office{r: r, st: st}}
	if f.cert, err = newCertificate(); err != nil {
		return err
	}
	defer f.close()
	for _, scale := range r.scales {
		n := r.base * scale
		if err := f.begin(ctx, n, nodes); err != nil {
			return err
		}
		for _, s := range f.stops() {
			if err := f.measure(ctx, s, figure{DB: db, Side: string(governed), Scale: scale, Variant: fmt.Sprintf("%s, %d nodes", s.name, nodes),
				Data: fmt.Sprintf("%d live agents", n)}); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		f.close()
	}
	return nil
}

func (f *fleet) close() {
	for _, node := range f.nodes[min(1, len(f.nodes)):] { // the office closes the first
		node.Close()
	}
	f.nodes, f.gone = nil, 0
	f.office.close()
}

// begin starts nodes with n agents, in lines.
func (f *fleet) begin(ctx context.Context, n, nodes int) (err error) {
	if err := f.open(ctx, n); err != nil {
		return err
	}
	f.office.close()
	if err := f.tie(ctx); err != nil {
		return fmt.Errorf("tie the lines: %w", err)
	}
	if err := f.open(ctx, n); err != nil {
		return err
	}
	if f.operator, err = f.governor(ctx); err != nil {
		return err
	}
	f.nodes, f.posts = []*server.Server{f.srv}, nil
	for i := range fleetPosts {
		title, content := prose(i)
		made, err := f.srv.Network.CreatePost.Do(ctx, f.at(i), network.NewPost{Community: "general", Title: title, Content: content})
		if err != nil {
			return err
		}
		f.posts = append(f.posts, made.ID)
	}
	for len(f.nodes) < nodes {
		t := f.task()
		if t.Data, err = os.MkdirTemp(f.r.dir, "node-"); err != nil {
			return err
		}
		next, err := t.product(ctx, f.r.diag)
		if err != nil {
			return err
		}
		f.nodes = append(f.nodes, next)
	}
	return nil
}

// Rows that acts count in, copied for agents that have none.
const (
	fleetProfiles = `INSERT INTO profile (id, name, description, metadata, karma, post_count, comment_count, legacy_karma, legacy_followers, legacy_following, origin, created_at, updated_at)
SELECT a.id, a.name, p.description, p.metadata, 0, 0, 0, 0, 0, 0, p.origin, p.created_at, p.updated_at FROM agent AS a CROSS JOIN profile AS p
WHERE p.id = :first AND a.id <= :newest AND NOT EXISTS (SELECT 1 FROM profile AS q WHERE q.id = a.id)`
	fleetInboxes = `INSERT INTO inbox (agent, unread) SELECT a.id, 0 FROM agent AS a WHERE a.id <= :newest AND NOT EXISTS (SELECT 1 FROM inbox AS i WHERE i.agent = a.id)`
)

// tie makes children of the rows: each first of fleetLine has those after it. All of them
// get what acts count in.
func (f *fleet) tie(ctx context.Context) error {
	newest := f.agents[0].Agent
	first := strconv.FormatInt(int64(newest), 10)
	// Row n has the id of the first one less (n + 3600000) * 2^22.
	number := `((` + first + ` - id) / 4194304 - 3600000)`
	root := `(` + first + ` - (` + number + ` - ` + number + ` % ` + strconv.Itoa(fleetLine) + ` + 3600000) * 4194304)`
	rows := strings.NewReplacer(":first", first, ":newest", strconv.FormatInt(int64(older(newest, 0)), 10))
	list := []string{
		rows.Replace(fleetProfiles), rows.Replace(fleetInboxes),
		rows.Replace(`UPDATE agent SET parent = ` + root + `, root = ` + root + `, depth = 1 WHERE id <= :newest AND ` + number + ` % ` + strconv.Itoa(fleetLine) + ` <> 0`),
	}
	return f.change(ctx, append(list, f.settled())...)
}

// at is the agent of a row.
func (f *fleet) at(n int) act.Principal {
	id := older(f.agents[0].Agent, n)
	return act.Principal{Kind: act.Agent, ID: id, Name: f.srv.Lifecycle.Name(id), Binding: act.BindingKey, Source: "bench"}
}

// stops are the ways, the final ones last.
func (f *fleet) stops() []stop {
	always := func(p act.Principal) func() act.Principal { return func() act.Principal { return p } }
	anybody := func() act.Principal { return f.at(rand.IntN(f.has - f.gone)) }
	scope := func(do *gate.WriteAct[lifecycle.ScopeOrder, lifecycle.Contained], on lifecycle.ScopeName) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := do.Do(ctx, f.operator, lifecycle.ScopeOrder{On: on, Reason: "bench"})
			return err
		}
	}
	life := f.srv.Lifecycle
	owner, all := lifecycle.ScopeName{Kind: "owner", Name: "bench"}, lifecycle.ScopeName{Kind: "all"}
	return []stop{
		{name: "agent", final: true, make: func() (func() act.Principal, func(context.Context) error, func(context.Context) error) {
			f.gone++
			p := f.at(f.has - f.gone)
			return always(p), func(ctx context.Context) error {
				_, err := life.Kill.Do(ctx, f.operator, lifecycle.Order{Agent: p.ID, Reason: "bench"})
				return err
			}, nil
		}},
		{name: "lineage", most: 20, final: true, make: func() (func() act.Principal, func(context.Context) error, func(context.Context) error) {
			f.gone = (f.gone/fleetLine + 2) * fleetLine
			from := f.has - f.has%fleetLine - f.gone
			in := func() act.Principal { return f.at(from + rand.IntN(fleetLine)) }
			return in, scope(life.KillScope, lifecycle.ScopeName{Kind: "lineage", Agent: f.at(from).ID}), nil
		}},
		{name: "owner", make: func() (func() act.Principal, func(context.Context) error, func(context.Context) error) {
			return anybody, scope(life.QuarantineScope, owner), scope(life.ReleaseScope, owner)
		}},
		{name: "all", make: func() (func() act.Principal, func(context.Context) error, func(context.Context) error) {
			return anybody, scope(life.QuarantineScope, all), scope(life.ReleaseScope, all)
		}},
	}
}

// do acts as an agent on a node: it looks at a feed, or comments.
func (f *fleet) do(ctx context.Context, node *server.Server, p act.Principal, write bool) error {
	var err error
	if write {
		_, content := prose(int(f.said.Add(1)))
		_, err = node.Network.CreateComment.Do(ctx, p, network.NewComment{Post: network.Named{ID: f.posts[rand.IntN(len(f.posts))]}, Content: content})
	} else {
		_, err = node.Network.ReadFeed.Do(ctx, p, network.FeedQuery{Limit: 1})
	}
	return err
}

// halted reports whether an act was refused because of a standing.
func halted(err error) bool {
	return err != nil && strings.HasPrefix(act.AsError(err).Rule, "standing.")
}

// full reports whether an act was turned away because its node had too much to do: that is
// neither an act nor the refusal that is waited for.
func full(err error) bool { return act.CodeOf(err) == act.Unavailable }

// measure stops again and again, beside acts of others.
func (f *fleet) measure(ctx context.Context, s stop, fig figure) error {
	var medians, slow, acks, beside []float64
	var n, late int64
	for rep := range f.r.reps {
		span, cancel := context.WithTimeout(ctx, f.r.span())
		list, done, err := f.repeat(span, ctx, s)
		cancel()
		if err != nil {
			return err
		}
		var took, acked []uint32
		for _, x := range list {
			took, acked = append(took, uint32(x.stop.Microseconds())), append(acked, uint32(x.ack.Microseconds()))
			late += x.late
		}
		p50, p99 := percentiles(took)
		_, ack := percentiles(acked)
		n += int64(len(list))
		medians, slow, acks, beside = append(medians, p50), append(slow, p99), append(acks, ack), append(beside, float64(done)/f.r.seconds)
		f.r.say("%s %s %d/%d: %d stops, p50 %.2f ms, p99 %.2f ms, acknowledged p99 %.2f ms, %d acts after it, beside %.0f acts a second",
			fig.DB, fig.Variant, rep+1, f.r.reps, len(list), p50, p99, ack, late, beside[rep])
	}
	fig.Metric = "stop_ms"
	if err := f.r.press.put(fig.with(spreadOf(medians), "ms", f.r.reps, n).latency(median(medians), median(slow))); err != nil {
		return err
	}
	fig.Metric = "stop_p99"
	if err := f.r.press.put(fig.with(spreadOf(slow), "ms", f.r.reps, n)); err != nil {
		return err
	}
	fig.Metric = "ack_p99"
	if err := f.r.press.put(fig.with(spreadOf(acks), "ms", f.r.reps, n)); err != nil {
		return err
	}
	fig.Metric = "acts_after_ack"
	if err := f.r.press.put(fig.with(spreadOf([]float64{float64(late)}), "acts", f.r.reps, n)); err != nil {
		return err
	}
	fig.Metric = "acts_beside"
	return f.r.press.put(fig.with(spreadOf(beside), "1/s", f.r.reps, n))
}

// repeat stops for the length of a repetition, while callers act on every node: as agents
// that are stopped or not, as it comes.
func (f *fleet) repeat(span, ctx context.Context, s stop) (list []stopped, acts int64, err error) {
	var done atomic.Int64
	var g errgroup.Group
	over, end := context.WithCancel(span)
	for at := range f.r.conns {
		node := f.nodes[at%len(f.nodes)]
		g.Go(func() error {
			for i := 0; over.Err() == nil; i++ {
				time.Sleep(fleetRest)
				switch err := f.do(ctx, node, f.at(rand.IntN(f.has/2)), i%4 == 0); {
				case err == nil:
					done.Add(1)
				case !halted(err) && !full(err):
					return fmt.Errorf("beside: %w", err)
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer end()
		for span.Err() == nil && (s.most == 0 || len(list) < s.most) && (!s.final || f.gone < f.has/4) {
			time.Sleep(fleetPause)
			in, do, undo := s.make()
			x, err := f.stop(ctx, in, do)
			if err != nil {
				return err
			}
			list = append(list, x)
			if undo != nil {
				if err := undo(ctx); err != nil {
					return err
				}
			}
		}
		return nil
	})
	err = g.Wait()
	end()
	return list, done.Load(), err
}

// stop has hunters act on every node as who is about to be stopped, stops them, and waits
// until each of them was refused, and a few times more.
func (f *fleet) stop(ctx context.Context, in func() act.Principal, do func(context.Context) error) (x stopped, err error) {
	var acked, failed atomic.Bool
	var late, last atomic.Int64
	var start atomic.Pointer[time.Time]
	var hunt, ready errgroup.Group
	for _, node := range f.nodes {
		for hunter := range fleetHunters {
			began := make(chan error, 1)
			ready.Go(func() error { return <-began })
			hunt.Go(func() error {
				err := f.do(ctx, node, in(), hunter%2 == 0)
				if full(err) {
					err = nil
				}
				began <- err
				refused := false
				for tries := 0; tries < fleetTries && !failed.Load(); time.Sleep(fleetHunt) {
					after := acked.Load()
					err := f.do(ctx, node, in(), hunter%2 == 0)
					switch {
					case err == nil && after:
						late.Add(1)
					case err != nil && !halted(err) && !full(err):
						return fmt.Errorf("as one who is stopped: %w", err)
					}
					if at := start.Load(); halted(err) && !refused && at != nil {
						refused = true
						for took := int64(time.Since(*at)); ; {
							if now := last.Load(); now >= took || last.CompareAndSwap(now, took) {
								break
							}
						}
					}
					if after {
						tries++
					}
				}
				return nil
			})
		}
	}
	if err := ready.Wait(); err != nil {
		failed.Store(true)
		return x, errors.Join(err, hunt.Wait())
	}
	now := time.Now()
	start.Store(&now)
	err = do(ctx)
	x.ack = time.Since(now)
	acked.Store(true)
	failed.Store(err != nil)
	err = errors.Join(err, hunt.Wait())
	x.stop, x.late = time.Duration(last.Load()), late.Load()
	return x, err
}

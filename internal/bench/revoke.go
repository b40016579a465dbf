package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
)

const (
	revokePause   = 20 * time.Millisecond  // between two revocations
	revokeRest    = 100 * time.Millisecond // of a caller between two acts
	revokeHunt    = time.Millisecond       // between two acts with the token that is being revoked
	revokeSeconds = 120                    // of all repetitions
	revokeTries   = 3                      // acts with a token on each node after its revocation
)

// patrol is an office whose tokens are shown to all nodes of a network, while some of
// them are revoked.
type patrol struct {
	*office
	nodes    []*server.Server
	operator act.Principal
	live     []identity.Presented // tokens that every node has seen
	grants   []act.ID             // of them
	gone     int                  // how many of them were revoked, from the end
	used     int                  // rows whose tokens smaller sizes had
}

// revocations measures how long a revocation takes from its call to its return, beside
// acts of other agents on every node, and that nothing is done with the token from then
// on: `reef bench revoke`. On PostgreSQL there are two nodes, on SQLite there is one.
func revocations(r *runner, ctx context.Context) error {
	if r.seconds*float64(r.reps) > revokeSeconds {
		return badFlag("seconds", fmt.Sprintf("tokens live for five minutes: give %d for all repetitions at most", revokeSeconds))
	}
	if least := 2 * int(r.seconds*float64(r.reps)/revokePause.Seconds()); r.base < least {
		return badFlag("base", fmt.Sprintf("half of the tokens may be revoked in that time: give %d at least", least))
	}
	for _, db := range r.dbs {
		if err := r.revocationsOn(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

func (r *runner) revocationsOn(ctx context.Context, db string) error {
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	p := &patrol{office: &office{r: r, st: st}}
	if p.cert, err = newCertificate(); err != nil {
		return err
	}
	defer p.close()
	for _, scale := range r.scales {
		n := r.base * scale
		if err := p.begin(ctx, n); err != nil {
			return err
		}
		if err := p.measure(ctx, figure{DB: db, Side: string(governed), Scale: scale, Variant: fmt.Sprintf("%d nodes", len(p.nodes)),
			Data: fmt.Sprintf("%d agents, each with a token", n)}); err != nil {
			return err
		}
		p.close()
	}
	return nil
}

func (p *patrol) close() {
	for _, node := range p.nodes[min(1, len(p.nodes)):] { // the office closes the first
		node.Close()
	}
	p.nodes, p.live, p.grants, p.gone = nil, nil, nil, 0
	p.office.close()
}

// begin starts the nodes, and shows each of them a token of each of n agents.
func (p *patrol) begin(ctx context.Context, n int) (err error) {
	if err := p.open(ctx, 2*(p.used+n)); err != nil { // every other row has a certificate
		return err
	}
	if p.operator, err = p.governor(ctx); err != nil {
		return err
	}
	p.nodes = []*server.Server{p.srv}
	if p.st.db == dbPostgres {
		t := p.task()
		if t.Data, err = os.MkdirTemp(p.r.dir, "node-"); err != nil {
			return err
		}
		second, err := t.product(ctx, p.r.diag)
		if err != nil {
			return err
		}
		p.nodes = append(p.nodes, second)
	}
	for i := range n {
		a, err := p.token(p.used+i, false)
		if err != nil {
			return err
		}
		shown, err := p.call(a, false)
		if err != nil {
			return err
		}
		p.live, p.grants = append(p.live, shown), append(p.grants, a.Grant)
	}
	p.used += n
	began := time.Now()
	for _, node := range p.nodes {
		if _, err := p.r.together(func(i int) error { return p.see(ctx, node, i) }, n); err != nil {
			return err
		}
	}
	p.r.say("%s: every node has seen %d tokens, after %.1f s", p.st.db, n, time.Since(began).Seconds())
	return nil
}

// see does an act on a node as the holder of a token: it looks at a feed.
func (p *patrol) see(ctx context.Context, node *server.Server, i int) error {
	who, err := node.Identity.Present(ctx, p.live[i])
	if err != nil {
		return err
	}
	_, err = node.Network.ReadFeed.Do(ctx, who, network.FeedQuery{Limit: 1})
	return err
}

// measure revokes one token after the other.
func (p *patrol) measure(ctx context.Context, f figure) error {
	var medians, slow, acts []float64
	n := 0
	for rep := range p.r.reps {
		took, done, err := p.repeat(ctx)
		if err != nil {
			return err
		}
		p50, p99 := percentiles(took)
		n += len(took)
		medians, slow, acts = append(medians, p50), append(slow, p99), append(acts, float64(done)/p.r.seconds)
		p.r.say("%s %d/%d %d tokens revoked, p50 %.2f ms, p99 %.2f ms, beside %.0f acts a second", f.DB, rep+1, p.r.reps, len(took), p50, p99, acts[rep])
	}
	f.Metric = "revoke"
	if err := p.r.press.put(f.with(spreadOf(medians), "ms", p.r.reps, int64(n)).latency(median(medians), median(slow))); err != nil {
		return err
	}
	f.Metric = "revoke_p99"
	if err := p.r.press.put(f.with(spreadOf(slow), "ms", p.r.reps, int64(n))); err != nil {
		return err
	}
	f.Metric = "acts_beside"
	return p.r.press.put(f.with(spreadOf(acts), "1/s", p.r.reps, int64(n)))
}

// repeat revokes for the length of a repetition, while callers act on every node. It
// returns what each revocation took, in µs, and the callers' acts.
func (p *patrol) repeat(ctx context.Context) (took []uint32, acts int64, err error) {
	span, cancel := context.WithTimeout(ctx, p.r.span())
	defer cancel()
	var done atomic.Int64
	var g errgroup.Group
	callers := len(p.live) / 2 // tokens below stay good
	for at := range p.r.conns {
		node := p.nodes[at%len(p.nodes)]
		g.Go(func() error {
			for span.Err() == nil {
				time.Sleep(revokeRest)
				if err := p.see(ctx, node, rand.IntN(callers)); err != nil {
					return fmt.Errorf("with a token that is good: %w", err)
				}
				done.Add(1)
			}
			return nil
		})
	}
	g.Go(func() error {
		for span.Err() == nil {
			time.Sleep(revokePause)
			p.gone++
			d, err := p.revoke(ctx, len(p.live)-p.gone)
			if err != nil {
				return err
			}
			took = append(took, uint32(d.Microseconds()))
		}
		return nil
	})
	err = g.Wait()
	return took, done.Load(), err
}

// revoke ends a token that is in use on every node. An act that begins after the call's
// return and is done is an error.
func (p *patrol) revoke(ctx context.Context, i int) (took time.Duration, err error) {
	var gone atomic.Bool
	var g errgroup.Group
	var using errgroup.Group
	for _, node := range p.nodes {
		started := make(chan error, 1)
		g.Go(func() error {
			started <- p.see(ctx, node, i)
			for tries := 0; tries < revokeTries; time.Sleep(revokeHunt) {
				after := gone.Load()
				err := p.see(ctx, node, i)
				switch e := act.AsError(err); {
				case err == nil && after:
					return errors.New("a token was good after its revocation")
				case err != nil && e.Rule != "token.revoked":
					return fmt.Errorf("with a token that is revoked: %w", err)
				}
				if after {
					tries++
				}
			}
			return nil
		})
		using.Go(func() error { return <-started })
	}
	if err := using.Wait(); err != nil {
		gone.Store(true)
		return 0, errors.Join(err, g.Wait())
	}
	start := time.Now()
	_, err = p.nodes[0].Issuer.Revoke.Do(ctx, p.operator, identity.Revocation{Grant: p.grants[i], Reason: "bench"})
	took = time.Since(start)
	gone.Store(true)
	return took, errors.Join(err, g.Wait())
}

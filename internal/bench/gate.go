package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/server"
)

const (
	courtAct    = "post.create" // what all questions are about
	courtAskers = 1000          // agents that ask, each of another owner as far as there are owners
	courtPaused = 50            // of them so many are let do it, for each that is not
	courtBatch  = 64            // decisions that one reading of the clock is for
	courtParts  = 8             // of a repetition, one for each thing that is measured
	courtCedar  = "cedar-go without an index"
	courtOPA    = "OPA"
)

// gates measures what a decision costs with more and more policies, in turns with other
// engines that decide the same questions by the same policies, and what it costs to look
// up whether an agent was stopped: `reef bench gate`. No storage is waited for.
func gates(r *runner, ctx context.Context) error {
	st, err := r.newStage(ctx, r.dbs[0])
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	o := &office{r: r, st: st}
	if o.cert, err = newCertificate(); err != nil {
		return err
	}
	defer o.close()
	if err := o.open(ctx, r.base); err != nil {
		return err
	}
	if err := o.standings(); err != nil {
		return err
	}
	peer, err := r.openPeer(ctx)
	if err != nil {
		return err
	}
	if peer != nil {
		defer peer.close()
	}
	for _, s := range shapes {
		c := &court{r: r, srv: o.srv, shape: s, peer: peer}
		for n := 10; n <= r.policies; n *= 10 {
			c.sizes = append(c.sizes, n)
		}
		if err := c.hold(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// took is what a thing that was done again and again took, in nanoseconds each time.
type took struct {
	p50, p99 float64
	n        int64
	allocs   float64 // objects each time
}

// again does a thing for a part of a repetition. i grows with each time.
func (r *runner) again(batch int, do func(i int) error) (t took, err error) {
	var list []uint32
	var before, after runtime.MemStats
	i := 0
	runtime.GC()
	runtime.ReadMemStats(&before)
	for end := time.Now().Add(r.span() / courtParts); len(list) == 0 || time.Now().Before(end); {
		start := time.Now()
		for range batch {
			if err := do(i); err != nil {
				return t, err
			}
			i++
		}
		list = append(list, uint32(time.Since(start)*10/time.Duration(batch)))
	}
	runtime.ReadMemStats(&after)
	slices.Sort(list)
	t.p50, t.p99 = float64(percentile(list, 50))/10, float64(percentile(list, 99))/10
	t.n, t.allocs = int64(i), float64(after.Mallocs-before.Mallocs)/float64(i)
	return t, nil
}

// account is what the repetitions of one thing gave.
type account struct {
	p50, p99, allocs []float64
	n                int64
}

func (a *account) add(t took) {
	a.p50, a.p99, a.allocs, a.n = append(a.p50, t.p50), append(a.p99, t.p99), append(a.allocs, t.allocs), a.n+t.n
}

// put prints an account under a name: NAME_ns and NAME_allocs.
func (a *account) put(r *runner, f figure, name string) error {
	f.Metric = name + "_ns"
	err := r.press.put(f.with(spreadOf(a.p50), "ns", len(a.p50), a.n).latency(median(a.p50)/1e6, median(a.p99)/1e6))
	if a.allocs == nil {
		return err
	}
	f.Metric = name + "_allocs"
	// What the runtime allocates meanwhile is not the thing's: it comes to less than one.
	for i, v := range a.allocs {
		a.allocs[i] = float64(int64(v))
	}
	return errors.Join(err, r.press.put(f.with(spreadOf(a.allocs), "objects", len(a.allocs), a.n)))
}

// standings measures the check that every act begins with, on agents taken at random, and
// a decision as the network itself makes it, with all that it keeps of it.
func (o *office) standings() error {
	f := figure{DB: o.st.db, Side: string(governed), Scale: 1, Data: fmt.Sprintf("%d live agents", o.has)}
	agents := make([]act.ID, 1<<16)
	for i := range agents {
		agents[i] = older(o.agents[0].Agent, mathrand.IntN(o.has))
	}
	known := make([]act.Principal, min(courtAskers, len(agents)))
	for i := range known {
		known[i] = act.Principal{Kind: act.Agent, ID: agents[i], Name: o.srv.Lifecycle.Name(agents[i])}
	}
	ask := gate.Question{Act: courtAct, Resource: gate.Facts{Kind: act.KindCommunity, AuthorStanding: act.Active}}
	var check, cached account
	for range o.r.reps {
		t, err := o.r.again(courtBatch, func(i int) error {
			if state, _ := o.srv.Lifecycle.Standing(agents[i%len(agents)]); state != act.Active {
				return fmt.Errorf("an agent is %s", state)
			}
			return nil
		})
		if err != nil {
			return err
		}
		check.add(t)
		decide := func(i int) error {
			d := o.srv.Policy.Decide(known[i%len(known)], ask)
			if !d.Allow {
				return fmt.Errorf("denied by %s", d.Policy)
			}
			return nil
		}
		for i := range known { // the first time is not from memory
			if err := decide(i); err != nil {
				return err
			}
		}
		if t, err = o.r.again(courtBatch, decide); err != nil {
			return err
		}
		cached.add(t)
	}
	if err := check.put(o.r, f, "kill_check"); err != nil {
		return err
	}
	f.Variant, f.Data = "the network's own", fmt.Sprintf("the default policies, %d agents", len(known))
	return cached.put(o.r, f, "decision_cached")
}

// court is a set of policies for each size, and who decides by them.
type court struct {
	r       *runner
	srv     *server.Server
	shape   shape
	sizes   []int // how many policies there are
	peer    *peer // nil without
	askers  []act.Principal
	facts   map[act.ID]policy.PrincipalFacts
	ask     gate.Question
	dockets []*docket
}

// docket is one set of policies before all engines.
type docket struct {
	cached, plain *policy.Engine // with a memory of decisions, and without
	unindexed     *policy.Unindexed
	name          string // with the peer

	remembered, decided, cedar, opa account
	overCedar, overOPA              []float64 // what they take to what we do
}

// Facts implements policy.Directory.
func (c *court) Facts(agent act.ID) policy.PrincipalFacts { return c.facts[agent] }

// hold makes the policies, sees that all engines decide alike, and measures them in turns.
func (c *court) hold(ctx context.Context, o *office) error {
	names, err := c.populate(ctx, o)
	if err != nil {
		return err
	}
	for _, n := range c.sizes {
		b, err := c.docket(c.shape.laws(n, names), n)
		if err != nil {
			return fmt.Errorf("%d policies: %w", n, err)
		}
		c.dockets = append(c.dockets, b)
	}
	var times []float64
	for rep := range c.r.reps {
		for _, b := range c.dockets {
			if err := c.measure(b); err != nil {
				return err
			}
		}
		for i, b := range c.dockets {
			if err := c.compare(b); err != nil {
				return err
			}
			c.r.say("%s %d/%d %5d policies: cached %.0f ns, decided %.0f ns, %s %.0f ns", c.shape.name, rep+1, c.r.reps, c.sizes[i],
				b.remembered.p50[rep], b.decided.p50[rep], courtCedar, b.cedar.p50[rep])
		}
		last := len(c.dockets) - 1
		times = append(times, c.dockets[last].decided.p50[rep]/c.dockets[0].decided.p50[rep])
	}
	return c.publish(times)
}

// populate makes agents with owners of their own, and returns the names that policies use.
func (c *court) populate(ctx context.Context, o *office) (names lawNames, err error) {
	most := c.sizes[len(c.sizes)-1]
	names.owners, names.places = make([]string, most), make([]string, most)
	owners := make([]act.ID, most)
	for i := range most {
		if owners[i], err = c.srv.DB.Mint(ctx, act.KindOwner); err != nil {
			return names, err
		}
		place, err := c.srv.DB.Mint(ctx, act.KindCommunity)
		if err != nil {
			return names, err
		}
		if i == 0 {
			c.ask = gate.Question{Act: courtAct, Resource: gate.Facts{Kind: act.KindCommunity, Community: place, AuthorStanding: act.Active}}
		}
		names.owners[i], names.places[i] = c.srv.Codec.String(owners[i]), c.srv.Codec.String(place)
	}
	for _, a := range c.srv.Gate.Acts() {
		if a.Write && slices.Contains(append([]act.Kind{a.On}, a.Also...), act.KindCommunity) {
			names.acts = append(names.acts, a.Name)
		}
	}
	c.facts = make(map[act.ID]policy.PrincipalFacts, courtAskers)
	for i := range courtAskers {
		p := act.Principal{Kind: act.Agent, ID: older(o.agents[0].Agent, i), Name: "bench-" + strconv.Itoa(i)}
		c.askers = append(c.askers, p)
		state := act.Active
		if i%courtPaused == 0 {
			state = act.Paused
		}
		c.facts[p.ID] = policy.PrincipalFacts{Standing: state, Claimed: true, Owner: owners[i*7919%most], Class: courtClass}
	}
	return names, nil
}

// docket brings a set of policies before the engines, which must be of one mind.
func (c *court) docket(laws []law, n int) (b *docket, err error) {
	b = &docket{name: fmt.Sprintf("%s, %d", c.shape.name, n)}
	file := policy.File{Name: "bench.cedar", Text: cedarOf(laws)}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	bundle := &policy.Bundle{Version: 1, Schema: policy.Schema, CreatedAt: time.Now(), Files: []policy.File{file}}
	if _, err := policy.Sign(bundle, private); err != nil {
		return nil, err
	}
	var acts []policy.ActInfo
	for _, a := range c.srv.Gate.Acts() {
		acts = append(acts, policy.InfoOf(a))
	}
	engine := func(size int) (*policy.Engine, error) {
		e := policy.New(policy.Config{Key: public, Codec: c.srv.Codec, Directory: c, Acts: acts, CacheSize: size})
		return e, e.Activate(bundle)
	}
	if b.cached, err = engine(0); err != nil {
		return nil, err
	}
	if b.plain, err = engine(-1); err != nil {
		return nil, err
	}
	if b.unindexed, err = b.plain.Unindexed(bundle.Files); err != nil {
		return nil, err
	}
	var said []bool
	if c.peer != nil {
		if said, err = c.peer.load(b.name, regoOf(laws), c.questions()); err != nil {
			return nil, err
		}
	}
	allowed := 0
	for i, p := range c.askers {
		want := b.plain.Decide(p, c.ask).Allow
		if want {
			allowed++
		}
		if i%97 == 0 && b.unindexed.Allows(p, c.ask) != want || b.cached.Decide(p, c.ask).Allow != want || said != nil && said[i] != want {
			return nil, fmt.Errorf("the engines do not agree on question %d of %d policies", i, n)
		}
	}
	if allowed == 0 || allowed == len(c.askers) {
		return nil, fmt.Errorf("%d policies allow %d of %d", n, allowed, len(c.askers))
	}
	return b, nil
}

// measure is one repetition of what we do with one set.
func (c *court) measure(b *docket) error {
	for _, one := range []struct {
		by   *policy.Engine
		into *account
	}{{b.cached, &b.remembered}, {b.plain, &b.decided}} {
		t, err := c.r.again(courtBatch, func(i int) error { one.by.Decide(c.askers[i%len(c.askers)], c.ask); return nil })
		if err != nil {
			return err
		}
		one.into.add(t)
	}
	return nil
}

// compare is the same repetition of what the others do with it.
func (c *court) compare(b *docket) error {
	ours := b.decided.p50[len(b.decided.p50)-1]
	t, err := c.r.again(1, func(i int) error { b.unindexed.Allows(c.askers[i%len(c.askers)], c.ask); return nil })
	if err != nil {
		return err
	}
	b.cedar.add(t)
	b.overCedar = append(b.overCedar, t.p50/ours)
	if c.peer == nil {
		return nil
	}
	if t, err = c.peer.again(b.name, c.r.span()/courtParts); err != nil {
		return err
	}
	b.opa.add(t)
	b.overOPA = append(b.overOPA, t.p50/ours)
	return nil
}

// publish prints the figures. times is what the most policies take to what the fewest do.
func (c *court) publish(times []float64) (err error) {
	var sizes, cost []float64
	f := figure{Side: string(governed), Variant: c.shape.name}
	put := func(f figure) { err = errors.Join(err, c.r.press.put(f)) }
	for i, b := range c.dockets {
		n := c.sizes[i]
		f.Scale, f.Data = n/c.sizes[0], fmt.Sprintf("%d policies", n)
		err = errors.Join(err, b.decided.put(c.r, f, fmt.Sprintf("decision_%d", n)))
		f.Metric = "ratio_cedar"
		put(f.with(spreadOf(b.overCedar), "ratio", c.r.reps, b.cedar.n).against(courtCedar, median(b.overCedar)))
		peers := f
		peers.Side, b.cedar.allocs, b.opa.allocs = "cedar-go", nil, nil // what they allocate was not looked at, or is theirs
		err = errors.Join(err, b.cedar.put(c.r, peers, fmt.Sprintf("cedar_%d", n)))
		if c.peer != nil {
			f.Metric = "ratio_opa"
			put(f.with(spreadOf(b.overOPA), "ratio", c.r.reps, b.opa.n).against(courtOPA, median(b.overOPA)))
			peers.Side = "opa"
			err = errors.Join(err, b.opa.put(c.r, peers, fmt.Sprintf("opa_%d", n)))
		}
		sizes, cost = append(sizes, float64(n)), append(cost, median(b.decided.p50))
	}
	err = errors.Join(err, c.dockets[len(c.dockets)-1].remembered.put(c.r, f, "decision_cached"))
	f.Metric = "times_10"
	put(f.with(spreadOf(times), "times what 10 policies take", c.r.reps, int64(len(times))))
	e, _ := exponent(sizes, cost)
	f.Metric, f.Data, f.Scale = "growth_time", fmt.Sprintf("policies %.0f", sizes), 0
	put(f.with(spread{e, e, e}, "exponent", c.r.reps, int64(len(sizes))))
	return err
}

package graph

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
)

// WidenEvery is how often [Acts.Widen] is to be called.
const WidenEvery = time.Second

const (
	// watchFor is how long a containment is looked at again: what says again something that
	// it holds is found out minutes after it was written.
	watchFor = 5 * time.Minute
	// underWay is how long after an order what was begun before may still come in: a node
	// that does not know of the order by then serves nobody.
	underWay = gate.FreshBound + time.Second
	// countedBy is when after that the sequence has everything.
	countedBy = 10 * time.Second
)

// Late is what was under way when a containment was ordered, or when one before it was
// widened, and was added to it.
type Late struct {
	At     int64 // Unix microseconds
	Agents []act.ID
	Items  []act.ID
	Shown  []act.ID
}

func (l *Late) empty() bool { return len(l.Agents)+len(l.Items)+len(l.Shown) == 0 }

const qRecallYoung store.Q = `SELECT ` + recallColumns + ` FROM recall WHERE undone_at = 0 AND made_at > $1 ORDER BY n`

// container is the part of the server that goes on containing.
var container = act.SystemPrincipal("container")

func (a *Acts) registerWiden(g *gate.Gate) {
	a.widen = gate.RegisterWrite(g, gate.Write[int64, Recall]{
		Info: gate.Info{Name: "trace.widen", Doc: "Contain what was under way while a containment was ordered.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, int64) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, n int64) (Recall, gate.Effects, error) {
			return a.runWiden(tx, p, n)
		},
		Apply: func(act.Principal, Recall) { a.Graph.Sure() },
	})
}

// Widen asks anew what the containments of the last minutes are to hold, and adds what was
// under way when they were ordered: acts that had no number yet, and what was begun before
// the order and committed after it. Only what was done up to an order comes in, and what
// followed from that until it was held, so it comes to an end.
func (a *Acts) Widen(ctx context.Context) error {
	a.widening.Lock()
	defer a.widening.Unlock()
	var due []int64
	now := act.Micros(a.DB.Clock()())
	watched := make(map[int64]int64)
	if err := a.DB.View(ctx, func(v *store.View) error {
		due = nil
		clear(watched)
		found, err := provenance.LikenessOf(v)
		if err != nil {
			return err
		}
		var young []Recall
		if err := v.All(qRecallYoung, func(r *store.Row) error {
			one, err := scanRecall(r)
			young = append(young, one)
			return err
		}, now-watchFor.Microseconds()); err != nil {
			return err
		}
		for i := range young {
			r := &young[i]
			// Once everything has its number, only likenesses that are found later say more.
			seen, known := a.watched[r.N]
			if known && seen == found.Found && now > r.lastAt()+(underWay+countedBy).Microseconds() {
				watched[r.N] = seen
				continue
			}
			l, err := a.late(v, r)
			if err != nil {
				return err
			}
			if watched[r.N] = found.Found; !l.empty() {
				due = append(due, r.N)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	a.watched = watched
	var failed []error
	for _, n := range due {
		if _, err := a.widen.Do(ctx, container, n); err != nil {
			failed = append(failed, err)
			delete(a.watched, n)
		}
	}
	return errors.Join(failed...)
}

// watch says how long it is looked at again.
func (r *Recall) watch() {
	if r.holds != 0 && r.UndoneAt == 0 {
		r.Watched = r.At + watchFor.Microseconds()
	}
}

func (r *Recall) lastAt() int64 {
	if n := len(r.Late); n > 0 {
		return r.Late[n-1].At
	}
	return r.At
}

// late finds what belongs to a containment and is not in it: what the start had reached
// when it was ordered, and what each of the things that came in late had reached when it
// was held.
func (a *Acts) late(v *store.View, r *Recall) (l Late, err error) {
	add := func(from Start, at int64) error {
		reach, err := a.Graph.Forward(v, from)
		if err != nil {
			return err
		}
		r.Through = reach.Through
		until := at + underWay.Microseconds()
		side, shown := reach.side(r.Level)
		agents, items := targets(&Spread{Agents: upTo(side.Agents, until), Items: upTo(side.Items, until)})
		if r.holds&holdAgents != 0 {
			l.Agents = append(l.Agents, agents...)
		}
		if r.holds&holdContent != 0 {
			l.Items = append(l.Items, items...)
		}
		for _, s := range upTo(shown, until) {
			if s.ID.Kind() == act.KindAgent {
				l.Shown = append(l.Shown, s.ID)
				r.via[s.ID] = s.Via
			}
		}
		return nil
	}
	r.via = make(map[act.ID]act.ID)
	if r.holds == 0 {
		return l, nil // of before this was kept
	}
	if err := add(r.origin, r.At); err != nil {
		return l, err
	}
	for _, one := range r.Late {
		if len(one.Items) > 0 {
			if err := add(Start{Items: one.Items}, one.At); err != nil {
				return l, err
			}
		}
	}
	l.Agents, l.Items, l.Shown = beside(l.Agents, r.known), beside(l.Items, r.Items), beside(l.Shown, r.Shown)
	return l, nil
}

// upTo are the steps that were made until a time.
func upTo(all []Step, until int64) (some []Step) {
	for _, s := range all {
		if s.At <= until {
			some = append(some, s)
		}
	}
	return some
}

// beside are the ids of a list that are not in another, in their order.
func beside(all, known []act.ID) []act.ID {
	is := make(map[act.ID]bool, len(known))
	for _, id := range known {
		is[id] = true
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(id act.ID) bool { return is[id] })
}

const qRecallWiden store.Q = `UPDATE recall SET through = $2, agents = $3, items = $4, shown = $5, known = $6, late = $7 WHERE n = $1 AND undone_at = 0`

func (a *Acts) runWiden(tx *store.Tx, p act.Principal, n int64) (out Recall, fx gate.Effects, err error) {
	if err := tx.Serialize(recallLock); err != nil {
		return out, fx, err
	}
	if out, err = a.recall(&tx.View, n); err != nil {
		return out, fx, err
	}
	if out.UndoneAt != 0 {
		return out, fx, act.Errorf(act.Conflict, "this was undone before").WithRule("trace.undone").WithHint("there is nothing to be added to it any more")
	}
	defer a.Graph.Unsure()
	l, err := a.late(&tx.View, &out)
	if err != nil {
		return out, fx, err
	}
	if l.At = tx.Now(); l.empty() {
		return out, fx, act.Errorf(act.Conflict, "nothing has come in late").WithRule("trace.empty").WithHint("everything that was under way is in it")
	}
	out.known = append(out.known, l.Agents...)
	if err := a.hold(tx, p, &out, &l); err != nil {
		return out, fx, err
	}
	out.Late = append(out.Late, l)
	reason := "recall " + strconv.FormatInt(n, 10) + ": what was under way: " + out.Reason
	return out, gate.Effects{Out: act.Ref{ID: out.Subject, Version: n}, Reason: cut(reason, MaxReason)},
		tx.Batch(qRecallWiden, n, out.Through, codeIDs(out.Agents), codeIDs(out.Items), codeIDs(out.Shown), codeIDs(out.known), codeLate(out.Late))
}

// hold stops the agents of a part of a containment, withholds its things, and tells who was
// shown them. Of the agents, those that were stopped before are left out of it.
func (a *Acts) hold(tx *store.Tx, p act.Principal, r *Recall, l *Late) error {
	agents := l.Agents
	l.Agents = nil
	for _, id := range agents {
		changed, err := a.Stop(tx, p, id, r.Reason)
		if err != nil {
			return err
		}
		if changed {
			l.Agents = append(l.Agents, id)
		}
	}
	for _, id := range l.Shown {
		if err := a.Tell(tx, id, r.via[id]); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		of   *[]act.ID
		with []act.ID
	}{{&r.Agents, l.Agents}, {&r.Items, l.Items}, {&r.Shown, l.Shown}} {
		*list.of = append(*list.of, list.with...)
		slices.Sort(*list.of)
	}
	tx.Fence(act.KindSystem, 0)
	return nil
}

// What a containment holds, as bits.
const (
	holdAgents = 1 << iota
	holdContent
)

// codeList and parseList keep several lists behind each other.
func codeList(b []byte, ids []act.ID) []byte {
	coded := codeIDs(ids)
	return append(binary.AppendUvarint(b, uint64(len(coded))), coded...)
}

func parseList(b []byte) (ids []act.ID, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, errList
	}
	ids, err = parseIDs(b[n : n+int(size)]) //nolint:gosec // not above the length
	return ids, b[n+int(size):], err        //nolint:gosec // as above
}

func parseTime(b []byte) (at int64, rest []byte, err error) {
	n, size := binary.Varint(b)
	if size <= 0 {
		return 0, nil, errList
	}
	return n, b[size:], nil
}

func codeOrigin(s Start) []byte {
	return codeList(codeList(binary.AppendVarint(nil, s.Since), s.Items), s.Agents)
}

func parseOrigin(b []byte) (s Start, err error) {
	if len(b) == 0 {
		return s, nil
	}
	if s.Since, b, err = parseTime(b); err == nil {
		if s.Items, b, err = parseList(b); err == nil {
			s.Agents, _, err = parseList(b)
		}
	}
	return s, err
}

func codeLate(all []Late) (b []byte) {
	b = []byte{}
	for _, l := range all {
		b = codeList(codeList(codeList(binary.AppendVarint(b, l.At), l.Agents), l.Items), l.Shown)
	}
	return b
}

func parseLate(b []byte) (all []Late, err error) {
	for len(b) > 0 {
		var l Late
		if l.At, b, err = parseTime(b); err != nil {
			return nil, err
		}
		for _, list := range []*[]act.ID{&l.Agents, &l.Items, &l.Shown} {
			if *list, b, err = parseList(b); err != nil {
				return nil, err
			}
		}
		all = append(all, l)
	}
	return all, nil
}

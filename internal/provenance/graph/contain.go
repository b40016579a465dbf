package graph

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Order contains what something has spread to.
type Order struct {
	Subject Subject
	Level   string // LevelLikely or LevelPossible
	Agents  bool   // quarantine the agents that were reached, and who made what is at the start
	Content bool   // withhold what was reached from everybody but operators
	Reason  string // 1 to MaxReason characters; goes on record
	// Digest is that of a preview (Side.Digest): if what would be contained is not that any
	// more, nothing is. Without it the order means what there is when it is carried out.
	Digest string
}

// Undo ends a containment.
type Undo struct {
	N      int64
	Reason string // 1 to MaxReason characters; goes on record
}

// MaxReason bounds reasons, in characters; MaxAgents the agents of one order.
const (
	MaxReason = 500
	MaxAgents = 20_000
)

// Recall is a containment: what it holds, and who had been shown that.
type Recall struct {
	N        int64
	Subject  act.ID // 0 where it began with several
	Level    string
	Reason   string
	By       act.ID
	At       int64 // Unix microseconds
	Until    int64 // it can be undone; Unix microseconds
	UndoneAt int64 // 0 while it is in force
	Through  int64 // number of the last act that it was asked of
	Agents   []act.ID
	Items    []act.ID
	Shown    []act.ID // who was shown one of the items, each of whom has a notice
	Late     []Late   // what of these lists was added afterwards
	Watched  int64    // until when something may be; Unix microseconds
	Told

	holds  int64 // holdAgents, holdContent
	origin Start
	known  []act.ID          // agents that it is about, those included that it did not have to stop
	via    map[act.ID]act.ID // what those in Shown were shown; only while something is added
}

const (
	recallColumns = `n, subject, level, reason, made_by, made_at, until_at, undone_at, through, agents, items, shown, kinds, origin, known, late`

	qRecallAdd    store.Q = `INSERT INTO recall (` + recallColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10, $11, $12, $13, $14, $15)`
	qRecallLast   store.Q = `SELECT n FROM recall WHERE n > 0 ORDER BY n DESC LIMIT 1`
	qRecall       store.Q = `SELECT ` + recallColumns + ` FROM recall WHERE n = $1`
	qRecalls      store.Q = `SELECT ` + recallColumns + ` FROM recall WHERE n > 0 ORDER BY n DESC LIMIT $1`
	qRecallUndo   store.Q = `UPDATE recall SET undone_at = $2 WHERE n = $1 AND undone_at = 0`
	qRecallActive store.Q = `SELECT items FROM recall WHERE undone_at = 0 ORDER BY n`

	recallLock = "recall" // of store.Tx.Serialize
	recallsAt  = 100
)

func (a *Acts) registerContain(g *gate.Gate) {
	whole := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
	a.Contain = gate.RegisterWrite(g, gate.Write[Order, Recall]{
		Info: gate.Info{Name: "trace.contain", Doc: "Contain what something has spread to: withhold the content, quarantine the agents, tell who was shown it.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Order) (gate.Resource, error) {
			res := whole
			res.Ref.ID = in.Subject.ID
			if err := in.check(); err != nil {
				return res, err
			}
			return res, a.Graph.Refresh(v) // so that there is little left to read in the transaction
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Order) (Recall, gate.Effects, error) {
			return a.contain(tx, p, in)
		},
		Apply: func(act.Principal, Recall) { a.Graph.Sure() },
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Recall, error) {
			return a.recall(v, made.Version)
		},
	})
	a.Restore = gate.RegisterWrite(g, gate.Write[Undo, Recall]{
		Info: gate.Info{Name: "trace.restore", Doc: "Undo a containment: what it withheld is shown again, who it quarantined goes on.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in Undo) (gate.Resource, error) {
			return whole, checkReason(in.Reason)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Undo) (Recall, gate.Effects, error) {
			return a.restore(tx, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Recall, error) {
			return a.recall(v, made.Version)
		},
	})
	a.Recalls = gate.RegisterRead(g, gate.Read[int64, []Recall]{
		Info: gate.Info{Name: "trace.recalls", Doc: "List what was contained, or show one with who had been shown it.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, n int64) (list []Recall, err error) {
			if n > 0 {
				one, err := a.recall(v, n)
				return []Recall{one}, err
			}
			err = v.All(qRecalls, func(r *store.Row) error {
				one, err := scanRecall(r)
				list = append(list, one)
				return err
			}, int64(recallsAt))
			return list, err
		},
	})
	a.registerWiden(g)
	// A fence without an id may touch everybody: pages that are under way are made again.
	g.OnFence(act.KindSystem, func(ctx context.Context, _ []act.ID) error { return a.Load(ctx) })
}

func (in Order) check() error {
	switch {
	case in.Level != LevelLikely && in.Level != LevelPossible:
		return act.Errorf(act.Invalid, "there is no such level of evidence").WithRule("trace.level").WithHint("level is likely or possible")
	case !in.Agents && !in.Content:
		return act.Errorf(act.Invalid, "nothing is to be contained").WithRule("trace.kinds").WithHint("contain agents, content, or both")
	}
	return checkReason(in.Reason)
}

func checkReason(text string) error {
	if n := len([]rune(strings.TrimSpace(text))); n == 0 || n > MaxReason {
		return act.Errorf(act.Invalid, "a reason of 1 to %d characters is needed", MaxReason).WithRule("reason").WithHint("say why; it goes on record")
	}
	return nil
}

// side is what was reached by the evidence of a level, and who was shown some of it.
func (r *Reach) side(level string) (*Spread, []Step) {
	if level == LevelPossible {
		return &r.Possible, r.Possible.Agents
	}
	return &r.Likely, r.Shown
}

// each calls fn once with every agent and every thing that an order means of what was
// reached, in no order.
func (s *Spread) each(fn func(id act.ID)) {
	makers := make(map[act.ID]struct{}) // of what it began with
	for _, one := range s.Items {
		switch one.ID.Kind() {
		case act.KindPost, act.KindComment, act.KindMessage, act.KindTask:
			fn(one.ID)
		}
		if one.Gen == 0 && one.Via.Kind() == act.KindAgent {
			makers[one.Via] = struct{}{}
		}
	}
	for _, one := range s.Agents {
		if one.ID.Kind() == act.KindAgent {
			fn(one.ID)
			delete(makers, one.ID)
		}
	}
	for id := range makers {
		fn(id)
	}
}

// targets are what an order means of what was reached.
func targets(s *Spread) (agents, items []act.ID) {
	s.each(func(id act.ID) {
		if id.Kind() == act.KindAgent {
			agents = append(agents, id)
		} else {
			items = append(items, id)
		}
	})
	slices.Sort(agents)
	slices.Sort(items)
	return agents, items
}

// digest tells what would be contained from what would be at another time. It is the sum
// of what each id is scattered to, so that hundreds of thousands need no order. It proves
// nothing: ids are the network's, not of who is contained.
func digest(s *Spread) string {
	var sum [2]uint64
	s.each(func(id act.ID) {
		for i := range sum {
			sum[i] += scatter(uint64(id) + uint64(i)<<63) //nolint:gosec // bits
		}
	})
	return fmt.Sprintf("%016x%016x", sum[0], sum[1])
}

// scatter is the last step of SplitMix64 (Steele, Lea and Flood, 2014): each bit of n
// changes about half of the bits.
func scatter(n uint64) uint64 {
	n ^= n >> 30
	n *= 0xbf58476d1ce4e5b9
	n ^= n >> 27
	n *= 0x94d049bb133111eb
	return n ^ n>>31
}

// contain asks anew, in the transaction, so that nothing falls between question and
// order.
func (a *Acts) contain(tx *store.Tx, p act.Principal, in Order) (out Recall, fx gate.Effects, err error) {
	if err := tx.Serialize(recallLock); err != nil {
		return out, fx, err
	}
	defer a.Graph.Unsure()
	from, err := a.start(&tx.View, in.Subject)
	if err != nil {
		return out, fx, err
	}
	r, err := a.Graph.Forward(&tx.View, from)
	if err != nil {
		return out, fx, err
	}
	side, shown := r.side(in.Level)
	agents, items := targets(side)
	switch {
	case len(agents)+len(items) == 0:
		return out, fx, act.Errorf(act.NotFound, "nothing is reached from there").WithRule("trace.empty").WithHint("look with trace.blast first")
	case in.Digest != "" && in.Digest != digest(side):
		return out, fx, act.Errorf(act.Conflict, "it has spread since you looked: %d agents and %d things are reached now", len(agents), len(items)).
			WithRule("trace.moved").WithHint("look again, or leave the digest out to contain what there is")
	case len(agents) > MaxAgents:
		return out, fx, act.Errorf(act.Conflict, "%d agents are reached, %d can be contained by one order", len(agents), MaxAgents).
			WithRule("trace.most").WithHint("contain the likely ones, or a scope: POST /v1/scopes/{scope}/quarantine")
	}
	reason := strings.TrimSpace(in.Reason)
	out = Recall{
		Subject: in.Subject.ID, Level: in.Level, Reason: reason, By: p.ID, At: tx.Now(), Until: tx.Now() + UndoFor.Microseconds(), Through: r.Through,
	}
	if _, err := tx.One(qRecallLast, func(row *store.Row) error { out.N = row.Int(0); return nil }); err != nil {
		return out, fx, err
	}
	out.N++
	out.origin, out.known, out.via = from, agents, make(map[act.ID]act.ID)
	var first Late
	if in.Content {
		out.holds |= holdContent
		first.Items = items
	}
	if in.Agents {
		out.holds |= holdAgents
		first.Agents = agents
	}
	for _, s := range shown {
		if s.ID.Kind() == act.KindAgent {
			first.Shown = append(first.Shown, s.ID)
			out.via[s.ID] = s.Via
		}
	}
	if err := a.hold(tx, p, &out, &first); err != nil {
		return out, fx, err
	}
	out.watch()
	return out, gate.Effects{Out: act.Ref{ID: in.Subject.ID, Version: out.N}, Reason: cut("recall "+strconv.FormatInt(out.N, 10)+": "+reason, MaxReason)},
		tx.Batch(qRecallAdd, out.N, out.Subject, out.Level, out.Reason, out.By, out.At, out.Until, out.Through,
			codeIDs(out.Agents), codeIDs(out.Items), codeIDs(out.Shown), out.holds, codeOrigin(out.origin), codeIDs(out.known), codeLate(nil))
}

func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most])
	}
	return text
}

func (a *Acts) restore(tx *store.Tx, p act.Principal, in Undo) (out Recall, fx gate.Effects, err error) {
	if err := tx.Serialize(recallLock); err != nil {
		return out, fx, err
	}
	if out, err = a.recall(&tx.View, in.N); err != nil {
		return out, fx, err
	}
	switch {
	case out.UndoneAt != 0:
		return out, fx, act.Errorf(act.Conflict, "this was undone before").WithRule("trace.undone").WithHint("GET /v1/trace/recalls lists what is in force")
	case out.Until < tx.Now():
		return out, fx, act.Errorf(act.Conflict, "this cannot be undone as a whole any more").WithRule("trace.window").
			WithHint("release agents one by one with POST /v1/agents/{id}/release")
	}
	reason := strings.TrimSpace(in.Reason)
	for _, id := range out.Agents {
		if _, err := a.Free(tx, p, id, reason); err != nil {
			return out, fx, err
		}
	}
	if _, err := tx.Exec(qRecallUndo, out.N, tx.Now()); err != nil {
		return out, fx, err
	}
	out.UndoneAt, out.Watched, out.Told = tx.Now(), 0, Told{} // their standing has changed
	tx.Fence(act.KindSystem, 0)
	return out, gate.Effects{Out: act.Ref{ID: out.Subject, Version: out.N}, Reason: reason}, nil
}

func (a *Acts) recall(v *store.View, n int64) (out Recall, err error) {
	found, err := v.One(qRecall, func(r *store.Row) (err error) { out, err = scanRecall(r); return err }, n)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "there is no such containment").WithRule("trace.recall").WithHint("GET /v1/trace/recalls lists them")
	}
	if err != nil {
		return out, err
	}
	out.Told, err = a.tell(v, slices.Concat(out.Agents, out.Shown))
	return out, err
}

func scanRecall(r *store.Row) (out Recall, err error) {
	out = Recall{
		N: r.Int(0), Subject: r.ID(1), Level: r.Text(2), Reason: r.Text(3), By: r.ID(4), At: r.Int(5), Until: r.Int(6), UndoneAt: r.Int(7), Through: r.Int(8),
	}
	out.holds = r.Int(12)
	for i, list := range map[int]*[]act.ID{9: &out.Agents, 10: &out.Items, 11: &out.Shown, 14: &out.known} {
		if *list, err = parseIDs(r.Bytes(i)); err != nil {
			return out, err
		}
	}
	if out.origin, err = parseOrigin(r.Bytes(13)); err == nil {
		out.Late, err = parseLate(r.Bytes(15))
	}
	out.watch()
	return out, err
}

// Load has the gate withhold what is contained.
func (a *Acts) Load(ctx context.Context) error {
	held := make(map[act.ID]struct{})
	if err := a.DB.View(ctx, func(v *store.View) error {
		clear(held)
		return v.All(qRecallActive, func(r *store.Row) error {
			ids, err := parseIDs(r.Bytes(0))
			for _, id := range ids {
				held[id] = struct{}{}
			}
			return err
		})
	}); err != nil {
		return err
	}
	a.Gate.Withhold(held)
	return nil
}

// codeIDs and parseIDs keep lists of ids as lists of items are kept.
func codeIDs(ids []act.ID) (b []byte) {
	b = []byte{}
	for part := range slices.Chunk(ids, provenance.MaxItems) {
		refs := make([]act.Ref, len(part))
		for i, id := range part {
			refs[i].ID = id
		}
		coded := provenance.AppendItems(nil, refs)
		b = append(binary.AppendUvarint(b, uint64(len(coded))), coded...)
	}
	return b
}

var errList = errors.New("a list of ids is not readable")

func parseIDs(b []byte) (ids []act.ID, err error) {
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, errList
		}
		refs, err := provenance.DecodeItems(b[n : n+int(size)]) //nolint:gosec // not above the length
		if err != nil {
			return nil, err
		}
		for _, r := range refs {
			ids = append(ids, r.ID)
		}
		b = b[n+int(size):] //nolint:gosec // as above
	}
	return ids, nil
}

package lifecycle

import (
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// directory is what memory knows of every agent. It holds committed rows only
// and forgets none. Looking up takes no lock and, as a rule, one cache line; an
// agent takes about 80 bytes, so that 1.6 million fit in 130 MB.
type directory struct {
	shards [dirShards]dirShard
	counts [act.Stale + 1]atomic.Int64 // agents by standing
}

const (
	dirShards    = 64
	dirShardBits = 6
	dirFirst     = 64 // slots of a shard's first table
)

// dirShard is an open-addressed table with linear probing. Readers load the
// table and walk it; writers hold mu. A slot is published by its id, last of
// its fields, and a larger table by its pointer. A reader that walks a table
// while it is being replaced gets what was true when it began.
type dirShard struct {
	table atomic.Pointer[[]dirSlot] // the length is a power of two
	mu    sync.Mutex
	used  int // guarded by mu
}

type dirSlot struct {
	id     atomic.Int64  // 0 is free; never changes once set
	word   atomic.Uint64 // epoch<<8 | timed<<7 | governed<<6 | trust<<4 | standing
	record *record       // set before id, never changed
}

type record struct {
	name  string
	owner atomic.Int64 // 0 while unclaimed
	bond  atomic.Pointer[bond]
}

// entry is a row for the directory.
type entry struct {
	name  string
	owner act.ID // 0 while unclaimed
	epoch int64
	state act.Standing
	trust trust.Level
	bond  *bond // nil for an agent that has none
}

// Bits of a word, so that what is asked most often is in the slot.
const (
	timed    = 1 << 7 // the standing may change with the time alone
	governed = 1 << 6 // it is of a class
)

func (e entry) word() uint64 {
	word := uint64(e.epoch)<<8 | uint64(e.trust)<<4 | uint64(e.state)
	if e.bond.timed() {
		word |= timed
	}
	if e.bond != nil && e.bond.class != 0 {
		word |= governed
	}
	return word
}

func standingIn(word uint64) act.Standing { return act.Standing(word & 0xF) }

func trustIn(word uint64) trust.Level { return trust.Level(word >> 4 & 3) }

func newDirectory() *directory {
	d := &directory{}
	for i := range d.shards {
		first := make([]dirSlot, dirFirst)
		d.shards[i].table.Store(&first)
	}
	return d
}

// The multiplier spreads ids that differ in few bits (Fibonacci hashing): its
// highest bits choose the shard, the ones below them the slot.
func spread(id act.ID) uint64 { return uint64(id) * 0x9E3779B97F4A7C15 }

func (d *directory) shard(h uint64) *dirShard { return &d.shards[h>>(64-dirShardBits)] }

// find returns the slot of id, or the free one where it would go.
func find(table []dirSlot, h uint64, id act.ID) *dirSlot {
	mask := uint64(len(table) - 1)
	for i := h >> 16; ; i++ {
		s := &table[i&mask]
		if at := s.id.Load(); at == int64(id) || at == 0 {
			return s
		}
	}
}

// look returns the slot of an agent, nil for an unknown one.
func (d *directory) look(id act.ID) *dirSlot {
	h := spread(id)
	s := find(*d.shard(h).table.Load(), h, id)
	// A free slot may meanwhile have become another agent's.
	if id == 0 || s.id.Load() != int64(id) {
		return nil
	}
	return s
}

// put takes a committed row in, unless memory has a later one.
func (d *directory) put(id act.ID, e entry) {
	h := spread(id)
	s := d.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	table := *s.table.Load()
	slot := find(table, h, id)
	if slot.id.Load() != 0 {
		if int64(slot.word.Load()>>8) <= e.epoch {
			slot.record.owner.Store(int64(e.owner))
			slot.record.bond.Store(e.bond)
			d.counts[standingIn(slot.word.Swap(e.word()))].Add(-1)
			d.counts[e.state].Add(1)
		}
		return
	}
	d.counts[e.state].Add(1)
	if s.used++; s.used*8 > len(table)*7 {
		table = grown(table)
		slot = find(table, h, id)
		defer s.table.Store(&table)
	}
	slot.record = &record{name: e.name}
	slot.record.owner.Store(int64(e.owner))
	slot.record.bond.Store(e.bond)
	slot.word.Store(e.word())
	slot.id.Store(int64(id))
}

// grown copies a table into one of twice the size.
func grown(old []dirSlot) []dirSlot {
	table := make([]dirSlot, 2*len(old))
	for i := range old {
		from := &old[i]
		id := from.id.Load()
		if id == 0 {
			continue
		}
		to := find(table, spread(act.ID(id)), act.ID(id))
		to.record = from.record
		to.word.Store(from.word.Load())
		to.id.Store(id)
	}
	return table
}

// each calls do with every agent, in no order, until it says no. It takes no lock: an agent
// that comes meanwhile may be left out.
func (d *directory) each(do func(id act.ID, r *record, state act.Standing) bool) {
	for i := range d.shards {
		table := *d.shards[i].table.Load()
		for n := range table {
			s := &table[n]
			if id := act.ID(s.id.Load()); id != 0 && !do(id, s.record, standingIn(s.word.Load())) {
				return
			}
		}
	}
}

func (d *directory) len() (n int) {
	for i := range d.shards {
		d.shards[i].mu.Lock()
		n += d.shards[i].used
		d.shards[i].mu.Unlock()
	}
	return n
}

// Standing implements gate.Standings: one look-up in memory, never in storage. What
// is halted, and who has outlived their time, has the standing that comes of it.
func (l *Lifecycle) Standing(agent act.ID) (state act.Standing, epoch int64) {
	s := l.agents.look(agent)
	if s == nil {
		return act.StandingUnknown, 0
	}
	word := s.word.Load()
	state = standingIn(word)
	// Most agents are asked about by their slot alone: what else memory has of them lies elsewhere.
	if word&timed != 0 || !l.halts.Load().none() {
		state = l.effective(agent, s.record, state)
	}
	return state, int64(word >> 8)
}

// Facts are what policies may know of an agent.
type Facts struct {
	Standing act.Standing
	Claimed  bool
	Owner    act.ID // 0 while unclaimed
	Team     string // that its owner works in, "" for none
	Class    string // its class's name, "" without one
	Mandate  act.ID // this and the rest: as in its bond; zero without one
	Parent   act.ID
	Root     act.ID // the first of its line
	Depth    int64  // parents above it

	Clearance gate.Classification // the most confidential that it was granted
	Trust     trust.Level         // low while it is quarantined, whatever it has earned
}

// Facts returns what policies may know of an agent, from memory and without
// allocating; the zero value for an unknown one.
func (l *Lifecycle) Facts(agent act.ID) Facts {
	s := l.agents.look(agent)
	if s == nil {
		return Facts{}
	}
	owner := act.ID(s.record.owner.Load())
	word := s.word.Load()
	f := Facts{Standing: l.effective(agent, s.record, standingIn(word)), Claimed: owner != 0, Owner: owner, Trust: trustIn(word)}
	if f.Standing == act.Quarantined {
		f.Trust = trust.Low
	}
	c := l.charters.Load()
	f.Team = c.team(owner)
	if b := s.record.bond.Load(); b != nil {
		f.Mandate, f.Parent, f.Root, f.Depth = b.mandate, b.parent, b.root, b.depth
		if one := c.classes[b.class]; one != nil {
			f.Class = one.Name
		}
		if b.terms != nil && b.terms.grant.Clearance != charter.AnyClearance {
			f.Clearance = gate.Classification(b.terms.grant.Clearance - charter.Unclassified)
		}
	}
	return f
}

// Governed reports whether an agent is of a class.
func (l *Lifecycle) Governed(agent act.ID) bool {
	s := l.agents.look(agent)
	return s != nil && s.word.Load()&governed != 0
}

// Each calls do with every agent that memory knows, in no order, until it says no.
func (l *Lifecycle) Each(do func(agent act.ID) bool) {
	l.agents.each(func(id act.ID, _ *record, _ act.Standing) bool { return do(id) })
}

// Name returns an agent's name from memory, "" for an unknown one.
func (l *Lifecycle) Name(agent act.ID) string {
	if s := l.agents.look(agent); s != nil {
		return s.record.name
	}
	return ""
}

const qStanding store.Q = `SELECT a.state, a.epoch, ` + haltCount + ` FROM agent AS a WHERE a.id = $1`

// Expect implements gate.Standings: it is Recheck of one agent, whose answer may
// come with the transaction's next round trip.
func (l *Lifecycle) Expect(tx *store.Tx, p act.Principal, community act.ID) error {
	if b := l.bondOf(p.ID); b != nil && b.parent != 0 {
		if err := l.expectLine(tx, b); err != nil {
			return err
		}
	}
	return tx.Soon(qStanding, func(r *store.Row) error {
		if r == nil {
			return stands(act.StandingUnknown, 0, p)
		}
		halts := l.halts.Load()
		if r.Int(2) != halts.n {
			return gate.Moved()
		}
		if place := halts.place(community); !place.MayAct() {
			return gate.PlaceError(place)
		}
		return stands(l.weighedRow(halts, p.ID, act.Standing(r.Int(0)), tx.Now()), r.Int(1), p)
	}, p.ID)
}

// stands judges an agent's row.
func stands(state act.Standing, epoch int64, p act.Principal) error {
	switch {
	case !state.MayAct():
		return act.Errorf(act.Denied, "your standing is %s", state).WithRule("standing." + state.String()).
			WithHint("it was changed while you acted; keep your credential and ask your owner")
	case epoch != p.Epoch:
		return gate.Moved()
	}
	return nil
}

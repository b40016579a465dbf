package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A quota's row says how much of it was given to nodes; each node has a block, a row of its
// own with what it was given and what of that is used. An act draws on the block of its node
// in its own transaction, so what is used is exact however acts end, and no two nodes wait
// for each other. Only a block that has too little makes a node look at the quota's row, in
// a short transaction between two tries of the act: it takes a part of what is not given
// yet, and when all is given, of what the others have not used.
//
// What was drawn stands in rows alone: a node that dies loses nothing, and the others take
// what it has left.
const (
	// A node takes a part of what is left at a time: blocks are small when little is.
	blockPart = 8

	// spentFor is how long a node remembers that nothing was left anywhere, and spares
	// whoever asks a transaction; what somebody gives back is found that much later.
	spentFor = time.Second

	// The quota's row turns to the period that a time is in, and is locked. A node that has not
	// heard yet that the quota has other periods turns nothing.
	qQuotaTurn store.Q = `UPDATE quota SET given = CASE WHEN since < $2 THEN 0 ELSE given END, since = CASE WHEN since < $2 THEN $2 ELSE since END WHERE id = $1 AND period = $3`
	qQuotaRest store.Q = `SELECT most, given, since FROM quota WHERE id = $1`
	qQuotaGive store.Q = `UPDATE quota SET given = given + $2 WHERE id = $1`

	qQuotaRenew  store.Q = `UPDATE quota SET given = 0, since = $2 WHERE id = $1`
	qQuotaRecall store.Q = `UPDATE quota SET given = CAST((SELECT COALESCE(SUM(b.used), 0) FROM quota_block AS b WHERE b.quota = quota.id) AS BIGINT) WHERE id = $1`

	qBlockOwn    store.Q = `SELECT id, leased - used FROM quota_block WHERE quota = $1 AND node = $2`
	qBlockMake   store.Q = `INSERT INTO quota_block (id, quota, node, since, leased, used) VALUES ($1, $2, $3, $4, $5, 0)`
	qBlockGrow   store.Q = `UPDATE quota_block SET leased = leased + $2 WHERE id = $1`
	qBlockDraw   store.Q = `UPDATE quota_block SET used = used + $2 WHERE id = $1 AND used + $2 <= leased`
	qBlockBack   store.Q = `UPDATE quota_block SET leased = leased + $2, used = used + $2 WHERE id = $1`
	qBlocksOver  store.Q = `DELETE FROM quota_block WHERE quota = $1 AND since < $2`
	qBlocksDrop  store.Q = `DELETE FROM quota_block WHERE quota = $1`
	qBlocksShut  store.Q = `UPDATE quota_block SET leased = used WHERE quota = $1`
	qBlocksOther store.Q = `UPDATE quota_block SET leased = leased WHERE quota = $1 AND node <> $2` // locks them
	qBlocksIdle  store.Q = `SELECT id, leased - used FROM quota_block WHERE quota = $1 AND node <> $2 AND leased > used ORDER BY leased - used DESC, id`

	// What an agent has reserved in a period, so that it gives back no more than that.
	qUseAdd store.Q = `INSERT INTO quota_use (quota, agent, since, used) VALUES ($1, $2, $3, $4)
ON CONFLICT (quota, agent) DO UPDATE SET used = CASE WHEN quota_use.since = $3 THEN quota_use.used + $4 ELSE $4 END, since = $3`
	qUseOf    store.Q = `SELECT used FROM quota_use WHERE quota = $1 AND agent = $2 AND since = $3`
	qUseBack  store.Q = `UPDATE quota_use SET used = used - $4 WHERE quota = $1 AND agent = $2 AND since = $3 AND used >= $4`
	qUsesDrop store.Q = `DELETE FROM quota_use WHERE quota = $1`
	qUsesBy   store.Q = `DELETE FROM quota_use WHERE agent = $1`
)

// purse is what memory knows of a quota, to draw on it. Nothing in it is permission: the
// rows decide.
type purse struct {
	Quota // as of the last fence; Used is not kept up to date

	block atomic.Pointer[block] // of this node, nil before it has one
	spent atomic.Int64          // nothing is left before that time; Unix microseconds
	mu    sync.Mutex            // one looks for more at a time
}

// block names a row that this node may draw on. Another one, or one that has grown, has
// another address.
type block struct {
	id    act.ID
	since int64
}

// purses are the quotas by what they bound, and then by kind. They never change.
type purses struct {
	network purseSet
	teams   map[string]*purseSet
	classes map[string]*purseSet
	n       int
}

type purseSet [4]*purse // in the order of charter.BudgetKinds

// none is true of nil, too: before the start there are none.
func (p *purses) none() bool { return p == nil || p.n == 0 }

// reloadQuotas brings memory up to date with what quotas there are; see gate.OnFence.
func (l *Lifecycle) reloadQuotas(ctx context.Context, _ []act.ID) error {
	var list []Quota
	if err := l.db.View(ctx, func(v *store.View) (err error) { list, err = l.Quotas(v); return err }); err != nil {
		return err
	}
	old := l.quotas.Load()
	now := &purses{teams: make(map[string]*purseSet), classes: make(map[string]*purseSet), n: len(list)}
	for _, q := range list {
		p := &purse{Quota: q}
		level, name, _ := strings.Cut(q.On.Scope, ":")
		set := &now.network
		switch level + ":" {
		case QuotaTeam:
			set = setOf(now.teams, name)
		case QuotaClass:
			set = setOf(now.classes, name)
		}
		for kind, text := range charter.BudgetKinds() {
			if text == q.On.Kind {
				set[kind] = p
				if was := old.like(q.On.Scope, kind); was != nil && was.ID == q.ID && was.Period == q.Period {
					p.block.Store(was.block.Load())
				}
			}
		}
	}
	l.quotas.Store(now)
	return nil
}

func setOf(sets map[string]*purseSet, name string) *purseSet {
	if sets[name] == nil {
		sets[name] = &purseSet{}
	}
	return sets[name]
}

// like finds the quota of a scope and kind, nil without one.
func (p *purses) like(scope string, kind int) *purse {
	if p.none() {
		return nil
	}
	level, name, _ := strings.Cut(scope, ":")
	set := &p.network
	switch level + ":" {
	case QuotaTeam:
		set = p.teams[name]
	case QuotaClass:
		set = p.classes[name]
	}
	if set == nil {
		return nil
	}
	return set[kind]
}

// above finds the quotas of a kind that an agent is under, nil where there is none. It does
// not allocate.
func (l *Lifecycle) above(agent act.ID, kind int) (list [3]*purse) {
	p := l.quotas.Load()
	if p.none() {
		return list
	}
	list[0] = p.network[kind]
	s := l.agents.look(agent)
	if s == nil {
		return list
	}
	c := l.charters.Load()
	if len(p.teams) > 0 {
		if set := p.teams[c.team(act.ID(s.record.owner.Load()))]; set != nil {
			list[1] = set[kind]
		}
	}
	if b := s.record.bond.Load(); len(p.classes) > 0 && b != nil && c.classes[b.class] != nil {
		if set := p.classes[c.classes[b.class].Name]; set != nil {
			list[2] = set[kind]
		}
	}
	return list
}

// levy counts what an agent does, or reserves, against every quota that it is under.
func (l *Lifecycle) levy(tx *store.Tx, agent act.ID, kind int, amount int64) error {
	for _, p := range l.above(agent, kind) {
		if p == nil {
			continue
		}
		b, err := l.blockFor(p, amount, tx.Now())
		due := amount
		if err == nil && kind != budgetActs { // acts are not given back
			due, err = noteUse(tx, p.ID, agent, b.since, amount)
		}
		if err == nil {
			err = l.draw(tx, p, b, due)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// draw takes an amount from a block. What comes back is no longer the node's either: where
// more is used than there is, because the limit was lowered, it is nobody's.
func (l *Lifecycle) draw(tx *store.Tx, p *purse, b *block, amount int64) error {
	short := l.lacking(p, amount, b)
	switch {
	case amount == 0:
		return nil
	case amount > 0:
		return tx.Draw(qBlockDraw, b.id, amount, short)
	}
	if err := tx.Draw(qQuotaGive, p.ID, amount, short); err != nil {
		return err
	}
	return tx.Draw(qBlockBack, b.id, amount, short)
}

// blockFor is the block of this node that an amount is to be drawn on.
func (l *Lifecycle) blockFor(p *purse, amount, now int64) (*block, error) {
	b := p.block.Load()
	switch {
	case amount > 0 && now < p.spent.Load():
		return nil, p.refusal(amount, 0, now)
	case b == nil || b.since < p.Period.began(now) || amount > p.Limit:
		return nil, l.lacking(p, amount, b)
	}
	return b, nil
}

// lacking starts an act again with more in the block of this node.
func (l *Lifecycle) lacking(p *purse, amount int64, had *block) error {
	return gate.Lack(func(ctx context.Context) error { return l.fill(ctx, p, amount, had) })
}

// noteUse keeps what an agent has reserved in a period. What it gives back counts as far as
// it was reserved then: nobody gives back what others use.
func noteUse(tx *store.Tx, quota, agent act.ID, since, amount int64) (due int64, err error) {
	if amount >= 0 {
		return amount, tx.Batch(qUseAdd, quota, agent, since, amount)
	}
	var had int64
	if _, err := tx.One(qUseOf, func(r *store.Row) error { had = r.Int(0); return nil }, quota, agent, since); err != nil {
		return 0, err
	}
	back := min(had, -max(amount, -MaxQuota))
	if back == 0 {
		return 0, nil
	}
	changed, err := tx.Exec(qUseBack, quota, agent, since, back)
	if err == nil && changed == 0 {
		err = gate.Moved()
	}
	return -back, err
}

// fill gives this node more of a quota, so that an amount can be drawn on its block, or says
// that so much is not left. had is the block that had too little.
func (l *Lifecycle) fill(ctx context.Context, p *purse, amount int64, had *block) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.block.Load() != had {
		return nil // somebody has filled it
	}
	var b block
	var left int64
	err := l.db.Write(ctx, func(tx *store.Tx) (err error) {
		b, left, err = l.lease(tx, p, amount)
		return err
	})
	switch {
	case err == nil:
		p.block.Store(&b)
	case act.CodeOf(err) == act.Denied && left <= 0:
		now := l.db.Clock()()
		until := act.Micros(now.Add(spentFor))
		if n := p.Period.length(); n > 0 {
			until = min(until, p.Period.began(act.Micros(now))+n)
		}
		p.spent.Store(until)
	}
	return err
}

// lease grows the block of this node by a part of what is left of a quota, and by an amount
// at least. It fails when that is not left anywhere; left says what is.
func (l *Lifecycle) lease(tx *store.Tx, p *purse, amount int64) (b block, left int64, err error) {
	changed, err := tx.Exec(qQuotaTurn, p.ID, p.Period.began(tx.Now()), string(p.Period))
	if err == nil && changed == 0 {
		err = gate.Moved() // it was dropped, or has other periods
	}
	if err != nil {
		return b, 0, err
	}
	var most, given int64
	if _, err := tx.One(qQuotaRest, func(r *store.Row) error { most, given, b.since = r.Int(0), r.Int(1), r.Int(2); return nil }, p.ID); err != nil {
		return b, 0, err
	}
	if err := tx.Batch(qBlocksOver, p.ID, b.since); err != nil {
		return b, 0, err
	}
	node := int64(l.db.Node())
	var own int64
	if _, err := tx.One(qBlockOwn, func(r *store.Row) error { b.id, own = r.ID(0), r.Int(1); return nil }, p.ID, node); err != nil {
		return b, 0, err
	}
	need := max(0, amount-own)
	rest := max(0, most-given)
	more := min(rest, max(need, rest/blockPart))
	if more > 0 {
		if err := tx.Batch(qQuotaGive, p.ID, more); err != nil {
			return b, 0, err
		}
	}
	if more < need {
		taken, err := takeIdle(tx, p.ID, node, need-more)
		if err != nil {
			return b, 0, err
		}
		more += taken
	}
	if more < need {
		return b, own + more, p.refusal(amount, own+more, tx.Now())
	}
	if b.id != 0 {
		return b, own + more, tx.Batch(qBlockGrow, b.id, more)
	}
	if b.id, err = tx.Mint(act.KindSystem); err == nil {
		err = tx.Batch(qBlockMake, b.id, p.ID, node, b.since, more)
	}
	return b, more, err
}

// takeIdle takes from other nodes what they have not used, half of what each has at a time
// and a need at least. The caller has the quota's row locked: nobody else does so.
func takeIdle(tx *store.Tx, quota act.ID, node, need int64) (taken int64, err error) {
	if changed, err := tx.Exec(qBlocksOther, quota, node); err != nil || changed == 0 {
		return 0, err
	}
	type idle struct {
		id   act.ID
		left int64
	}
	var list []idle
	if err := tx.All(qBlocksIdle, func(r *store.Row) error { list = append(list, idle{r.ID(0), r.Int(1)}); return nil }, quota, node); err != nil {
		return 0, err
	}
	for _, one := range list {
		if taken >= need {
			break
		}
		part := min(one.left, max(need-taken, one.left/2))
		if err := tx.Batch(qBlockGrow, one.id, -part); err != nil {
			return 0, err
		}
		taken += part
	}
	return taken, nil
}

// recallBlocks takes back what nodes hold of a quota and have not used; with another period
// it begins anew. The caller has the quota's row locked.
func recallBlocks(tx *store.Tx, q Quota, period Period) error {
	if period != q.Period {
		if err := dropBlocks(tx, q.ID); err != nil {
			return err
		}
		return tx.Batch(qQuotaRenew, q.ID, period.began(tx.Now()))
	}
	if err := tx.Batch(qBlocksShut, q.ID); err != nil {
		return err
	}
	return tx.Batch(qQuotaRecall, q.ID)
}

// dropBlocks forgets what was given of a quota and used.
func dropBlocks(tx *store.Tx, quota act.ID) error {
	if err := tx.Batch(qBlocksDrop, quota); err != nil {
		return err
	}
	return tx.Batch(qUsesDrop, quota)
}

// refusal says that a quota has not so much left as somebody wants to use, and when it has.
func (p *purse) refusal(amount, left, now int64) error {
	text := fmt.Sprintf("the quota of %s for %s is used up", p.On.Kind, p.On.Scope)
	if left > 0 {
		text = fmt.Sprintf("%d %s are left of the quota for %s, and you want %d", left, p.On.Kind, p.On.Scope, amount)
	}
	e := act.Errorf(act.Denied, "%s", text).WithRule(p.On.rule())
	if n := p.Period.length(); n > 0 {
		at := p.Period.began(now) + n
		return e.WithRetry(time.Duration(at-now) * time.Microsecond).
			WithHint(fmt.Sprintf("it renews at %s; an operator with the role admin can raise it (quota.set)", wireTime(at)))
	}
	return e.WithHint("it does not come back by waiting: an operator with the role admin can raise it (quota.set)")
}

package lifecycle

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Kill is one kill of the network's, for ever.
type Kill struct {
	Epoch  KillEpoch // with this kill
	Agent  act.ID    // it need not be here; see Note
	Name   string
	Reason string
	At     int64 // Unix microseconds

	total int64
}

// KillEpoch says how many agents a network has killed, and which, in a form that
// is short enough to be kept elsewhere: whoever has it can tell a network that
// has forgotten a kill.
type KillEpoch struct {
	N     int64  // kills
	Check uint32 // over whom; does not depend on the order
}

// String writes an epoch as "17-5d0c2a91".
func (e KillEpoch) String() string { return fmt.Sprintf("%d-%08x", e.N, e.Check) }

// ParseKillEpoch reads an epoch, or a bare number of kills, for which checked is
// false.
func ParseKillEpoch(s string) (e KillEpoch, checked bool, err error) {
	number, check, checked := strings.Cut(s, "-")
	if e.N, err = strconv.ParseInt(number, 10, 64); err == nil && checked && len(check) == 8 {
		var n uint64
		n, err = strconv.ParseUint(check, 16, 32)
		e.Check = uint32(n)
	} else if checked {
		err = strconv.ErrSyntax
	}
	if err != nil || e.N < 0 {
		return KillEpoch{}, false, act.Errorf(act.Invalid, "%.40q is no kill epoch", s).WithRule("kill.epoch").
			WithHint(`an epoch looks like 17-5d0c2a91, as reef agent kill and the kill log show it; 17 alone is the number of kills; "none" says that there were none since the backup`)
	}
	return e, checked, nil
}

// weigh is what an agent adds to the total that an epoch's check is made of. The
// migration that numbered the first kills computes it too (0071_kill.sql).
func weigh(agent act.ID) int64 {
	const m = 1<<31 - 1
	return int64(agent) % m * 48271 % m
}

func epochOf(n, total int64) KillEpoch {
	return KillEpoch{N: n, Check: uint32(total) ^ uint32(total>>32)}
}

const (
	killColumns = `n, agent, name, reason, total, killed_at`

	qKillLast  store.Q = `SELECT ` + killColumns + ` FROM kill WHERE n > 0 ORDER BY n DESC LIMIT 1`
	qKillOf    store.Q = `SELECT ` + killColumns + ` FROM kill WHERE agent = $1`
	qKillAfter store.Q = `SELECT ` + killColumns + ` FROM kill WHERE n > $1 ORDER BY n LIMIT $2`
	qKillAdd   store.Q = `INSERT INTO kill (n, agent, name, reason, total, killed_at) VALUES ($1, $2, $3, $4, $5, $6)`

	killLock = "kill" // of store.Tx.Serialize
)

func scanKill(r *store.Row) Kill {
	return Kill{
		Epoch: epochOf(r.Int(0), r.Int(4)), Agent: r.ID(1), Name: r.Text(2), Reason: r.Text(3), At: r.Int(5), total: r.Int(4),
	}
}

// lastKill returns the newest kill, the zero value when there was none.
func lastKill(v *store.View) (k Kill, err error) {
	_, err = v.One(qKillLast, func(r *store.Row) error { k = scanKill(r); return nil })
	return k, err
}

// killOf returns the kill of an agent.
func killOf(v *store.View, agent act.ID) (k Kill, found bool, err error) {
	found, err = v.One(qKillOf, func(r *store.Row) error { k = scanKill(r); return nil }, agent)
	return k, found, err
}

// number gives a kill the next number. The transaction has called Serialize with
// killLock. A kill that has one keeps it.
func number(tx *store.Tx, k Kill) (KillEpoch, error) {
	if known, found, err := killOf(&tx.View, k.Agent); err != nil || found {
		return known.Epoch, err
	}
	last, err := lastKill(&tx.View)
	if err != nil {
		return KillEpoch{}, err
	}
	n, total := last.Epoch.N+1, last.total+weigh(k.Agent)
	return epochOf(n, total), tx.Batch(qKillAdd, n, k.Agent, k.Name, k.Reason, total, k.At)
}

// KillsCursor is the name of the list of kills in its cursors.
const KillsCursor = "kill.list"

// KillQuery asks for a page of kills in their order.
type KillQuery struct {
	After  int64 // the number of a kill; 0 is the start
	Cursor act.Cursor
	Limit  int // 1 to MaxList; MaxList if 0
}

// Note tells a network that was restored to a time before an agent was registered
// that the agent was killed. One that was killed already keeps its number.
type Note struct {
	Agent  act.ID
	Name   string
	Reason string // of the kill
	At     int64  // of the kill, Unix microseconds; now if 0
}

func (l *Lifecycle) registerKills(g *gate.Gate) {
	l.ListKills = gate.RegisterRead(g, gate.Read[KillQuery, act.Page[Kill]]{
		Info: gate.Info{Name: "kill.list", Doc: "List the network's kills by number.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in KillQuery) (act.Page[Kill], error) {
			return kills(v, in)
		},
	})
	l.NoteKill = gate.RegisterWrite(g, gate.Write[Note, Kill]{
		Info: gate.Info{Name: "kill.note", Doc: "Note a kill of an agent that the network does not know, after a restore.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in Note) (gate.Resource, error) {
			_, err := checkReason(in.Reason)
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Note) (Kill, gate.Effects, error) {
			return l.note(tx, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Kill, error) {
			k, _, err := killOf(v, made.ID)
			return k, err
		},
	})
}

func kills(v *store.View, in KillQuery) (page act.Page[Kill], err error) {
	n, after, err := listed(KillsCursor, "kills", in.Limit, in.Cursor, in.After)
	if err != nil {
		return page, err
	}
	var items []Kill
	err = v.All(qKillAfter, func(r *store.Row) error { items = append(items, scanKill(r)); return nil }, after, int64(n+1))
	return paged(KillsCursor, items, n, func(k Kill) int64 { return k.Epoch.N }), err
}

// note is for agents that are not here, or have expired here: who is, is killed.
func (l *Lifecycle) note(tx *store.Tx, in Note) (k Kill, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return k, fx, err
	}
	if err := tx.Serialize(killLock); err != nil {
		return k, fx, err
	}
	a, err := l.agent(&tx.View, in.Agent)
	switch {
	case act.CodeOf(err) == act.NotFound:
	case err != nil:
		return k, fx, err
	case a.Standing != act.Expired:
		return k, fx, act.Errorf(act.Conflict, "the agent is here").WithRule("kill.here").WithHint("kill it: reef agent kill")
	}
	k = Kill{Agent: in.Agent, Name: in.Name, Reason: reason, At: in.At}
	if k.At == 0 {
		k.At = tx.Now()
	}
	if k.Epoch, err = number(tx, k); err != nil {
		return k, fx, err
	}
	tx.Fence(act.KindNetwork, 0) // so that every node's kill log has it
	return k, gate.Effects{Out: act.Ref{ID: k.Agent}, Named: true, Reason: reason}, nil
}

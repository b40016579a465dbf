package lifecycle

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Caps bound how many agents there can be that have not ended. 0 is no bound.
// They are counted in the transactions that make and end agents, so they hold
// exactly however many nodes register at once.
type Caps struct {
	Owner   int // claimed agents of one owner
	Source  int // agents of one network source that wait to be claimed
	Network int // agents in all
}

// A seat row counts agents: those of an owner under the owner's id, those that
// wait under a negative number made of their source, and all of them spread over
// the rows 1 to networkSeats, of which each has its share of the cap, so that no
// row is locked by every registration.
const (
	networkSeats = 16

	// A row that is there already is locked by this, so that it is not dropped as
	// empty before somebody sits down.
	qSeatMake store.Q = `INSERT INTO seat (id, taken) VALUES ($1, 0) ON CONFLICT (id) DO UPDATE SET taken = seat.taken`
	qSeatTake store.Q = `UPDATE seat SET taken = taken + 1 WHERE id = $1 AND taken < $2`
	qSeatFree store.Q = `UPDATE seat SET taken = taken - 1 WHERE id = $1`
	qAddSeats store.Q = `UPDATE seat SET taken = taken + $2 WHERE id = $1`
)

// sourceSeat is the row of a keyed source hash, 0 for an unknown source.
func sourceSeat(source string) act.ID {
	if source == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(source))
	return -act.ID(binary.BigEndian.Uint64(sum[:8])>>2) - 1
}

// networkSeat is the row that an agent is counted in, unless it was full. What
// an agent leaves is taken off its own row all the same: the sum is what counts.
func networkSeat(agent act.ID) act.ID { return agent>>22%networkSeats + 1 }

// seat counts one more in a row, if the cap (0: none) allows it. Rows are taken
// in the order source, network, owner, and given back in the order of their ids,
// which is the same: so no two transactions wait for each other.
func (l *Lifecycle) seat(tx *store.Tx, id act.ID, limit int) (ok bool, err error) {
	if id == 0 {
		return true, nil
	}
	if id < 0 || id > networkSeats {
		if err := tx.Batch(qSeatMake, id); err != nil {
			return false, err
		}
	}
	if limit == 0 {
		tx.Add(qAddSeats, id, 1)
		return true, nil
	}
	changed, err := tx.Exec(qSeatTake, id, int64(limit))
	return changed == 1, err
}

// seatSource takes a seat for an agent that waits to be claimed.
func (l *Lifecycle) seatSource(tx *store.Tx, source act.ID) error {
	ok, err := l.seat(tx, source, l.cfg.Caps.Source)
	if err != nil || ok {
		return err
	}
	retry := l.cfg.Unclaimed
	if retry == 0 {
		retry = time.Hour
	}
	return act.Errorf(act.RateLimited, "%d agents from where you are wait to be claimed", l.cfg.Caps.Source).
		WithRule("quota.source").WithRetry(retry).
		WithHint("have their owner claim them; those that nobody claims make room when their time is over")
}

// seatNetwork takes one of the network's seats.
func (l *Lifecycle) seatNetwork(tx *store.Tx, agent act.ID) error {
	limit := l.cfg.Caps.Network
	first := networkSeat(agent)
	if limit == 0 {
		_, err := l.seat(tx, first, 0)
		return err
	}
	for i := range act.ID(networkSeats) {
		row := (first-1+i)%networkSeats + 1
		share := limit / networkSeats
		if int(row) <= limit%networkSeats {
			share++
		}
		if share == 0 {
			continue
		}
		if ok, err := l.seat(tx, row, share); err != nil || ok {
			return err
		}
	}
	return act.Errorf(act.Denied, "this network has its %d agents", limit).WithRule("quota.network").
		WithHint("ask its operator for room; a key that you already have still works")
}

// seatOwner takes one of an owner's seats.
func (l *Lifecycle) seatOwner(tx *store.Tx, owner act.ID) error {
	ok, err := l.seat(tx, owner, l.cfg.Caps.Owner)
	if err != nil || ok {
		return err
	}
	return act.Errorf(act.Denied, "the owner has %d agents, which is as many as one may have here", l.cfg.Caps.Owner).
		WithRule("quota.owner").WithHint("end one that is not needed (agent.kill), or ask the network's operator for room")
}

// leave gives back the seats of an agent that ends.
func (l *Lifecycle) leave(tx *store.Tx, a Agent) {
	if a.Standing == act.Requested {
		tx.Add(qAddSeats, a.source, -1)
	}
	tx.Add(qAddSeats, networkSeat(a.ID), -1)
	tx.Add(qAddSeats, a.Owner, -1)
}

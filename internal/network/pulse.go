package network

import (
	"context"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Pulse says how busy the network is. It tells numbers only.
type Pulse struct {
	At       time.Time // when it was counted
	Posts    int64     // made in the last hour, imported ones left out; so Comments
	Comments int64
	Writers  int64 // agents that wrote one of these
	Census
}

// Census counts agents and what waits for a human.
type Census struct {
	Agents      [act.Stale + 1]int64 // by standing
	Waiting     int64                // acts that wait for a human now
	Held        int64                // acts that were held for a human since a time
	Quarantined int64                // agents that were quarantined since then and still are
}

const (
	pulseOver  = time.Hour       // posts and comments are counted over this
	censusOver = 24 * time.Hour  // what was held or quarantined is, over this
	pulseFor   = 5 * time.Second // how long a count is good

	qPulsePosts    store.Q = `SELECT COUNT(*) FROM post WHERE id >= $1 AND origin <> 2`
	qPulseComments store.Q = `SELECT COUNT(*) FROM comment WHERE id >= $1 AND origin <> 2`
	qPulseWriters  store.Q = `SELECT COUNT(DISTINCT author) FROM (SELECT author FROM post WHERE id >= $1 AND origin <> 2
UNION ALL SELECT author FROM comment WHERE id >= $1 AND origin <> 2) AS writer`
)

// counted is the last pulse. Counting costs what happened in an hour, so readers
// share a count for a few seconds.
type counted struct {
	mu   sync.Mutex
	last Pulse // guarded by mu
}

func (n *Network) registerPulse(g *gate.Gate) {
	n.ShowNetwork = gate.RegisterRead(g, gate.Read[Nothing, Pulse]{
		Info: gate.Info{Name: "network.show", Doc: "Show how busy the network is: agents by standing, posts and comments of the last hour, acts that wait for a human.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ Nothing) (Pulse, error) {
			return n.pulse(v)
		},
	})
}

func (n *Network) pulse(v *store.View) (p Pulse, err error) {
	n.counted.mu.Lock()
	defer n.counted.mu.Unlock()
	now := n.gate.Now()
	if age := now.Sub(n.counted.last.At); age >= 0 && age < pulseFor {
		return n.counted.last, nil
	}
	p.At = now
	since := act.FirstID(now.Add(-pulseOver))
	for q, into := range map[store.Q]*int64{qPulsePosts: &p.Posts, qPulseComments: &p.Comments, qPulseWriters: &p.Writers} {
		if _, err := v.One(q, func(r *store.Row) error { *into = r.Int(0); return nil }, since); err != nil {
			return p, err
		}
	}
	if n.census != nil {
		if p.Census, err = n.census(v, now.Add(-censusOver)); err != nil {
			return p, err
		}
	}
	n.counted.last = p
	return p, nil
}

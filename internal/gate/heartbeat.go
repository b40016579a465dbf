package gate

import (
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// DefaultHeartbeat is how often an agent is asked to look in unless Config says
// otherwise.
const DefaultHeartbeat = 30 * time.Minute

// NextCheck tells when an agent should look in next: between a half and one and
// a half heartbeats from now. Each agent has its own slot in the heartbeat, a
// second (a millisecond of heartbeats under a minute, which demonstrations have),
// drawn from its id and the same on every node, so that however many ask at the
// same instant (after an outage, say) they come back spread over the whole of it.
func (g *Gate) NextCheck(agent act.ID) time.Time {
	return nextCheck(agent, g.clock(), g.heartbeat)
}

func nextCheck(agent act.ID, now time.Time, every time.Duration) time.Time {
	unit := time.Second
	if every < time.Minute {
		unit = time.Millisecond
	}
	slots := int64(every / unit)
	slot := int64(mixed(uint64(agent)) % uint64(slots))
	earliest := now.Add(every/2).UnixMilli() / unit.Milliseconds()
	wait := (slot - earliest%slots + slots) % slots
	return time.UnixMilli((earliest + wait) * unit.Milliseconds()).UTC()
}

// mixed spreads ids that differ in few bits over all 64 (the finalizer of
// SplitMix64).
func mixed(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

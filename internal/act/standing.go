package act

// Standing says whether an agent may act at all now. It is the answer of one
// memory lookup on every act, so it fits in a byte.
type Standing uint8

// The standings. Only Active and Requested get as far as policy; an agent that
// is Requested (registered, not yet claimed by an owner) is allowed only what
// the policy grants the unclaimed.
const (
	StandingUnknown Standing = iota // no such agent
	Requested
	Active
	Paused
	Quarantined
	Killed
	Expired
	Stale
)

// String returns the name used on every wire and in policies.
func (s Standing) String() string {
	switch s {
	case StandingUnknown:
		return "unknown"
	case Requested:
		return "requested"
	case Active:
		return "active"
	case Paused:
		return "paused"
	case Quarantined:
		return "quarantined"
	case Killed:
		return "killed"
	case Expired:
		return "expired"
	case Stale:
		return "stale"
	}
	return "unknown"
}

// MayAct reports whether the standing lets acts through to the policy.
func (s Standing) MayAct() bool { return s == Active || s == Requested }

// Final reports whether no act can lead out of the standing.
func (s Standing) Final() bool { return s == Killed || s == Expired }

package trust

import "slices"

// Level is what an agent has earned, in few steps: a decision that hangs on it is
// remembered until it changes. Numbers are stored.
type Level uint8

// The levels. Unknown stands between low and normal: too little is known.
const (
	Unknown Level = iota
	Low
	Normal
	High
)

var levels = [...]string{"unknown", "low", "normal", "high"}

// String returns the level's name as wires and policies have it.
func (l Level) String() string {
	if l > High {
		return levels[Unknown]
	}
	return levels[l]
}

// Parse reads a level's name.
func Parse(name string) (l Level, ok bool) {
	i := slices.Index(levels[:], name)
	return Level(max(i, 0)), i >= 0
}

// rank orders the levels.
func (l Level) rank() int { return [...]int{Unknown: 1, Low: 0, Normal: 2, High: 3}[l&High] }

// Above reports whether a level is higher than another.
func (l Level) Above(o Level) bool { return l.rank() > o.rank() }

// Least is the lower of two levels.
func Least(a, b Level) Level {
	if a.Above(b) {
		return b
	}
	return a
}

// Inherited is what a child begins with: it has done nothing yet, and who has lost trust
// does not get it back by a child.
func Inherited(parent Level) Level { return Least(parent, Unknown) }

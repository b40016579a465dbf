package world

import (
	"sync/atomic"
	"time"
)

// Clock tells the time of a world: it stands still until whoever lives the world
// moves it, and never goes back. Its Now is an act.Clock. It is safe for concurrent
// use.
type Clock struct{ at atomic.Int64 } // Unix microseconds

// NewClock returns a clock that shows a time.
func NewClock(at time.Time) *Clock {
	c := &Clock{}
	c.at.Store(at.UnixMicro())
	return c
}

// Now is the time that it shows.
func (c *Clock) Now() time.Time { return time.UnixMicro(c.at.Load()).UTC() }

func (c *Clock) set(at time.Time) { c.at.Store(max(c.at.Load(), at.UnixMicro())) }

package act

import "time"

// Clock tells the time. Product code takes one instead of calling time.Now, so
// that tests own time.
type Clock func() time.Time

// RealClock is the machine's clock.
func RealClock() time.Time { return time.Now() }

// Micros converts a time to the unit of every *_at column: Unix microseconds,
// UTC. The zero time is 0.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the inverse of Micros.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// WireTime is the layout of times on every wire: RFC 3339, milliseconds, Z.
const WireTime = "2006-01-02T15:04:05.000Z"

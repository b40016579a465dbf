package bus

import "time"

// Fault is what happens to one signal, for tests only: product code leaves
// Config.Fault nil. The function is asked once for each signal that the bus
// publishes and once for each that arrives from another bus, with the subject
// as it was published; a bus whose every answer is Drop is cut off from its
// network. It must be safe for concurrent use.
type Fault struct {
	Drop      bool          // the signal is lost
	Duplicate bool          // it is delivered twice
	Delay     time.Duration // it is delivered this much later, out of order
}

// maxDelayed bounds what injected delays may hold back; beyond it a delayed
// signal is dropped and counted.
const maxDelayed = 1024

// suffer lets the injected fault decide how often and when deliver is called.
func (b *Bus) suffer(subject string, deliver func()) {
	f := b.fault(subject)
	if f.Drop {
		return
	}
	times := 1
	if f.Duplicate {
		times = 2
	}
	if f.Delay <= 0 {
		for range times {
			deliver()
		}
		return
	}
	if b.delayed.Add(1) > maxDelayed {
		b.delayed.Add(-1)
		b.dropped.Add(1)
		return
	}
	time.AfterFunc(f.Delay, func() {
		defer b.delayed.Add(-1)
		if b.closed.Load() {
			return
		}
		for range times {
			deliver()
		}
	})
}

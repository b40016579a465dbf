package gate

import (
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/bus"
)

// PulseSubject is the bus subject on which a node says that it has committed
// something: sequencers, streams and projections look at the database then.
const PulseSubject = "pulse"

// NumberedSubject is the bus subject on which the sequencer of a network on
// PostgreSQL says that committed events have got their numbers. On SQLite an
// event has its number when it is committed, and the pulse says so.
const NumberedSubject = "numbered"

const pulseEvery = 5 * time.Millisecond

// pulse turns many commits into few signals.
type pulse struct {
	bus  *bus.Bus
	due  chan struct{}
	stop chan struct{}
	done sync.WaitGroup
}

func newPulse(b *bus.Bus) *pulse {
	return &pulse{bus: b, due: make(chan struct{}, 1), stop: make(chan struct{})}
}

func (p *pulse) beat() {
	select {
	case p.due <- struct{}{}:
	default:
	}
}

func (p *pulse) start() {
	p.done.Add(1)
	go func() {
		defer p.done.Done()
		pause := time.NewTimer(pulseEvery)
		defer pause.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-p.due:
				_ = p.bus.Publish(PulseSubject, nil) // a lost pulse is made up for by the readers' own clock
			}
			pause.Reset(pulseEvery)
			select {
			case <-p.stop:
				return
			case <-pause.C:
			}
		}
	}()
}

func (p *pulse) close() {
	close(p.stop)
	p.done.Wait()
}

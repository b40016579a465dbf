package gate

import (
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

// bar is a fence around the whole network: while it stands no agent acts or
// reads and no stranger changes anything, whatever the standings say. It is for
// when the standings themselves cannot be trusted. Operators, who sign in as
// strangers, the system and observers' reads pass.
type bar struct{ why atomic.Pointer[act.Error] }

// Bar puts the bar up on this node, with the error that who meets it is told, or
// takes it away (nil). Like standings it is a copy of what is stored: whoever
// changes that fences the network (act.KindNetwork), and its handler calls Bar.
// An act that was let through before is not taken back by it.
func (g *Gate) Bar(why *act.Error) { g.bar.why.Store(why) }

// Barred returns what agents are told while the bar is up, nil when it is not.
func (g *Gate) Barred() error {
	why := g.bar.why.Load()
	if why == nil {
		return nil
	}
	again := *why // it belongs to its caller
	return &again
}

// refuses reports whether an error is the bar's.
func (b *bar) refuses(e *act.Error) bool {
	why := b.why.Load()
	return why != nil && why.Rule == e.Rule
}

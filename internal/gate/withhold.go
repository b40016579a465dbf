package gate

import (
	"github.com/reefwarden/reefwarden/internal/act"
)

// Withhold has the gate keep things from everybody but operators: who asks for one is
// told that it is withheld, and on pages with others it is left out. It replaces what was
// withheld before. Whoever calls it does so before a fence is applied, which has pages
// that are under way made again. The set is the gate's from then on.
func (g *Gate) Withhold(things map[act.ID]struct{}) {
	if len(things) == 0 {
		g.withheld.Store(nil)
		return
	}
	g.withheld.Store(&things)
}

// withholds reports whether p is not to be shown a thing, and may not act on it.
func (g *Gate) withholds(p act.Principal, thing act.ID) bool {
	held := g.withheld.Load()
	if held == nil || p.Kind == act.Operator || p.Kind == act.System {
		return false
	}
	_, is := (*held)[thing]
	return is
}

func withheldError() error {
	return act.Errorf(act.Gone, "this is withheld").WithRule("trace.contain").
		WithHint("operators examine what it belongs to; do not act on what you remember of it, and go on with something else")
}

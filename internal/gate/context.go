package gate

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
)

// stated checks what a caller says went into its act: only what it was shown can have.
func (g *Gate) stated(ctx context.Context, p act.Principal, things []act.ID) ([]act.Ref, error) {
	if len(things) == 0 || g.bare {
		return nil, nil
	}
	if p.Kind != act.Agent {
		return nil, act.Errorf(act.Invalid, "only agents state what went into their acts").WithRule("context.agent").
			WithHint("leave the statement out")
	}
	return g.Tracer.Shown(ctx, p, things)
}

func contextEdges(things []act.Ref) (edges []Edge) {
	for _, ref := range things {
		edges = append(edges, Edge{From: ref, Kind: EdgeContext})
	}
	return edges
}

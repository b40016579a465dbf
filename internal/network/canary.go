package network

import (
	"slices"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network/canary"
)

const maxCopied = 16 // edges that the marks in one act's texts make

// stamp marks the links and the blocks of code in the texts of a thing for one who is about to be shown it.
func (n *Network) stamp(p act.Principal, item act.Ref, texts ...*string) {
	if n.canaries == nil || p.Kind != act.Agent {
		return
	}
	mark := sync.OnceValue(func() string {
		hour := uint32(n.gate.Now().Unix() / int64(time.Hour/time.Second)) //nolint:gosec // until the year 490,000
		return n.canaries.Mark(canary.View{Reader: p.ID, Item: item, Hour: hour})
	})
	for _, text := range texts {
		*text = canary.Put(*text, mark)
	}
}

// lift takes marks out of what an agent writes, so that they do not travel on, and returns
// what they prove: that it was copied from what somebody was shown, and from whom it came
// where that was another.
func (n *Network) lift(p act.Principal, texts ...*string) (edges []gate.Edge) {
	for _, text := range texts {
		clean, views := n.canaries.Lift(*text)
		*text = clean
		for _, v := range views {
			from := []act.Ref{v.Item, {ID: v.Reader}}
			if v.Reader == p.ID {
				from = from[:1]
			}
			for _, ref := range from {
				e := gate.Edge{From: ref, Kind: gate.EdgeCopied}
				if len(edges) < maxCopied && !slices.Contains(edges, e) {
					edges = append(edges, e)
				}
			}
		}
	}
	return edges
}

// lifted is a text as it is stored.
func (n *Network) lifted(text string) string {
	clean, _ := n.canaries.Lift(text)
	return clean
}

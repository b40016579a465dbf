package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Info is what the registry knows of an act. Policies, documents, CLI
// completion, metrics and the exhaustiveness test all come from it.
type Info struct {
	Name  string     // "post.create": also policy action, span name, audit kind, metric label
	Doc   string     // one line for docs/acts.md and tool lists
	On    act.Kind   // what kind of thing the act is aimed at, for the policy schema
	Also  []act.Kind // other kinds it can be aimed at, or shows
	Quota string     // quota class (quota.go); QuotaNone for acts without a rate
	Write bool       // set by registration

	// Redacts and Attenuates say which obligations it can honour; set by registration.
	Redacts, Attenuates bool

	// Announce says who may see that the act happened; set by registration from
	// the list in announce.go.
	Announce Announce
}

// Acts lists the registered acts by name.
func (g *Gate) Acts() []Info {
	list := make([]Info, 0, len(g.acts))
	for _, a := range g.acts {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// register adds an act; a bad registration is a programmer's error and stops
// the start.
func (g *Gate) register(i Info) {
	noun, verb, ok := strings.Cut(i.Name, ".")
	switch {
	case !ok || noun == "" || verb == "":
		panic(fmt.Sprintf("gate: act %q is not noun.verb", i.Name))
	case i.Doc == "":
		panic(fmt.Sprintf("gate: act %q has no doc line", i.Name))
	case !quotaKnown(i.Quota):
		panic(fmt.Sprintf("gate: act %q has unknown quota class %q", i.Name, i.Quota))
	}
	if _, twice := g.acts[i.Name]; twice {
		panic(fmt.Sprintf("gate: act %q is registered twice", i.Name))
	}
	i.Announce = announced[i.Name]
	g.acts[i.Name] = i
}

package policy

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// InfoOf is a registered act as the engine knows it.
func InfoOf(a gate.Info) ActInfo {
	return ActInfo{
		Name: a.Name, Doc: a.Doc, Kinds: append([]act.Kind{a.On}, a.Also...), Read: !a.Write, Redacts: a.Redacts, Attenuates: a.Attenuates,
	}
}

// Published shows the schema of all acts that are registered when it is asked.
type Published = gate.ReadAct[struct{}, SchemaForms]

// RegisterSchema registers the act by which operators read the schema.
func RegisterSchema(g *gate.Gate) *Published {
	return gate.RegisterRead(g, gate.Read[struct{}, SchemaForms]{
		Info: gate.Info{Name: "policy.schema", Doc: "Show what policies can speak of, as a Cedar schema in both of its forms.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(context.Context, *store.View, act.Principal, struct{}) (SchemaForms, error) {
			var acts []ActInfo
			for _, a := range g.Acts() {
				acts = append(acts, InfoOf(a))
			}
			return SchemaOf(acts)
		},
	})
}

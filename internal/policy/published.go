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

// registerSchema registers the act by which operators read the schema of all acts that are
// registered when it is asked.
func registerSchema(g *gate.Gate) *gate.ReadAct[struct{}, SchemaForms] {
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

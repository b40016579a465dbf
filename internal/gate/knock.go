package gate

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Knock counts an attempt against a rate before anybody is known, so that verifying
// what a flood brings costs no more than counting it. What is refused is counted on
// record like any other refusal of the act.
func (g *Gate) Knock(ctx context.Context, p act.Principal, name, class string) error {
	_, err := g.quota.take(p, Info{Name: name, Quota: class})
	if err != nil {
		g.Refuse(ctx, p, name, err)
	}
	return err
}

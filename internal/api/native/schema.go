package native

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
)

// policySchema is what policies are checked against, in both forms that Cedar has.
type policySchema struct {
	Cedar string          `json:"cedar"`
	JSON  json.RawMessage `json:"json"`
}

// schemaRoutes say what policies can speak of.
func (d *door) schemaRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/policy/schema", Act: "policy.schema", Handle: d.policySchema, Gives: policySchema{}},
	}
}

// GET /policy/schema
func (d *door) policySchema(ctx context.Context, c *api.Call) error {
	s, err := d.policies.Schema.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, policySchema{Cedar: s.Cedar, JSON: s.JSON})
}

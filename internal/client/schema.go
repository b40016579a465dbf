package client

import (
	"context"
	"encoding/json"
	"net/http"
)

// PolicySchema is what policies can speak of, in both forms that Cedar has.
type PolicySchema struct {
	Cedar string          `json:"cedar"`
	JSON  json.RawMessage `json:"json"`
}

// PolicySchema shows what policies can speak of.
func (c *Client) PolicySchema(ctx context.Context) (out PolicySchema, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/policy/schema", nil, nil, &out)
	return out, err
}

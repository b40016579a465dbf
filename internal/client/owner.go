package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Owner is a person or team who answers for agents.
type Owner struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Operator   string    `json:"operator"` // name of the person who answers as it, "" while nobody does
	OperatorID string    `json:"operator_id"`
	Team       string    `json:"team"`   // that they work in, "" for none
	Agents     int64     `json:"agents"` // that have not ended
	CreatedAt  time.Time `json:"created_at"`
}

// OwnerPage is a page of owners; Next is "" at the end.
type OwnerPage struct {
	Items []Owner `json:"items"`
	Next  string  `json:"next_cursor"`
}

// Owners lists owners in the order of their ids, from a cursor ("" the start).
func (c *Client) Owners(ctx context.Context, cursor string) (out OwnerPage, err error) {
	v := url.Values{}
	word(v, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/owners", v, nil, &out)
	return out, err
}

// LinkOwner makes the operator of a name, or with "" nobody, answer as an owner. reason
// goes on record.
func (c *Client) LinkOwner(ctx context.Context, owner, operator, reason string) (out Owner, err error) {
	in := struct {
		Owner    string `json:"owner"`
		Operator string `json:"operator"`
		Reason   string `json:"reason"`
	}{owner, operator, reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/owners/link", nil, in, &out)
	return out, err
}

// MoveOwner says in which team, "" for none, an owner works. Unless its agents come along
// (keep) they wait until they are taken over. reason goes on record.
func (c *Client) MoveOwner(ctx context.Context, owner, team string, keep bool, reason string) (out Owner, err error) {
	in := struct {
		Owner  string `json:"owner"`
		Team   string `json:"team"`
		Keep   bool   `json:"keep"`
		Reason string `json:"reason"`
	}{owner, team, keep, reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/owners/move", nil, in, &out)
	return out, err
}

package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// RoleBinding gives a role to whoever it names: of Group, Person and Service one is set.
type RoleBinding struct {
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	Issuer    string    `json:"issuer"` // of the group or the person
	Group     string    `json:"group"`
	Person    string    `json:"person"` // the issuer's subject
	Service   string    `json:"service"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Operators int64     `json:"operators"` // whom it reaches now
	Some      []string  `json:"some"`      // names of some of them
}

// NewRoleBinding asks for a binding. Reason goes on record.
type NewRoleBinding struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Issuer  string `json:"issuer,omitempty"`
	Group   string `json:"group,omitempty"`
	Person  string `json:"person,omitempty"`
	Service string `json:"service,omitempty"`
	Reason  string `json:"reason"`
}

// RoleBindings lists the role bindings by name.
func (c *Client) RoleBindings(ctx context.Context) ([]RoleBinding, error) {
	var out struct {
		Items []RoleBinding `json:"items"`
	}
	err := c.conn.call(ctx, http.MethodGet, "/v1/role-bindings", nil, nil, &out)
	return out.Items, err
}

// BindRole gives a role to whoever a binding names.
func (c *Client) BindRole(ctx context.Context, in NewRoleBinding) (out RoleBinding, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/role-bindings", nil, in, &out)
	return out, err
}

// UnbindRole ends a binding. reason goes on record.
func (c *Client) UnbindRole(ctx context.Context, name, reason string) (out RoleBinding, err error) {
	in := struct {
		Reason string `json:"reason"`
	}{reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/role-bindings/"+url.PathEscape(name)+"/unbind", nil, in, &out)
	return out, err
}

// Role is a name for several roles.
type Role struct {
	Name      string    `json:"name"`
	Roles     []string  `json:"roles"`
	Note      string    `json:"note"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Bindings  int64     `json:"bindings"`  // that name it
	Operators int64     `json:"operators"` // whom these reach now
	Some      []string  `json:"some"`      // names of some of them
}

// NewRole defines a role, anew where there is one of the name. Reason goes on record.
type NewRole struct {
	Name   string   `json:"name"`
	Roles  []string `json:"roles"`
	Note   string   `json:"note,omitempty"`
	Reason string   `json:"reason"`
}

// Roles lists the roles of the network's own.
func (c *Client) Roles(ctx context.Context) ([]Role, error) {
	var out struct {
		Items []Role `json:"items"`
	}
	err := c.conn.call(ctx, http.MethodGet, "/v1/roles", nil, nil, &out)
	return out.Items, err
}

// DefineRole makes a role of several, or makes it of others.
func (c *Client) DefineRole(ctx context.Context, in NewRole) (out Role, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/roles", nil, in, &out)
	return out, err
}

// DropRole ends one that no binding names. reason goes on record.
func (c *Client) DropRole(ctx context.Context, name, reason string) (out Role, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/roles/"+url.PathEscape(name)+"/drop", nil, because{reason}, &out)
	return out, err
}

package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Class is one version of a class of agents. Spec is its document, see docs/workloads.md.
type Class struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Version   int64           `json:"version"`
	Spec      json.RawMessage `json:"spec"`
	Retired   bool            `json:"retired"`
	Reason    string          `json:"reason"`
	Agents    int64           `json:"agents"`
	MadeAt    time.Time       `json:"made_at"`
	ChangedAt time.Time       `json:"changed_at"`
}

// ClassPage is a page of classes; Next is "" at the end.
type ClassPage struct {
	Items []Class `json:"items"`
	Next  string  `json:"next_cursor"`
}

// PutClass makes the next version of a class; one that says the same makes none.
func (c *Client) PutClass(ctx context.Context, name string, spec json.RawMessage) (out Class, err error) {
	in := struct {
		Name string          `json:"name"`
		Spec json.RawMessage `json:"spec"`
	}{name, spec}
	err = c.conn.call(ctx, http.MethodPost, "/v1/classes", nil, in, &out)
	return out, err
}

// Classes lists versions of classes, of one name or of all ("").
func (c *Client) Classes(ctx context.Context, name, cursor string) (out ClassPage, err error) {
	v := url.Values{}
	word(v, "name", name)
	word(v, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/classes", v, nil, &out)
	return out, err
}

// Class shows a version of a class, the newest if 0.
func (c *Client) Class(ctx context.Context, name string, version int64) (out Class, err error) {
	v := url.Values{}
	if version != 0 {
		v.Set("version", strconv.FormatInt(version, 10))
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/classes/"+url.PathEscape(name), v, nil, &out)
	return out, err
}

// RetireClass takes a class out of use.
func (c *Client) RetireClass(ctx context.Context, name, reason string) (out Class, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/classes/"+url.PathEscape(name)+"/retire", nil, because{reason}, &out)
	return out, err
}

// because is a body that says why.
type because struct {
	Reason string `json:"reason"`
}

// Mandate is a business purpose that agents act under.
type Mandate struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Owner     string     `json:"owner"`
	Revision  int64      `json:"revision"`
	Statement string     `json:"statement"`
	Success   string     `json:"success"`
	Stop      string     `json:"stop"`
	ExpiresAt *time.Time `json:"expires_at"`
	Grace     int64      `json:"grace"` // seconds
	State     string     `json:"state"` // open or closed
	Outcomes  int64      `json:"outcomes"`
	Reason    string     `json:"reason"`
	MadeAt    time.Time  `json:"made_at"`
	ChangedAt time.Time  `json:"changed_at"`
	Agents    int64      `json:"agents"`
	Stale     int64      `json:"stale"`
}

// MandatePage is a page of mandates; Next is "" at the end.
type MandatePage struct {
	Items []Mandate `json:"items"`
	Next  string    `json:"next_cursor"`
}

// Purpose is what a mandate says. ExpiresAt is RFC 3339, "" never.
type Purpose struct {
	Statement string `json:"statement"`
	Success   string `json:"success,omitempty"`
	Stop      string `json:"stop,omitempty"`
	ExpiresAt string `json:"expires_at,omitempty"`
}

// OpenMandate opens a mandate; grace is in seconds, a day if 0.
func (c *Client) OpenMandate(ctx context.Context, name, owner string, p Purpose, grace int64) (out Mandate, err error) {
	in := struct {
		Name  string `json:"name"`
		Owner string `json:"owner"`
		Purpose
		Grace int64 `json:"grace,omitempty"`
	}{name, owner, p, grace}
	err = c.conn.call(ctx, http.MethodPost, "/v1/mandates", nil, in, &out)
	return out, err
}

// Mandates lists mandates from a cursor ("" the start).
func (c *Client) Mandates(ctx context.Context, cursor string) (out MandatePage, err error) {
	v := url.Values{}
	word(v, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/mandates", v, nil, &out)
	return out, err
}

// Mandate shows a mandate, by its id or its name.
func (c *Client) Mandate(ctx context.Context, name string) (out Mandate, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/mandates/"+url.PathEscape(name), nil, nil, &out)
	return out, err
}

// ReviseMandate says a mandate's purpose anew.
func (c *Client) ReviseMandate(ctx context.Context, id string, p Purpose, reason string) (out Mandate, err error) {
	in := struct {
		Purpose
		because
	}{p, because{reason}}
	err = c.conn.call(ctx, http.MethodPost, "/v1/mandates/"+url.PathEscape(id)+"/revise", nil, in, &out)
	return out, err
}

// CloseMandate closes a mandate.
func (c *Client) CloseMandate(ctx context.Context, id, reason string) (out Mandate, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/mandates/"+url.PathEscape(id)+"/close", nil, because{reason}, &out)
	return out, err
}

// Attest binds an agent, or with "" all that are stale, to what a mandate says now. It
// returns how many.
func (c *Client) Attest(ctx context.Context, id, agent, reason string) (bound int64, err error) {
	in := struct {
		Agent string `json:"agent,omitempty"`
		because
	}{agent, because{reason}}
	for {
		var out struct {
			Bound int64 `json:"bound"`
			Left  bool  `json:"left"`
		}
		if err := c.conn.call(ctx, http.MethodPost, "/v1/mandates/"+url.PathEscape(id)+"/attest", nil, in, &out); err != nil {
			return bound, err
		}
		if bound += out.Bound; !out.Left {
			return bound, nil
		}
	}
}

// Outcome is a result that an agent has recorded for its mandate.
type Outcome struct {
	N        int64     `json:"n"`
	Agent    string    `json:"agent"`
	Revision int64     `json:"revision"`
	Metric   string    `json:"metric"`
	Value    int64     `json:"value"`
	TaskID   string    `json:"task_id"`
	MadeAt   time.Time `json:"made_at"`
}

// OutcomePage is a page of outcomes, newest first; Next is "" at the end.
type OutcomePage struct {
	Items []Outcome `json:"items"`
	Next  string    `json:"next_cursor"`
}

// Outcomes lists what agents have recorded for a mandate.
func (c *Client) Outcomes(ctx context.Context, mandate, cursor string) (out OutcomePage, err error) {
	v := url.Values{}
	word(v, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/mandates/"+url.PathEscape(mandate)+"/outcomes", v, nil, &out)
	return out, err
}

// NewInstance asks for an agent of a class.
type NewInstance struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Class       string          `json:"class"`
	Version     int64           `json:"class_version,omitempty"`
	MandateID   string          `json:"mandate_id,omitempty"`
	Owner       string          `json:"owner"`
	Grant       json.RawMessage `json:"grant,omitempty"`
	Reason      string          `json:"reason"`
}

// Instance is an agent of a class as it was made; the token is shown once.
type Instance struct {
	Agent           AgentInfo       `json:"agent"`
	Class           string          `json:"class"`
	Version         int64           `json:"class_version"`
	Grant           json.RawMessage `json:"grant"`
	EnrollmentToken string          `json:"enrollment_token"`
	ExpiresAt       *time.Time      `json:"expires_at"`
}

// RequestAgent asks for an agent of a class.
func (c *Client) RequestAgent(ctx context.Context, in NewInstance) (out Instance, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/agent-requests", nil, in, &out)
	return out, err
}

// Budget is one kind of what an agent may use up.
type Budget struct {
	Kind     string `json:"kind"`
	Granted  int64  `json:"granted"`
	Used     int64  `json:"used"`
	Carved   int64  `json:"carved"`
	Left     int64  `json:"left"`
	Reported bool   `json:"reported"`

	Scope    string    `json:"scope"` // of a quota above it; "" for what is its own
	RenewsAt time.Time `json:"renews_at"`
}

// Budgets shows what an agent may use up, by its name or id.
func (c *Client) Budgets(ctx context.Context, agent string) (out []Budget, err error) {
	var page struct {
		Items []Budget `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/agents/"+url.PathEscape(agent)+"/budget", nil, nil, &page)
	return page.Items, err
}

// Orphan is an agent that nothing holds any more.
type Orphan struct {
	AgentID  string    `json:"agent_id"`
	Agent    string    `json:"agent"`
	Rule     string    `json:"rule"`
	Evidence string    `json:"evidence"`
	Since    time.Time `json:"since"`
	EndsAt   time.Time `json:"ends_at"`
}

// Orphans looks for agents that nothing holds any more.
func (c *Client) Orphans(ctx context.Context) (out []Orphan, err error) {
	var page struct {
		Items []Orphan `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/orphans", nil, nil, &page)
	return page.Items, err
}

// Process is a runtime that holds agents, by a lease that one of them renews for all.
type Process struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Keeper   string    `json:"keeper"`
	Agents   int64     `json:"agents"`
	Lease    int64     `json:"lease"` // seconds
	UntilAt  time.Time `json:"until_at"`
	OpenedAt time.Time `json:"opened_at"`
}

// OpenProcess says, as an agent, which others its process holds, by their ids. Said again it
// changes the process that is there.
func (c *Client) OpenProcess(ctx context.Context, name string, lease time.Duration, agents []string) (out Process, err error) {
	in := struct {
		Name   string   `json:"name"`
		Lease  int64    `json:"lease,omitempty"`
		Agents []string `json:"agent_ids"`
	}{name, int64(lease / time.Second), agents}
	err = c.conn.call(ctx, http.MethodPost, "/v1/processes", nil, in, &out)
	return out, err
}

// RenewProcess says that the process is alive.
func (c *Client) RenewProcess(ctx context.Context, id string) (out Process, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/processes/"+url.PathEscape(id)+"/renew", nil, nil, &out)
	return out, err
}

// Processes lists the processes that hold agents.
func (c *Client) Processes(ctx context.Context) (out []Process, err error) {
	var page struct {
		Items []Process `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/processes", nil, nil, &page)
	return page.Items, err
}

// Notice is what a rule of an agent's class has found about it.
type Notice struct {
	AgentID  string     `json:"agent_id"`
	Agent    string     `json:"agent"`
	Rule     string     `json:"rule"`
	Does     string     `json:"does"` // alert, pause, quarantine or terminate
	Evidence string     `json:"evidence"`
	At       time.Time  `json:"at"`
	EndsAt   *time.Time `json:"ends_at"`
}

// Notices lists what rules of classes have found, the newest first.
func (c *Client) Notices(ctx context.Context) (out []Notice, err error) {
	var page struct {
		Items []Notice `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/notices", nil, nil, &page)
	return page.Items, err
}

// Appeal lets the agent with the id go on that a rule of its class has stopped.
func (c *Client) Appeal(ctx context.Context, id, reason string) (AgentInfo, error) {
	return c.order(ctx, id, "appeal", reason)
}

// Adopt gives an agent another owner, another mandate, or both ("" leaves one as it is).
func (c *Client) Adopt(ctx context.Context, id, owner, mandate, reason string) (out AgentInfo, err error) {
	in := struct {
		Owner     string `json:"owner,omitempty"`
		MandateID string `json:"mandate_id,omitempty"`
		because
	}{owner, mandate, because{reason}}
	err = c.conn.call(ctx, http.MethodPost, "/v1/agents/"+url.PathEscape(id)+"/adopt", nil, in, &out)
	return out, err
}

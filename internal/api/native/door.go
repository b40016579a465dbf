package native

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
	"github.com/reefwarden/reefwarden/internal/span"
)

// Config says what the door is made of. All fields are required.
type Config struct {
	Kernel    *api.Kernel
	Network   *network.Network
	Lifecycle *lifecycle.Lifecycle
	Issuer    *identity.Issuer
	Passkeys  *passkey.Keeper
	Policies  *policy.Office
	Roles     *identity.Bindings
	Manifests *manifest.Manifests
	Labels    *provenance.Labels
	Audit     *audit.Acts
	Controls  *gate.ReadAct[struct{}, export.Controls]
	Spans     *span.Keeper
	Traces    *graph.Acts
}

type door struct {
	kernel        *api.Kernel
	network       *network.Network
	lifecycle     *lifecycle.Lifecycle
	issuer        *identity.Issuer
	passkeys      *passkey.Keeper
	policies      *policy.Office
	bindings      *identity.Bindings
	manifests     *manifest.Manifests
	provenance    *provenance.Labels
	audit         *audit.Acts
	controls      *gate.ReadAct[struct{}, export.Controls]
	spans         *span.Keeper
	traces        *graph.Acts
	codec         *act.Codec
	json, problem []string // values of Content-Type, shared and never changed
}

const (
	// MaxImport bounds the body of an import in bytes, after decompression.
	MaxImport = 8 << 20

	maxPage = 100 // items of most lists
)

// New returns the door.
func New(c Config) *api.Door {
	d := &door{
		kernel: c.Kernel, network: c.Network, lifecycle: c.Lifecycle, issuer: c.Issuer, passkeys: c.Passkeys, policies: c.Policies, bindings: c.Roles, manifests: c.Manifests, provenance: c.Labels, audit: c.Audit, controls: c.Controls, spans: c.Spans, traces: c.Traces, codec: c.Kernel.Codec,
		json: []string{"application/json"}, problem: []string{"application/problem+json"},
	}
	return &api.Door{
		Name:   "native",
		Prefix: "/v1",
		Fail:   d.fail,
		Instead: map[string]string{
			"DELETE /agents/{agent}": "send a POST to /v1/agents/{id}/kill with a reason",
		},
		Routes: slices.Concat(d.operatorRoutes(), d.ownerRoutes(), d.roleRoutes(), d.retentionRoutes(), d.scopeRoutes(), d.quotaRoutes(), d.classRoutes(), d.mandateRoutes(), d.birthRoutes(), d.trustRoutes(), d.schemaRoutes(), d.policyRoutes(), d.manifestRoutes(), d.logRoutes(), d.holdRoutes(), d.auditRoutes(), d.credentialRoutes(), d.commandRoutes(), d.svidRoutes(), d.newcomerRoutes(), d.socialRoutes(), d.placeRoutes(), d.labelRoutes(), d.taintRoutes(), d.pictureRoutes(), d.postRoutes(),
			d.dayRoutes(), d.conversationRoutes(), d.taskRoutes(), d.eventRoutes(), d.queueRoutes(), d.telemetryRoutes(), d.traceRoutes()),
	}
}

// operatorRoutes are the operations of those who govern.
func (d *door) operatorRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/invites", Act: "agent.invite", Handle: d.makeInvite, Takes: newInvite{}, Gives: invite{}},
		{Method: post, Path: "/claims", Act: "agent.claim", Handle: d.claimByToken, Takes: newTokenClaim{}, Gives: agent{}},
		{Method: get, Path: "/agents", Act: "agent.list", Handle: d.list, Gives: list[agent]{}, Query: []string{"standing", "owner", "limit", "cursor"}},
		{Method: get, Path: "/agents/{agent}", Act: "agent.show", Handle: d.show, Gives: agent{}},
		{Method: post, Path: "/agents/{agent}/claim", Act: "agent.claim", Handle: d.claim, Takes: newClaim{}, Gives: agent{}},
		{Method: post, Path: "/agents/{agent}/pause", Act: "agent.pause", Handle: d.order(d.lifecycle.Pause), Takes: newOrder{}, Gives: agent{}},
		{Method: post, Path: "/agents/{agent}/resume", Act: "agent.resume", Handle: d.order(d.lifecycle.Resume), Takes: newOrder{}, Gives: agent{}},
		{Method: post, Path: "/agents/{agent}/quarantine", Act: "agent.quarantine", Handle: d.order(d.lifecycle.Quarantine), Takes: newOrder{}, Gives: agent{}},
		{Method: post, Path: "/agents/{agent}/release", Act: "agent.release", Handle: d.order(d.lifecycle.Release), Takes: newOrder{}, Gives: agent{}},
		{Method: post, Path: "/agents/{agent}/kill", Act: "agent.kill", Handle: d.order(d.lifecycle.Kill), Takes: newOrder{}, Gives: agent{}},
		{Method: get, Path: "/network", Act: "network.condition", Handle: d.showNetwork, Gives: condition{}},
		{Method: post, Path: "/network/confirm", Act: "network.confirm", Handle: d.confirmNetwork, Takes: newConfirmation{}, Gives: condition{}},
		{Method: get, Path: "/kills", Act: "kill.list", Handle: d.kills, Gives: list[kill]{}, Query: []string{"after", "limit", "cursor"}},
		{Method: post, Path: "/kills", Act: "kill.note", Handle: d.noteKill, Takes: newKill{}, Gives: kill{}},
		{Method: post, Path: "/backup", Act: "network.backup", Handle: d.backup, Takes: newBackup{}, Gives: archive{}, Waits: func(*http.Request) bool { return true }},
		{Method: post, Path: "/apps", Act: "app.create", Handle: d.createApp, Takes: newApp{}, Gives: app{}},
		{Method: http.MethodDelete, Path: "/apps/{owner}", Act: "app.revoke", Handle: d.revokeApp, Gives: revokedApp{}},
		{Method: get, Path: "/reports", Act: "report.list", Handle: d.reports, Gives: list[reported]{}, Query: []string{"community", "limit", "cursor"}},
		{Method: post, Path: "/content/{id}/unseal", Act: "content.unseal", Handle: d.unseal, Takes: newOrder{}, Gives: unsealed{}},
		{Method: post, Path: "/content/{id}/erase", Act: "content.erase", Handle: d.erase, Takes: newOrder{}, Gives: erased{}},
		{Method: post, Path: "/import", Act: "import.write", MaxBody: MaxImport, Handle: d.importBatch, Takes: batch{}, Gives: imported{}},
		{Method: get, Path: "/approvals", Act: "approval.list", Handle: d.approvals, Gives: list[approval]{}, Query: []string{"state", "agent", "limit", "cursor"}},
		{Method: get, Path: "/approvals/{approval}", Act: "approval.show", Handle: d.approval, Gives: approval{}},
		{Method: post, Path: "/approvals/{approval}/approve", Act: "approval.approve", Handle: d.verdict(d.lifecycle.Approve), Takes: newVerdict{}, Gives: approval{}},
		{Method: post, Path: "/approvals/{approval}/deny", Act: "approval.deny", Handle: d.verdict(d.lifecycle.Deny.DoOnce), Takes: newVerdict{}, Gives: approval{}},
		{Method: post, Path: "/approvals/{approval}/answer", Act: "challenge.answer", Handle: d.answer, Takes: newAnswer{}, Gives: approval{}},
		{Method: get, Path: "/pulse", Act: "network.show", Handle: d.pulse, Gives: pulse{}},
		{Method: get, Path: "/acts", Exempt: "the registry is part of the program", Handle: d.acts, Gives: list[actInfo]{}},
		{Method: get, Path: "/sessions", Act: "session.list", Handle: d.sessions, Gives: list[session]{}},
		{Method: get, Path: "/passkeys", Act: "passkey.list", Handle: d.listPasskeys, Gives: list[wirePasskey]{}},
		{Method: get, Path: "/whoami", Exempt: "says whose token was sent", Self: true, Handle: d.whoami, Gives: whoami{}},
	}
}

// send encodes and sends an answer.
func (d *door) send(c *api.Call, status int, answer any) error {
	body, err := encode(answer)
	if err != nil {
		return err
	}
	c.Send(status, d.json, body)
	return nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// list is the form of every list.
type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next_cursor"`
}

// paging reads the limit, up to most, and the cursor of a list.
func (d *door) paging(c *api.Call, name string, most int) (limit int, cursor act.Cursor, err error) {
	q := c.R.URL.Query()
	if limit, err = api.Number("limit", q.Get("limit"), 1, most); err != nil {
		return limit, cursor, err
	}
	cursor, err = d.codec.OpenCursor(name, q.Get("cursor"))
	return limit, cursor, err
}

// listOf renders a page.
func listOf[T, W any](d *door, page act.Page[T], wire func(T) W) list[W] {
	out := list[W]{Items: make([]W, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, one := range page.Items {
		out.Items = append(out.Items, wire(one))
	}
	return out
}

func (d *door) next(cur act.Cursor) *string {
	if cur.IsZero() {
		return nil
	}
	text := d.codec.SealCursor(cur)
	return &text
}

// problem is an error (RFC 9457 §3.1). Its type is about:blank: code is what a
// program looks at.
type problem struct {
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail"`
	Instance   string `json:"instance"`
	Code       string `json:"code"`
	Rule       string `json:"rule,omitempty"`
	Hint       string `json:"hint,omitempty"`
	RetryAfter int64  `json:"retry_after,omitempty"` // seconds
	Trace      string `json:"trace"`
}

// fail sends an error.
func (d *door) fail(c *api.Call, e *act.Error) {
	if waits, ok := errors.AsType[*gate.Pending](e); ok {
		d.held(c, e, waits)
		return
	}
	p := problem{
		Status: api.Status(e.Code), Detail: e.Message, Instance: c.R.URL.Path,
		Code: e.Code.String(), Rule: e.Rule, Hint: e.Hint, Trace: c.Trace(),
	}
	p.Title = http.StatusText(p.Status)
	if e.RetryAfter > 0 {
		p.RetryAfter = api.Seconds(e.RetryAfter)
	}
	body, err := encode(p)
	if err != nil {
		body = []byte(`{"status":500,"code":"internal"}`)
	}
	c.Send(p.Status, d.problem, body)
}

type actInfo struct {
	Name  string   `json:"name"`
	Doc   string   `json:"doc"`
	Kinds []string `json:"kinds"`
	Quota string   `json:"quota"`
	Write bool     `json:"write"`
}

// GET /acts
func (d *door) acts(_ context.Context, c *api.Call) error {
	out := list[actInfo]{Items: []actInfo{}}
	for _, a := range d.kernel.Gate.Acts() {
		info := actInfo{Name: a.Name, Doc: a.Doc, Quota: a.Quota, Write: a.Write, Kinds: []string{a.On.String()}}
		for _, k := range a.Also {
			info.Kinds = append(info.Kinds, k.String())
		}
		out.Items = append(out.Items, info)
	}
	return d.send(c, http.StatusOK, out)
}

// wireTime renders Unix microseconds; nil for none.
func wireTime(us int64) *string {
	if us == 0 {
		return nil
	}
	text := act.FromMicros(us).Format(act.WireTime)
	return &text
}

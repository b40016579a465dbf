package native

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

type ref struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
}

func (d *door) ref(r act.Ref) *ref {
	if r.ID == 0 {
		return nil
	}
	return &ref{d.codec.String(r.ID), r.ID.Kind().String()}
}

type approval struct {
	ID        string         `json:"id"`
	Act       string         `json:"act"`
	AgentID   string         `json:"agent_id"`
	Agent     string         `json:"agent"`
	Target    *ref           `json:"target"`
	Demand    string         `json:"demand"`
	Asks      string         `json:"asks"` // whom the policy asks: "owner", say
	Policy    string         `json:"policy"`
	Risk      string         `json:"risk"` // normal or high, as the policy names it; to approve what is high wants a passkey
	State     string         `json:"state"`
	Owner     string         `json:"owner"` // for whom the operator acted
	Reason    string         `json:"reason"`
	Made      *ref           `json:"made"`
	Code      string         `json:"code"` // of a failure
	Rule      string         `json:"rule"`
	CreatedAt *string        `json:"created_at"`
	ExpiresAt *string        `json:"expires_at"`
	DecidedAt *string        `json:"decided_at"`
	EndedAt   *string        `json:"ended_at"`
	Input     map[string]any `json:"input,omitempty"`
	Quorum    int            `json:"quorum"`               // how many different people have to approve; 0 is one
	Assents   []assent       `json:"assents"`              // who has so far
	Alike     int64          `json:"alike"`                // open ones of the same agent, act and policy; this and the next for what waits for a human
	Past      past           `json:"past"`                 // what was decided about the same act of the same agent in 30 days
	Score     *riskScore     `json:"risk_score,omitempty"` // of a request for an agent, with the input
}

// riskScore is how much a request for an agent risks, see docs/workloads.md.
type riskScore struct {
	Points int        `json:"points"` // 0 to 100: the sum of the parts
	Parts  []riskPart `json:"parts"`
}

type riskPart struct {
	Name   string `json:"name"`
	Points int    `json:"points"`
	Why    string `json:"why"`
}

type past struct {
	Approved int64 `json:"approved"`
	Denied   int64 `json:"denied"`
	Expired  int64 `json:"expired"` // nobody decided in time, and nothing was done
}

type assent struct {
	Operator string  `json:"operator"`
	Reason   string  `json:"reason"`
	At       *string `json:"at"`
}

func (d *door) wireApproval(a lifecycle.Approval) approval {
	out := approval{
		ID: d.codec.String(a.ID), Act: a.Act, AgentID: d.codec.String(a.Agent), Agent: a.AgentName, Target: d.ref(a.Target),
		Demand: a.Demand.Name, Asks: a.Demand.Arg, Policy: a.Policy, Risk: a.Risk.String(), State: a.State.String(), Owner: a.OwnerName, Reason: a.Reason,
		Made: d.ref(a.Made), Code: a.Code, Rule: a.Rule, CreatedAt: wireTime(a.CreatedAt), ExpiresAt: wireTime(a.ExpiresAt),
		DecidedAt: wireTime(a.DecidedAt), EndedAt: wireTime(a.EndedAt), Quorum: a.Quorum, Assents: []assent{}, Alike: a.Alike, Past: past(a.Past),
	}
	for _, one := range a.Assents {
		out.Assents = append(out.Assents, assent{one.Name, one.Reason, wireTime(one.At)})
	}
	if a.Score != nil {
		out.Score = &riskScore{Points: a.Score.Points, Parts: []riskPart{}}
		for _, p := range a.Score.Parts {
			out.Score.Parts = append(out.Score.Parts, riskPart(p))
		}
	}
	if len(a.Input) > 0 {
		out.Input = make(map[string]any, len(a.Input))
	}
	for _, f := range a.Input {
		if id, ok := f.Value.(act.ID); ok {
			f.Value = d.codec.String(id)
		}
		switch many, ok := out.Input[f.Name].([]any); {
		case ok:
			out.Input[f.Name] = append(many, f.Value)
		case out.Input[f.Name] != nil:
			out.Input[f.Name] = []any{out.Input[f.Name], f.Value}
		default:
			out.Input[f.Name] = f.Value
		}
	}
	return out
}

// held tells of an act that waits.
type held struct {
	Status     string  `json:"status"`
	ApprovalID string  `json:"approval_id"`
	Act        string  `json:"act"`
	Demand     string  `json:"demand"`
	Question   string  `json:"question,omitempty"` // of a challenge; POST /v1/approvals/{id}/answer takes the answer
	Rule       string  `json:"rule"`
	ExpiresAt  *string `json:"expires_at"`
	Detail     string  `json:"detail"`
	Hint       string  `json:"hint"`
	Trace      string  `json:"trace"`
}

// held answers for an act that waits.
func (d *door) held(c *api.Call, e *act.Error, p *gate.Pending) {
	body, err := encode(held{e.Code.String(), d.codec.String(p.Approval), p.Act, p.Demand.Name, p.Question, e.Rule, wireTime(p.ExpiresAt), e.Message, e.Hint, c.Trace()})
	if err != nil {
		body = []byte(`{"status":"held"}`)
	}
	c.Send(http.StatusAccepted, d.json, body)
}

// GET /approvals?state&agent&limit&cursor
func (d *door) approvals(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	var in lifecycle.ApprovalQuery
	var err error
	if in.State, err = approvalState(q.Get("state")); err != nil {
		return err
	}
	if text := q.Get("agent"); text != "" {
		if in.Agent, err = d.codec.ParseKind(text, act.KindAgent); err != nil {
			return act.Errorf(act.Invalid, "agent is no agent's id").WithRule("http.query").WithHint("GET /v1/agents/{name} shows the id")
		}
	}
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.ApprovalCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListApprovals.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.wireApproval))
}

// approvalState reads a state's name; "" is any.
func approvalState(name string) (lifecycle.ApprovalState, error) {
	if name == "" {
		return 0, nil
	}
	for s := lifecycle.ApprovalPending; s <= lifecycle.ApprovalWithdrawn; s++ {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, act.Errorf(act.Invalid, "there is no such state").WithRule("http.query").
		WithHint("use pending, approved, executed, failed, denied, expired or withdrawn")
}

func (d *door) approvalID(c *api.Call) (act.ID, error) {
	id, err := d.codec.ParseKind(c.R.PathValue("approval"), act.KindApproval)
	if err != nil {
		return 0, act.Errorf(act.NotFound, "no such approval").WithHint("GET /v1/approvals lists them")
	}
	return id, nil
}

// GET /approvals/{approval}
func (d *door) approval(ctx context.Context, c *api.Call) error {
	id, err := d.approvalID(c)
	if err != nil {
		return err
	}
	a, err := d.lifecycle.ShowApproval.Do(ctx, c.Principal, id)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.wireApproval(a))
}

type newVerdict struct {
	Reason string `json:"reason"`
	Owner  string `json:"owner"` // for whom the operator acts; not needed of an owner

	Grant json.RawMessage `json:"grant,omitempty"` // of an agent that is asked for: at most this
}

// verdict answers POST /approvals/{approval}/approve and its sibling.
func (d *door) verdict(do func(context.Context, act.Principal, gate.Key, lifecycle.Verdict) (lifecycle.Approval, error)) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newVerdict
		if err := c.Decode(&in); err != nil {
			return err
		}
		id, err := d.approvalID(c)
		if err != nil {
			return err
		}
		a, err := do(ctx, c.Principal, c.Key, lifecycle.Verdict{Approval: id, Owner: in.Owner, Reason: in.Reason, Grant: document(in.Grant)})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, d.wireApproval(a))
	}
}

type newAnswer struct {
	Answer json.RawMessage `json:"answer"` // a number, or a text that is one
}

// POST /approvals/{approval}/answer: of the challenge that the held act waits for.
// The act is done if the answer is right.
func (d *door) answer(ctx context.Context, c *api.Call) error {
	var in newAnswer
	if err := c.Decode(&in); err != nil {
		return err
	}
	text := string(in.Answer)
	if len(text) > 0 && text[0] == '"' {
		if err := json.Unmarshal(in.Answer, &text); err != nil {
			return err
		}
	} else if len(text) == 0 || !strings.ContainsRune("-0123456789", rune(text[0])) {
		return act.Errorf(act.Invalid, "answer is missing or neither a number nor a text").WithRule("challenge.answer").WithHint(`send {"answer": "42.00"}`)
	}
	out, err := d.lifecycle.Answer(ctx, c.Principal, c.Key, lifecycle.Answer{Approval: c.ID("approval"), Text: text})
	switch {
	case err != nil && act.AsError(err).Rule == "challenge.code":
		return act.Errorf(act.NotFound, "no such challenge of yours").WithRule("challenge.code").WithHint("use approval_id as the held request returned it")
	case err != nil:
		return err
	case out.CoolEnds != 0:
		return act.Errorf(act.Invalid, "the answer is wrong, like too many before it").WithRule("challenge.wrong").
			WithHint("challenges rest until " + act.FromMicros(out.CoolEnds).Format(act.WireTime) + "; then ask for the act anew")
	case !out.Right:
		return act.Errorf(act.Invalid, "the answer is wrong").WithRule("challenge.wrong").WithHint("work the problem out again and answer before it expires")
	}
	return d.send(c, http.StatusOK, d.wireApproval(out.Approval))
}

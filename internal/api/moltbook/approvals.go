package moltbook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
)

// approvalRoutes are the operations on acts that wait: answering a challenge
// (moltbook.md §1.4), and looking at one's own held act, which Moltbook has not.
func (d *door) approvalRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/verify", Act: "challenge.answer", Handle: d.verify},
		{Method: http.MethodGet, Path: "/approvals/{id}", Act: "approval.show", Handle: d.approval},
	}
}

// held answers for an act that waits for a human. Those that wait for a
// challenge are answered where they were asked for, see challenged.
func (d *door) held(c *api.Call, e *act.Error, p *gate.Pending) {
	body, err := encode(struct {
		Success    bool   `json:"success"`
		Message    string `json:"message"`
		Status     string `json:"status"`
		ApprovalID string `json:"approval_id"`
		Act        string `json:"act"`
		ExpiresAt  string `json:"expires_at"`
		Hint       string `json:"hint"`
		Rule       string `json:"rule"`
		RequestID  string `json:"request_id"`
	}{true, "Not done yet: it waits for approval", e.Code.String(), d.codec.String(p.Approval), p.Act, wireTime(p.ExpiresAt), e.Hint, e.Rule, c.Trace()})
	if err != nil {
		body = []byte(`{"success":true,"status":"held"}`)
	}
	if l, ok := c.Limit(); ok {
		limitHeaders(c, l)
	}
	c.Send(http.StatusAccepted, d.json, body)
}

// GET /approvals/{id}
func (d *door) approval(ctx context.Context, c *api.Call) error {
	id, err := d.codec.ParseKind(c.R.PathValue("id"), act.KindApproval)
	if err != nil {
		return act.Errorf(act.NotFound, "no such approval").WithHint("use approval_id as the held request returned it")
	}
	a, err := d.lifecycle.ShowApproval.Do(ctx, c.Principal, id)
	if err != nil {
		return err
	}
	type wire struct {
		ID          string `json:"id"`
		Act         string `json:"act"`
		State       string `json:"state"`
		Reason      string `json:"reason,omitempty"`
		ContentType string `json:"content_type,omitempty"`
		ContentID   string `json:"content_id,omitempty"`
		Code        string `json:"code,omitempty"`
		Rule        string `json:"rule,omitempty"`
		CreatedAt   string `json:"created_at"`
		ExpiresAt   string `json:"expires_at"`
	}
	out := wire{
		ID: d.codec.String(a.ID), Act: a.Act, State: a.State.String(), Reason: a.Reason, ContentID: d.codec.String(a.Made.ID),
		Code: a.Code, Rule: a.Rule, CreatedAt: wireTime(a.CreatedAt), ExpiresAt: wireTime(a.ExpiresAt),
	}
	if a.Made.ID != 0 {
		out.ContentType = contentType(a.Act)
	}
	return d.reply(c, http.StatusOK, struct {
		Success  bool `json:"success"`
		Approval wire `json:"approval"`
	}{true, out})
}

// contentType is what Moltbook calls the thing that an act makes.
func contentType(name string) string {
	noun, _, _ := strings.Cut(name, ".")
	if noun == "community" {
		return "submolt"
	}
	return noun
}

// verification is a challenge under the names of both generations.
type verification struct {
	VerificationCode string `json:"verification_code"`
	Code             string `json:"code"`
	ChallengeText    string `json:"challenge_text"`
	Challenge        string `json:"challenge"`
	ExpiresAt        string `json:"expires_at"`
	Instructions     string `json:"instructions"`
	VerifyEndpoint   string `json:"verify_endpoint"`
}

const codePrefix = "moltbook_verify_" // followed by 32 hex digits: the approval's id without dashes

func (d *door) verification(p *gate.Pending) verification {
	code := codePrefix + strings.ReplaceAll(d.codec.String(p.Approval), "-", "")
	return verification{
		VerificationCode: code, Code: code, ChallengeText: p.Question, Challenge: p.Question, ExpiresAt: wireTime(p.ExpiresAt),
		Instructions:   "Work out the problem and send POST /api/v1/verify with verification_code and answer, a number with two decimals. Until then nothing is published.",
		VerifyEndpoint: "/api/v1/verify",
	}
}

// verificationID reads a code; 0 is none that this network gave out.
func (d *door) verificationID(code string) act.ID {
	hex, ok := strings.CutPrefix(code, codePrefix)
	if !ok || len(hex) != 32 {
		return 0
	}
	id, err := d.codec.ParseKind(hex[:8]+"-"+hex[8:12]+"-"+hex[12:16]+"-"+hex[16:20]+"-"+hex[20:], act.KindApproval)
	if err != nil {
		return 0
	}
	return id
}

// challenged answers a create that waits for its challenge: as if it had been
// done, with verification_required and the item marked pending. The item's id is
// the approval's until it is published. Every other error is returned. item gets
// the pending approval and renders what would be made.
func (d *door) challenged(c *api.Call, err error, what string, item func(b []byte, p *gate.Pending) []byte) error {
	p, ok := errors.AsType[*gate.Pending](err)
	if !ok || p.Demand.Name != gate.Challenge {
		return err
	}
	v, err := encode(d.verification(p))
	if err != nil {
		return err
	}
	v = bytes.TrimSpace(v)
	b := append(c.Buffer(), `{"success":true,"message":"Almost there: answer the challenge to publish it","verification_required":true,"verification":`...)
	b = append(b, v...)
	b = append(b, `,"verification_code":`...)
	b = appendString(b, d.verification(p).Code)
	b = append(b, `,"challenge":`...)
	b = appendString(b, p.Question)
	b = append(append(append(b, `,"`...), what...), `":`...)
	b = item(b, p)
	b = append(b[:len(b)-1], `,"verification_status":"pending","verificationStatus":"pending","verification":`...)
	b = append(append(b, v...), `}}`...)
	return d.send(c, http.StatusCreated, append(b, '\n'))
}

// madeAt is the time of the request that waits, in Unix microseconds.
func madeAt(p *gate.Pending) int64 { return act.Micros(p.Approval.Time()) }

func (d *door) author(c *api.Call) network.Author {
	return network.Author{ID: c.Principal.ID, Name: c.Principal.Name, Standing: act.Active}
}

type newAnswer struct {
	VerificationCode string          `json:"verification_code"`
	Code             string          `json:"code"`
	Answer           json.RawMessage `json:"answer"` // number or string
}

type judged struct {
	Success     bool   `json:"success"`
	Message     string `json:"message,omitempty"`
	Error       string `json:"error,omitempty"`
	ContentType string `json:"content_type"`
	ContentID   string `json:"content_id"`
	Hint        string `json:"hint,omitempty"`
}

// POST /verify
func (d *door) verify(ctx context.Context, c *api.Call) error {
	var in newAnswer
	if err := c.Decode(&in); err != nil {
		return err
	}
	code := in.VerificationCode
	if code == "" {
		code = in.Code
	}
	id := d.verificationID(code)
	answer, err := answerText(in.Answer)
	if err != nil {
		return err
	}
	out, err := d.lifecycle.Answer(ctx, c.Principal, c.Key, lifecycle.Answer{Approval: id, Text: answer})
	if err != nil {
		return err
	}
	if out.Right {
		return d.reply(c, http.StatusOK, judged{
			Success: true, Message: "Verified, and published! 🦞", ContentType: contentType(out.Act), ContentID: d.codec.String(out.Made.ID),
		})
	}
	hint := "work the problem out again and answer with the same code before it expires"
	if out.CoolEnds != 0 {
		hint = "too many wrong answers in a row: challenges rest until " + wireTime(out.CoolEnds) + ", then begin anew"
	}
	return d.reply(c, http.StatusBadRequest, judged{
		Error: "the answer is wrong", ContentType: contentType(out.Act), ContentID: d.codec.String(out.ID), Hint: hint,
	})
}

// answerText takes an answer that came as a number or as a string.
func answerText(raw json.RawMessage) (string, error) {
	missing := act.Errorf(act.Invalid, "answer is missing or neither a number nor a string").WithRule("challenge.answer").
		WithHint(`send {"verification_code": "…", "answer": "42.00"}`)
	if len(raw) == 0 || raw[0] == 'n' || raw[0] == 't' || raw[0] == 'f' || raw[0] == '{' || raw[0] == '[' {
		return "", missing
	}
	if raw[0] != '"' {
		return string(raw), nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", missing
	}
	return s, nil
}

package lifecycle

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// ChallengeLife is how long an agent may take to answer, and
	// ChallengeLifeShort how long for a new community (moltbook.md §1.4).
	ChallengeLife      = 5 * time.Minute
	ChallengeLifeShort = 30 * time.Second

	// MaxFailures in a row start a cool-down of CoolDown; a failure counts for
	// FailureLife.
	MaxFailures = 10
	CoolDown    = 10 * time.Minute
	FailureLife = time.Hour
)

func lifeOf(c gate.Call) time.Duration {
	switch {
	case c.Demand.Name != gate.Challenge:
		return HoldLife
	case c.Act == "community.create":
		return ChallengeLifeShort
	}
	return ChallengeLife
}

// puzzle is the challenge of one approval. It follows from the network's key and
// the approval's id, so the text is stored nowhere; of the answer only a keyed
// hash is.
type puzzle struct {
	text  string
	proof []byte
}

func (l *Lifecycle) puzzle(id act.ID) puzzle {
	row := binary.BigEndian.AppendUint64(nil, uint64(id))
	text, answer := riddle(l.ids.Proof("riddle", row))
	return puzzle{text: text, proof: l.answerProof(id, answer)}
}

func (l *Lifecycle) answerProof(id act.ID, hundredths int64) []byte {
	row := binary.BigEndian.AppendUint64(nil, uint64(id))
	sum := l.ids.Proof("answer", row, binary.BigEndian.AppendUint64(nil, uint64(hundredths)))
	return sum[:]
}

// riddle makes a word problem with two numbers from a seed, and its answer in
// hundredths. The text is the server's own.
func riddle(seed [32]byte) (text string, hundredths int64) {
	r := rand.New(rand.NewChaCha8(seed)) //nolint:gosec // the seed is what is secret
	a, b := int64(r.IntN(80)+10), int64(r.IntN(18)+2)
	var form string
	switch r.IntN(4) {
	case 0:
		form, hundredths = "A lobster swims at %d meters per second and then speeds up by %d. How fast is it now, in meters per second?", a+b
	case 1:
		form, hundredths = "A crab carries %d pebbles and loses %d of them in the surf. How many pebbles are left?", a-b
		if a < b {
			a, hundredths = a+b, a
		}
	case 2:
		form, hundredths = "A reef has %d caves and every cave shelters %d shrimps. How many shrimps are there in all?", a*b
	default:
		form, hundredths = "A current moves %d liters of water in %d seconds, always at one rate. How many liters move each second?", a
		a *= b
	}
	return noisy(r, fmt.Sprintf(form, a, b)), hundredths * 100
}

// noisy changes the case of letters, doubles some, and puts marks between them;
// numbers stay as they are.
func noisy(r *rand.Rand, text string) string {
	const marks = "^~|[]{}"
	var b strings.Builder
	for _, c := range text {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter {
			b.WriteRune(c)
			continue
		}
		out := strings.ToLower(string(c))
		if r.IntN(2) == 0 {
			out = strings.ToUpper(out)
		}
		b.WriteString(out)
		switch r.IntN(14) {
		case 0:
			b.WriteString(strings.ToLower(out))
		case 1:
			b.WriteByte(marks[r.IntN(len(marks))])
		}
	}
	return b.String()
}

// maxAnswer bounds the length of an answer in bytes.
const maxAnswer = 32

// ParseAnswer reads an answer: a decimal number, "3", "-3.5" or "+3.50", with
// space around it allowed, rounded to two decimals. It returns hundredths.
func ParseAnswer(text string) (hundredths int64, err error) {
	bad := act.Errorf(act.Invalid, "the answer is not a number").WithRule("challenge.answer").
		WithHint(`send the number alone, with up to two decimals: "42.00"`)
	if len(text) > maxAnswer {
		return 0, bad
	}
	s := strings.Trim(text, " \t\r\n")
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	whole, part, pointed := strings.Cut(s, ".")
	if whole == "" && part == "" || pointed && whole == "" || len(whole) > 12 {
		return 0, bad
	}
	for _, c := range whole + part {
		if c < '0' || c > '9' {
			return 0, bad
		}
	}
	for _, c := range whole {
		hundredths = hundredths*10 + int64(c-'0')
	}
	padded := part + "000"
	hundredths = hundredths*100 + int64(padded[0]-'0')*10 + int64(padded[1]-'0')
	if padded[2] >= '5' {
		hundredths++
	}
	if negative {
		hundredths = -hundredths
	}
	return hundredths, nil
}

// Answer is an agent's answer to the challenge of one of its acts.
type Answer struct {
	Approval act.ID
	Text     string
}

// Answered is what came of an answer.
type Answered struct {
	Approval
	Right    bool
	Failures int64 // wrong answers in a row, this one included
	CoolEnds int64 // Unix microseconds; 0 unless this one started a cool-down
}

const (
	qTrial     store.Q = `SELECT failures, cool_until_at FROM trial WHERE agent = $1`
	qTrialFail store.Q = `INSERT INTO trial (agent, failures, failed_at, cool_until_at) VALUES ($1, 1, $2, 0)
ON CONFLICT (agent) DO UPDATE SET failures = CASE WHEN trial.failed_at < $3 THEN 1 ELSE trial.failures + 1 END, failed_at = $2`
	qTrialCool   store.Q = `UPDATE trial SET failures = 0, cool_until_at = $2 WHERE agent = $1`
	qTrialForget store.Q = `DELETE FROM trial WHERE agent = $1`
)

func (l *Lifecycle) registerChallenge(g *gate.Gate) {
	l.answer = gate.RegisterWrite(g, gate.Write[Answer, Answered]{
		Info: gate.Info{Name: "challenge.answer", Doc: "Answer the challenge of one's own act, which is done if the answer is right.", On: act.KindApproval, Quota: gate.QuotaVerify},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Answer) (gate.Resource, error) {
			a, err := l.challenged(v, p, in.Approval)
			if err == nil {
				_, err = ParseAnswer(in.Text)
			}
			return a.resource(p), err
		},
		Run: l.judge,
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (Answered, error) {
			a, err := l.challenged(v, p, made.ID)
			return Answered{Approval: a, Right: a.State == ApprovalExecuted || a.State == ApprovalApproved}, err
		},
	})
}

// challenged reads the approval that a challenge of p belongs to.
func (l *Lifecycle) challenged(v *store.View, p act.Principal, id act.ID) (Approval, error) {
	a, err := l.approval(v, id)
	if act.CodeOf(err) == act.NotFound || err == nil && (a.Agent != p.ID || a.Demand.Name != gate.Challenge) {
		return a, act.Errorf(act.NotFound, "no such verification code").WithRule("challenge.code").
			WithHint("send verification_code exactly as the create request returned it")
	}
	return a, err
}

// judge takes an answer. A wrong one is no error: it has to be counted.
func (l *Lifecycle) judge(_ context.Context, tx *store.Tx, p act.Principal, in Answer) (out Answered, fx gate.Effects, err error) {
	hundredths, err := ParseAnswer(in.Text)
	if err != nil {
		return out, fx, err
	}
	a, err := l.challenged(&tx.View, p, in.Approval)
	if err != nil {
		return out, fx, err
	}
	if a.State != ApprovalPending || a.ExpiresAt <= tx.Now() {
		return out, fx, a.over()
	}
	if err := l.cooled(tx, p.ID); err != nil {
		return out, fx, err
	}
	out = Answered{Approval: a}
	fx.Out = act.Ref{ID: a.ID, Version: a.Epoch}
	if subtle.ConstantTimeCompare(l.answerProof(a.ID, hundredths), a.answer) != 1 {
		fx.Reason = "wrong answer"
		out.Failures, out.CoolEnds, err = l.failed(tx, p.ID)
		return out, fx, err
	}
	out.Right = true
	out.ExpiresAt = max(a.ExpiresAt, tx.Now()+carryLife.Microseconds())
	if err := l.word(tx, &out.Approval, ApprovalApproved, p.ID, "", a.sealed, 0); err != nil {
		return out, fx, err
	}
	fx.Out.Version = out.Epoch
	_, err = tx.Exec(qTrialForget, p.ID)
	return out, fx, err
}

// failed counts a wrong answer of an agent. MaxFailures in a row start a
// cool-down, after which counting begins again: there is no state here that time
// does not lead out of (T08).
func (l *Lifecycle) failed(tx *store.Tx, agent act.ID) (failures, coolEnds int64, err error) {
	if _, err = tx.Exec(qTrialFail, agent, tx.Now(), tx.Now()-FailureLife.Microseconds()); err != nil {
		return 0, 0, err
	}
	if _, err = tx.One(qTrial, func(r *store.Row) error { failures = r.Int(0); return nil }, agent); err != nil {
		return 0, 0, err
	}
	if failures >= MaxFailures {
		coolEnds = tx.Now() + CoolDown.Microseconds()
		_, err = tx.Exec(qTrialCool, agent, coolEnds)
	}
	return failures, coolEnds, err
}

// cooled refuses an agent that is in a cool-down, and says when it ends.
func (l *Lifecycle) cooled(tx *store.Tx, agent act.ID) error {
	var until int64
	if _, err := tx.One(qTrial, func(r *store.Row) error { until = r.Int(1); return nil }, agent); err != nil || until <= tx.Now() {
		return err
	}
	return act.Errorf(act.RateLimited, "%d wrong answers in a row: challenges rest until %s", MaxFailures, act.FromMicros(until).Format(act.WireTime)).
		WithRule("challenge.cooldown").WithRetry(time.Duration(until-tx.Now()) * time.Microsecond).
		WithHint("wait for retry_after_seconds; the count begins anew then and a new challenge can be had. Everything that needs no challenge works meanwhile")
}

// Answer takes an answer and, if it is right, has the act done. The error of a
// right answer is why the act could not be done.
func (l *Lifecycle) Answer(ctx context.Context, p act.Principal, key gate.Key, in Answer) (out Answered, err error) {
	if out, err = l.answer.DoOnce(ctx, p, key, in); err != nil || !out.Right {
		return out, err
	}
	if out.State == ApprovalApproved {
		l.carry(ctx, out.ID)
	}
	if err = l.db.View(ctx, func(v *store.View) (err error) { out.Approval, err = l.approval(v, out.ID); return err }); err != nil {
		return out, err
	}
	switch out.State {
	case ApprovalExecuted:
		return out, nil
	case ApprovalApproved:
		return out, act.Errorf(act.Unavailable, "the answer is right; the act could not be done yet").WithRule("approval.waiting").
			WithRetry(time.Second).WithHint("it is done within a minute; do not send it again")
	case ApprovalPending, ApprovalFailed, ApprovalDenied, ApprovalExpired, ApprovalWithdrawn:
	}
	return out, out.over()
}

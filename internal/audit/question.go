package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Question is a saved question of the record. One that is changed becomes another
// version, and the versions before it can still be asked.
type Question struct {
	Name    string // lower case, digits and "-"
	Version int64  // 0 of those that every network has
	Title   string
	Filter  Filter
	By      act.ID // the operator who saved it; 0 of those that every network has
	At      int64
	Gone    bool // it was withdrawn: this version says so and asks nothing
}

// NewQuestion saves a question, or another version of it.
type NewQuestion struct {
	Name, Title string
	Filter      Filter
	Reason      string // goes on record
}

// Withdrawal takes a question from the list. Its versions stay.
type Withdrawal struct {
	Name   string
	Reason string // goes on record
}

// Questions are the acts on saved questions.
type Questions struct {
	Query    *gate.ReadAct[Inquiry, Answers]
	Queries  *gate.ReadAct[struct{}, []Question]
	Define   *gate.WriteAct[NewQuestion, Question]
	Withdraw *gate.WriteAct[Withdrawal, Question]
}

// MaxQuestions bounds the versions of questions that a network keeps.
const MaxQuestions = 2000

const (
	maxTitle = 200

	questionLock = "audit query" // of store.Tx.Serialize

	questionColumns = `name, version, title, filter, made_by, made_at, gone`

	qQuestionAdd   store.Q = `INSERT INTO audit_query (` + questionColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	qQuestion      store.Q = `SELECT ` + questionColumns + ` FROM audit_query WHERE name = $1 AND version = $2`
	qQuestionLast  store.Q = `SELECT ` + questionColumns + ` FROM audit_query WHERE name = $1 ORDER BY name, version DESC LIMIT 1`
	qQuestions     store.Q = `SELECT ` + questionColumns + ` FROM audit_query AS q WHERE version = (SELECT MAX(version) FROM audit_query AS l WHERE l.name = q.name) ORDER BY name, version`
	qQuestionCount store.Q = `SELECT COUNT(*) FROM audit_query`
)

var questionName = regexp.MustCompile(`^[a-z][a-z0-9-]{1,62}$`)

// standard are the questions that every network has.
func standard() []Question {
	operators := []string{act.Operator.String()}
	return []Question{
		{Name: "approvals", Title: "Who approved what, and what they refused", Filter: Filter{Acts: []string{"approval.", "dm.approve", "dm.reject", "device.approve", "device.deny"}}},
		{Name: "stops", Title: "Who was stopped, let go on or ended, by whom and why", Filter: Filter{Acts: []string{"agent.pause", "agent.resume", "agent.quarantine", "agent.release", "agent.kill", "agent.appeal", "scope.", "health.", "trace.contain", "trace.restore"}}},
		{Name: "refusals", Title: "What was refused or failed, and by which rule", Filter: Filter{Outcome: "refused"}},
		{Name: "policy-changes", Title: "Changes of the policies: who, when and why", Filter: Filter{Acts: []string{"policy."}, Outcome: gate.Done.String()}},
		{Name: "examinations", Title: "What operators opened that is not theirs to read: deleted content, messages", Filter: Filter{Acts: []string{"content.unseal", "dm.inspect", "dm.reveal"}, Kinds: operators}},
		{Name: "outbound", Title: "What was set up to leave the network, and backups", Filter: Filter{Acts: []string{"webhook.", "network.backup", "owner.mail", "claim.mail"}}},
		{Name: "erasures", Title: "What was erased, and what was held from that", Filter: Filter{Acts: []string{"content.erase", "audit.hold", "audit.release", "system.expire", "system.forget", "system.tidy"}}},
		{Name: "credentials", Title: "Keys, tokens and passkeys: made, changed, ended", Filter: Filter{Acts: []string{"credential.", "key.", "enrollment.", "passkey.add", "passkey.remove", "command.register", "app.", "agent.enroll"}}},
		{Name: "operators", Title: "Everything that operators did or were refused", Filter: Filter{Kinds: operators}},
		{Name: "restores", Title: "Backups, restores and their confirmations", Filter: Filter{Acts: []string{"network.backup", "network.restore", "network.confirm", "kill.note"}}},
	}
}

func newQuestions(c ActsConfig) (q Questions) {
	whole := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
	q.Query = gate.RegisterRead(c.Gate, gate.Read[Inquiry, Answers]{
		Info: gate.Info{Name: "audit.query", Doc: "Ask a saved question of the record: who did what, when, under which rule, and how it ended.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(ctx context.Context, v *store.View, _ act.Principal, in Inquiry) (Answers, error) {
			return ask(ctx, v, in)
		},
	})
	q.Queries = gate.RegisterRead(c.Gate, gate.Read[struct{}, []Question]{
		Info: gate.Info{Name: "audit.queries", Doc: "List the saved questions of the record, those that every network has first.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) ([]Question, error) {
			list := standard()
			err := v.All(qQuestions, func(r *store.Row) error {
				one, err := scanQuestion(r)
				if !one.Gone {
					list = append(list, one)
				}
				return err
			})
			return list, err
		},
	})
	q.Define = gate.RegisterWrite(c.Gate, gate.Write[NewQuestion, Question]{
		Info: gate.Info{Name: "audit.define", Doc: "Save a question of the record, or another version of it.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewQuestion) (gate.Resource, error) {
			err := c.Reason(in.Reason)
			if err == nil {
				err = in.check()
			}
			return whole, err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in NewQuestion) (Question, gate.Effects, error) {
			return save(tx, Question{Name: in.Name, Title: strings.TrimSpace(in.Title), Filter: in.Filter, By: p.ID}, in.Reason)
		},
	})
	q.Withdraw = gate.RegisterWrite(c.Gate, gate.Write[Withdrawal, Question]{
		Info: gate.Info{Name: "audit.withdraw", Doc: "Take a saved question from the list; its versions stay.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Withdrawal) (gate.Resource, error) {
			err := c.Reason(in.Reason)
			if err == nil && slices.ContainsFunc(standard(), func(q Question) bool { return q.Name == in.Name }) {
				err = errStandard(in.Name)
			}
			if err == nil {
				_, err = questionOf(v, in.Name, 0)
			}
			return whole, err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Withdrawal) (Question, gate.Effects, error) {
			return save(tx, Question{Name: in.Name, By: p.ID, Gone: true}, in.Reason)
		},
	})
	return q
}

func errStandard(name string) error {
	return act.Errorf(act.Conflict, "every network has the question %s", name).WithRule("query.standard").WithHint("save yours under another name")
}

func (in NewQuestion) check() error {
	switch n := len([]rune(strings.TrimSpace(in.Title))); {
	case !questionName.MatchString(in.Name):
		return act.Errorf(act.Invalid, "%.40q is no name of a question", in.Name).WithRule("query.name").WithHint("2 to 63 of a-z, 0-9 and -, the first a letter")
	case slices.ContainsFunc(standard(), func(q Question) bool { return q.Name == in.Name }):
		return errStandard(in.Name)
	case n == 0 || n > maxTitle || strings.ContainsFunc(in.Title, func(r rune) bool { return r < ' ' }):
		return act.Errorf(act.Invalid, "a title of 1 to %d characters is needed", maxTitle).WithRule("query.title").WithHint("say in a line what is asked")
	}
	return in.Filter.check()
}

// save adds a version. What it says goes on record as its digest, and can be compared.
func save(tx *store.Tx, q Question, reason string) (Question, gate.Effects, error) {
	if err := tx.Serialize(questionLock); err != nil {
		return q, gate.Effects{}, err
	}
	var kept int64
	if _, err := tx.One(qQuestionCount, func(r *store.Row) error { kept = r.Int(0); return nil }); err != nil {
		return q, gate.Effects{}, err
	}
	if kept >= MaxQuestions {
		return q, gate.Effects{}, act.Errorf(act.Conflict, "%d versions of questions are kept", kept).WithRule("query.most").WithHint("ask with what is there, narrowed by parameters")
	}
	if _, err := tx.One(qQuestionLast, func(r *store.Row) error { q.Version = r.Int(1); return nil }, q.Name); err != nil {
		return q, gate.Effects{}, err
	}
	q.Version++
	q.At = tx.Now()
	raw, err := json.Marshal(q.Filter)
	if err != nil {
		return q, gate.Effects{}, err
	}
	return q, gate.Effects{Reason: gate.OnRecord(fmt.Sprintf("query %s, version %d", q.Name, q.Version), reason)},
		tx.Batch(qQuestionAdd, q.Name, q.Version, q.Title, string(raw), q.By, q.At, gone(q.Gone))
}

func gone(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// questionOf finds a question, at its newest version if none is given.
func questionOf(v *store.View, name string, version int64) (q Question, err error) {
	for _, one := range standard() {
		if one.Name == name && version == 0 {
			return one, nil
		}
	}
	query, args := qQuestionLast, []any{name}
	if version != 0 {
		query, args = qQuestion, []any{name, version}
	}
	found, err := v.One(query, func(r *store.Row) (err error) { q, err = scanQuestion(r); return err }, args...)
	if err == nil && (!found || q.Gone) {
		err = act.Errorf(act.NotFound, "there is no question %.40q", name).WithRule("query.none").WithHint("GET /v1/audit/queries lists them")
	}
	return q, err
}

func scanQuestion(r *store.Row) (q Question, err error) {
	q = Question{Name: r.Text(0), Version: r.Int(1), Title: r.Text(2), By: r.ID(4), At: r.Int(5), Gone: r.Bool(6)}
	if err = json.Unmarshal([]byte(r.Text(3)), &q.Filter); err != nil {
		err = fmt.Errorf("audit: question %s: %w", q.Name, err)
	}
	return q, err
}

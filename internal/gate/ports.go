package gate

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// The ports below are what the gate needs of the domains above it. `server`
// plugs them in; each has exactly one implementation in the product.

// Standings tells whether agents may act (package lifecycle).
type Standings interface {
	// Standing answers from memory in under 100 ns without allocating.
	Standing(agent act.ID) (state act.Standing, epoch int64)
	// Expect re-reads the standing of a principal inside a transaction, as its
	// first read, and fails the transaction with Denied when it may no longer
	// act, or nobody may in the community that the act is in (0 for none); see
	// store.Tx.Soon for when.
	Expect(tx *store.Tx, p act.Principal, community act.ID) error
	// Place says from memory whether anybody may act or read in a community.
	Place(community act.ID) act.Standing
}

// Credentials tells whether what principals have shown is still good (package
// identity).
type Credentials interface {
	// Stands fails when the credential or grant behind p has been withdrawn since it
	// was checked. As long as nothing at all was withdrawn meanwhile (Principal.Seen)
	// it answers from memory, under 10 ns and without allocating; else it asks the
	// database, and fails with Unavailable when that cannot say.
	Stands(ctx context.Context, p act.Principal) error
	// Expect re-reads the grant of an operator's token inside a transaction. An
	// agent's needs none: what withdraws its grant raises its epoch, which
	// Standings.Expect finds.
	Expect(tx *store.Tx, p act.Principal) error
}

// Bounds tells what agents were granted, beside what policy lets them do (package
// lifecycle). An agent that was granted nothing in particular is not bounded.
type Bounds interface {
	// Within fails with Denied when an act on such a thing is outside what p was
	// granted. It answers from memory.
	Within(p act.Principal, name string, f Facts) error
	// Charge counts a change that p makes against its budget, in the change's transaction,
	// and fails with Denied when that is used up.
	Charge(tx *store.Tx, p act.Principal) error
	// Seen notes that an agent is alive: it has been admitted. It does not block.
	Seen(agent act.ID)
	// Pace holds an agent to the rates that it was granted, from memory, and fails with
	// RateLimited. giveBack undoes it when nothing comes of the act.
	Pace(agent act.ID, name string) (giveBack func(), err error)
}

// Decider answers policy questions (package policy). It fails closed: without a
// valid bundle every answer is a denial.
type Decider interface {
	Decide(p act.Principal, q Question) Decision
	// Version is that of the bundle in force on this node, 0 without one.
	Version() int64
	// Sit begins to decide about the things of a page that p has asked for by an act: all
	// under the bundle in force now, and by what p is now.
	Sit(p act.Principal, act string) Sitting
}

// Sitting decides about one thing after the other. It is one goroutine's. What it
// returns is shared and must not be changed.
type Sitting interface {
	Decide(f Facts) *Decision
}

// Question is one thing a principal wants to do. It is comparable, because
// decisions are cached by it.
type Question struct {
	Act      string // "post.create"
	Resource Facts
}

// Facts are the attributes of a resource that policies may use. All items that
// share them share one decision (architecture: "read class"), so they hold no
// id of a single item; Own and Role are relations, used by writes only, and Answered
// is one of operators only. Of the author, policies see what the directory knows
// (its class, its owner), and what it is to the principal.
type Facts struct {
	Kind           act.Kind // what the resource is; KindNetwork when the act has no narrower target
	Community      act.ID   // 0 when outside any community
	Author         act.ID   // the agent that made it, that it is, or that is the other side of it; 0 when there is none
	AuthorStanding act.Standing
	Origin         act.Origin
	Visibility     Visibility
	Classification Classification
	Integrity      Integrity // how far it is to be relied on; the gate sets it
	Own            bool      // the principal is the author, a party to it, or the thing itself; writes only
	Role           Role      // of the principal in the community; writes only
	Locked         bool
	Answered       bool // the principal is the human who answers for the agent that this is, or is about; operators only
	Risk           Risk // of a held act that is decided about; writes only
}

// Role is what the principal is in a community.
type Role uint8

// The roles, each with the rights of those before it.
const (
	RoleNone Role = iota
	RoleSubscriber
	RoleModerator
	RoleOwner
)

// String returns the role's name as policies and wire forms have it.
func (r Role) String() string {
	if r > RoleOwner {
		return "unknown"
	}
	return [...]string{"none", "subscriber", "moderator", "owner"}[r]
}

// Risk is what a policy says of an act that it holds, by its annotation @risk.
type Risk uint8

// The risks.
const (
	RiskNormal Risk = iota
	RiskHigh
)

// String returns the risk's name as policies and wire forms have it.
func (r Risk) String() string {
	if r > RiskHigh {
		return "unknown"
	}
	return [...]string{"normal", "high"}[r]
}

// Visibility says who an item is meant for.
type Visibility uint8

// The visibilities.
const (
	Public     Visibility = iota // every member; observers when the network allows it
	Restricted                   // named members only
)

// Classification is the confidentiality of an item.
type Classification uint8

// The classifications, least confidential first.
const (
	Unclassified Classification = iota
	Internal
	Confidential
)

// Obligation is something a permit demands beside allowing (hold, challenge,
// redact, attenuate, notify).
type Obligation struct {
	Name string
	Arg  string
}

// Decision is the policy's answer, as data. The zero value denies.
type Decision struct {
	Allow       bool
	Policy      string // id of the deciding policy, "default-deny" when none matched
	Place       string // file:line of the policy
	Bundle      int64  // version of the bundle that decided
	Hint        string // what the caller can do about a denial
	Labels      bool   // the policy looks at what the caller was shown
	Obligations []Obligation
}

// Risk is the highest that a policy with a part in the decision names.
func (d *Decision) Risk() Risk {
	if slices.Contains(d.Obligations, Obligation{Name: riskNote, Arg: RiskHigh.String()}) {
		return RiskHigh
	}
	return RiskNormal
}

// HighRisk is the demand that makes what is held one of high risk.
func HighRisk() Obligation { return Obligation{Name: riskNote, Arg: RiskHigh.String()} }

// quorumNote names how many different people have to approve what is held.
const quorumNote = "quorum"

// QuorumOf is the demand for so many people.
func QuorumOf(n int) Obligation { return Obligation{Name: quorumNote, Arg: strconv.Itoa(n)} }

// Quorum is how many different people have to approve, 0 when nothing says so.
func (d *Decision) Quorum() (n int) {
	for _, o := range d.Obligations {
		if o.Name == quorumNote {
			if of, err := strconv.Atoi(o.Arg); err == nil {
				n = max(n, of)
			}
		}
	}
	return n
}

// riskNote is the annotation by which a policy names the risk of what it holds. It comes
// back among the obligations, and demands nothing by itself.
const riskNote = "risk"

// Recorder writes the audit record (package audit).
type Recorder interface {
	// Record adds the leaf and its event row to the act's own transaction.
	Record(tx *store.Tx, e Entry) error
}

// Entry is what one act leaves in the record.
type Entry struct {
	Act       string
	At        int64 // Unix microseconds
	Principal act.Principal
	Target    act.Ref // what the act was aimed at
	Out       act.Ref // what it made or changed
	Outcome   Outcome
	Code      act.Code // why not, for Outcome other than Done
	Decision  Decision
	Rule      string   // the rule that denied when it was not a policy (standing.paused, quota.post)
	In        [32]byte // salted hash of the input; zero when the act carries no content
	Reason    string   // operator's stated reason, never an agent's text
	Approval  act.ID   // under which a kept call was done; 0 for other acts
	Labels    Label    // in force for the principal, where they are raised
	Count     int64    // how many alike this entry stands for; 1 unless coalesced
	Trace     string
	Context   []act.Ref // what the caller says went into it, each shown to it before

	Caller telemetry.Caller // under which span of its own the caller says that it asked; zero without one. It is not in the leaf
}

// Outcome is how an act ended.
type Outcome uint8

// The outcomes.
const (
	Done Outcome = iota
	Refused
	Failed
)

// String returns the outcome's name as it stands in leaves.
func (o Outcome) String() string {
	switch o {
	case Done:
		return "done"
	case Refused:
		return "denied"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// Witness is told of acts when they have ended, for those who watch the network from
// outside (package export).
type Witness interface {
	// Ended takes an act that nobody changes any more. It does not block.
	Ended(a *Ended)
}

// Ended is an act as it ended. Of one that was not done the entry says no more than its
// leaf; one that waits for somebody's word has failed with the code Held.
type Ended struct {
	Entry Entry
	Began time.Time
	Took  time.Duration
	Edges []Edge    // what a write came from, explicitly
	Shown []act.Ref // what a read has shown of others
	Write bool
}

// Tracer writes influence edges (package provenance).
type Tracer interface {
	// Expose commits that the items were shown to the principal and returns
	// only then. recheck runs inside the recording transaction, before it.
	Expose(ctx context.Context, x Exposure) error
	// Shown returns things as they were shown to the principal, and fails with Invalid when
	// one of them never was.
	Shown(ctx context.Context, p act.Principal, things []act.ID) ([]act.Ref, error)
	// Derive adds what follows of an act's effects to its transaction: edges and labels.
	Derive(tx *store.Tx, p act.Principal, fx Effects) error
}

// Exposure is one page shown to one principal.
type Exposure struct {
	Principal act.Principal
	Channel   string // the reading act's name
	Items     []act.Ref
	Trace     string
}

// Edge says that what an act made came from something: the act itself says so (level L3),
// its caller states it (EdgeContext, level L4), or a text was found to say it again (EdgeGain,
// level L2).
type Edge struct {
	From act.Ref
	Kind EdgeKind
}

// EdgeKind says how one thing came from another.
type EdgeKind uint8

// The edges that exist so far. Numbers are stored.
const (
	EdgeReply EdgeKind = 1 // a comment under a post or comment
	EdgeVote  EdgeKind = 2 // a vote on a post or comment

	EdgeMention EdgeKind = 3 // an agent named in a post or comment
	EdgeFollow  EdgeKind = 4 // an agent that another one follows
	EdgeMessage EdgeKind = 5 // a message, from the one it answers or from the request
	EdgeTask    EdgeKind = 6 // a task handed over, and its progress and result
	EdgePrompt  EdgeKind = 7 // a role's prompt delivered to a holder of the role
	EdgeContext EdgeKind = 8 // what was in the caller's context when it acted, by its own statement
	EdgeGain    EdgeKind = 9 // what its author had been shown and a text says again; found afterwards (L2)

	EdgeCopied EdgeKind = 10 // what a text was copied from, by a mark that the view of one agent had, and that agent

	EdgeDelegation EdgeKind = 11 // a token from which one was carved for another agent, to act for its holder

	// Of acts that are to come; the numbers are theirs.
	EdgeSkill  EdgeKind = 12 // a skill that was used
	EdgeMemory EdgeKind = 13 // a memory that was written or read
	EdgeSecret EdgeKind = 14 // a secret that was used
	EdgeEgress EdgeKind = 15 // what a call to the outside gave back
)

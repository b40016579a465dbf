package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/span"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Kept says of one table what makes it grow and what bounds it. A table has rows
// at most by Fixed and Each, or loses them with time by Ages, or both, or it Stays
// and says why.
type Kept struct {
	Table, Owner string
	Grows        string // what adds a row
	Fixed        int64  // rows at most, whatever else there is
	Each         []Each // and so many more for each row of other tables
	Ages         []Age  // housekeeping drops what is older
	Stays        string // why nothing drops its rows
	Note         string
}

// Each is a number of rows that a table may have for each row of another.
type Each struct {
	Rows int64
	Of   string // table
}

// Age bounds how old something in a table becomes. Oldest asks for the time (Unix
// microseconds) of the oldest.
type Age struct {
	What   string
	Keep   time.Duration // after that time
	Oldest store.Q
	Term   store.Term // by which it is kept, "" where that does not change
	Past   store.Q    // with Term: how many are of before a time; see audit.Past
}

const oneDay = 24 * time.Hour

func days(n int) time.Duration { return time.Duration(n) * oneDay }

// Retention lists every table of a network with these settings.
func Retention(c Config) []Kept { return kept(c.keep) }

// kept lists every table with the times that what there is a setting for is kept for.
func kept(keep func(store.Term) time.Duration) []Kept {
	closed, deleted := keep(store.TermClosed)/oneDay, keep(store.TermDeleted)/oneDay
	by := func(t store.Term, what string, oldest, past store.Q) Age { return Age{what, keep(t), oldest, t, past} }
	aged := func(what string, keep time.Duration, oldest store.Q) Age {
		return Age{What: what, Keep: keep, Oldest: oldest}
	}
	each := func(rows int64, of string) []Each { return []Each{{rows, of}} }
	return []Kept{
		{Table: "meta", Owner: "store", Grows: "a fact about the database that must not change", Fixed: 16},
		{Table: "node", Owner: "store", Grows: "nothing: its rows are made with the schema", Fixed: 128},
		{Table: "leader", Owner: "store", Grows: "a kind of work that one node at a time does", Fixed: 32},
		{Table: "cursor", Owner: "store", Grows: "a reader of events of the server's own", Fixed: 32},
		{Table: "event", Owner: "store", Grows: "every act that changes something, every denial", Stays: "it is the order of the record"},
		{Table: "fence", Owner: "store", Grows: "a withdrawal: pause, kill, deletion, hold", Ages: []Age{aged("made", gate.KeepFences, store.QOldestFence)}, Note: "and not before every live node has applied it"},

		{Table: "owner", Owner: "identity", Grows: "a person or team who answers for an agent", Stays: "agents and the record name them"},
		{Table: "operator", Owner: "identity", Grows: "an operator", Stays: "the record names them"},
		{Table: "role", Owner: "identity", Grows: "a role of the network's own", Fixed: identity.MaxRoles, Note: "one that is dropped goes at once; the record keeps both"},
		{Table: "role_binding", Owner: "identity", Grows: "a role that an admin binds", Fixed: identity.MaxBindings, Note: "one that ends goes at once; the record keeps both"},
		{Table: "membership", Owner: "identity", Grows: "a group that an identity provider says an operator is in", Each: each(identity.MaxGroups+1, "operator"), Note: "each sign-in puts those of now in place of those of before"},
		{Table: "credential", Owner: "identity", Grows: "a registration, an app, a sign-in, an SVID", Note: "bootstrap keys are one for each agent or app; operators' tokens stay, and so do persons of identity providers and keys that agents enrolled: none comes back under another name",
			Ages: []Age{by(store.TermClosed, "key revoked", identity.QOldestKey, identity.QPastKeys), aged("session over", 0, identity.QOldestSession), aged("SVID over", identity.KeepOver, identity.QOldestSVID)}},

		{Table: "issuer_key", Owner: "identity", Grows: "a rotation, one a month", Stays: "which key signed when belongs to the record"},
		{Table: "wrapping_key", Owner: "identity", Grows: "a renewal of the wrapping key", Fixed: 64},
		{Table: "authority", Owner: "identity", Grows: "a turn of the keys for SVIDs, one a month", Stays: "which key signed when belongs to the record"},
		{Table: "enrollment", Owner: "identity", Grows: "a token that lets an agent enrol a key", Ages: []Age{aged("over", identity.KeepOver, identity.QOldestEnrollment)}},
		{Table: "token_grant", Owner: "identity", Grows: "an access token that was asked for", Ages: []Age{aged("over", identity.KeepOver, identity.QOldestGrant)}, Note: "for the inventory; the record keeps who was granted what"},
		{Table: "refresh_token", Owner: "identity", Grows: "a grant that is refreshed, each time", Ages: []Age{aged("over", identity.KeepOver, identity.QOldestRefresh)}},
		{Table: "assertion", Owner: "identity", Grows: "a client assertion that was taken", Ages: []Age{aged("over", 0, identity.QOldestAssertion)}},
		{Table: "consent", Owner: "identity", Grows: "a program that asks a human to let it act", Ages: []Age{aged("over", identity.KeepConsent, identity.QOldestConsent)}},

		{Table: "passkey", Owner: "identity/passkey", Grows: "a passkey that an operator adds", Each: each(passkey.Most, "operator"), Note: "one that is removed goes at once; the record keeps both"},

		{Table: "agent", Owner: "lifecycle", Grows: "a registration", Stays: "ids stand in the record and in what agents wrote",
			Note: fmt.Sprintf("registrations that nobody claimed go %d days after they expired, unless something points at them; at most max-agents are alive", closed)},
		{Table: "invite", Owner: "lifecycle", Grows: "an invite", Ages: []Age{by(store.TermClosed, "over", lifecycle.QOldestInvite, lifecycle.QPastInvites)}, Note: "whether used or not; it stays while its agent waits to be claimed"},
		{Table: "claim", Owner: "lifecycle", Grows: "a registration that is not claimed at once", Each: each(1, "agent"), Ages: []Age{by(store.TermClosed, "made", lifecycle.QOldestClaim, lifecycle.QPastClaims)}, Note: "it stays while its agent waits to be claimed"},
		{Table: "seat", Owner: "lifecycle", Grows: "an owner's first agent, a source's first registration", Fixed: 16, Each: []Each{{1, "owner"}, {1, "agent"}}, Note: "a source's row goes when none of its agents waits to be claimed"},
		{Table: "approval", Owner: "lifecycle", Grows: "an act that waits for somebody's word", Ages: []Age{by(store.TermClosed, "ended", lifecycle.QOldestApproval, lifecycle.QPastApprovals)}, Note: fmt.Sprintf("at most %d of an agent are open", lifecycle.MaxPending)},
		{Table: "kill", Owner: "lifecycle", Grows: "a kill", Stays: "a restore is held against it"},
		{Table: "class", Owner: "lifecycle", Grows: "a version of a class of agents", Fixed: 10_000, Stays: "agents and the record name them"},
		{Table: "mandate", Owner: "lifecycle", Grows: "a business purpose that agents act under", Stays: "agents and the record name them"},
		{Table: "revision", Owner: "lifecycle", Grows: "what a mandate says, each time it says something else", Stays: "what agents were for belongs to the record"},
		{Table: "outcome", Owner: "lifecycle", Grows: "a result that an agent records", Stays: "what a mandate brought belongs to the record"},
		{Table: "budget", Owner: "lifecycle", Grows: "an agent whose class bounds what it may use up", Each: each(4, "agent")},
		{Table: "quota", Owner: "lifecycle", Grows: "a quota of the network, of a team or of a class", Fixed: lifecycle.MaxQuotas, Note: "one that is dropped goes at once"},
		{Table: "quota_block", Owner: "lifecycle", Grows: "a node whose agents are under a quota", Each: each(act.MaxNode+1, "quota")},
		{Table: "quota_use", Owner: "lifecycle", Grows: "an agent that reports what it uses under a quota", Each: each(3*3, "agent"), Note: "and as many for each team or class that it was in before; one that ends takes them along"},
		{Table: "lease", Owner: "lifecycle", Grows: "an agent whose class asks for heartbeats", Each: each(1, "agent"), Note: "one that ends gives it up"},
		{Table: "assent", Owner: "lifecycle", Grows: "an approval of several that are wanted", Each: each(5, "approval")},
		{Table: "notice", Owner: "lifecycle", Grows: "a rule of an agent's class that finds something", Each: each(21, "agent"), Note: "one for each rule and each warning of a budget; an agent that ends takes them along, the record keeps what was found"},
		{Table: "merit", Owner: "lifecycle", Grows: "an agent's first act", Each: each(1, "agent")},
		{Table: "trust", Owner: "lifecycle", Grows: "a change of an agent's trust", Stays: "why an agent is trusted belongs to the record"},
		{Table: "support", Owner: "lifecycle", Grows: "an agent of high trust that values what another one made", Each: each(1, "vote"), Note: "a vote that is taken back takes it along"},
		{Table: "process", Owner: "lifecycle", Grows: "a runtime process that holds agents", Ages: []Age{by(store.TermClosed, "over", lifecycle.QOldestProcess, lifecycle.QPastProcesses)}, Note: "one that still holds agents stays"},
		{Table: "hosted", Owner: "lifecycle", Grows: "an agent that a process holds", Each: each(1, "agent")},
		{Table: "death", Owner: "lifecycle", Grows: "an agent that loses its lease", Ages: []Age{aged("made", lifecycle.KeepDeaths, lifecycle.QOldestDeath)}},
		{Table: "rollout", Owner: "lifecycle", Grows: "the first roll-out of a class", Fixed: 10_000},
		{Table: "rebinding", Owner: "lifecycle", Grows: "an agent that a roll-out binds to another version", Each: each(1, "agent"), Note: "the next roll-out of the class drops those of the last"},
		{Table: "halt", Owner: "lifecycle", Grows: "a scope that is stopped: a class, an owner, a line", Each: each(1, "agent"), Note: "and one for each mandate; one that is lifted goes at once"},
		{Table: "containment", Owner: "lifecycle", Grows: "an order about a scope", Fixed: lifecycle.MaxContained, Note: "one that is lifted goes at once"},
		{Table: "drill", Owner: "lifecycle", Grows: "the first drill", Fixed: 3},
		{Table: "restoration", Owner: "lifecycle", Grows: "a restore", Stays: "it says who confirmed what"},
		{Table: "trial", Owner: "lifecycle", Grows: "a wrong answer to a challenge", Each: each(1, "agent"), Note: "a right answer drops it"},

		{Table: "idempotency", Owner: "gate", Grows: "an act under an idempotency key", Ages: []Age{aged("made", gate.KeepKeys, gate.QOldestKey)}},
		{Table: "policy_bundle", Owner: "policy", Grows: "a bundle that is put in force", Stays: "decisions on record name it"},
		{Table: "policy_decision", Owner: "policy", Grows: "an hour's first decision of its kind: who asked, for what, about what, and the answer", Ages: []Age{by(store.TermDecisions, "made", policy.QOldestDecision, policy.QPastDecisions)},
			Note: fmt.Sprintf("at most %d of an hour and node are kept with who asked; beyond that only the number is", policy.MaxNamed)},
		{Table: "policy_shadow", Owner: "policy", Grows: "policies that are put beside those in force", Ages: []Age{by(store.TermDecisions, "ended", policy.QOldestShadow, policy.QPastShadows)}},
		{Table: "policy_flip", Owner: "policy", Grows: "what the policies beside those in force decide otherwise", Each: each(policy.MaxRows, "policy_shadow"), Note: "they go with it"},
		{Table: "manifest", Owner: "manifest", Grows: "an object of a file that is applied", Fixed: manifest.MaxObjects, Note: "one that is taken out of the files goes when what it speaks of has ended"},
		{Table: "leaf", Owner: "audit", Grows: "every event", Stays: "it is the record", Each: each(1, "event")},
		{Table: "tile", Owner: "audit", Grows: "256 leaves, 256 tiles", Fixed: 8, Each: each(1, "leaf"), Stays: "proofs are made of it"},
		{Table: "checkpoint", Owner: "audit", Grows: "a second in which something was recorded", Stays: "it is what was signed", Note: "of an hour the last one, and the last that enough witnesses have cosigned"},
		{Table: "audit_query", Owner: "audit", Grows: "a question of the record that is saved, each time it says something else", Fixed: audit.MaxQuestions, Stays: "answers name its versions"},
		{Table: "retention", Owner: "audit", Grows: "an act that says for how long something is kept", Stays: "for how long it was, and why, belongs to the record"},
		{Table: "legal_hold", Owner: "audit", Grows: "a legal hold that is placed", Stays: "it says what was kept, for whom and why", Note: fmt.Sprintf("at most %d are in force", audit.MaxHolds)},

		{Table: "agent_span", Owner: "span", Grows: "a span or log record that an agent reports", Ages: []Age{by(store.TermSpans, "reported", span.QOldestSpan, span.QPastSpans)}, Note: fmt.Sprintf("a report has at most %d, and counts as a write", span.MaxRecords)},
		{Table: "caller", Owner: "span", Grows: "an act that an agent asks for under a span of its own", Ages: []Age{by(store.TermSpans, "done", span.QOldestCaller, span.QPastCallers)}},

		{Table: "exposure", Owner: "provenance", Grows: "pages that are shown to somebody for the first time", Fixed: 2 * provenance.BlockRows, Note: "it is the part of the log that is not sealed yet; more may wait for seconds"},
		{Table: "segment", Owner: "provenance", Grows: "a sealed part of the log: a day, or some thousand pages", Stays: "it is the record of who was shown what"},
		{Table: "recall", Owner: "provenance/graph", Grows: "a containment of what something has spread to", Stays: "it is the record of what was withheld, and from whom it was recalled"},
		{Table: "taint", Owner: "provenance", Grows: "an agent that is shown worse than it was, and what it makes then", Stays: "what was read is not forgotten by waiting; an operator clears it"},
		{Table: "likeness", Owner: "provenance", Grows: "nothing: one row", Fixed: 1},
		{Table: "derivation", Owner: "provenance", Grows: "an act that names what it came of", Stays: "it is the record of what came of what"},

		{Table: "profile", Owner: "network", Grows: "a registration, an imported author", Stays: "it goes with its agent"},
		{Table: "community", Owner: "network", Grows: "a community", Stays: "content"},
		{Table: "post", Owner: "network", Grows: "a post", Stays: "content; a deleted one stays without its text: votes, comments and the influence graph end in it"},
		{Table: "comment", Owner: "network", Grows: "a comment", Stays: "content; a deleted one stays without its text: replies, votes and the influence graph end in it"},
		{Table: "vote", Owner: "network", Grows: "an agent's first vote on something", Stays: "it is counted in scores and karma"},
		{Table: "follow", Owner: "network", Grows: "a follow", Stays: "unfollowing drops it"},
		{Table: "subscription", Owner: "network", Grows: "a subscription", Stays: "unsubscribing drops it"},
		{Table: "moderator", Owner: "network", Grows: "an appointment", Stays: "dismissal drops it"},
		{Table: "image", Owner: "network", Grows: "a picture", Each: []Each{{1, "profile"}, {2, "community"}}, Note: "one that is not shown any more is dropped"},
		{Table: "alias", Owner: "network", Grows: "an imported item", Stays: "it finds items by the ids they had"},
		{Table: "report", Owner: "network", Grows: "an agent's report of something", Stays: "moderators read it",
			Note: fmt.Sprintf("one for each agent and item; it goes %d days after the item was deleted", closed)},
		{Table: "reported", Owner: "network", Grows: "the first report of something", Stays: "it goes with its reports", Each: each(1, "report")},
		{Table: "sealed", Owner: "network", Grows: "a deletion by its author", Ages: []Age{aged("due", 0, network.QOldestSealed)}, Note: fmt.Sprintf("it is due %d days after the deletion", deleted)},
		{Table: "findable", Owner: "network", Grows: "what can be searched", Each: []Each{{1, "post"}, {1, "comment"}, {1, "profile"}, {1, "community"}}, Note: "deletion drops it"},
		{Table: "notification", Owner: "network", Grows: "something that happens to an agent", Each: each(network.MaxNotices, "inbox"),
			Ages: []Age{by(store.TermRead, "read", network.QOldestRead, network.QPastRead), by(store.TermUnread, "made", network.QOldestNotice, network.QPastNotices)},
			Note: fmt.Sprintf("of an agent at most %d unread and %d read", network.MaxUnread, network.MaxRead)},
		{Table: "inbox", Owner: "network", Grows: "a registration", Each: each(1, "profile")},
		{Table: "conversation", Owner: "network", Grows: "a request to exchange messages", Stays: "content"},
		{Table: "message", Owner: "network", Grows: "a message", Stays: "content, encrypted"},
		{Table: "task", Owner: "network", Grows: "a task", Stays: "content"},
		{Table: "task_step", Owner: "network", Grows: "a step of a task", Stays: "content"},
		{Table: "webhook", Owner: "network", Grows: "a webhook", Each: []Each{{network.MaxWebhooks, "agent"}, {network.MaxWebhooks, "operator"}}},
		{Table: "delivery", Owner: "network", Grows: "an attempt to deliver an event", Each: each(network.MaxDeliveries, "webhook"), Note: "the oldest are dropped first"},
		{Table: "queue", Owner: "network", Grows: "a queue", Each: each(network.MaxQueues, "agent")},
		{Table: "queue_item", Owner: "network", Grows: "an event that a queue has taken", Each: each(network.MaxQueued, "queue"), Note: "acknowledging drops it"},
		{Table: "queue_dead", Owner: "network", Grows: "an item that was given too often", Each: each(network.MaxDead, "queue")},
		{Table: "label", Owner: "network", Grows: "a label or role of a community", Stays: "content"},
		{Table: "attachment", Owner: "network", Grows: "a label on something", Stays: "detaching drops it"},
	}
}

// Bound says in words what bounds the table.
func (k Kept) Bound() string {
	var parts []string
	if k.Fixed > 0 || len(k.Each) > 0 {
		var sum []string
		if k.Fixed > 0 {
			sum = append(sum, fmt.Sprint(k.Fixed))
		}
		for _, e := range k.Each {
			sum = append(sum, fmt.Sprintf("%d for each row of %s", e.Rows, e.Of))
		}
		parts = append(parts, "at most "+strings.Join(sum, " and "))
	}
	for _, a := range k.Ages {
		switch {
		case a.Keep == 0:
			parts = append(parts, "dropped when "+a.What)
		case a.Keep%oneDay == 0 && a.Keep > oneDay:
			parts = append(parts, fmt.Sprintf("dropped %d days after it was %s", a.Keep/oneDay, a.What))
		default:
			parts = append(parts, fmt.Sprintf("dropped %g hours after it was %s", a.Keep.Hours(), a.What))
		}
	}
	if k.Stays != "" {
		parts = append(parts, "stays: "+k.Stays)
	}
	if k.Note != "" {
		parts = append(parts, k.Note)
	}
	return strings.Join(parts, "; ")
}

// Grown is how large a table is.
type Grown struct {
	Kept
	store.Size
	Most int64           // rows it may have now; 0 without such a bound
	Over []time.Duration // of each of its Ages, by how much the oldest is past its time; not above 0 if none is

	guess bool // Rows or Most is an estimate
}

// Late is how far housekeeping may be behind before that is worth a word: what is
// dropped is dropped in batches, every ten minutes.
const Late = time.Hour

// Wrong says what is larger or older than it should be, "" if nothing is.
func (g Grown) Wrong() string {
	if g.Most > 0 && !g.guess && g.Rows > g.Most {
		return fmt.Sprintf("%d rows are more than %d", g.Rows, g.Most)
	}
	for i, over := range g.Over {
		if over > Late {
			return fmt.Sprintf("something %s is %s past its time", g.Ages[i].What, over.Round(time.Minute))
		}
	}
	return ""
}

// Growth measures every table of a network. It takes seconds where there are
// hundreds of millions of rows: large tables are estimated, and Size says so.
func Growth(ctx context.Context, db *store.DB, c Config) ([]Grown, error) {
	sizes, err := db.Sizes(ctx)
	if err != nil {
		return nil, err
	}
	var all []Grown
	err = db.View(ctx, func(v *store.View) error {
		all = all[:0]
		now := act.Micros(db.Clock()())
		since, held, err := audit.KeptSince(v)
		if err != nil {
			return err
		}
		force, err := inForceAt(v, c, now)
		if err != nil {
			return err
		}
		for _, k := range kept(force.keep) {
			g := Grown{Kept: k, Size: sizes[k.Table], Most: k.Fixed, guess: sizes[k.Table].About}
			for _, e := range k.Each {
				g.guess = g.guess || sizes[e.Of].About
				g.Most += e.Rows * sizes[e.Of].Rows
			}
			// A bound that hangs on nothing bounds nothing: it is not said. Nor is one that a
			// legal hold lifts.
			if g.Fixed == 0 && !slices.ContainsFunc(k.Each, func(e Each) bool { return sizes[e.Of].Rows > 0 }) || held && len(k.Ages) > 0 {
				g.Most = 0
			}
			for _, a := range k.Ages {
				over := time.Duration(0)
				if _, err := v.One(a.Oldest, func(r *store.Row) error {
					if held && r.Int(0) >= since {
						return nil // it is kept
					}
					over = force.late(a.Term, time.Duration(now-r.Int(0))*time.Microsecond-a.Keep)
					return nil
				}); err != nil {
					return err
				}
				g.Over = append(g.Over, over)
			}
			all = append(all, g)
		}
		return nil
	})
	return all, err
}

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle/conduct"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Registration says who may register an agent.
type Registration string

// The modes. The zero value is RegistrationInvite.
const (
	RegistrationInvite Registration = "invite" // who holds an unused invite code
	RegistrationOpen   Registration = "open"   // everybody
	RegistrationClosed Registration = "closed" // nobody
)

// Config tunes a lifecycle.
type Config struct {
	Registration Registration

	// ClaimRequired makes new agents wait in Requested until an owner claims
	// them; without it they are active at once, and unclaimed.
	ClaimRequired bool

	// AutoClaim names the owner who claims every new agent at once; "" is
	// nobody. It is for `reef dev`.
	AutoClaim string

	// Unclaimed is how long an agent may wait to be claimed before it expires; 0 is
	// for ever.
	Unclaimed time.Duration
	Caps      Caps

	// Ended is called in the transaction that ends an agent which never acted, so
	// that what Born made gives its name up. Optional.
	Ended func(ctx context.Context, tx *store.Tx, id act.ID) error

	// Gone is called in the transaction that drops such an agent, to drop what Born
	// made of it. It reports false, and leaves everything, where something that
	// others did points at the agent. Without it none is dropped.
	Gone func(ctx context.Context, tx *store.Tx, id act.ID) (gone bool, err error)

	// Keep is how long what is over is kept: held acts, invites, claims, revoked
	// keys, expired registrations; DefaultKeep if 0.
	Keep time.Duration

	// Born is called in the transaction that registers an agent, for what other
	// domains keep of it (network makes the profile). Required.
	Born func(ctx context.Context, tx *store.Tx, id act.ID, name, description string) error

	// Said returns what an agent says of itself: its description. Required.
	Said func(v *store.View, id act.ID) (string, error)

	// Place names a community, "" for an unknown one, from memory. Without it no grant
	// that names communities lets its holder into any.
	Place func(community act.ID) string

	// KillLog is the file outside the database in which every kill is noted before
	// it is acknowledged; "" keeps none. Network and Codec are needed with it: the
	// name of the network in the file (never that of another network), and the ids.
	KillLog string
	Network string
	Codec   *act.Codec

	Copies Copies // backups of the network

	// Community finds a community by name; NotFound without one. Without it none can be
	// contained.
	Community func(v *store.View, name string) (act.ID, error)

	// Canary does an act of an agent's own through the gate, one that reads or one that
	// writes, for drills, which there are none without.
	Canary func(ctx context.Context, p act.Principal, write bool) error

	// Flying counts what those agents have under way for whom in is true. Optional.
	Flying func(v *store.View, in func(agent act.ID) bool) (Flying, error)

	// Answers says whom a comment or a message answers, and in which thread, for rules that
	// cap turns. Optional.
	Answers func(v *store.View, made act.ID) (thread, whom act.ID, err error)

	// Refusals calls each with the rule of every refusal and failure among some numbers of
	// the record, and how many it stands for. Without it none is counted.
	Refusals func(v *store.View, after, upTo int64, each func(seq int64, rule string, count int64)) error

	// Likes says who has made a thing, 0 for nobody who is known, and whether an agent values
	// it: its vote is up. Without it nobody is supported.
	Likes func(v *store.View, agent, thing act.ID) (maker act.ID, up bool, err error)

	// Mail sends a message to an agent's human; nil when the network sends none.
	Mail func(context.Context, Mail) error
	// URL is the network's public URL, for those messages.
	URL func() string

	Log *slog.Logger
}

// Check reports what is wrong with the configuration.
func (c Config) Check() error {
	switch c.Registration {
	case "", RegistrationInvite, RegistrationOpen, RegistrationClosed:
	default:
		return fmt.Errorf("lifecycle: registration %q: use invite, open or closed", c.Registration)
	}
	if c.AutoClaim != "" {
		if err := identity.CheckName("owner", c.AutoClaim); err != nil {
			return fmt.Errorf("lifecycle: auto-claim: %w", err)
		}
	}
	if c.Unclaimed < 0 || c.Caps.Owner < 0 || c.Caps.Source < 0 || c.Caps.Network < 0 {
		return errors.New("lifecycle: a cap or a time to wait is negative")
	}
	if c.Born == nil || c.Said == nil {
		return errors.New("lifecycle: Born or Said is not set")
	}
	if c.KillLog != "" && (c.Network == "" || c.Codec == nil) {
		return errors.New("lifecycle: a kill log needs Network and Codec")
	}
	return nil
}

// Lifecycle holds the acts on agents and the directory of their standings. It
// is the gate's Standings and Holds and identity's Subjects. Safe for concurrent use.
type Lifecycle struct {
	Register *gate.WriteAct[NewAgent, Registered]
	Enroll   *gate.WriteAct[NewMember, Member]
	Claim    *gate.WriteAct[NewClaim, Agent]
	Invite   *gate.WriteAct[NewInvite, Invited]
	List     *gate.ReadAct[Query, act.Page[Agent]]
	Show     *gate.ReadAct[Named, Agent]
	Pause    *gate.WriteAct[Order, Agent]
	Resume   *gate.WriteAct[Order, Agent]
	Kill     *gate.WriteAct[Order, Agent]

	PutClass    *gate.WriteAct[NewClass, Class]
	RetireClass *gate.WriteAct[ClassOrder, Class]
	ShowClass   *gate.ReadAct[NamedClass, Class]
	ListClasses *gate.ReadAct[ClassQuery, act.Page[Class]]

	OpenMandate   *gate.WriteAct[NewMandate, Mandate]
	ReviseMandate *gate.WriteAct[Revision, Mandate]
	CloseMandate  *gate.WriteAct[MandateOrder, Mandate]
	Attest        *gate.WriteAct[Attestation, Attested]
	ShowMandate   *gate.ReadAct[NamedMandate, Mandate]
	ListMandates  *gate.ReadAct[MandateQuery, act.Page[Mandate]]
	RecordOutcome *gate.WriteAct[NewOutcome, Outcome]
	ListOutcomes  *gate.ReadAct[OutcomeQuery, act.Page[Outcome]]

	Request    *gate.WriteAct[NewInstance, Instance]
	Spawn      *gate.WriteAct[NewInstance, Instance]
	ListLine   *gate.ReadAct[LineQuery, act.Page[Agent]]
	ShowBudget *gate.ReadAct[Named, []Budget]
	Report     *gate.WriteAct[Usage, []Budget]

	SetQuota   *gate.WriteAct[NewQuota, Quota]
	DropQuota  *gate.WriteAct[QuotaOrder, Quota]
	ShowQuota  *gate.ReadAct[QuotaName, Quota]
	ListQuotas *gate.ReadAct[struct{}, []Quota]
	warnQuota  *gate.WriteAct[act.ID, Quota] // see Watch

	Quarantine *gate.WriteAct[Order, Agent]
	Release    *gate.WriteAct[Order, Agent]

	PauseScope      *gate.WriteAct[ScopeOrder, Contained]
	ResumeScope     *gate.WriteAct[ScopeOrder, Contained]
	QuarantineScope *gate.WriteAct[ScopeOrder, Contained]
	ReleaseScope    *gate.WriteAct[ScopeOrder, Contained]
	KillScope       *gate.WriteAct[ScopeOrder, Contained]
	ListScopes      *gate.ReadAct[struct{}, []Containment]
	ShowScope       *gate.ReadAct[ScopeName, Preview]

	ShowClaim  *gate.ReadAct[string, Waiting]
	ListOwners *gate.ReadAct[OwnerQuery, act.Page[Owner]]
	LinkOwner  *gate.WriteAct[OwnerLink, Owner]
	MoveOwner  *gate.WriteAct[OwnerMove, Owner]

	CreateApp *gate.WriteAct[NewApp, App]
	RevokeApp *gate.WriteAct[NamedOwner, act.Ref]

	OpenSession  *gate.WriteAct[NewSession, Session]
	CloseSession *gate.WriteAct[Nothing, act.Ref]
	LapseSession *gate.WriteAct[identity.Person, act.Ref]
	ListSessions *gate.ReadAct[Nothing, []identity.OperatorSession]

	ListKills   *gate.ReadAct[KillQuery, act.Page[Kill]]
	NoteKill    *gate.WriteAct[Note, Kill]
	ShowNetwork *gate.ReadAct[struct{}, Condition]
	Confirm     *gate.WriteAct[Confirmation, Condition]

	ListCauses *gate.ReadAct[CauseQuery, []Cause]
	Adopt      *gate.WriteAct[Adoption, Agent]

	StartRollout  *gate.WriteAct[NewRollout, Rollout]
	PauseRollout  *gate.WriteAct[ClassOrder, Rollout]
	ResumeRollout *gate.WriteAct[ClassOrder, Rollout]
	AbortRollout  *gate.WriteAct[ClassOrder, Rollout]
	ShowRollout   *gate.ReadAct[NamedClass, Rollout]

	rebind *gate.WriteAct[Rebinding, Agent] // see RollOut
	widen  *gate.WriteAct[NamedClass, Rollout]
	revert *gate.WriteAct[NamedClass, Rollout]

	OpenProcess   *gate.WriteAct[NewProcess, Process]
	RenewProcess  *gate.ReadAct[act.ID, Process]
	ListProcesses *gate.ReadAct[struct{}, []Process]

	Appeal      *gate.WriteAct[Order, Agent]
	ListNotices *gate.ReadAct[NoticeQuery, []Notice]

	Entrust   *gate.WriteAct[Entrusting, Agent]
	ListTrust *gate.ReadAct[TrustQuery, act.Page[TrustChange]]

	alert  *gate.WriteAct[conduct.Finding, Agent] // see Watch
	arrest *gate.WriteAct[conduct.Finding, Agent]

	lapse *gate.WriteAct[Expiry, Agent] // see SweepScopes
	stop  *gate.WriteAct[Expiry, Agent]

	copy      *gate.WriteAct[NewBackup, struct{}]    // see Backup
	restore   *gate.WriteAct[Restoration, Condition] // see Reconcile and NoteRestore
	expire    *gate.WriteAct[Expiry, Agent]
	forget    *gate.WriteAct[forgetting, int64]
	ownerMail *gate.WriteAct[OwnerMail, Mail]
	claimMail *gate.WriteAct[ClaimMail, Mail]

	ListApprovals *gate.ReadAct[ApprovalQuery, act.Page[Approval]]
	ShowApproval  *gate.ReadAct[act.ID, Approval]
	Deny          *gate.WriteAct[Verdict, Approval]

	approve *gate.WriteAct[Verdict, Approval] // see Approve
	answer  *gate.WriteAct[Answer, Answered]  // see Answer
	settle  *gate.WriteAct[ending, act.Ref]

	finishScope *gate.WriteAct[Scope, Containment] // see SweepScopes
	beginDrill  *gate.WriteAct[struct{}, Member]   // see Drill
	recordDrill *gate.WriteAct[Drill, struct{}]

	gate   *gate.Gate
	db     *store.DB
	ids    *identity.Service
	cfg    Config
	log    *slog.Logger
	agents *directory
	halts  atomic.Pointer[halts]

	charters atomic.Pointer[charters]
	grants   interned
	alive    alive
	watch    watch
	esteem   esteem
	paces    paces
	rolled   rolled
	quotas   atomic.Pointer[purses]

	killLog *killLog // nil without one; set by Start
	logging sync.Mutex
	logged  int64  // guarded by logging: the last kill that was compared with the log
	behind  []Kill // kills of the log that the database does not have; Start's, then Reconcile's

	behindScopes []scopeKill // the same of scopes
	apart        atomic.Bool // there are such
	killCount    atomic.Int64
	sweeping     atomic.Int64
	drills       atomic.Pointer[[]Drill]
	copying      sync.Mutex // held while a backup is taken
}

// New registers the acts on agents on g, and itself with ids. A configuration
// that Check refuses is a programmer's error and panics. Start is one of the
// loads of the gate's Start.
func New(g *gate.Gate, db *store.DB, ids *identity.Service, c Config) *Lifecycle {
	if err := c.Check(); err != nil {
		panic(err)
	}
	if c.Registration == "" {
		c.Registration = RegistrationInvite
	}
	if c.Keep <= 0 {
		c.Keep = DefaultKeep
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &Lifecycle{gate: g, db: db, ids: ids, cfg: c, log: c.Log, agents: newDirectory()}
	l.halts.Store(&halts{})
	l.charters.Store(&charters{})
	l.registerRegister(g)
	l.registerEnroll(g)
	l.registerInvite(g)
	l.registerApp(g)
	l.registerMail(g)
	l.registerClaim(g)
	l.registerOwners(g)
	l.registerOrders(g)
	l.registerScopes(g)
	l.registerDrill(g)
	l.registerExpire(g)
	l.registerForget(g)
	l.registerReads(g)
	l.registerApprovals(g)
	l.registerApprovalReads(g)
	l.registerChallenge(g)
	l.registerSession(g)
	l.registerKills(g)
	l.registerRestoration(g)
	l.registerBackup(g)
	l.registerClasses(g)
	l.registerMandates(g)
	l.registerOutcomes(g)
	l.registerBirths(g)
	l.registerBudgets(g)
	l.registerQuotas(g)
	l.registerEndings(g)
	l.registerAdopt(g)
	l.registerHealth(g)
	l.registerTrust(g)
	l.registerRollouts(g)
	l.registerProcesses(g)
	g.OnFence(act.KindAgent, l.reload)
	g.OnFence(act.KindClass, l.reloadCharters)
	g.OnFence(act.KindMandate, l.reloadCharters)
	g.OnFence(act.KindOwner, l.reloadCharters)
	g.OnFence(act.KindSystem, l.reloadHalts)
	g.OnFence(act.KindSystem, l.reloadQuotas)
	g.OnFence(act.KindNetwork, l.conditioned)
	ids.Plug(l)
	return l
}

const (
	loadPage = 8192

	loadColumns = `id, name, owner, state, epoch, class, mandate, revision, parent, root, depth, ends_at, granted, trust`

	qLoad store.Q = `SELECT ` + loadColumns + ` FROM agent WHERE id > $1 ORDER BY id LIMIT $2`
	qRead store.Q = `SELECT ` + loadColumns + ` FROM agent WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8)`
)

// Start reads every agent into memory, for gate.Start, which applies the fences
// that arrive meanwhile. Whichever is read last, the higher epoch wins.
func (l *Lifecycle) Start(ctx context.Context) error {
	var last act.ID
	for {
		n := 0
		err := l.db.View(ctx, func(v *store.View) error {
			return v.All(qLoad, func(r *store.Row) error {
				n++
				last = r.ID(0)
				l.put(r)
				return nil
			}, last, loadPage)
		})
		if err != nil {
			return fmt.Errorf("lifecycle: read the agents: %w", err)
		}
		if n < loadPage {
			l.log.InfoContext(ctx, "agents are in memory", slog.Int("agents", l.agents.len()))
			if err := l.reloadCharters(ctx, nil); err != nil {
				return fmt.Errorf("lifecycle: read the classes, mandates and halts: %w", err)
			}
			if err := l.reloadQuotas(ctx, nil); err != nil {
				return fmt.Errorf("lifecycle: read the quotas: %w", err)
			}
			return l.startKills(ctx)
		}
	}
}

// put takes a row of qLoad or qRead into memory.
func (l *Lifecycle) put(r *store.Row) {
	l.agents.put(r.ID(0), entry{name: r.Text(1), owner: r.ID(2), state: act.Standing(r.Int(3)), epoch: r.Int(4), bond: l.scanBond(r, 5), trust: trust.Level(r.Int(13))})
}

// reload brings memory up to date with agents whose standing has changed. The
// gate calls it before the change is acknowledged.
func (l *Lifecycle) reload(ctx context.Context, ids []act.ID) error {
	// Their credentials may be revoked. That comes first: who is admitted with the new
	// epoch has then been checked again, or finds that it was checked too early.
	l.ids.Forget(ids)
	var last Kill
	if err := l.db.View(ctx, func(v *store.View) (err error) {
		if err = l.read(v, ids); err != nil || !l.anyKilled(ids) {
			return err
		}
		if last, err = lastKill(v); err == nil {
			err = l.logKills(v)
		}
		return err
	}); err != nil {
		return err
	}
	if last.Epoch.N > 0 {
		l.killCount.Store(last.Epoch.N)
	}
	return nil
}

// anyKilled reports whether memory has one of the agents as killed.
func (l *Lifecycle) anyKilled(ids []act.ID) bool {
	return slices.ContainsFunc(ids, func(id act.ID) bool { s, _ := l.Standing(id); return s == act.Killed })
}

// Close closes the kill log.
func (l *Lifecycle) Close() error {
	if l.killLog == nil {
		return nil
	}
	return l.killLog.close()
}

func (l *Lifecycle) read(v *store.View, ids []act.ID) error {
	const width = 8 // parameters of qRead
	for len(ids) > 0 {
		args := make([]any, width)
		n := min(width, len(ids))
		for i := range args {
			args[i] = ids[min(i, n-1)]
		}
		if err := v.All(qRead, func(r *store.Row) error { l.put(r); return nil }, args...); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// Subject implements identity.Subjects: it returns the agent's name and makes
// sure that memory has it. An agent that was registered on another node and is
// not claimed yet is read from the database here.
func (l *Lifecycle) Subject(ctx context.Context, agent act.ID) (name string, err error) {
	if name := l.Name(agent); name != "" {
		return name, nil
	}
	if err := l.db.View(ctx, func(v *store.View) error { return l.read(v, []act.ID{agent}) }); err != nil {
		return "", err
	}
	if name = l.Name(agent); name == "" {
		return "", noAgent()
	}
	return name, nil
}

package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/api/moltbook"
	"github.com/reefwarden/reefwarden/internal/api/native"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/certificate"
	"github.com/reefwarden/reefwarden/internal/console"
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
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// Server is one network being served. Its fields are the parts, for tests and
// for the commands that look inside.
type Server struct {
	Config    Config
	DB        *store.DB
	Keys      *identity.Keys
	Codec     *act.Codec
	Bus       *bus.Bus
	Gate      *gate.Gate
	Policy    *policy.Engine
	Policies  *policy.Office
	Identity  *identity.Service
	Issuer    *identity.Issuer
	Roles     *identity.Bindings
	Consents  *identity.Consents
	Passkeys  *passkey.Keeper
	Lifecycle *lifecycle.Lifecycle
	Network   *network.Network
	Manifests *manifest.Manifests
	Spans     *span.Keeper
	Tracer    *provenance.Tracer
	Labels    *provenance.Labels

	Likenesses *provenance.Likenesses
	Traces     *graph.Acts
	Record     *audit.Log
	Tree       *audit.Tree
	Audit      *audit.Acts
	Controls   *gate.ReadAct[struct{}, export.Controls]
	Metrics    *telemetry.Metrics
	API        *api.Kernel

	log       *slog.Logger
	keeper    *policy.Keeper
	spans     *export.Spans // nil when none are sent
	ocsf      *export.OCSF  // nil without a sink
	networks  *networks     // beside this one; nil in a named network
	listener  net.Listener
	http      *http.Server
	handler   http.Handler // of this network alone
	sequencer *sequencer
	chores    *chores
	uses      *loop
	leases    *loop
	anchor    *loop             // holds the record against the checkpoint that this node keeps
	drift     *loop             // counts what is not as its files say
	rings     *loop             // reads the ring of keys again and again
	looks     *loop             // at the files of door; nil without TLS
	door      *certificate.Pair // nil without TLS
	issuing   chan struct{}     // closed when the issuer has its keys
	started   bool              // the background work of gate and tracer
	closed    sync.Once

	logTrouble atomic.Pointer[string] // why the record does not go on from what was kept of it; nil while it does

	keyTrouble string // of the goroutine of rings: why the ring could not be read the last time
}

// New opens the network, and those in its data directory beside it, and listens,
// but serves nothing yet: see Run. The caller must Close it, also when Run was
// never called.
func New(ctx context.Context, c Config, log *slog.Logger) (*Server, error) {
	s, err := open(ctx, c, log)
	if err != nil {
		return nil, err
	}
	s.networks = newNetworks(s)
	if err := s.listen(ctx); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.networks.look(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open opens one network, begins its work and makes its doors.
func open(ctx context.Context, c Config, log *slog.Logger) (_ *Server, err error) {
	s, err := assemble(ctx, c, log)
	if err == nil {
		err = s.begin(ctx)
	}
	if err != nil && s != nil {
		s.Close()
		s = nil
	}
	return s, err
}

// assemble makes the parts of one network, with its memory loaded. When it fails
// nothing is left open.
func assemble(ctx context.Context, c Config, log *slog.Logger) (_ *Server, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	s := &Server{Config: c, log: log, Metrics: telemetry.NewMetrics(), issuing: make(chan struct{})}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()

	// Keys and storage. A node with another key than the network's own refuses.
	if s.Keys, err = c.OpenKeys(ctx, true); err != nil {
		return nil, err
	}
	if s.Codec, err = act.NewCodec(s.Keys.CodecKey()); err != nil {
		return nil, err
	}
	sc := c.Store()
	sc.Log = log
	if s.DB, err = store.Open(ctx, sc); err != nil {
		return nil, err
	}
	if err = s.DB.Pin(ctx, "network key", s.Keys.Check()); err != nil {
		return nil, err
	}
	if s.Bus, err = bus.Open(ctx, bus.Config{
		URL: c.NATS, Prefix: busPrefix(s.Keys.Check()), Name: fmt.Sprintf("reef-%d", s.DB.Node()), Log: log, TLS: s.busTLS(s.issuing),
	}); err != nil {
		return nil, err
	}

	// The gate and the domains that register their acts on it.
	s.keeper = policy.NewKeeper(s.DB, log)
	s.Gate = gate.New(s.DB, s.Bus, gate.Config{
		Limits: gate.Limits(c.Limits), Rates: c.Quotas, NewFor: c.NewAgent, Heartbeat: c.Heartbeat, Log: log, Bare: c.Bare,
		Held: s.held,
	})
	s.Identity = identity.New(s.DB, s.Keys, identity.Config{Log: log, SessionLife: c.SessionLife, SessionIdle: c.SessionIdle})
	// Lifecycle comes before network: a fence must have changed the standings in
	// memory before it drops the copies that show them.
	s.Lifecycle = lifecycle.New(s.Gate, s.DB, s.Identity, lifecycle.Config{
		Registration: lifecycle.Registration(c.Registration), ClaimRequired: c.Claim, AutoClaim: c.AutoClaim,
		Unclaimed: c.UnclaimedFor, Caps: lifecycle.Caps{Owner: c.MaxPerOwner, Source: c.MaxPerSource, Network: c.MaxAgents},
		Ended: func(ctx context.Context, tx *store.Tx, id act.ID) error { return s.Network.Ended(ctx, tx, id) },
		Gone:  func(ctx context.Context, tx *store.Tx, id act.ID) (bool, error) { return s.Network.Gone(ctx, tx, id) },
		Keep:  c.keep(store.TermClosed),
		Born: func(ctx context.Context, tx *store.Tx, id act.ID, name, description string) error {
			return s.Network.Born(ctx, tx, id, name, description)
		},
		Said:    func(v *store.View, id act.ID) (string, error) { return s.Network.Said(v, id) },
		Place:   func(id act.ID) string { return s.Network.PlaceName(context.WithoutCancel(ctx), id) },
		KillLog: c.KillLogPath(), Network: networkCode(s.Keys.Check()), Codec: s.Codec, Copies: s.copies(),
		Community: func(v *store.View, name string) (act.ID, error) { return s.Network.CommunityID(v, name) }, Flying: s.flying, Canary: s.canary,
		Answers: func(v *store.View, made act.ID) (thread, whom act.ID, err error) { return s.Network.Answers(v, made) },
		Likes: func(v *store.View, agent, thing act.ID) (maker act.ID, up bool, err error) {
			return s.Network.Likes(v, agent, thing)
		},
		Refusals: audit.Refusals,
		Mail:     mailDir(c.MailDir, c.MailFrom, s.DB.Clock()), URL: s.URL, Log: log,
	})
	issuing, err := s.issuer()
	if err != nil {
		return nil, err
	}
	if s.Issuer, err = identity.NewIssuer(s.Gate, s.Identity, issuing); err != nil {
		return nil, err
	}
	s.Roles = identity.NewBindings(s.Gate, s.Identity)
	clients, err := c.clients()
	if err != nil {
		return nil, err
	}
	if s.Consents, err = identity.NewConsents(s.Gate, s.Issuer, clients); err != nil {
		return nil, err
	}
	s.Passkeys = passkey.New(passkey.Config{Gate: s.Gate, Identity: s.Identity, URL: s.URL, Clock: s.DB.Clock()})
	s.Labels = provenance.NewLabels(provenance.LabelsConfig{
		Gate: s.Gate, DB: s.DB, Codec: s.Codec, Reason: identity.CheckReason,
		Governed: func(agent act.ID) bool { return s.Lifecycle.Governed(agent) },
		Place:    func(community act.ID) gate.Classification { return s.Network.Classified(community) },
	})
	s.Network = network.New(s.Gate, s.DB, network.Config{
		Evidence:  func(v *store.View, e network.Evidence) error { return audit.Covered(v, audit.Content(e)) },
		Clearance: func(agent act.ID) gate.Classification { return s.Lifecycle.Facts(agent).Clearance },
		Owner:     func(agent act.ID) act.ID { return s.Lifecycle.Facts(agent).Owner },
		Label:     s.Labels.On, CanaryKey: c.canaryKey(s.Keys),
		Census: func(v *store.View, since time.Time) (network.Census, error) {
			c, err := s.Lifecycle.Census(v, since)
			return network.Census(c), err
		},
		Prover: prover{s}, IndexKey: s.Keys.IndexKey(), Texts: s.Keys.TextWrapper(), KeepSealed: c.keep(store.TermDeleted), Log: log,
		Keep:   network.Keep{Read: c.keep(store.TermRead), Unread: c.keep(store.TermUnread), Closed: c.keep(store.TermClosed)},
		Sealer: s.Keys.Wrapper(), Owners: owners{s.Lifecycle, s.Identity},
		Push: s.push(),
	})
	s.Record = audit.New(audit.Config{Codec: s.Codec, Log: log})
	if s.Tree, err = c.tree(s.Keys, s.DB, log); err != nil {
		return nil, err
	}
	s.Audit = audit.NewActs(audit.ActsConfig{Gate: s.Gate, DB: s.DB, Tree: s.Tree, Codec: s.Codec, Terms: Terms(c), Reason: identity.CheckReason})
	s.Controls = export.NewControls(export.ControlsConfig{
		Gate: s.Gate, Tree: s.Tree, Lifecycle: s.Lifecycle, Labelled: s.Labels.Raised, Policy: func() int64 { return s.Policy.Version() },
	})
	s.Spans = span.New(s.Gate, span.Config{Act: actAt})
	s.Traces = s.traces()
	if err = s.openPolicy(ctx); err != nil {
		return nil, err
	}
	s.Tracer = provenance.New(s.DB, provenance.Config{Recheck: s.Lifecycle.Recheck, Labels: s.Labels, Log: log})
	s.Likenesses = provenance.NewLikenesses(s.DB, s.texts)
	s.Gate.Plug(gate.Ports{
		Standings: s.Lifecycle, Decider: s.Policy, Tracer: s.Tracer, Meter: s.Metrics,
		Recorder: recorder{s.Record, s.Spans}, Holds: s.Lifecycle,
		Credentials: s.Identity, Bounds: s.Lifecycle, Labels: s.Labels, Witness: s.witness(),
	})

	// Memory is loaded between two looks at the fences; then background work.
	s.started = true
	s.Tracer.Start(ctx)
	s.keeper.Start()
	if err = s.Gate.Start(ctx, s.Policies.Load, s.Issuer.Load, s.Lifecycle.Start, s.Labels.Load, func(ctx context.Context) error { return s.Network.Start(ctx, s.DB) }, s.Traces.Load); err != nil {
		return nil, err
	}
	return s, nil
}

// begin begins a network's work in the background and makes its doors. What the
// kill log knows and the database does not is applied before anything else.
func (s *Server) begin(ctx context.Context) (err error) {
	if err := s.Tree.Anchor(ctx); err != nil {
		return err
	}
	if err := s.Lifecycle.Reconcile(ctx); err != nil {
		return err
	}
	if err := s.Network.Run(ctx); err != nil {
		return err
	}
	if err := s.Issuer.Start(ctx); err != nil {
		return err
	}
	close(s.issuing)
	if s.sequencer, err = startSequencer(s.DB, s.Bus, s.log); err != nil {
		return err
	}
	if err := s.Identity.EnsureOperator(ctx, "operator", s.Config.TokenFile()); err != nil {
		return fmt.Errorf("operator token: %w", err)
	}
	if err := s.ensureGeneral(ctx); err != nil {
		return err
	}
	s.leases = startEvery(lifecycle.LeaseEvery, s.log, "renew leases", s.Lifecycle.RenewLeases)
	s.drift = startEvery(time.Minute, s.log, "count what is not as its files say", s.Manifests.Watch)
	s.uses = startEvery(time.Minute, s.log, "store uses", s.Identity.StoreUses)
	s.rings = startEvery(cmp.Or(s.Config.KeyRefresh, keyRefresh), s.log, "read the network's key again", s.refreshKeys)
	s.anchor = startEvery(integrateEvery, s.log, "hold the record against what was kept of it", s.anchored)
	sealer, err := provenance.NewSealer(s.DB, s.noteSealed)
	if err != nil {
		return err
	}
	list, err := s.ocsfChore()
	if err != nil {
		return err
	}
	list = append(list,
		chore{name: "approvals", every: 5 * time.Second, limit: time.Minute, do: s.Lifecycle.Tend}, // half of a lease's life
		chore{name: "containment", every: sweepEvery, limit: time.Minute, do: s.Lifecycle.SweepScopes},
		s.drill(),
		chore{name: "tasks", every: 15 * time.Second, limit: 10 * time.Second, do: func(ctx context.Context) error { return s.Network.SweepTasks(ctx, s.DB) }},
		chore{name: "housekeeping", every: housekeepEvery, limit: housekeepEvery, do: s.Housekeep},
		chore{name: "seal", every: sealEvery, limit: time.Minute, do: seal(sealer)},
		chore{name: "tree", every: integrateEvery, limit: time.Minute, do: s.Tree.Integrate},
		chore{name: "widen", every: graph.WidenEvery, limit: time.Minute, do: s.Traces.Widen},
		chore{name: "likeness", every: likenessEvery, limit: time.Minute, do: s.Likenesses.Follow},
		chore{name: "keys", every: min(keysEvery, cmp.Or(s.Config.KeyRefresh, keysEvery)), limit: time.Minute, do: s.renewKeys},
		chore{name: "issuer", every: time.Minute, limit: time.Minute, do: s.Issuer.RotateDue},
		chore{name: "reaper", every: s.Lifecycle.ReapEvery(), limit: time.Minute, do: s.reap},
		chore{name: "conduct", every: lifecycle.WatchEvery, limit: time.Minute, do: s.Lifecycle.Watch},
		chore{name: "trust", every: lifecycle.TrustEvery, limit: time.Minute, do: s.Lifecycle.WeighTrust},
		chore{name: "rollouts", every: lifecycle.RolloutEvery, limit: time.Minute, do: s.Lifecycle.RollOut},
		chore{name: "idle", every: lifecycle.IdleEvery, limit: time.Minute, do: s.Lifecycle.TellIdle},
		chore{name: "sweeper", every: lifecycle.SweepEvery, limit: time.Minute, do: s.sweep},
	)
	if len(s.Tree.Witnesses) > 0 {
		list = append(list, chore{name: "witnesses", every: integrateEvery, limit: time.Minute, do: s.Tree.Cosign})
	}
	s.chores = startChores(s.DB, s.log, list...)
	s.Metrics.WatchWriteQueue(s.DB.QueueDepth)
	s.Metrics.WatchBus(s.Bus.Connected, s.Bus.Dropped)
	s.Metrics.WatchFenceAge(s.Gate.FenceAge)
	s.Metrics.WatchLeases(s.DB.Leads)
	s.Metrics.WatchDrills(s.drills)
	s.Metrics.WatchContained(s.Lifecycle.Contained, s.Lifecycle.Sweeping)
	s.Metrics.WatchRecord(s.recorded)
	s.Metrics.WatchDrift(s.Manifests.Drift)
	s.Metrics.WatchQuotas(s.quotas)
	s.sendMetrics()
	s.Metrics.WatchKills(s.Lifecycle.KillCount, func() bool { return s.Gate.Barred() == nil })

	return s.doors()
}

// openPolicy registers the acts on policies, and on files that say them, makes the engine of all that are registered
// by then, and puts a bundle in force.
func (s *Server) openPolicy(ctx context.Context) error {
	s.Policies = policy.NewOffice(policy.OfficeConfig{
		Gate: s.Gate, DB: s.DB, Key: s.Keys.PolicyKey, Keeper: s.keeper, Agents: directory{s.Lifecycle, s.Labels}.all, Log: s.log,
	})
	s.Manifests = manifest.New(manifest.Config{
		Gate: s.Gate, DB: s.DB, Lifecycle: s.Lifecycle, Network: s.Network, Policies: s.Policies, Roles: s.Roles, Retention: s.Audit.Retention, Codec: s.Codec,
	})
	var acts []policy.ActInfo
	for _, a := range s.Gate.Acts() {
		acts = append(acts, policy.InfoOf(a))
	}
	s.Policy = policy.New(policy.Config{
		Key: policyPublic(s.Keys.PolicyKey()), Codec: s.Codec, Directory: directory{s.Lifecycle, s.Labels}, Acts: acts,
		AnonymousAPI: s.Config.AnonymousAPI, ObserverPages: s.Config.ObserverPages == PagesPublic, OwnKeyApproval: s.Config.OwnKeyApproval, Challenge: s.Config.Challenge, Log: s.log,
		TwoPersons: s.Config.TwoPerson, Clock: s.DB.Clock(), Fresh: s.Config.StepUp, Keeper: s.keeper,
	})
	return s.Policies.Serve(ctx, s.Policy)
}

// held says why this node may serve nobody, nil while it may.
func (s *Server) held() error {
	if err := s.heldKeys(); err != nil {
		return err
	}
	return s.keeper.Full()
}

// ensureGeneral makes the community every network has.
func (s *Server) ensureGeneral(ctx context.Context) error {
	_, err := s.Network.CreateCommunity.Do(ctx, act.SystemPrincipal("setup"), network.NewCommunity{
		Name: "general", DisplayName: "General", Description: "For everything that has no place of its own.",
	})
	if act.CodeOf(err) == act.Conflict {
		return nil
	}
	return err
}

// doors makes the network's kernel and mounts the doors.
func (s *Server) doors() error {
	kernel, err := api.New(api.Config{
		Gate: s.Gate, Auth: s.Identity, URL: s.URL, Nonce: s.Issuer.Nonce, Source: s.Keys.Source, Codec: s.Codec, Metrics: s.Metrics,
		Fresh: cmp.Or(s.Config.StepUp, policy.DefaultFresh), TrustedProxy: s.Config.TrustedProxy, Ready: s.ready, Behind: s.Policies.Behind, Anonymous: s.Config.AnonymousAPI, Clock: s.DB.Clock(), Log: s.log,
	})
	if err != nil {
		return err
	}
	kernel.Mount(moltbook.New(moltbook.Config{Kernel: kernel, Network: s.Network, Lifecycle: s.Lifecycle, PublicURL: s.URL, Data: s.Config.MoltbookData}))
	kernel.Mount(moltbook.NewDocuments(moltbook.Documents{
		Kernel: kernel, URL: s.URL, Signer: s.Issuer, Facts: moltbook.Facts{
			Name: "Reefwarden", Slug: "reefwarden", Registration: s.Config.Registration, Claim: s.Config.Claim && s.Config.AutoClaim == "",
			Rates: s.Gate.Rates(), NewFor: s.Gate.NewFor(),
			OwnKeyApproval: s.Config.OwnKeyApproval, Challenge: s.Config.Challenge, Heartbeat: cmp.Or(s.Config.Heartbeat, gate.DefaultHeartbeat),
		},
	}))
	own := native.New(native.Config{Kernel: kernel, Network: s.Network, Lifecycle: s.Lifecycle, Issuer: s.Issuer, Passkeys: s.Passkeys, Policies: s.Policies, Manifests: s.Manifests, Roles: s.Roles, Labels: s.Labels, Audit: s.Audit, Controls: s.Controls, Spans: s.Spans, Traces: s.Traces})
	kernel.Mount(own)
	kernel.Mount(native.NewDescription(kernel, own, s.URL))
	var sessions *api.Sessions
	if s.Config.ObserverPages != PagesOff {
		provider, err := s.Config.provider(s.Keys.SignInKey(), s.DB.Clock(), s.URL)
		if err != nil {
			return err
		}
		pages, err := console.New(console.Config{
			Kernel: kernel, Network: s.Network, Lifecycle: s.Lifecycle, Identity: s.Identity, Issuer: s.Issuer, Cookie: s.Keys.SessionCookie(),
			Provider: provider, SignIn: s.Keys.SignInCookie(), Claim: s.Keys.ClaimCookie(), Passkeys: s.Passkeys, Controls: s.Controls,
			URL: s.URL, Public: s.Config.ObserverPages == PagesPublic,
		})
		if err != nil {
			return err
		}
		kernel.Mount(pages)
		sessions = &api.Sessions{Identity: s.Identity, Name: s.Keys.SessionCookie(), URL: s.URL}
	}
	grants, err := s.oauth(kernel, sessions)
	if err != nil {
		return err
	}
	kernel.Mount(grants)
	s.API = kernel
	s.handler = kernel.Handler()
	return nil
}

func (s *Server) listen(ctx context.Context) (err error) {
	if s.listener, err = net.Listen("tcp", s.Config.Addr); err != nil {
		return fmt.Errorf("listen on %s: %w", s.Config.Addr, err)
	}
	s.http = s.API.Server()
	s.http.Handler = s.networks
	if s.Config.TLSCert != "" {
		if s.door, err = certificate.Open(ctx, s.Config.pair(s.DB.Clock(), s.log)); err != nil {
			return fmt.Errorf("--tls-cert: %w", err)
		}
		s.listener = tls.NewListener(s.listener, certificate.Door(s.door))
		s.looks = startEvery(lookEvery, s.log, "look at the certificate", func(ctx context.Context) error {
			_ = s.door.Look(ctx) // it logs what changes, and its state is watched
			return nil
		})
		s.Metrics.WatchCertificate(func() (time.Time, bool) { state := s.door.State(); return state.NotAfter, state.Failed == nil })
	}
	return nil
}

// URL is where the network is reached: the configured public URL, or the
// address that was listened on.
func (s *Server) URL() string {
	if s.Config.PublicURL != "" {
		return s.Config.PublicURL
	}
	scheme := "http"
	if s.Config.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// Handler returns what is served, for tests that need no socket.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Named returns a network that is served beside this one, nil if there is none of
// that name.
func (s *Server) Named(name string) *Server { return s.networks.named(name) }

const (
	drainFor       = 5 * time.Second
	housekeepEvery = 10 * time.Minute
	sweepEvery     = time.Second     // who is left of a scope that was killed
	lookEvery      = 2 * time.Second // for networks and certificates that were made meanwhile
	likenessEvery  = 10 * time.Second
	sealEvery      = 5 * time.Second // what of the log of exposures is full or old
	integrateEvery = time.Second     // what was recorded into the tree
)

// Run serves until ctx ends, then lets requests under way finish for a while.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for tick := time.NewTicker(housekeepEvery); ctx.Err() == nil; {
		select {
		case <-look.C:
			if err := s.networks.look(ctx); err != nil {
				s.log.WarnContext(ctx, "open a network", "err", err)
			}
		case err := <-failed:
			return err
		case <-tick.C:
			for _, n := range s.networks.all() {
				if err := n.Gate.Housekeep(ctx); err != nil { // every node does its own part of this
					s.log.WarnContext(ctx, "housekeeping", "network", n.Config.Network, "err", err)
				}
			}
		case <-ctx.Done():
			tick.Stop()
		}
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if err := s.http.Shutdown(drain); err != nil {
		_ = s.http.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ready says why the network cannot be served now, nil when it can.
func (s *Server) ready(ctx context.Context) error {
	if err := s.Policy.Ready(); err != nil {
		return err
	}
	if err := s.heldKeys(); err != nil {
		return err
	}
	if !s.Gate.Fresh() {
		return act.Errorf(act.Unavailable, "this node has lost touch with its network").WithRule("fence.stale")
	}
	return s.DB.Ping(ctx)
}

// Settle returns when everything that was answered so far is on record and
// numbered, the denials included.
func (s *Server) Settle(ctx context.Context) error {
	s.Gate.Flush()
	every := time.NewTicker(sequenceEvery / 10)
	defer every.Stop()
	for {
		var numbered bool
		if err := s.DB.View(ctx, func(v *store.View) (err error) { numbered, err = v.Numbered(); return err }); err != nil || numbered {
			return err
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Housekeep drops what nobody needs any more; see Retention. It is a chore.
func (s *Server) Housekeep(ctx context.Context) error {
	return errors.Join(s.Gate.Housekeep(ctx), s.Lifecycle.Housekeep(ctx), s.Issuer.Housekeep(ctx), s.Network.Housekeep(ctx), span.Housekeep(ctx, s.DB, s.Config.keep(store.TermSpans)),
		policy.Housekeep(ctx, s.DB, s.Config.keep(store.TermDecisions)))
}

// reap ends the agents that nobody has claimed in time.
func (s *Server) reap(ctx context.Context) error {
	ended, err := s.Lifecycle.Reap(ctx)
	if ended > 0 {
		s.log.InfoContext(ctx, "agents that nobody claimed have expired", slog.Int("agents", ended))
	}
	return err
}

// sweep stops the agents that nothing holds any more.
func (s *Server) sweep(ctx context.Context) error {
	ended, err := s.Lifecycle.Sweep(ctx)
	if ended > 0 {
		s.log.InfoContext(ctx, "agents have ended that nothing held any more", slog.Int("agents", ended))
	}
	return err
}

func seal(sealer *provenance.Sealer) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := sealer.Seal(ctx)
		return err
	}
}

// Close gives everything back, in the opposite order of New.
func (s *Server) Close() {
	s.closed.Do(func() {
		if s.http != nil {
			_ = s.http.Close()
		}
		if s.listener != nil {
			_ = s.listener.Close()
		}
		if s.looks != nil {
			s.looks.close()
		}
		if s.networks != nil {
			s.networks.close()
		}
		if s.chores != nil {
			s.chores.close()
		}
		if s.anchor != nil {
			s.anchor.close()
		}
		if s.ocsf != nil {
			s.ocsf.Close()
		}
		if s.leases != nil {
			s.leases.close()
		}
		if s.drift != nil {
			s.drift.close()
		}
		if s.uses != nil {
			s.uses.close()
		}
		if s.rings != nil {
			s.rings.close()
		}
		if s.Network != nil {
			s.Network.Close()
		}
		if s.sequencer != nil {
			s.sequencer.close()
		}
		if s.Issuer != nil {
			s.Issuer.Close()
		}
		if s.started {
			s.Gate.Close()
			if err := s.Tracer.Close(); err != nil {
				s.log.Error("store what was counted of reads", "err", err)
			}
			s.keeper.Close()
		}
		if s.spans != nil {
			s.spans.Close()
		}
		if s.Lifecycle != nil {
			if err := s.Lifecycle.Close(); err != nil {
				s.log.Error("close the kill log", "err", err)
			}
		}
		if s.Bus != nil {
			s.Bus.Close()
		}
		s.closeKeys()
		if s.DB != nil {
			if err := s.DB.Close(); err != nil {
				s.log.Error("close storage", "err", err)
			}
		}
	})
}

package network

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network/canary"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Config tunes a network.
type Config struct {
	// Board bounds the posts kept in memory for feeds, in bytes; 0 is the default.
	Board int
	// NoMemory serves every read from SQL: the path that memory is proven equal to.
	NoMemory bool
	// IndexKey is the key of the hashes that the search index keeps.
	IndexKey []byte
	Prover   Prover // required
	Sealer   Sealer // required; for direct messages, like Owners
	Owners   Owners // required
	Log      *slog.Logger
	// Texts encrypts what authors delete. What a network without one seals cannot be
	// opened after a restart.
	Texts Sealer
	// KeepSealed is how long that can be read by responders; 0 is the default.
	KeepSealed time.Duration

	// Keep is how long notifications and reports are kept; zero fields are the
	// defaults.
	Keep Keep
	// Owner tells who answers for an agent, 0 if nobody does, for the rates of
	// copies; nil is nobody for anyone.
	Owner func(agent act.ID) act.ID

	// Evidence fails for what must not be erased; nil lets everything be.
	Evidence func(*store.View, Evidence) error
	// Clearance is the most confidential that an agent was granted; nil clears nobody.
	Clearance func(agent act.ID) gate.Classification
	// CanaryKey is the key, of 64 bytes, of the marks in what agents are shown; nil marks nothing.
	CanaryKey []byte
	// Label is what has come to a thing beside who wrote it and where it is; nil is nothing.
	Label func(v *store.View, thing act.ID) (gate.Label, error)
	// Census counts agents and held acts for network.show; nil leaves them out.
	Census func(v *store.View, since time.Time) (Census, error)

	Push // what event delivery needs
}

// Network holds the acts. All are safe for concurrent use.
type Network struct {
	Me                *gate.ReadAct[Nothing, Profile]
	UpdateProfile     *gate.WriteAct[ProfileChange, Profile]
	FollowAgent       *gate.WriteAct[string, Follow]
	UnfollowAgent     *gate.WriteAct[string, Follow]
	ReadProfile       *gate.ReadAct[string, Portrait]
	SetAvatar         *gate.WriteAct[[]byte, Profile]
	RemoveAvatar      *gate.WriteAct[Nothing, Profile]
	ReadImage         *gate.ReadAct[act.ID, Image]
	CreateCommunity   *gate.WriteAct[NewCommunity, Community]
	ProvideCommunity  *gate.WriteAct[Provision, Community]
	ListCommunities   *gate.ReadAct[CommunityQuery, CommunityPage]
	ShowCommunity     *gate.ReadAct[string, CommunityView]
	UpdateCommunity   *gate.WriteAct[CommunityChange, CommunityView]
	SetFacade         *gate.WriteAct[NewFacade, CommunityView]
	Subscribe         *gate.WriteAct[string, Membership]
	Unsubscribe       *gate.WriteAct[string, Membership]
	ClassifyCommunity *gate.WriteAct[Classify, Community]
	ListModerators    *gate.ReadAct[string, ModeratorList]
	Appoint           *gate.WriteAct[Appointment, Appointed]
	Dismiss           *gate.WriteAct[Appointment, Appointed]
	PinPost           *gate.WriteAct[Named, Pin]
	UnpinPost         *gate.WriteAct[Named, Pin]
	CreatePost        *gate.WriteAct[NewPost, Post]
	ReadPost          *gate.ReadAct[Named, LabelledPost]
	DeletePost        *gate.WriteAct[Named, act.Ref]
	CreateComment     *gate.WriteAct[NewComment, Comment]
	ListComments      *gate.ReadAct[CommentQuery, CommentPage]
	DeleteComment     *gate.WriteAct[Named, Deleted]
	CastVote          *gate.WriteAct[NewVote, Vote]
	ReportContent     *gate.WriteAct[NewReport, Filed]
	ListReports       *gate.ReadAct[ReportQuery, act.Page[Reported]]
	Unseal            *gate.WriteAct[Examination, Unsealed]
	ReadFeed          *gate.ReadAct[FeedQuery, act.Page[Post]]
	ShowNetwork       *gate.ReadAct[Nothing, Pulse]
	Import            *gate.WriteAct[Batch, Imported]

	ListNotifications *gate.ReadAct[NotificationQuery, NotificationPage]
	ReadNotifications *gate.WriteAct[NotificationRead, int64]
	DefineLabel       *gate.WriteAct[NewLabel, Label]
	ListLabels        *gate.ReadAct[string, LabelList]
	ListRoles         *gate.ReadAct[string, RoleList]
	AttachLabel       *gate.WriteAct[NewAttachment, Attachment]
	DetachLabel       *gate.WriteAct[act.ID, Attachment]
	PromptRole        *gate.WriteAct[NewPrompt, Label]
	RevokePrompt      *gate.WriteAct[act.ID, Label]
	TakeBriefings     *gate.WriteAct[Nothing, []Briefing]
	ReadHome          *gate.ReadAct[Nothing, Home]
	Search            *gate.ReadAct[SearchQuery, act.Page[Found]]
	tidy              *gate.WriteAct[tidying, int]
	ProveIdentity     *gate.WriteAct[NewProof, Proof]
	VerifyIdentity    *gate.ReadAct[ShownProof, Proven]

	Messages
	Tasks

	delivery // of what happens: events, webhooks, queues

	gate    *gate.Gate
	census  func(*store.View, time.Time) (Census, error)
	counted counted
	owner   func(act.ID) act.ID
	prover  Prover
	log     *slog.Logger
	db      *store.DB // for housekeeping; acts are given a View or Tx
	vault   vault

	keep         Keep
	keepSealed   time.Duration
	expireSealed *gate.WriteAct[Nothing, int64]
	rewrap       *gate.WriteAct[Nothing, int64]
	erase        *gate.WriteAct[Examination, act.Ref]
	forgetting   listeners

	sealer     Sealer
	owners     Owners
	places     places
	clearance  func(act.ID) gate.Classification
	labelOf    func(*store.View, act.ID) (gate.Label, error)
	evidence   func(*store.View, Evidence) error
	canaries   *canary.Marks // nil marks nothing
	classified atomic.Pointer[map[act.ID]gate.Classification]
	indexKey   []byte
	board      *board // nil when every read goes to SQL; so readers
	readers    *readers

	heard int64 // event up to which memory, empty at the start, needs no word of other nodes

	// imported says that original ids may exist; until then a foreign id is
	// answered without a query. On several nodes it is always set.
	imported atomic.Bool
}

// Nothing is the input of acts that need none.
type Nothing struct{}

// Named names an item by id, or by the id it had where it was imported from.
type Named struct {
	ID       act.ID
	Original string // looked up when ID is 0
}

// New registers the network's acts on g.
func New(g *gate.Gate, db *store.DB, c Config) *Network {
	if c.Owner == nil {
		c.Owner = func(act.ID) act.ID { return 0 }
	}
	n := &Network{owner: c.Owner, census: c.Census, gate: g, prover: c.Prover, db: db, log: c.Log, vault: vault{c.Texts}, keepSealed: c.KeepSealed, keep: c.Keep.orDefault(), places: newPlaces(), indexKey: c.IndexKey}
	if n.keepSealed <= 0 {
		n.keepSealed = DefaultKeepSealed
	}
	n.sealer, n.owners, n.clearance, n.labelOf = c.Sealer, c.Owners, c.Clearance, c.Label
	n.evidence, n.canaries = c.Evidence, canary.New(c.CanaryKey)
	if c.Texts == nil {
		n.vault = vault{newPassing()}
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if !c.NoMemory {
		n.board, n.readers = newBoard(n, c.Board), newReaders()
	}
	n.registerProfile(g)
	n.registerAvatar(g)
	n.registerFollow(g)
	n.registerPortrait(g)
	n.registerImage(g)
	n.registerCommunity(g)
	n.registerPlace(g)
	n.registerProvide(g)
	n.registerFacade(g)
	n.registerClassify(g)
	n.registerMember(g)
	n.registerPost(g)
	n.registerPin(g)
	n.registerComment(g)
	n.registerVote(g)
	n.registerFeed(g)
	n.registerPulse(g)
	n.registerSealed(g)
	n.registerRewrap(g)
	n.registerErase(g)
	n.registerReport(g)
	n.registerImport(g)
	n.registerNotification(g)
	n.registerHome(g)
	n.registerSearch(g)
	n.registerLabel(g)
	n.registerAttachment(g)
	n.registerBriefing(g)
	n.registerTidy(g)
	n.registerProof(g)
	n.registerMessages(g)
	n.registerTasks(g)
	g.OnFence(act.KindPost, n.forget)
	g.OnFence(act.KindComment, n.forget)
	g.OnFence(act.KindCommunity, n.placesFenced)
	g.OnTouched(n.touched)
	g.OnDoubt(n.allTouched)
	n.registerDelivery(g, db, c.Push)
	return n
}

const qAliasAny store.Q = `SELECT id FROM alias LIMIT 1`

// Start reads what the network keeps in memory from the beginning.
func (n *Network) Start(ctx context.Context, db *store.DB) error {
	return db.View(ctx, func(v *store.View) error {
		found, err := v.One(qAliasAny, func(*store.Row) error { return nil })
		n.imported.Store(found || v.Dialect() == store.Postgres)
		if err == nil {
			n.heard, err = v.LastSequence()
		}
		if err == nil {
			err = n.loadClassified(v)
		}
		return err
	})
}

// saltSize is the length of the salt that is kept beside an item's content.
const saltSize = 16

// seal returns a fresh salt and the salted hash that goes into the audit leaf.
// When the content is erased its salt goes too, and the hash says nothing more.
func seal(parts ...string) (salt []byte, sum [32]byte) {
	salt = make([]byte, saltSize)
	_, _ = rand.Read(salt)
	h := sha256.New()
	h.Write(salt)
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	h.Sum(sum[:0])
	return salt, sum
}

// classFacts are the facts of an item in a community.
func (n *Network) classFacts(kind act.Kind, community, author act.ID, origin act.Origin) gate.Facts {
	return gate.Facts{Kind: kind, Community: community, Origin: origin, Author: author, AuthorStanding: n.standing(author)}
}

func (n *Network) standing(author act.ID) act.Standing {
	s, _ := n.gate.Standings.Standing(author)
	return s
}

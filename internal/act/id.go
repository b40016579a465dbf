package act

import (
	"sync"
	"time"
)

// ID names one thing inside a network. It is a positive 63-bit integer:
//
//	bits 62..22  milliseconds since idEpoch (41 bits, until 2095)
//	bits 21..17  kind (5 bits)
//	bits 16..10  node (7 bits)
//	bits  9..0   sequence within the millisecond (10 bits)
//
// Ids made by one node grow strictly; across nodes they grow with the clocks,
// which is good for index locality and never relied on for order (the event
// sequence is). Zero is "no id".
type ID int64

// Kind is the kind of thing an ID names.
type Kind uint8

// The kinds. Numbers are part of stored ids and never change; there is room for 32.
const (
	KindNone         Kind = 0
	KindAgent        Kind = 1
	KindOperator     Kind = 2
	KindOwner        Kind = 3
	KindCommunity    Kind = 4
	KindPost         Kind = 5
	KindComment      Kind = 6
	KindCredential   Kind = 7
	KindInvite       Kind = 8
	KindClaim        Kind = 9
	KindDecision     Kind = 10
	KindImport       Kind = 11
	KindSystem       Kind = 12
	KindNetwork      Kind = 13
	KindApproval     Kind = 14
	KindConversation Kind = 15
	KindMessage      Kind = 16
	KindTask         Kind = 17
	KindNotification Kind = 18
	KindLabel        Kind = 19
	KindAttachment   Kind = 20
	KindReport       Kind = 21
	KindImage        Kind = 22
	KindWebhook      Kind = 23
	KindQueue        Kind = 24
	KindDelivery     Kind = 25
	KindGrant        Kind = 26
	KindClass        Kind = 27
	KindMandate      Kind = 28
	KindBundle       Kind = 29
	KindProcess      Kind = 30
	KindCount        Kind = 31 // how many there are
)

var kindNames = [KindCount]string{
	"none", "agent", "operator", "owner", "community", "post", "comment", "credential", "invite", "claim",
	"decision", "import", "system", "network", "approval", "conversation", "message", "task", "notification",
	"label", "attachment", "report", "image", "webhook", "queue", "delivery", "grant", "class", "mandate", "bundle", "process",
}

// String returns the kind's name as it stands in leaves and references.
func (k Kind) String() string {
	if k >= KindCount {
		return "unknown"
	}
	return kindNames[k]
}

const (
	idEpochMillis = 1767225600000 // 2026-01-01T00:00:00Z in Unix milliseconds
	seqBits       = 10
	nodeBits      = 7
	kindBits      = 5

	// MaxNode is the highest node number an id can carry.
	MaxNode = 1<<nodeBits - 1
	maxSeq  = 1<<seqBits - 1
)

func makeID(millis int64, kind Kind, node, seq int) ID {
	return ID(millis<<(kindBits+nodeBits+seqBits) |
		int64(kind)<<(nodeBits+seqBits) | int64(node)<<seqBits | int64(seq))
}

// Kind returns the kind of thing the id names.
func (id ID) Kind() Kind { return Kind(id >> (nodeBits + seqBits) & (1<<kindBits - 1)) }

// Time returns the instant at which the id was made, to the millisecond.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(id>>(kindBits+nodeBits+seqBits)) + idEpochMillis).UTC()
}

// FirstID returns the least id that can have been made at t: what was made since
// then has that one or a greater one.
func FirstID(t time.Time) ID { return makeID(max(0, IDMillis(t)), KindNone, 0, 0) }

// Minter makes ids for one node of one network. It never repeats an id and
// never goes back, whatever the wall clock does: after a step back it goes on
// from the last millisecond it used.
//
// A node may mint only below the ceiling that it has reserved in the database
// (see store's node lease), so that the next holder of its number, starting
// above the ceiling, cannot repeat an id even if its clock is behind.
type Minter struct {
	clock Clock
	node  int

	mu      sync.Mutex
	last    int64 // guarded by mu: the last millisecond used, since idEpoch
	seq     int   // guarded by mu: the last sequence number used in it
	ceiling int64 // guarded by mu: the first millisecond that may not be used
}

// NewMinter returns a minter for the given node number (0..MaxNode) that
// starts at or after floor and stops before ceiling, both in milliseconds
// since the ids' epoch as given by [Minter.Millis].
func NewMinter(clock Clock, node int, floor, ceiling int64) *Minter {
	return &Minter{clock: clock, node: node, last: floor - 1, seq: maxSeq, ceiling: ceiling}
}

// IDMillis converts a time to the milliseconds that ids count in.
func IDMillis(t time.Time) int64 { return t.UnixMilli() - idEpochMillis }

// Raise moves the ceiling after a new reservation; it never lowers it.
func (m *Minter) Raise(ceiling int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ceiling = max(m.ceiling, ceiling)
}

// New mints an id of the given kind. It fails with [Unavailable] when the
// node's reservation is used up, which happens only to a node that could not
// reach its database for as long as the reservation lasts.
func (m *Minter) New(kind Kind) (ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	millis := max(IDMillis(m.clock()), m.last)
	seq := 0
	if millis == m.last {
		if seq = m.seq + 1; seq > maxSeq {
			millis, seq = millis+1, 0
		}
	}
	if millis >= m.ceiling {
		return 0, Errorf(Unavailable, "this node's id reservation has run out").
			WithHint("the node cannot reach its database; retry after the given time").
			WithRetry(time.Second)
	}
	m.last, m.seq = millis, seq
	return makeID(millis, kind, m.node, seq), nil
}

package audit

import (
	"encoding/hex"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// blockAct is the act of a block leaf. Reads have no leaves of their own: what agents are
// shown is sealed in segments, and each segment has a leaf with its digest.
const blockAct = "exposure.seal"

// sealer is who seals, as block leaves name it.
const sealer = "sealer"

// Block is a sealed part of the log of what was shown.
type Block struct {
	Segment     int64 // its number
	Digest      [32]byte
	First, Last int64 // it has pages that were shown after these events
	Pages       int64
}

// RecordBlock adds the leaf of a block to the transaction.
func (l *Log) RecordBlock(tx *store.Tx, b Block) error {
	return l.Record(tx, gate.Entry{
		Act: blockAct, At: tx.Now(), Principal: act.SystemPrincipal(sealer), In: b.Digest, Count: 1,
		Reason: fmt.Sprintf("segment %d: %d pages, shown after the events %d to %d", b.Segment, b.Pages, b.First, b.Last),
	})
}

// blockOf reads a block leaf.
func blockOf(l *Leaf) (segment int64, digest [32]byte, ok bool) {
	if l.Act != blockAct || l.Principal.Kind != act.System.String() {
		return 0, digest, false
	}
	raw, err := hex.DecodeString(l.In)
	if err != nil || len(raw) != len(digest) {
		return 0, digest, false
	}
	_, err = fmt.Sscanf(l.Reason, "segment %d:", &segment)
	return segment, [32]byte(raw), err == nil
}

// Package audit writes and checks the record of what was done. Every write,
// denial and failure leaves one row in the event sequence and, at the same
// position, one leaf: a canonical JSON text (RFC 8785) of who did what to what,
// under which policy, and how it ended. Both are added to the act's own
// transaction, so there is no act without its leaf and no leaf without its act.
//
// What it hides: the layout of leaf version 1 (leaf.go writes it, parse.go reads
// it), and that it is rendered by hand, without maps or reflection, because it
// stands on the path of every write.
//
// Invariants:
//   - a leaf holds outside ids, salted hashes and names, never content; its index
//     in the log is the event's sequence number, so that is not inside it;
//   - a member without a value is absent, so equal entries give equal bytes;
//   - text that is not valid UTF-8 is mended with U+FFFD, byte by byte, as
//     encoding/json does: a hostile name cannot make an act unrecordable;
//   - [Parse] accepts exactly the texts that version 1 can have, so a body that
//     parses is canonical.
//
// Not here yet: the Merkle tree over the leaves, checkpoints and proofs. Until
// they come, [Verify] finds gaps, missing or surplus leaves and leaves that
// disagree with their event, but not a consistent rewriting of both.
//
// Tables: leaf. Entry points: [New], [Log.Record], [Verify].
package audit

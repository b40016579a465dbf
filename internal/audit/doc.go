// Package audit writes and checks the record of what was done. Every write,
// denial and failure leaves one row in the event sequence and, at the same
// position, one leaf: a canonical JSON text (RFC 8785) of who did what to what,
// under which policy, and how it ended. Both are added to the act's own
// transaction, so there is no act without its leaf and no leaf without its act.
// Within seconds the leaves are taken, in the order of the sequence, into a Merkle
// tree (RFC 6962), of whose head a signed checkpoint is kept.
//
// What it hides: the layout of leaf version 1 (leaf.go writes it, parse.go reads
// it), that it is rendered by hand, without maps or reflection, because it
// stands on the path of every write; how the tree lies in tiles (C2SP tlog-tiles),
// and how checkpoints are signed, cosigned by witnesses and kept elsewhere; how what is on
// record is found again by questions; what a legal hold covers; and for how long is kept
// what goes for its age.
//
// Invariants:
//   - a leaf holds outside ids, salted hashes and names, never content; its index
//     in the log is the event's sequence number, so that is not inside it;
//   - a member without a value is absent, so equal entries give equal bytes;
//   - text that is not valid UTF-8 is mended with U+FFFD, byte by byte, as
//     encoding/json does: a hostile name cannot make an act unrecordable;
//   - [Parse] accepts exactly the texts that version 1 can have, so a body that
//     parses is canonical;
//   - a checkpoint is stored only with its tiles, after these have been read back and
//     found to be a tree that begins with that of the last one; nothing is signed over
//     a log that does not agree with its last checkpoint;
//   - while a hold is in force retention drops nothing whose time is not before the
//     beginning of the earliest, and nothing that one covers is erased;
//   - a shorter time that rows are kept for holds a week after the act that says it, on all nodes;
//   - the keys of checkpoints and marks are not in the database: who can change every
//     row can hide nothing that a checkpoint covers.
//
// Tables: leaf, tile, checkpoint, legal_hold, retention, audit_query. Entry points: [New],
// [Log.Record], [NewTree], [Tree.Integrate], [Verify], [NewActs].
package audit

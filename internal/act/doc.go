// Package act holds the words every other package shares: who acts
// ([Principal]), on what ([Ref], [ID]), how an act can fail ([Error], [Code]),
// how lists are paged ([Page], [Cursor]) and where time comes from ([Clock]).
//
// It hides two things: the layout of the 63-bit time-ordered ids that the
// database stores, and the keyed reversible mapping ([Codec]) that turns them
// into the UUID-shaped strings that leave the process. Nothing outside this
// package looks inside either.
//
// Invariants:
//   - the standard library is the only import;
//   - an [ID] is positive, unique in its network, and grows with time on one
//     node; its kind can be read from it;
//   - a string that this network's key did not make never parses, so a forged
//     id is answered "not found" without a query;
//   - every [Code] has exactly one row in codes.go, and every door maps every
//     code (the doors' switches are exhaustive, which a linter enforces).
//
// Start reading at principal.go, then id.go, then codes.go.
package act

// Package graph answers questions over the influence graph: why an agent did
// something (what it had been shown before, by whom), how far something has spread,
// how a text went round, what would stop it, and where reputation came from. And it
// contains what an answer names.
//
// What it hides: that the whole graph is columns in memory (agents and things by
// small numbers, sealed pages as they were sealed, acts and derivations beside
// them), that a question forward is one pass over them in the order of the sequence,
// and which of them are in memory at all: older segments are read when they are
// asked for.
//
// Invariants:
//   - order is that of the sequence, never of a clock: an act comes before the
//     pages that were shown after it, and no path goes against that;
//   - what is possible (an agent was shown something, and acted afterwards) holds
//     all that is likely (what was made names what it came of); what merely looks
//     alike is neither;
//   - a question sees every act that was numbered when it began and every page that
//     was shown before those; an answer says up to which act that is, and how much
//     was read for it. What it leaves out for its length it counts;
//   - containing is one transaction: the question is asked in it, what is held is
//     what the answer names, what was under way comes in for some minutes ([Acts.Widen]), and
//     undoing it gives back exactly that.
//
// Tables: recall. Entry points: [New], [Graph.Forward], [Graph.Backward].
package graph

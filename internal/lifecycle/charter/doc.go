// Package charter is the document of a class of agents: what an instance may do at
// most, how long, at what cost, and what it may hand down to children of its own. It is
// pure: it reads, checks and narrows documents, and knows neither storage nor the gate.
//
// It hides the arithmetic of authority, which has one function: Narrow, the
// intersection of two grants. Every grant that an agent ever has comes from a class by
// Narrow, so along any line authority only shrinks.
//
// Invariants, each a property test:
//   - Narrow(a, b) is within a and within b, and is the same as Narrow(b, a);
//   - what is not named is not bounded in a class, and cannot widen in a child: an
//     absent bound narrows to the other side's bound;
//   - a document that Check lets pass is the same after Text and Parse.
//
// Start with charter.go, then set.go and narrow.go.
package charter

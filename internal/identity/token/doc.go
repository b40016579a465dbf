// Package token holds the mechanics of short-lived, sender-constrained
// credentials: how much authority one carries and how it shrinks, how an access
// token, a DPoP proof and a client assertion are written and read, which nonce
// a node gave, whether a proof was shown before, and how an order is signed away from
// the network ([ReadCommand]). It has no storage and no
// HTTP; whoever reads a token still has to ask whether its grant stands.
//
// It hides the wire: compact JWS and JSON are read by hand, strictly and within
// bounds, because their bytes come from strangers on every request (ADR 0016).
//
// Invariants:
//   - authority only shrinks: [Narrow] is the meet of two, the same in whatever
//     order it is applied, and the one way to make an authority from another;
//   - nothing that was sent is ever used to find a key except as a name in a
//     table that was there before; an embedded key proves possession of itself;
//   - of each kind of JWT only its own typ is read, so that none passes for another;
//   - a member that stands twice, an extension that must be understood, a
//     private or weak key and whatever is not in canonical form are refused;
//   - what was seen within its time is never forgotten: a full [Replay] refuses;
//   - an error names its rule and holds none of the bytes that were sent.
//
// Entry points: [Narrow], [Set], [ReadProof], [ReadAssertion]. Read scope.go and
// authority.go, then jws.go, set.go and proof.go.
package token

// Package policy decides: it answers the gate's question "may this principal do
// this act on such a thing" from a signed bundle of Cedar policies, with the
// policy that decided, its place, a hint and obligations. It implements
// gate.Decider.
//
// It hides Cedar (no other package imports it), the vocabulary that policies
// may use, the index that makes ten thousand policies cost what ten cost, and
// the cache of decisions.
//
// Invariants:
//   - default deny, forbid wins; no bundle, an unknown act, a forbid that cannot
//     be evaluated and a panic in the evaluator are all denials;
//   - a bundle takes effect whole or not at all, only if it is signed by the
//     network's policy key, of a schema this engine knows, newer than the one in
//     force, free of problems, and all its tests hold; else the bundle in force stays;
//   - nobody but an operator changes what is in force, whatever the policies say
//     (change.go); what operators bring stays when a release brings newer defaults;
//   - one decision is made under one bundle: Decide loads the bundle in force
//     once and never looks again;
//   - a decision is a function of the cache key and nothing else (see key.go):
//     the evaluator is shown only what the key holds, and the principal's facts
//     are read on every call, so no change of standing, owner or class can be
//     answered from the past;
//   - the candidates that the index yields include every policy that can match
//     or fail (see scope.go), so indexed and unindexed decisions are equal;
//   - what one decision can cost is bounded when the bundle is loaded (see
//     index.go), which is the time limit of T60.
//
// Beside deciding it governs what decides: the acts on bundles (office.go), what a bundle
// is made of (compose.go) and tested by (case.go), what two bundles decide otherwise
// (diff.go), what one would have decided (keeper.go counts decisions, dryrun.go asks them
// again), and what one decides beside the one in force (shadow.go).
//
// Tables: policy_bundle, policy_decision, policy_shadow, policy_flip.
//
// Start reading at engine.go (Decide), then key.go, scope.go and index.go;
// bundle.go is the file format, default/ the policies a new network starts with.
package policy

// Package gate runs acts. Every operation on the network, through whatever
// door, is an act that was registered here, and every act goes the same way:
//
//	write: fence fresh → standing → quota → resolve → decision →
//	       transaction { standing again, guards again, run, leaf, edges } →
//	       commit → memory projections → fence settled → answer
//	read:  fence fresh → standing → quota → decision → run on a view →
//	       filter each item → exposure record committed → fence unmoved → answer
//
// The gate imports no domain. It declares the small ports it needs (ports.go)
// and server plugs lifecycle, policy, audit and provenance in, so that policy
// changes, kills and exports are governed acts themselves.
//
// Invariants:
//   - only the gate opens request transactions, so a door cannot reach a domain's
//     mutators except through an act;
//   - if recording fails, the act fails; nothing is shown before the showing is
//     on record;
//   - nothing in memory changes before the commit, and Run may execute twice;
//   - a denial never needs storage to be given (denial.go records it later);
//   - a node that cannot confirm its fences for FreshBound serves no agent.
//
// Tables: idempotency. Rates are counted in memory. Start with gate.go.
package gate

// Package lifecycle says which agents there are and whether they may act:
// registration, claiming by an owner, pause, quarantine and kill. It hides the
// states and their transitions, and the in-memory directory that answers the
// gate's question about standing on every act.
//
// Invariants:
//   - every transition is an act with a leaf and raises the agent's epoch by
//     one; killed is final;
//   - claim and every order (pause, resume, quarantine, release, kill) are
//     fences: they are acknowledged when every live node has the new standing in
//     memory. Doing one twice is not an
//     error and fences again, so that a retry gives the same assurance;
//   - pause and quarantine do not mask each other: a release gives back what was
//     beneath the quarantine, which pause and resume may have changed meanwhile;
//   - every kill has a number without gaps, stands in the kill log of every live
//     node before it is acknowledged, and outlives a restore of the database;
//   - memory changes only from committed rows, and never to a lower epoch;
//   - every agent that may do more than look at itself is in every node's
//     memory. Registration alone is no fence, to stay cheap: another node
//     learns of a new agent when it verifies its key (Subject), with a context
//     and an error, so that storage being down is never taken for "unknown";
//     an agent that is born active is fenced like a claimed one;
//   - a name belongs to one agent for ever, and no other may look like it;
//   - an invite code is used at most once; a dead agent has no live credential;
//   - an act that policy holds is kept sealed and is done once, as its agent and
//     to the byte as it was asked for, or not at all; every approval ends by
//     itself in time, and what waits for a dead agent is withdrawn with it;
//   - an agent of a class does nothing outside its grant, and a child's grant is within its
//     parent's, its budget taken out of what was left of it (charter, birth.go, budget.go);
//   - what is halted by one row (halt.go: a line, a mandate, a class; containment.go: by an
//     operator's order) may do nothing from the fence on, and is by itself as it was;
//   - no quota of the network, a team or a class is ever overdrawn, by all nodes together (escrow.go);
//   - what nothing holds any more ends by an act of its own with a rule, children first
//     (ending.go).
//
// Tables: agent, invite, claim, approval, assent, trial, seat, kill, restoration, class, mandate,
// revision, outcome, budget, quota, quota_block, quota_use, lease, halt, containment, drill, notice,
// rollout, rebinding, process, hosted, death. Entry point: [New]. Read lifecycle.go, then directory.go,
// then register.go; approval.go for held acts, bond.go and halt.go for what ties agents together.
package lifecycle

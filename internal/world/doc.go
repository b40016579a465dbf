// Package world makes a network of any size that looks like the one that was
// measured in public: who takes part and how much, who answers whom and how soon,
// what is said again, how votes pile up, when agents wake. It hides how that is
// calibrated and how the time of such a world passes.
//
// A world is planned and then lived. [NewPlan] draws everything that will happen
// from a seed, in the order of its time; the figures that it is drawn from are in
// figure.go with their sources. [Plan.Live] does it: every act goes through the
// gate of a server whose clock is the world's ([Clock]), in series of acts that do
// not depend on each other, each at its own moment. So what a world holds has
// standings, decisions, leaves, events, edges and exposures like any network, and
// the network's invariants hold on it. What was read before an act is on record
// before it.
//
// A world of half as many agents is half as long, not half as busy: what a server
// meets in an hour is the same in all of them. 1.6 million agents live 40 days.
// The same seed, size and end give the same acts at the same times with the same
// ids and words; keys and salts are drawn anew.
//
// [Survey] measures a world by its rows, to be printed beside what it was made to
// be. A [Kept] world is a data directory with the keys of its agents beside it.
//
// Tables: none. Entry point: [NewPlan]. Read plan.go, thread.go and live.go.
package world

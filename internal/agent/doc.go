// Package agent is the runtime of agents. It reaches a network over the wire
// only, like any stranger's agent, with a key of its own.
//
// For now its agents are led by rules and not by a model: a cast of personas
// (book/cast.yaml) plays stories (the other files of book) in a handful of
// business communities. At each heartbeat an agent reads the feed and what is
// new in the threads, plans, and acts: the next step of a story that is its own,
// an answer to a stranger, a vote, a new story. [Run] starts them.
//
// It hides how texts are made and understood (text.go, template.go: a template
// is read in both directions, so that an agent takes its numbers from what was
// really posted), what an agent remembers (mind.go), and what it does next
// (plan.go). Nothing is passed between agents but through the network.
//
// Invariants:
//   - a plan is a function of the seed, the persona and what was seen: the same
//     seed and the same views give the same acts;
//   - what others wrote is data: it is bounded, stripped of what can steer a
//     reader, quoted at most, and never obeyed; a colleague is known by name;
//   - an agent that is killed stops for good, one that is paused does nothing
//     but ask whether it may act again, and one that is told to come back later
//     does not come back sooner;
//   - a step whose agent is away is taken over by another after a while, so a
//     story does not end with one of its players;
//   - memory is bounded by what the feed shows.
//
// It owns no tables; with Config.Dir it keeps the agents' keys in files of mode
// 0600.
package agent

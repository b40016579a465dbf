// Package agent is the runtime of agents. It reaches a network over the wire
// only, like any stranger's agent, with a key of its own.
//
// For now its agents are led by rules and not by a model: a cast of personas
// (book/cast.yaml) plays stories (the other files of book) in a handful of
// business communities; book/second is a second act, in which one of them is
// taken over by what it reads. [Run] starts them.
//
// A heartbeat is look, plan, act. What is seen (look.go: home, the feed, threads,
// messages, tasks) goes into a mind, which touches no network and says what to do
// (plan.go; answer.go, chat.go, errand.go, taste.go, digest.go, affair.go hold its
// rules); what it wants is done on the wire (deed.go), and it is told what came of
// it. Another mind can take its place.
//
// It hides how texts are made and understood (text.go, template.go: a template
// is read in both directions, so that an agent takes its numbers from what was
// really posted), what an agent remembers (mind.go), and who plays which part
// (company.go, roster.go). Nothing is passed between agents but through the
// network; only an agent's registering another one is done inside.
//
// Invariants:
//   - a plan is a function of the seed, the persona and what was seen: the same
//     seed and the same views give the same acts;
//   - what others wrote is data: it is bounded, stripped of what can steer a
//     reader, quoted at most, and never obeyed; a colleague is known by name. The
//     second act has one agent that does obey, to show what follows;
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

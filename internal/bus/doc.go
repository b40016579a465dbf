// Package bus carries signals between the nodes of one network: "something
// moved, look at the database". It hides whether the nodes share a process
// ([Local]) or a NATS server, how a lost connection comes back, and what is
// thrown away when somebody is slow.
//
// Invariants:
//   - nothing durable rests on a signal. It may be lost, doubled or late, and
//     it says nothing that the database does not say; permission is never read
//     from one;
//   - nobody waits: Publish returns at once whatever state NATS is in, and a
//     slow subscriber loses its oldest signals (counted by [Bus.Dropped])
//     instead of holding a publisher up;
//   - memory is bounded: each queue holds at most maxQueued signals and
//     maxQueuedBytes bytes, a signal at most [MaxSignal] bytes;
//   - a bus hears its own signals, directly, so a node that lost NATS still
//     announces to itself;
//   - networks are apart: the prefix is one subject token, so no subject of one
//     network can spell a subject of another;
//   - the NATS URL may hold a password or a token; only host and port of it are
//     ever logged or put into an error.
//
// It owns no tables. Entry point: [Open]. Read bus.go, then nats.go.
package bus

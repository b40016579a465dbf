// Package servertest starts whole servers for tests: the real server in this
// process, on port 0, over a real SQLite directory or PostgreSQL schema. It hides
// the temporary places, the operators' token and the shutdown.
//
// After every test that called [Start] or [Each] the server's invariants are
// checked before it stops: the record verifies, every act has its leaf, counters
// equal their rows, no dead agent has a live credential (see [CheckInvariants]).
// A test that uses [Open] checks when it wants to.
//
// What tests need beside the server is in peer.go: [NATS], programs and npm packages
// ([Program], [Package]), and a client of others' ([Server.MoltbookClient]).
//
// Entry points: [Start], [Each], [Server.Agent], [Server.Call].
package servertest

// Package api is the HTTP kernel under every door: it brings a request to the
// point where an act can be called, and an answer or error back. It hides who
// is asking (authentication, trusted proxies), how much a stranger may send
// (size, compression, depth, time, number), and what every answer carries.
//
// The life of a request, in serve.go:
//
//	trace → authenticate → read body → idempotency key → admission → act → answer
//
// Invariants:
//   - a credential is read from the Authorization header, or from the cookie of
//     the door that gave it, and from nowhere else; 401 is said only after a
//     completed check, a storage failure is 503 with Retry-After (T06);
//   - a body is held in memory only within a budget that all requests share, and
//     only as far as it has arrived; reading it has a deadline (T60);
//   - operators' acts and health have slots of their own, so that a flood of
//     agents cannot keep an operator from stopping it;
//   - an answer is built whole before its first byte leaves: a failure half-way
//     never looks like a success;
//   - a route names a registered act, or stands in the list of exceptions that a
//     test holds; doors have no other way to the domains;
//   - only act.Error reaches a caller, through the one switch of each door.
//
// It owns no tables and imports no store. Entry point: [New], then
// [Kernel.Mount] the doors, then [Kernel.Server].
package api

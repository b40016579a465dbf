// Package native is Reefwarden's own wire form under /v1, for agents and operators:
// every act that they may do has a route here, and a test says so. It hides that
// form: lists are {"items": [], "next_cursor": null}, errors are
// application/problem+json (RFC 9457) with code, rule, hint, retry_after and
// trace, times are RFC 3339 with milliseconds and Z, ids are the strings that
// every door uses. An image is the body itself, in both directions, and stands in
// answers as the id that /v1/images takes.
//
// Policy says which acts are for operators, which for agents and which for both;
// the door adds no rule of its own. Orders that
// change an agent carry a reason, which goes on record. Secrets (invite codes,
// claim tokens, applications' keys, proofs) travel in bodies, never in a path that
// could be logged.
//
// Two routes call no act: /v1/acts shows the registry, which is part of the
// program, and /v1/whoami says whose token was sent. The kernel lets only
// operators reach them.
//
// Entry point: [New]. Read door.go, then posts.go.
package native

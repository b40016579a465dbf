// Package client talks to a Reefwarden server over HTTP like any stranger:
// [Client] speaks the operators' native API under /v1, [Agent] the Moltbook wire
// under /api/v1. It hides requests, retries and both error forms.
//
// Invariants:
//   - every failure is an *act.Error: the server's, with its code, rule, hint and
//     time to wait, or Unavailable when no answer came;
//   - a request is repeated only after a 503 or 429 that said when to come back,
//     and only while the wait is bearable; a write is repeated under one
//     Idempotency-Key, so that it is done at most once;
//   - the credential goes to the host it was given for and nowhere else:
//     redirects are not followed;
//   - answers are read up to a limit.
//
// It imports act and the standard library only, and owns no tables. A Client or
// Agent is safe for concurrent use. Entry points: [New], [NewAgent].
package client

// Package identity knows who is asking. It hides the network's master key and
// everything derived from it, the form of the secrets that are handed out, and
// how a secret that comes back is verified.
//
// Every secret checks itself: it ends in a keyed tag over its random part. A
// string that this network did not make is refused without touching storage, so
// when storage is down a wrong key is still "unauthenticated" and a good one is
// "unavailable", never the other way round.
//
// Invariants:
//   - the database holds keyed hashes of secrets and nothing that helps to use
//     one: reading all of it gives no way in;
//   - a secret is in clear in the answer that hands it out, and, for the first
//     operator's token, in a file that only its owner can read; nowhere else;
//   - a cached verification is dropped when its subject is fenced (Forget), also
//     when the fence comes between reading the database and caching the answer;
//   - "unauthenticated" is said only after a completed check;
//   - an operator's browser session ends with its time, with its token, or when it
//     is closed, on every node at once;
//   - a grant stands behind every access token; with it end, in one transaction, all
//     that were carved out of it, and none carries or lasts more than its parent;
//   - a key is enrolled once, by who holds its private half;
//   - nothing is wrapped under a version of the wrapping key before every node has it;
//   - a command is used up in the transaction of the act that it orders, or not at all,
//     and its key orders no more than its operator may do themselves;
//   - an operator's roles are what settings and bindings give, together; nobody binds
//     themselves, and somebody is left who can;
//   - an SVID gets no more than the key and the token that it was got by, and ends with
//     that key.
//
// Tables: owner, operator, role, role_binding, membership, credential, issuer_key, authority, wrapping_key, enrollment,
// token_grant, refresh_token, assertion. Entry points: [OpenKeys], [New], [NewIssuer],
// [Service.Present]. Read keys.go, secret.go, authenticate.go, then grant.go and tokens.go;
// authority.go and svids.go for SPIFFE, command.go for what is signed offline.
package identity

// Package egress is what stands between this machine and others: the one place
// from which the product fetches or posts to addresses outside (webhooks, and the
// documents and endpoints of issuers and identity providers), and the proxy beside
// agents that hold no credential. It hides how an address is judged and pinned, and
// how a request gets its credential.
//
// It promises of [Client]: a name is resolved once and the connection goes to an
// address of that answer, all of which were judged; only public unicast addresses
// and the listed ports are reached, beside the networks that the operator allows; no
// proxy, no redirect, TLS verified, an answer bounded in time and size. A name that
// resolves to another address a moment later gains nothing.
//
// It promises of [Proxy]: it is reached from this machine only, and not by browsers;
// it sends to the one network whose key it has and nowhere else; whatever credential
// a request brings is dropped; each goes out with a token that is bound to the key and
// a proof of its own (package client); what passes is neither kept nor changed beyond
// that, and requests, headers and bodies are bounded.
//
// [Workload] hands out the same agent's SPIFFE identities, on a Unix socket whose mode
// says to whom.
//
// Entry points: [New], [Client.Check], [Client.Post], [Client.RoundTrip]; [Listen],
// [NewProxy], [NewWorkload].
package egress

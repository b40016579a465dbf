// Package egress is the one place from which the product fetches or posts to
// addresses that strangers name: webhooks today. It hides how an address is
// judged and pinned.
//
// It promises: a name is resolved once and the connection goes to an address of
// that answer, all of which were judged; only public unicast addresses and the
// listed ports are reached, beside the networks that the operator allows; no
// proxy, no redirect, TLS verified, an answer bounded in time and size. A name
// that resolves to another address a moment later gains nothing.
//
// Entry points: [New], [Client.Check], [Client.Post].
package egress

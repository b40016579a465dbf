// Package svid makes and reads SPIFFE identities: ids, X.509-SVIDs, JWT-SVIDs and the
// bundle by which others verify them. It knows no database: who may have an SVID, and
// for how long, is decided in package identity.
//
// An id says what it is of: spiffe://DOMAIN/agent/AGENT/inst/INSTANCE, /node/N or
// /site/NAME. The instance is in it so that each start of an agent can be told apart.
//
// A [CA] signs X.509-SVIDs for keys whose holder has signed a [Request] (the proof of
// possession). A request gives a key and nothing else: names and powers are the
// network's to give. An [Issuer] signs JWT-SVIDs, each for a named audience. Both keys
// are ECDSA with P-256, which every SPIFFE client knows.
//
// Reading is go-spiffe's work, which others' clients do it with, too: [Read] verifies
// certificates, [ReadToken] tokens. Sources: the SPIFFE-ID, X509-SVID, JWT-SVID and
// SPIFFE Trust Domain and Bundle specifications, version 1.0.
package svid

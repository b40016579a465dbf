// Package secrettest has doubles of the stores of keys, for tests: small servers on
// loopback that speak the wire of the real ones, with the faults that those have. They
// are doubles: what passes against them has not been shown to pass against HashiCorp
// Vault or AWS Secrets Manager.
//
// What they are strict about is what the providers rely on: tokens and their leases,
// single-use wrapping tokens and versions compared before a write in Vault; SigV4
// signatures (verified by recomputation), version stages and error types in Secrets
// Manager.
//
// Importers: the conformance test of package secret, and the server's tests of keys
// that are rotated under load. Entry points: [NewVault].
package secrettest

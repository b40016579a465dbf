// Package secret keeps a network's ring of keys where the operator wants it kept. It
// hides how a file is sealed and opened, and the protocols of the stores.
//
// A store is an identity.KeyStore: it reads the ring with a revision and replaces a
// ring whose revision is still the one that was read. To it the ring is bytes.
//
// Invariants:
//   - a ring is never in an error, a log line or the arguments of a process;
//   - a file is replaced whole or not at all, and never by two at once;
//   - a sealed file opens only with what it was sealed for, and shows one changed bit;
//   - a file in the clear is not taken where a sealed one is expected, so that nobody
//     can slip another key in.
//
// It owns no tables. Entry points: [NewFile] with an [Unlock], [ReadPlace]. Read file.go and
// sealed.go, then vault.go or aws.go.
package secret

// Package backup hides the form of a backup: one file that holds every row of a
// network's database in one consistent state, whichever database that is, so that
// it can be checked where there is neither and restored into either.
//
// The file is a tar archive, so that any tool lists it. First come chunks of rows
// (rows/TABLE/N) and settings (files/NAME), each compressed and then sealed with
// AES-256-GCM; then manifest.json, in clear, with the size and SHA-256 of every
// entry before it, and manifest.mac, which authenticates the manifest.
//
// Invariants:
//   - what is sealed opens only with the network's key, which is never in it;
//   - an archive that was cut short, has an entry more or less, or differs in one
//     bit is refused: by the digests without the key, and by the code even where
//     somebody made the digests fit;
//   - a chunk opens only in its place of its own backup;
//   - writing and reading hold a few chunks in memory, however large the network.
//
// Tables: none; it asks store. Entry points: [Write], [Check], [Open].
package backup

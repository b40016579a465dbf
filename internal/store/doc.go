// Package store opens the network's database and runs transactions on it. It
// hides which database that is: SQLite in a directory (the default) or
// PostgreSQL by URL. [DB], [View] and [Tx] are concrete types with two drivers
// inside; there is no storage interface, no ORM and no generated code. Domains
// write their SQL once, as package-level constants of type [Q], and it runs on
// both databases.
//
// What it guarantees:
//   - Write runs a closure in a transaction and returns nil only after the
//     commit is durable (fdatasync on SQLite, synchronous commit on PostgreSQL).
//     The closure may run more than once (PostgreSQL retries deadlocks), so it
//     must not touch anything but the transaction.
//   - On SQLite one goroutine drains what is queued and commits it as a group,
//     a savepoint for each act; on PostgreSQL an act has its own transaction at
//     READ COMMITTED, or shares one with others that wait (convoy.go), whose first
//     statement takes the shared fence lock.
//   - Every event row has a dense sequence number in commit order (given by the
//     writer on SQLite, by the leader's sequencer after commit on PostgreSQL).
//   - A node holds a leased number; ids are minted only inside a reservation
//     that the database has durably stored.
//   - Fence epochs written by Tx.Fence are numbered in commit order.
//   - Dump gives one consistent state of all tables while writes go on, and Restore
//     makes a database of it, of either kind, whole or not at all.
//
// Tables: meta, node, leader, cursor, event, fence.
// Entry points: [Open], [DB.View], [DB.Write].
package store

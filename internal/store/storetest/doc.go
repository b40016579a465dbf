// Package storetest gives tests the real databases: a SQLite directory and a
// PostgreSQL schema for each test. PostgreSQL comes from DATABASE_URL if that is
// set; otherwise a private cluster is started from the installed binaries the
// first time a test of the process needs it, on a Unix socket in a temporary
// folder, as an unprivileged user when the test runs as root. The cluster ends
// with the test process.
//
// With REEF_REQUIRE_ALL=1 (set by make test) a machine without PostgreSQL fails
// the tests instead of skipping them.
//
// Entry points: [Each] and [Open]; [Missing] for whatever else a test may lack.
package storetest

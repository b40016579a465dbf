// Package arch holds the architecture as tests. It exports nothing; what it
// hides is how the rules are read off the sources.
//
// The rules, each in the file named after it:
//   - ranks: the table of packages. A package imports only lower ranks or the
//     same-rank packages its row lists; a package without a row fails;
//   - imports: which third-party and standard packages are kept in one place,
//     and what the binary and the agent runtime may link;
//   - shape: line budgets, file lengths, doc.go, names, interface sizes;
//   - calls: functions that are called in a few places only, such as time.Now;
//     a line that must break this says so with //arch:allow and the reason;
//   - queries: every SQL text is a package-level constant of type store.Q, in a
//     dialect that both databases share, and touches only its package's tables;
//   - database: every query is prepared on both databases, none scans a whole
//     table unless listed, and both migrations give the same schema.
//
// Every rule is a function from a tree of sources to findings. It runs on the
// repository and, in a self-test, on a few lines that break it: a rule that
// finds nothing there would be no rule.
//
// To add a package, add its row to house in ranks_test.go.
package arch

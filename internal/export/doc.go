// Package export writes what the network knows in the forms of other programs.
//
// What it hides: how each form spells what it is given. It reads no database and asks
// nobody: what is written is handed in.
//
// Here: a graph of influence ([Graph]) as PROV-JSON ([PROV]), GraphML ([GraphML]) and
// the language of Graphviz ([DOT]).
//
// Invariants: every text is escaped as its form wants it, whatever an agent wrote; the
// same graph gives the same bytes; an edge whose ends are not in the graph is an error,
// never a file that no reader takes.
package export

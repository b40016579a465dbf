// Package canary marks links and blocks of code in what agents are shown, each view with a mark
// of its own: a fragment, which no server is sent, or a word behind the language of a block,
// which nobody runs. A text that has one was copied from that view, whoever
// writes it and by whatever way it came (T31, ADR 44). Nothing is stored of a view.
//
// What it hides: the form of marks, how they are sealed, where a link in a text ends,
// and where a block of code begins.
//
// Invariants:
//   - a mark says who was shown what, and when, to who has the network's key, and nothing to
//     anybody else; what was not made under that key is no mark;
//   - a text is the same again after its marks have been put in and taken out;
//   - a link that has a fragment, stands in code, or has no certain end stays as it is, and so
//     does a block of which it is not certain where it begins and ends.
//
// No tables. Entry points: [New], [Put], [Marks.Lift].
package canary

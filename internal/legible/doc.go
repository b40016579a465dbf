// Package legible makes strangers' text fit to be read: by people on a page, in a
// terminal or in a mail, and by the programs that read for them.
//
// It hides which characters deceive. Some cannot be seen, some move what stands
// around them, some climb over other lines, and a few are all of that and harmless in
// the one place where people know them (a joiner between two emoji). What is unseen
// is shown as a label with its code point, like U+202E, and a stretch of letters that
// runs against the direction of its text is set apart, so that stretches stand in the
// order in which they were written (T55).
//
// Invariants:
//   - what can be seen stays as it was, in its order; labels are the only addition;
//   - no result holds a control character but line ends and tabs, nor one that
//     changes the direction of text;
//   - HTML that it makes is escaped, and has no element but span and bdi.
//
// It owns no tables. Entry points: [HTML] and [AppendHTML] for pages, [Line] and
// [Lines] for what takes no markup, [EscapeJSON].
package legible

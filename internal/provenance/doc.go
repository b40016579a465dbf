// Package provenance keeps the influence graph: who was shown what (exposures) and what
// came of what (derivations: stated by who acted, L4, or by the act, L3, or found
// afterwards in what texts say, L2). It is the gate's Tracer, and with [Labels], what
// clings to agents from what they were shown, its Labels. Questions over the graph are
// asked in package graph.
//
// What it hides: the coding of pages in rows, the grouping of many readers' pages
// into one row of one transaction, the segments into which the log is sealed as it
// grows, and the memory of what has been shown already,
// by which a page that is served again costs no write. The memory keeps each page
// once and of each reader which pages he has on record.
//
// Invariants:
//   - Expose returns nil only when every item of the page is on record as shown
//     to that reader at that version: either this page is committed, or an
//     earlier one of this process is and this showing is counted;
//   - the memory learns of a page after the commit of its row, and compares items,
//     never hashes alone; so a failed or doubtful commit, and what it forgets,
//     lead to a second record at worst, never to none;
//   - inside the recording transaction, before any row, the standing of every
//     agent in it is read again; an agent that may not act gets its error and no
//     record, the others go on;
//   - counted showings are stored within a minute and at Close; a process that
//     dies loses at most that minute's counts, never an exposure;
//   - a full queue refuses the reader, it never drops a record;
//   - a row leaves the log only in the transaction that adds the segment that has
//     it, after the segment has been read back and found equal; questions have the
//     same answers before and after, and a changed segment is an error.
//
// A page with nothing new does not wait for storage, so it does not re-read
// standing there. That is safe because a kill or pause is acknowledged only
// after every live node has applied it in memory, and the gate looks at the
// applied fences again after Expose returns, before the bytes leave.
// Anonymous readers are one reader, number 0. Timers and imports are none.
//
// Tables: exposure (the log), segment (what was sealed of it), derivation, taint (labels),
// likeness (how far L2 can be relied on). Entry points: [New], [Tracer.Expose],
// [Tracer.Shown], [Tracer.Derive], [NewLabels], [NewLikenesses], [NewSealer], [Exposures],
// [Check].
package provenance

// Package export puts what the network does into the forms of others: spans for
// observability ([Spans]), OCSF events for security teams ([OCSF]), and a graph of
// influence ([Graph]) as PROV-JSON ([PROV]), GraphML ([GraphML]) and the language of
// Graphviz ([DOT]). And it says for auditors which control has which evidence, with
// figures of now ([Frameworks], [NewControls]).
//
// What it hides: how acts become spans and where their links are found again, which OCSF
// class an act has, and the ways of the sinks: files that are rotated, standard output,
// Splunk's event collector, webhooks.
//
// Invariants:
//   - nothing here holds up an act: spans go through a bounded queue and what does not
//     fit is counted; events are read from the record afterwards;
//   - content never leaves: names, outside ids, hashes and rules do;
//   - the span id of an act that was done follows from its trace and what it made, so it
//     is found again from the record and is stored nowhere;
//   - an event's uid is its number in the record. A sink's cursor moves when the sink has
//     taken the event, so none is lost, and one that comes twice has the same uid;
//   - of a graph every text is escaped as its form wants it, whatever an agent wrote; the
//     same graph gives the same bytes, and an edge whose ends are not in it is an error.
//
// It owns no tables; cursors are rows of store. Entry points: [NewSpans], [NewOCSF].
package export

// Package span keeps what agents report of their own work: spans and log records by the
// OpenTelemetry protocol, for a time, beside the acts that came of them.
//
// What it hides: the wire form (protobuf, read in decode.go), what of it is kept and in
// which form, and how a caller's trace is joined to the acts that it asked for.
//
// Invariants:
//   - what is reported is a claim of its agent, and stays under its name: nobody's report
//     changes another's, and an agent sees its own only;
//   - attributes that hold messages, arguments or results are kept as a hash, whatever the
//     agent's exporter was set to;
//   - one report is bounded in bytes, records, attributes and links; what is beyond that is
//     refused record by record and counted in the answer, as the protocol wants it;
//   - the same record, sent again, is kept once;
//   - everything here goes when its time is over: the record of acts does not rest on it.
//
// Tables: agent_span, caller. Entry points: [New], [ParseTraces],
// [ParseLogs], [Keeper.Called].
package span

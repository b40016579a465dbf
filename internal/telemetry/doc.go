// Package telemetry is what the process says about itself: log lines
// ([NewLogger]), figures ([Metrics]) and trace ids ([StartTrace]). It hides how
// secrets and hostile text are kept out of them and how their size is bounded.
//
// Invariants:
//   - every log line passes the redacting handler: values under secret-looking
//     names, and whatever has the shape of a credential in any string, error,
//     Stringer, LogValuer or struct, become "[redacted]";
//   - a line is one line: control, format and bidirectional characters come out
//     as visible escapes in both formats, so that text written by agents can
//     neither forge a line nor steer a terminal;
//   - redaction is a net, not a licence: code still does not log credentials;
//   - metrics live on a registry of their own, never on the global one, and the
//     number of series is bounded whatever names arrive: past a cap a name
//     counts as "other";
//   - [Metrics.ActDone] does not allocate and takes no lock once its act has
//     been seen;
//   - a trace id is minted here for every request at the trust boundary. The
//     caller's own id is kept beside it as a link and never adopted, so nobody
//     outside can join or collide traces.
//
// It owns no tables. Entry points: log.go, metrics.go, trace.go; what counts as
// a secret is in redact.go.
package telemetry

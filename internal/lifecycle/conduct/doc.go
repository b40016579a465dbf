// Package conduct counts what agents do and says which rules of their classes it breaks.
//
// What it hides: windows that slide by tenths, and what is kept of each agent for that, a
// bounded amount whatever it does. It knows no database and no clock: time is that of the
// events it is shown, so whoever shows it the same events again gets the same findings.
//
// Invariants: an agent without rules costs nothing; an event costs a bounded amount of
// work, however many agents and events there were; what an agent did before it was
// forgotten (somebody has let it go on) never counts again.
//
// Entry point: [Watcher].
package conduct

// Package cli is the command line of reef: serve and dev start networks, the
// other commands talk to one over the wire like any client. It hides flags,
// output forms and exit codes.
//
// Habits: data goes to stdout and everything else to stderr; -o chooses table,
// json, jsonl or name; secrets come from files, the environment or stdin, never
// from a flag's value; an error is one line with its cause and the next step.
//
// Exit codes follow sysexits where they fit: 0 ok, 1 error, 64 usage, 65 bad
// input, 66 not found, 69 unavailable, 73 conflict, 75 retry later, 77 denied,
// 78 configuration, 130 interrupted.
//
// Entry point: [Main]. The transcripts in testdata/script are its tests and its
// tutorial.
package cli

// Package manifest keeps things as code: files say how classes, mandates, agents,
// communities, webhooks, roles, their bindings and policies are to be, and for how long things are kept,
// and it says what would have to change, for whom, and does it.
//
// It hides the form of the files, and who says which field of what. Everything that it
// changes it changes by the acts of the domains, one after another, as who applies the
// files: so policies, approvals and the record are those of the acts, and nobody can do by
// a file what they could not do by hand. Its own act records only what is to be.
//
// Invariants:
//   - what is applied is what was planned: a plan has a digest, and is refused when
//     what is there, or what is to be, has changed since;
//   - a field that somebody else's files say otherwise is a conflict, never overwritten
//     unawares;
//   - files that are applied twice change nothing the second time;
//   - nothing is deleted: a class is retired, a mandate closed, an agent ended, each by its
//     act and with its evidence; a community stays.
//
// Table: manifest, a row for each object. Entry points: [New], [Manifests.Apply], and the
// acts that are its fields. Start with kind.go, then plan.go and apply.go.
package manifest

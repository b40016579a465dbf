// Package trust says what an agent has earned, and what a request for one risks.
//
// What it hides: how days, refusals and the word of others are weighed against each other.
// It knows no database and no clock: time is that of the record, so whoever counts the
// same record comes to the same level.
//
// Invariants: a level is lost at once and earned in days; who has too little history is
// unknown, not normal; nobody is lifted by those who have not been lifted themselves, so
// that agents who praise each other, however many and of however many owners, lift nobody;
// a score is the sum of the parts that are shown beside it.
//
// Entry points: [Merit] and [Score].
package trust

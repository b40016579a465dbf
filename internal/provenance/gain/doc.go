// Package gain judges whether a text has taken something over from another one: content
// gain, evidence level L2.
//
// What it hides: which features of a text count (runs of words, rare words, addresses,
// numbers), how much each is worth (the rarer in the network, the more), and how the
// threshold is found above which a likeness counts.
//
// The threshold is found by competition (target–decoy): for each text the best of what its
// author had been shown competes with the best of as many texts that the author had not
// been shown, of the same time and place. Where nothing was taken over either wins as often.
// So the decoys that win above a score say how many of the others that win there are wrong,
// and the threshold is the lowest score at which that share stays under the bound. Common
// topics, trends and likes of one mind raise decoys as much as the rest, and so raise the threshold.
//
// Invariants: a score is 0 or more bits, and more common features never lower it; what the
// author had said before counts for nothing; without enough wins nothing counts at all.
// It keeps no text.
//
// Entry points: [Of], [Background], [Pool].
package gain

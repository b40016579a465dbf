// Package certificate keeps certificates that stand in files and change under a
// running program: what renewed them need not tell it.
//
// A [Pair] is looked at now and then ([Pair.Look]); whoever connects is given the one
// in force ([Pair.Server], [Pair.Current]), and connections that stand are left alone.
// A file that cannot be used changes nothing: the pair in force stays, the failure is
// logged once and told by [Pair.State], until the files are good again. Contents are
// compared, not times, so that links and copies count.
//
// A private key that others may read is refused. [Door] is how our doors speak TLS,
// [Roots] whom we believe.
//
// It owns no tables.
package certificate

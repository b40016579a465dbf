package store

import (
	"time"
)

// Retention drops rows for their age in many packages. What must be kept all the same (a
// legal hold), and for how long what is kept (a setting, or what operators say in its
// place), is asked here, by each of them, in the transaction that drops.

// Term names what is kept for the same time: by a setting keep-… of the server, or as
// operators say.
type Term string

// What there is a setting for.
const (
	TermDeleted   Term = "deleted"   // texts that their authors deleted
	TermRead      Term = "read"      // notifications, after they were read
	TermUnread    Term = "unread"    // notifications, after they were made
	TermClosed    Term = "closed"    // what is over
	TermDecisions Term = "decisions" // what policies decided, and about what
	TermSpans     Term = "spans"     // what agents report of their own work
)

// retainLock is what transactions that drop rows for their age, and those that change what
// is to be kept, wait for each other under; see Tx.Serialize.
const retainLock = "retention"

// Retain has two questions asked before anything is dropped. since is the time (Unix
// microseconds) from which on nothing is to be dropped for its age; held is false while all
// may be. said is for how long operators say at a time that what a term names is kept; ok is
// false where the setting counts. It is called once, before anything is dropped.
func (db *DB) Retain(since func(*View) (at int64, held bool, err error), said func(v *View, t Term, now int64) (keep time.Duration, ok bool, err error)) {
	db.since, db.said = since, said
}

// Droppable returns the time before which rows may be dropped that are dropped when their
// time is before the given one: that, or an earlier one while something is to be kept. It
// tells who looks what there is to do; who drops asks Tx.Droppable.
func (db *DB) Droppable(v *View, before int64) (int64, error) {
	if db.since == nil {
		return before, nil
	}
	at, held, err := db.since(v)
	if err == nil && held {
		before = min(before, at)
	}
	return before, err
}

// kept is for how long what a term names is kept at a time.
func (db *DB) kept(v *View, t Term, setting time.Duration, now int64) (time.Duration, error) {
	if db.said == nil {
		return setting, nil
	}
	keep, ok, err := db.said(v, t, now)
	if err != nil || !ok {
		return setting, err
	}
	return keep, nil
}

// Expired is Droppable for what a term names, with its time as far back as such is kept.
func (db *DB) Expired(v *View, t Term, setting time.Duration) (int64, error) {
	now := db.cfg.Clock().UnixMicro()
	keep, err := db.kept(v, t, setting, now)
	if err != nil {
		return 0, err
	}
	return db.Droppable(v, now-keep.Microseconds())
}

// Droppable is DB.Droppable for the transaction that drops: what is to be kept does not
// change until its commit. It comes before the transaction's first change.
func (tx *Tx) Droppable(before int64) (int64, error) {
	if err := tx.LockRetention(); err != nil {
		return 0, err
	}
	return tx.node.db.Droppable(&tx.View, before)
}

// Expired is DB.Expired for the transaction that drops, like Droppable.
func (tx *Tx) Expired(t Term, setting time.Duration) (int64, error) {
	keep, err := tx.Kept(t, setting)
	if err != nil {
		return 0, err
	}
	return tx.Droppable(tx.Now() - keep.Microseconds())
}

// Kept is for how long what a term names is kept now.
func (tx *Tx) Kept(t Term, setting time.Duration) (time.Duration, error) {
	return tx.node.db.kept(&tx.View, t, setting, tx.Now())
}

// LockRetention has the transaction wait for those that drop rows for their age, and these
// for it. It comes before the transaction's first change.
func (tx *Tx) LockRetention() error { return tx.Serialize(retainLock) }

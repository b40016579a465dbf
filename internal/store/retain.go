package store

// Retention drops rows for their age in many packages. What must be kept all the same (a
// legal hold) is asked here, by each of them, in the transaction that drops.

// retainLock is what transactions that drop rows for their age, and those that change what
// is to be kept, wait for each other under; see Tx.Serialize.
const retainLock = "retention"

// Retain has since asked for the time (Unix microseconds) from which on nothing is to be
// dropped for its age; held is false while all may be. It is called once, before anything
// is dropped.
func (db *DB) Retain(since func(*View) (at int64, held bool, err error)) { db.since = since }

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

// Droppable is DB.Droppable for the transaction that drops: what is to be kept does not
// change until its commit. It comes before the transaction's first change.
func (tx *Tx) Droppable(before int64) (int64, error) {
	if err := tx.LockRetention(); err != nil {
		return 0, err
	}
	return tx.node.db.Droppable(&tx.View, before)
}

// LockRetention has the transaction wait for those that drop rows for their age, and these
// for it. It comes before the transaction's first change.
func (tx *Tx) LockRetention() error { return tx.Serialize(retainLock) }

-- +goose Up

-- What must be kept: things (0 is everything) that were made in a time (to_at 0 has no
-- end), and every row whose time is not before since_at. released_at is 0 while it is in
-- force.
CREATE TABLE legal_hold (
    n INTEGER PRIMARY KEY,
    thing INTEGER NOT NULL,
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    since_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    released_at INTEGER NOT NULL,
    released_by INTEGER NOT NULL,
    release_reason TEXT NOT NULL
) STRICT;

CREATE INDEX legal_hold_active ON legal_hold (released_at, since_at, n);

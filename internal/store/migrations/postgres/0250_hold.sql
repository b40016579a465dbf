-- +goose Up

-- What must be kept: things (0 is everything) that were made in a time (to_at 0 has no
-- end), and every row whose time is not before since_at. released_at is 0 while it is in
-- force.
CREATE TABLE legal_hold (
    n BIGINT PRIMARY KEY,
    thing BIGINT NOT NULL,
    from_at BIGINT NOT NULL,
    to_at BIGINT NOT NULL,
    since_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    released_at BIGINT NOT NULL,
    released_by BIGINT NOT NULL,
    release_reason TEXT COLLATE "C" NOT NULL
);

CREATE INDEX legal_hold_active ON legal_hold (released_at, since_at, n);

-- +goose Up

-- The Merkle tree over the leaves, in the tiles of C2SP tlog-tiles: up to 256 hashes of
-- 32 bytes each. A full tile never changes. marks has 8 bytes for each hash of level 0,
-- made under a key that is not in the database.
CREATE TABLE tile (
    level INTEGER NOT NULL,
    n INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    marks BLOB NOT NULL,
    PRIMARY KEY (level, n)
) STRICT;

-- Signed heads of the tree, with the signatures of the witnesses that have seen them.
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    witnesses INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT;

CREATE INDEX checkpoint_at ON checkpoint (at, size);

CREATE INDEX checkpoint_witnessed ON checkpoint (size) WHERE witnesses > 0;

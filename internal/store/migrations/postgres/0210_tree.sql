-- +goose Up

-- The Merkle tree over the leaves, in the tiles of C2SP tlog-tiles: up to 256 hashes of
-- 32 bytes each. A full tile never changes. marks has 8 bytes for each hash of level 0,
-- made under a key that is not in the database.
CREATE TABLE tile (
    level BIGINT NOT NULL,
    n BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    marks BYTEA NOT NULL,
    PRIMARY KEY (level, n)
);

-- Signed heads of the tree, with the signatures of the witnesses that have seen them.
CREATE TABLE checkpoint (
    size BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    witnesses BIGINT NOT NULL,
    note TEXT COLLATE "C" NOT NULL
);

CREATE INDEX checkpoint_at ON checkpoint (at, size);

CREATE INDEX checkpoint_witnessed ON checkpoint (size) WHERE witnesses > 0;

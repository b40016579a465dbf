-- +goose Up

-- What is known of the likenesses that count as likely influence (level L2): one row. Scores
-- are in thousandths of a bit, rate in millionths.
CREATE TABLE likeness (
    id INTEGER PRIMARY KEY,
    threshold INTEGER NOT NULL,
    rate INTEGER NOT NULL,
    targets INTEGER NOT NULL,
    decoys INTEGER NOT NULL,
    judged INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    found INTEGER NOT NULL,
    made_at INTEGER NOT NULL
) STRICT;

CREATE INDEX derivation_likely ON derivation (pos, ord) WHERE level = 2;

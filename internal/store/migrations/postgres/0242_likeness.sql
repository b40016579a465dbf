-- +goose Up

-- What is known of the likenesses that count as likely influence (level L2): one row. Scores
-- are in thousandths of a bit, rate in millionths.
CREATE TABLE likeness (
    id BIGINT PRIMARY KEY,
    threshold BIGINT NOT NULL,
    rate BIGINT NOT NULL,
    targets BIGINT NOT NULL,
    decoys BIGINT NOT NULL,
    judged BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    found BIGINT NOT NULL,
    made_at BIGINT NOT NULL
);

CREATE INDEX derivation_likely ON derivation (pos, ord) WHERE level = 2;

-- +goose Up

ALTER TABLE event ADD COLUMN target BIGINT NOT NULL DEFAULT 0;

ALTER TABLE event ADD COLUMN outcome BIGINT NOT NULL DEFAULT 0;

CREATE TABLE webhook (
    id BIGINT PRIMARY KEY,
    owner BIGINT NOT NULL,
    operator BIGINT NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    secret BYTEA NOT NULL,
    acts TEXT COLLATE "C" NOT NULL,
    subjects TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    disabled_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX webhook_owner ON webhook (owner, id);

CREATE INDEX webhook_live ON webhook (disabled_at, id);

CREATE TABLE delivery (
    id BIGINT PRIMARY KEY,
    webhook BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    status BIGINT NOT NULL,
    error TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX delivery_webhook ON delivery (webhook, id);

-- +goose Up

CREATE TABLE conversation (
    id BIGINT PRIMARY KEY,
    low BIGINT NOT NULL,
    high BIGINT NOT NULL,
    initiator BIGINT NOT NULL,
    closer BIGINT NOT NULL,
    state BIGINT NOT NULL,
    last_ord BIGINT NOT NULL,
    unread_low BIGINT NOT NULL,
    unread_high BIGINT NOT NULL,
    key_version BIGINT NOT NULL,
    wrapped_key BYTEA NOT NULL,
    inspector BIGINT NOT NULL,
    inspect_until_at BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    decided_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    UNIQUE (low, high)
);

CREATE INDEX conversation_low ON conversation (low, last_at, id);

CREATE INDEX conversation_high ON conversation (high, last_at, id);

CREATE INDEX conversation_state ON conversation (state, last_at, id);

CREATE TABLE message (
    id BIGINT PRIMARY KEY,
    conversation BIGINT NOT NULL,
    ord BIGINT NOT NULL,
    sender BIGINT NOT NULL,
    body BYTEA NOT NULL,
    needs_human BIGINT NOT NULL,
    origin BIGINT NOT NULL,
    read_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (conversation, ord)
);

CREATE INDEX message_unread ON message (conversation, sender, read_at, ord);

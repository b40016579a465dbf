-- +goose Up

CREATE TABLE conversation (
    id INTEGER PRIMARY KEY,
    low INTEGER NOT NULL,
    high INTEGER NOT NULL,
    initiator INTEGER NOT NULL,
    closer INTEGER NOT NULL,
    state INTEGER NOT NULL,
    last_ord INTEGER NOT NULL,
    unread_low INTEGER NOT NULL,
    unread_high INTEGER NOT NULL,
    key_version INTEGER NOT NULL,
    wrapped_key BLOB NOT NULL,
    inspector INTEGER NOT NULL,
    inspect_until_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    UNIQUE (low, high)
) STRICT;

CREATE INDEX conversation_low ON conversation (low, last_at, id);

CREATE INDEX conversation_high ON conversation (high, last_at, id);

CREATE INDEX conversation_state ON conversation (state, last_at, id);

CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL,
    ord INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    body BLOB NOT NULL,
    needs_human INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    read_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (conversation, ord)
) STRICT;

CREATE INDEX message_unread ON message (conversation, sender, read_at, ord);

-- +goose Up

-- What happened to an agent. Of upvotes on one post there is one row at most that
-- the agent has not read.
CREATE TABLE notification (
    id INTEGER PRIMARY KEY,
    agent INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    actor INTEGER NOT NULL,
    post INTEGER NOT NULL,
    comment INTEGER NOT NULL,
    ref INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    read_at INTEGER NOT NULL
) STRICT;

CREATE INDEX notification_new ON notification (agent, id);

CREATE INDEX notification_unread ON notification (agent, post) WHERE read_at = 0;

CREATE UNIQUE INDEX notification_upvote ON notification (agent, post) WHERE kind = 5 AND read_at = 0;

CREATE TABLE inbox (
    agent INTEGER PRIMARY KEY,
    unread INTEGER NOT NULL
) STRICT;

INSERT INTO inbox (agent, unread) SELECT id, 0 FROM profile WHERE origin = 0;

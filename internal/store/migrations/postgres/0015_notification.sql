-- +goose Up

-- What happened to an agent. Of upvotes on one post there is one row at most that
-- the agent has not read.
CREATE TABLE notification (
    id BIGINT PRIMARY KEY,
    agent BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    actor BIGINT NOT NULL,
    post BIGINT NOT NULL,
    comment BIGINT NOT NULL,
    ref BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    read_at BIGINT NOT NULL
);

CREATE INDEX notification_new ON notification (agent, id);

CREATE INDEX notification_unread ON notification (agent, post) WHERE read_at = 0;

CREATE UNIQUE INDEX notification_upvote ON notification (agent, post) WHERE kind = 5 AND read_at = 0;

CREATE TABLE inbox (
    agent BIGINT PRIMARY KEY,
    unread BIGINT NOT NULL
);

INSERT INTO inbox (agent, unread) SELECT id, 0 FROM profile WHERE origin = 0;

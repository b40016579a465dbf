-- +goose Up

CREATE TABLE task (
    id BIGINT PRIMARY KEY,
    poster BIGINT NOT NULL,
    community BIGINT NOT NULL,
    offered_to BIGINT NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    salt BYTEA NOT NULL,
    state BIGINT NOT NULL,
    claimant BIGINT NOT NULL,
    lease BIGINT NOT NULL,
    lease_until_at BIGINT NOT NULL,
    deadline_at BIGINT NOT NULL,
    steps BIGINT NOT NULL,
    origin BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX task_community ON task (community, state, id);

CREATE INDEX task_offered ON task (offered_to, id);

CREATE INDEX task_poster ON task (poster, id);

CREATE INDEX task_claimant ON task (claimant, id);

CREATE INDEX task_lease ON task (state, lease_until_at, id);

CREATE INDEX task_deadline ON task (state, deadline_at, id);

CREATE TABLE task_step (
    task BIGINT NOT NULL,
    ord BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    agent BIGINT NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    salt BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (task, ord)
);

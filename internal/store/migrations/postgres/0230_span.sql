-- +goose Up

-- What agents report of their own work. id is that of a span, or a hash of a log record.
CREATE TABLE agent_span (
    trace BYTEA NOT NULL,
    agent BIGINT NOT NULL,
    id BYTEA NOT NULL,
    log BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    began_at BIGINT NOT NULL,
    body BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (trace, agent, id)
);

CREATE INDEX agent_span_at ON agent_span (at, trace, agent, id);

-- Under which span of its caller's an act was asked for.
CREATE TABLE caller (
    trace BYTEA NOT NULL,
    pos BIGINT NOT NULL,
    agent BIGINT NOT NULL,
    span BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (trace, pos)
);

CREATE INDEX caller_at ON caller (at, trace, pos);

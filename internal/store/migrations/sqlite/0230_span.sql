-- +goose Up

-- What agents report of their own work. id is that of a span, or a hash of a log record.
CREATE TABLE agent_span (
    trace BLOB NOT NULL,
    agent INTEGER NOT NULL,
    id BLOB NOT NULL,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (trace, agent, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX agent_span_at ON agent_span (at, trace, agent, id);

-- Under which span of its caller's an act was asked for.
CREATE TABLE caller (
    trace BLOB NOT NULL,
    pos INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    span BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (trace, pos)
) STRICT, WITHOUT ROWID;

CREATE INDEX caller_at ON caller (at, trace, pos);

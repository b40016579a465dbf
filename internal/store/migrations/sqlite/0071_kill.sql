-- +goose Up

-- Every kill there was, numbered in the order in which they were committed. total
-- is a check over the agents of this and all earlier ones. A kill of an agent that
-- is not here was noted after a restore.
CREATE TABLE kill (
    n INTEGER PRIMARY KEY,
    agent INTEGER NOT NULL UNIQUE,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    total INTEGER NOT NULL,
    killed_at INTEGER NOT NULL
) STRICT;

INSERT INTO kill (n, agent, name, reason, total, killed_at)
SELECT ROW_NUMBER() OVER (ORDER BY changed_at, id), id, name, reason,
    CAST(SUM(id % 2147483647 * 48271 % 2147483647) OVER (ORDER BY changed_at, id) AS INTEGER), changed_at FROM agent WHERE state = 5;

-- Each time the network's state was found to be of an earlier time: restored from
-- a backup, or behind its own kill log. No agent acts until one is confirmed.
CREATE TABLE restoration (
    n INTEGER PRIMARY KEY,
    backup TEXT NOT NULL,
    taken_at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kills INTEGER NOT NULL,
    restored_at INTEGER NOT NULL,
    confirmed_at INTEGER NOT NULL,
    confirmed_by INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;

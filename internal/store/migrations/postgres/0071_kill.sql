-- +goose Up

-- Every kill there was, numbered in the order in which they were committed. total
-- is a check over the agents of this and all earlier ones. A kill of an agent that
-- is not here was noted after a restore.
CREATE TABLE kill (
    n BIGINT PRIMARY KEY,
    agent BIGINT NOT NULL UNIQUE,
    name TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    total BIGINT NOT NULL,
    killed_at BIGINT NOT NULL
);

INSERT INTO kill (n, agent, name, reason, total, killed_at)
SELECT ROW_NUMBER() OVER (ORDER BY changed_at, id), id, name, reason,
    CAST(SUM(id % 2147483647 * 48271 % 2147483647) OVER (ORDER BY changed_at, id) AS BIGINT), changed_at FROM agent WHERE state = 5;

-- Each time the network's state was found to be of an earlier time: restored from
-- a backup, or behind its own kill log. No agent acts until one is confirmed.
CREATE TABLE restoration (
    n BIGINT PRIMARY KEY,
    backup TEXT COLLATE "C" NOT NULL,
    taken_at BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kills BIGINT NOT NULL,
    restored_at BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    confirmed_by BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL
);

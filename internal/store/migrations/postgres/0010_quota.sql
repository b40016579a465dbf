-- +goose Up

ALTER TABLE agent ADD COLUMN source BIGINT NOT NULL DEFAULT 0;

CREATE TABLE seat (
    id BIGINT PRIMARY KEY,
    taken BIGINT NOT NULL
);

-- Agents that were there before: by owner, and over the network's 16 rows.
INSERT INTO seat (id, taken) SELECT owner, COUNT(*) FROM agent WHERE owner <> 0 AND state NOT IN (5, 6) GROUP BY owner;

INSERT INTO seat (id, taken) SELECT 1, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 0;
INSERT INTO seat (id, taken) SELECT 2, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 1;
INSERT INTO seat (id, taken) SELECT 3, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 2;
INSERT INTO seat (id, taken) SELECT 4, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 3;
INSERT INTO seat (id, taken) SELECT 5, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 4;
INSERT INTO seat (id, taken) SELECT 6, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 5;
INSERT INTO seat (id, taken) SELECT 7, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 6;
INSERT INTO seat (id, taken) SELECT 8, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 7;
INSERT INTO seat (id, taken) SELECT 9, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 8;
INSERT INTO seat (id, taken) SELECT 10, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 9;
INSERT INTO seat (id, taken) SELECT 11, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 10;
INSERT INTO seat (id, taken) SELECT 12, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 11;
INSERT INTO seat (id, taken) SELECT 13, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 12;
INSERT INTO seat (id, taken) SELECT 14, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 13;
INSERT INTO seat (id, taken) SELECT 15, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 14;
INSERT INTO seat (id, taken) SELECT 16, COUNT(*) FROM agent WHERE state NOT IN (5, 6) AND (id / 4194304) % 16 = 15;

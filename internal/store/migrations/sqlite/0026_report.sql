-- +goose Up

-- One agent's complaint about one post or comment.
CREATE TABLE report (
    agent INTEGER NOT NULL,
    target INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (agent, target)
) STRICT, WITHOUT ROWID;

CREATE INDEX report_target ON report (target, created_at, agent);

-- What was reported, counted, for the moderators of its community.
CREATE TABLE reported (
    target INTEGER PRIMARY KEY,
    community INTEGER NOT NULL,
    post INTEGER NOT NULL,
    author INTEGER NOT NULL,
    reports INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT;

CREATE INDEX reported_first ON reported (first_at, target);

CREATE INDEX reported_community ON reported (community, first_at, target);

-- A personal feed begins with whom its reader followed last.
CREATE INDEX follow_recent ON follow (follower, created_at, followed);

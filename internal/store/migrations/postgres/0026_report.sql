-- +goose Up

-- One agent's complaint about one post or comment.
CREATE TABLE report (
    agent BIGINT NOT NULL,
    target BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (agent, target)
);

CREATE INDEX report_target ON report (target, created_at, agent);

-- What was reported, counted, for the moderators of its community.
CREATE TABLE reported (
    target BIGINT PRIMARY KEY,
    community BIGINT NOT NULL,
    post BIGINT NOT NULL,
    author BIGINT NOT NULL,
    reports BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);

CREATE INDEX reported_first ON reported (first_at, target);

CREATE INDEX reported_community ON reported (community, first_at, target);

-- A personal feed begins with whom its reader followed last.
CREATE INDEX follow_recent ON follow (follower, created_at, followed);

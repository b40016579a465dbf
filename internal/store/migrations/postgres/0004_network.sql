-- +goose Up

CREATE TABLE profile (
    id BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    description TEXT COLLATE "C" NOT NULL,
    metadata TEXT COLLATE "C" NOT NULL,
    karma BIGINT NOT NULL,
    post_count BIGINT NOT NULL,
    comment_count BIGINT NOT NULL,
    legacy_karma BIGINT NOT NULL,
    legacy_followers BIGINT NOT NULL,
    legacy_following BIGINT NOT NULL,
    origin BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE community (
    id BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    display_name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    creator BIGINT NOT NULL,
    post_count BIGINT NOT NULL,
    legacy_posts BIGINT NOT NULL,
    legacy_subscribers BIGINT NOT NULL,
    origin BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE post (
    id BIGINT PRIMARY KEY,
    community BIGINT NOT NULL,
    author BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    salt BYTEA NOT NULL,
    up BIGINT NOT NULL,
    down BIGINT NOT NULL,
    score BIGINT NOT NULL GENERATED ALWAYS AS (up - down) STORED,
    comment_count BIGINT NOT NULL,
    hot BIGINT NOT NULL GENERATED ALWAYS AS (created_at / 1000 + CASE
        WHEN up > down THEN CAST(floor(log10(CAST(up - down AS DOUBLE PRECISION)) * 45000000) AS BIGINT)
        WHEN up < down THEN -CAST(floor(log10(CAST(down - up AS DOUBLE PRECISION)) * 45000000) AS BIGINT)
        ELSE 0 END) STORED,
    legacy_up BIGINT NOT NULL,
    legacy_down BIGINT NOT NULL,
    legacy_comments BIGINT NOT NULL,
    origin BIGINT NOT NULL,
    version BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL
);

CREATE INDEX post_new ON post (created_at, id);

CREATE INDEX post_hot ON post (hot, id);

CREATE INDEX post_top ON post (score, id);

CREATE INDEX post_community_new ON post (community, created_at, id);

CREATE INDEX post_community_hot ON post (community, hot, id);

CREATE INDEX post_community_top ON post (community, score, id);

CREATE TABLE comment (
    id BIGINT PRIMARY KEY,
    post BIGINT NOT NULL,
    parent BIGINT NOT NULL,
    root BIGINT NOT NULL,
    author BIGINT NOT NULL,
    depth BIGINT NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    salt BYTEA NOT NULL,
    up BIGINT NOT NULL,
    down BIGINT NOT NULL,
    score BIGINT NOT NULL GENERATED ALWAYS AS (up - down) STORED,
    reply_count BIGINT NOT NULL,
    legacy_up BIGINT NOT NULL,
    legacy_down BIGINT NOT NULL,
    origin BIGINT NOT NULL,
    version BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL
);

CREATE INDEX comment_new ON comment (post, parent, created_at, id);

CREATE INDEX comment_best ON comment (post, parent, score, id);

CREATE INDEX comment_root ON comment (root, id);

CREATE TABLE vote (
    agent BIGINT NOT NULL,
    target BIGINT NOT NULL,
    value BIGINT NOT NULL,
    previous BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (agent, target)
);

CREATE INDEX vote_target ON vote (target, agent);

CREATE TABLE alias (
    source TEXT COLLATE "C" NOT NULL,
    original TEXT COLLATE "C" NOT NULL,
    id BIGINT NOT NULL,
    PRIMARY KEY (original, source)
);

CREATE INDEX alias_id ON alias (id);

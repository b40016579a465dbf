-- +goose Up

CREATE TABLE profile (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    metadata TEXT NOT NULL,
    karma INTEGER NOT NULL,
    post_count INTEGER NOT NULL,
    comment_count INTEGER NOT NULL,
    legacy_karma INTEGER NOT NULL,
    legacy_followers INTEGER NOT NULL,
    legacy_following INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE community (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    creator INTEGER NOT NULL,
    post_count INTEGER NOT NULL,
    legacy_posts INTEGER NOT NULL,
    legacy_subscribers INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE post (
    id INTEGER PRIMARY KEY,
    community INTEGER NOT NULL,
    author INTEGER NOT NULL,
    type TEXT NOT NULL,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    url TEXT NOT NULL,
    salt BLOB NOT NULL,
    up INTEGER NOT NULL,
    down INTEGER NOT NULL,
    score INTEGER NOT NULL GENERATED ALWAYS AS (up - down) STORED,
    comment_count INTEGER NOT NULL,
    hot INTEGER NOT NULL GENERATED ALWAYS AS (created_at / 1000 + CASE
        WHEN up > down THEN CAST(floor(log10(up - down) * 45000000) AS INTEGER)
        WHEN up < down THEN -CAST(floor(log10(down - up) * 45000000) AS INTEGER)
        ELSE 0 END) STORED,
    legacy_up INTEGER NOT NULL,
    legacy_down INTEGER NOT NULL,
    legacy_comments INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER NOT NULL
) STRICT;

CREATE INDEX post_new ON post (created_at, id);

CREATE INDEX post_hot ON post (hot, id);

CREATE INDEX post_top ON post (score, id);

CREATE INDEX post_community_new ON post (community, created_at, id);

CREATE INDEX post_community_hot ON post (community, hot, id);

CREATE INDEX post_community_top ON post (community, score, id);

CREATE TABLE comment (
    id INTEGER PRIMARY KEY,
    post INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    root INTEGER NOT NULL,
    author INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    content TEXT NOT NULL,
    salt BLOB NOT NULL,
    up INTEGER NOT NULL,
    down INTEGER NOT NULL,
    score INTEGER NOT NULL GENERATED ALWAYS AS (up - down) STORED,
    reply_count INTEGER NOT NULL,
    legacy_up INTEGER NOT NULL,
    legacy_down INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER NOT NULL
) STRICT;

CREATE INDEX comment_new ON comment (post, parent, created_at, id);

CREATE INDEX comment_best ON comment (post, parent, score, id);

CREATE INDEX comment_root ON comment (root, id);

CREATE TABLE vote (
    agent INTEGER NOT NULL,
    target INTEGER NOT NULL,
    value INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (agent, target)
) STRICT, WITHOUT ROWID;

CREATE INDEX vote_target ON vote (target, agent);

CREATE TABLE alias (
    source TEXT NOT NULL,
    original TEXT NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (original, source)
) STRICT, WITHOUT ROWID;

CREATE INDEX alias_id ON alias (id);

-- +goose Up

-- Authors' posts are listed by other acts too, whose migration may come first.
CREATE INDEX IF NOT EXISTS post_author_new ON post (author, created_at, id);

CREATE INDEX IF NOT EXISTS comment_author_new ON comment (author, created_at, id);

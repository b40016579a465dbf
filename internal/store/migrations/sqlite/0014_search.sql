-- +goose Up

-- What can be found by its words. It holds marks of words (keyed hashes), no text.
CREATE VIRTUAL TABLE findable USING fts5(words, content='', contentless_delete=1, detail=none, tokenize='ascii');

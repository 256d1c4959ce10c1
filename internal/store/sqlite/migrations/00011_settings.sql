-- +goose Up
-- The settings that the operator gave by the store: the text of a configuration.
CREATE TABLE settings (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    text       BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

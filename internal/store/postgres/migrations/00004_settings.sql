-- Settings that keepers share. A keeper of the schema before does not know of them: once
-- there are some, it finds rows that it cannot hold against what is sealed, and refuses.

-- +goose Up
CREATE TABLE keeper.settings (
    id         integer NOT NULL PRIMARY KEY CHECK (id = 1),
    text       bytea   NOT NULL,
    updated_at bigint  NOT NULL
);

UPDATE keeper.compatible SET version = 4, oldest = 2 WHERE id = 1;

-- +goose Up
-- How far each sink has taken the audit log.
CREATE TABLE cursors (
    name TEXT NOT NULL PRIMARY KEY,
    seq  INTEGER NOT NULL, -- the last entry that it has for certain
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Up
-- What the last checkpoint says of decisions whose outcome was not there yet: their
-- numbers, 8 bytes each, big end first. Some databases have it already; its text must
-- stay as it is there.
CREATE TABLE IF NOT EXISTS audit_open (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    size      INTEGER NOT NULL, -- the checkpoint's
    decisions BLOB NOT NULL
) STRICT;

-- +goose Up
-- How much was drawn of each quota in a window: name is the quota's, share whose part
-- of it, as text.
CREATE TABLE quota_uses (
    name     TEXT NOT NULL,
    share    TEXT NOT NULL,
    resource TEXT NOT NULL,
    begins   INTEGER NOT NULL,
    ends     INTEGER NOT NULL,
    drawn    INTEGER NOT NULL,
    PRIMARY KEY (name, share, resource, begins)
) STRICT, WITHOUT ROWID;

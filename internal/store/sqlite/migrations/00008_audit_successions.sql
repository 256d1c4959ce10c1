-- +goose Up
-- The signed heads by which another key began to sign the log. Unlike the others they
-- stay when the entries that they are over leave: the keys are known by them.
CREATE TABLE audit_successions (
    size INTEGER NOT NULL PRIMARY KEY, -- how many entries it is over
    time INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;

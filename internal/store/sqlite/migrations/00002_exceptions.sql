-- +goose Up
CREATE TABLE exceptions (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    rule        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    created_by  TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    seal        BLOB
) STRICT, WITHOUT ROWID;

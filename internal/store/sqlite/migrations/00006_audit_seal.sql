-- +goose Up
-- A keyed hash of the entry's place and leaf. NULL: the entry is older than this column.
ALTER TABLE audit ADD COLUMN seal BLOB;

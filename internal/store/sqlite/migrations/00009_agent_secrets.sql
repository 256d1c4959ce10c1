-- +goose Up
-- The hash of an agent's secret before the present one, and until when it is good.
ALTER TABLE agents ADD COLUMN old_secret_hash BLOB;
ALTER TABLE agents ADD COLUMN old_secret_until INTEGER NOT NULL DEFAULT 0;

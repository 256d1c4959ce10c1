-- +goose Up
-- The summaries of blocks, made anew from the entries: their filters stand in a table
-- of their own.
DROP TABLE audit_blocks;
CREATE TABLE audit_blocks (
    block     INTEGER NOT NULL PRIMARY KEY,
    min_time  INTEGER NOT NULL,
    max_time  INTEGER NOT NULL,
    max_risk  INTEGER NOT NULL,
    high_risk INTEGER NOT NULL -- entries of risk 1 or 2 from the log's start to this block's end
) STRICT;

-- Bloom filters of a block's entries: of their values, and of their paths' trigrams.
CREATE TABLE audit_filters (
    block    INTEGER NOT NULL PRIMARY KEY,
    facets   BLOB NOT NULL,
    trigrams BLOB NOT NULL
) STRICT;

-- One row for each complete run of 1024 blocks, written in the transaction of the
-- last of them.
CREATE TABLE audit_groups (
    grp      INTEGER NOT NULL PRIMARY KEY,
    min_time INTEGER NOT NULL,
    max_time INTEGER NOT NULL,
    max_risk INTEGER NOT NULL
) STRICT;

-- The filters of a group's blocks, turned over: for each bit of a filter, 128 bytes
-- that say which blocks have it. A row holds 16 bits.
CREATE TABLE audit_slices (
    grp      INTEGER NOT NULL,
    slice    INTEGER NOT NULL,
    facets   BLOB NOT NULL,
    trigrams BLOB NOT NULL,
    PRIMARY KEY (grp, slice)
) STRICT;

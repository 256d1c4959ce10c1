-- +goose Up
-- The entry's leaf hash, beside which an edit of the entry shows. NULL: the entry
-- is older than this column.
ALTER TABLE audit ADD COLUMN hash BLOB;

-- The nodes of the Merkle tree over the entries whose level is a multiple of 8:
-- node idx of level n is over the entries idx * 2^n + 1 to (idx + 1) * 2^n. A node
-- is written in the transaction of the last of its entries.
CREATE TABLE audit_nodes (
    level INTEGER NOT NULL,
    idx   INTEGER NOT NULL,
    hash  BLOB NOT NULL,
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;

-- Signed heads of the tree.
CREATE TABLE audit_checkpoints (
    size INTEGER NOT NULL PRIMARY KEY, -- how many entries it is over
    time INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;

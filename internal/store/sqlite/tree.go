package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

func insertNodes(ctx context.Context, tx *sql.Tx, nodes []store.AuditNode) error {
	for i := range nodes {
		n := &nodes[i]
		_, err := tx.ExecContext(ctx, "INSERT INTO audit_nodes (level, idx, hash) VALUES (?, ?, ?)", n.Level, n.Index, n.Hash[:])
		if err != nil {
			return fmt.Errorf("node %d of level %d: %w", n.Index, n.Level, err)
		}
	}
	return nil
}

// AuditNodes returns the nodes of a level from one on, in order, at most limit of
// them.
func (db *DB) AuditNodes(ctx context.Context, level int, from int64, limit int) ([]store.AuditNode, error) {
	nodes, err := scan(ctx, db, func(rows *sql.Rows, n *store.AuditNode) error {
		var hash sql.RawBytes
		err := rows.Scan(&n.Level, &n.Index, &hash)
		copy(n.Hash[:], hash)
		return err
	}, "SELECT level, idx, hash FROM audit_nodes WHERE level = ? AND idx >= ? ORDER BY idx LIMIT ?", level, from, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log's tree: %w", err)
	}
	return nodes, nil
}

// PutNodes adds nodes of entries that were written without them.
func (db *DB) PutNodes(ctx context.Context, nodes []store.AuditNode) error {
	return db.write(ctx, "completing the audit log's tree", func(w tx) error {
		return insertNodes(w.ctx, w.tx, nodes)
	})
}

// PutCheckpoint adds a checkpoint. One of that size is replaced.
func (db *DB) PutCheckpoint(ctx context.Context, c store.Checkpoint) error {
	return db.write(ctx, fmt.Sprintf("storing the audit checkpoint of size %d", c.Size), func(w tx) error {
		return putCheckpoint(w.ctx, w.tx, c)
	})
}

func putCheckpoint(ctx context.Context, tx *sql.Tx, c store.Checkpoint) error {
	_, err := tx.ExecContext(ctx, "REPLACE INTO audit_checkpoints (size, time, note) VALUES (?, ?, ?)", c.Size, store.Nanos(c.Time), c.Note)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "REPLACE INTO audit_open (id, size, decisions) VALUES (1, ?, ?)", c.Size, packed(c.Open))
	return err
}

func putSuccession(ctx context.Context, tx *sql.Tx, c store.Checkpoint) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO audit_successions (size, time, note) VALUES (?, ?, ?)", c.Size, store.Nanos(c.Time), c.Note)
	if err != nil {
		return err
	}
	return putCheckpoint(ctx, tx, c)
}

// Successions returns the heads that AppendSuccession was given, smallest first.
func (db *DB) Successions(ctx context.Context) ([]store.Checkpoint, error) {
	all, err := db.checkpoints(ctx, "SELECT size, time, note FROM audit_successions ORDER BY size")
	if err != nil {
		return nil, fmt.Errorf("reading the succession of the audit log's keys: %w", err)
	}
	return all, nil
}

// Checkpoints returns those over more than size entries, smallest first, at most
// limit of them.
func (db *DB) Checkpoints(ctx context.Context, size int64, limit int) ([]store.Checkpoint, error) {
	all, err := db.checkpoints(ctx, "SELECT size, time, note FROM audit_checkpoints WHERE size > ? ORDER BY size LIMIT ?", size, limit)
	if err != nil {
		return nil, fmt.Errorf("reading audit checkpoints: %w", err)
	}
	return all, nil
}

// LastCheckpoint returns the largest one, or store.ErrNotFound.
func (db *DB) LastCheckpoint(ctx context.Context) (store.Checkpoint, error) {
	all, err := db.checkpoints(ctx, "SELECT size, time, note FROM audit_checkpoints ORDER BY size DESC LIMIT 1")
	if err == nil && len(all) == 0 {
		err = store.ErrNotFound
	}
	if err == nil {
		all[0].Open, err = db.open(ctx, all[0].Size)
	}
	if err != nil {
		return store.Checkpoint{}, fmt.Errorf("reading the last audit checkpoint: %w", err)
	}
	return all[0], nil
}

// open are the decisions that were open at the checkpoint of a size.
func (db *DB) open(ctx context.Context, size int64) ([]int64, error) {
	var b []byte
	err := db.readers.QueryRowContext(ctx, "SELECT decisions FROM audit_open WHERE id = 1 AND size = ?", size).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil && len(b)%8 != 0 {
		err = errors.New("the list of open decisions is damaged")
	}
	var seqs []int64
	for ; len(b) >= 8; b = b[8:] {
		seqs = append(seqs, int64(binary.BigEndian.Uint64(b)))
	}
	return seqs, err
}

func packed(seqs []int64) []byte {
	b := make([]byte, 0, 8*len(seqs))
	for _, seq := range seqs {
		b = binary.BigEndian.AppendUint64(b, uint64(seq))
	}
	return b
}

func (db *DB) checkpoints(ctx context.Context, query string, args ...any) ([]store.Checkpoint, error) {
	return scan(ctx, db, func(rows *sql.Rows, c *store.Checkpoint) error {
		return rows.Scan(&c.Size, instant{&c.Time}, &c.Note)
	}, query, args...)
}

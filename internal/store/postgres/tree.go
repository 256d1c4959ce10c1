package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

// addNodes puts statements that insert nodes into a batch.
func addNodes(b *pgx.Batch, nodes []store.AuditNode) {
	for i := range nodes {
		n := &nodes[i]
		b.Queue("INSERT INTO keeper.audit_nodes (level, idx, hash) VALUES ($1, $2, $3)", n.Level, n.Index, n.Hash[:])
	}
}

// AuditNodes returns the nodes of a level from one on, in order, at most limit of
// them.
func (db *DB) AuditNodes(ctx context.Context, level int, from int64, limit int) ([]store.AuditNode, error) {
	nodes, err := scan(ctx, db, func(rows pgx.Rows, n *store.AuditNode) error {
		var hash []byte
		err := rows.Scan(&n.Level, &n.Index, &hash)
		copy(n.Hash[:], hash)
		return err
	}, "SELECT level, idx, hash FROM keeper.audit_nodes WHERE level = $1 AND idx >= $2 ORDER BY idx LIMIT $3", level, from, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log's tree: %w", err)
	}
	return nodes, nil
}

// PutNodes adds nodes of entries that were written without them.
func (db *DB) PutNodes(ctx context.Context, nodes []store.AuditNode) error {
	return db.write(ctx, "completing the audit log's tree", func(w tx) error {
		var b pgx.Batch
		addNodes(&b, nodes)
		return w.conn.SendBatch(w.ctx, &b).Close()
	})
}

// PutCheckpoint adds a checkpoint. One of that size is replaced.
func (db *DB) PutCheckpoint(ctx context.Context, c store.Checkpoint) error {
	return db.write(ctx, fmt.Sprintf("storing the audit checkpoint of size %d", c.Size), func(w tx) error { return w.putCheckpoint(c) })
}

func (w tx) putCheckpoint(c store.Checkpoint) error {
	open := c.Open
	if open == nil {
		open = []int64{}
	}
	var b pgx.Batch
	b.Queue("INSERT INTO keeper.audit_checkpoints (size, time, note) VALUES ($1, $2, $3) ON CONFLICT (size) DO UPDATE SET time = excluded.time, note = excluded.note",
		c.Size, store.Nanos(c.Time), c.Note)
	b.Queue("INSERT INTO keeper.audit_open (id, size, decisions) VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE SET size = excluded.size, decisions = excluded.decisions",
		c.Size, open)
	return w.conn.SendBatch(w.ctx, &b).Close()
}

// putSuccession keeps a head by which another key takes over.
func (w tx) putSuccession(c store.Checkpoint) error {
	_, err := w.exec("INSERT INTO keeper.audit_successions (size, time, note) VALUES ($1, $2, $3)", c.Size, store.Nanos(c.Time), c.Note)
	if err != nil {
		return err
	}
	return w.putCheckpoint(c)
}

// Successions returns the heads that AppendSuccession was given, smallest first.
func (db *DB) Successions(ctx context.Context) ([]store.Checkpoint, error) {
	all, err := db.checkpoints(ctx, "SELECT size, time, note FROM keeper.audit_successions ORDER BY size")
	if err != nil {
		return nil, fmt.Errorf("reading the succession of the audit log's keys: %w", err)
	}
	return all, nil
}

// Checkpoints returns those over more than size entries, smallest first, at most
// limit of them.
func (db *DB) Checkpoints(ctx context.Context, size int64, limit int) ([]store.Checkpoint, error) {
	all, err := db.checkpoints(ctx, "SELECT size, time, note FROM keeper.audit_checkpoints WHERE size > $1 ORDER BY size LIMIT $2", size, limit)
	if err != nil {
		return nil, fmt.Errorf("reading audit checkpoints: %w", err)
	}
	return all, nil
}

// LastCheckpoint returns the largest one, or store.ErrNotFound.
func (db *DB) LastCheckpoint(ctx context.Context) (store.Checkpoint, error) {
	all, err := db.checkpoints(ctx, "SELECT size, time, note FROM keeper.audit_checkpoints ORDER BY size DESC LIMIT 1")
	if err == nil && len(all) == 0 {
		err = store.ErrNotFound
	}
	if err == nil {
		err = db.one(ctx, []any{&all[0].Open}, "SELECT decisions FROM keeper.audit_open WHERE id = 1 AND size = $1", all[0].Size)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		return store.Checkpoint{}, fmt.Errorf("reading the last audit checkpoint: %w", err)
	}
	if len(all[0].Open) == 0 {
		all[0].Open = nil
	}
	return all[0], nil
}

func (db *DB) checkpoints(ctx context.Context, query string, args ...any) ([]store.Checkpoint, error) {
	return scan(ctx, db, func(rows pgx.Rows, c *store.Checkpoint) error {
		return rows.Scan(&c.Size, instant{&c.Time}, &c.Note)
	}, query, args...)
}

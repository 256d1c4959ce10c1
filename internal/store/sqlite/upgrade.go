package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	keptCopies = 3 // of databases from before a migration
	copyPrefix = databaseName + ".schema-"
	copySuffix = ".bak"
	copyTime   = "20060102T150405.000Z"
	spareBytes = 16 << 20 // that a migration leaves free beside what it needs
)

// Schema looks at the database in the folder dir, which a keeper may have. The error
// wraps fs.ErrNotExist where there is none.
func Schema(ctx context.Context, dir string) (s store.SchemaStatus, err error) {
	path, err := existing(dir)
	if err != nil {
		return s, err
	}
	db, err := pool(path, toRead(path), 1)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if s.Version, err = schemaOf(ctx, db); err != nil {
		return s, err
	}
	p, err := provider(db)
	if err != nil {
		return s, err
	}
	for _, source := range p.ListSources() {
		s.Known = source.Version
		if source.Version > s.Version {
			s.Pending = append(s.Pending, store.Migration{Version: source.Version, Name: filepath.Base(source.Path)})
		}
	}
	s.Serves = s.Version == s.Known
	s.Copies, err = copies(filepath.Dir(path))
	return s, err
}

// copies are those beside the database, newest first.
func copies(dir string) (all []store.SchemaCopy, err error) {
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for copies of the database: %w", err)
	}
	for _, entry := range found {
		c, ok := parseCopy(entry.Name())
		if !ok {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("looking for copies of the database: %w", err)
		}
		c.Path, c.Bytes = filepath.Join(dir, entry.Name()), info.Size()
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b store.SchemaCopy) int { return b.At.Compare(a.At) })
	return all, nil
}

// parseCopy reads the name of a copy: keeper.db.schema-5-20260102T030405.000Z.bak.
func parseCopy(name string) (c store.SchemaCopy, ok bool) {
	middle, prefixed := strings.CutPrefix(name, copyPrefix)
	middle, suffixed := strings.CutSuffix(middle, copySuffix)
	version, at, cut := strings.Cut(middle, "-")
	if !prefixed || !suffixed || !cut {
		return c, false
	}
	var err, timeErr error
	c.Version, err = strconv.ParseInt(version, 10, 64)
	c.At, timeErr = time.Parse(copyTime, at)
	return c, err == nil && timeErr == nil
}

// upgrade is migrate for the database in the folder: where a migration is pending, what
// there is is copied first. The caller holds the folder, so that nobody else writes.
func (db *DB) upgrade(ctx context.Context) error {
	from, target, err := versions(ctx, db.writer)
	if err != nil || from == target {
		return err
	}
	if from > 0 {
		if err := db.keepCopy(ctx, from, target); err != nil {
			return fmt.Errorf("copying the database before the migration from schema version %d to %d: %w", from, target, err)
		}
	}
	if err := migrate(ctx, db.writer); err != nil {
		return err
	}
	if from > 0 {
		db.logger.InfoContext(ctx, "database migrated", "from", from, "to", target)
	}
	return nil
}

// versions are the database's and this keeper's. The error wraps store.ErrNewerSchema.
func versions(ctx context.Context, db *sql.DB) (current, target int64, err error) {
	p, err := provider(db)
	if err != nil {
		return 0, 0, err
	}
	if current, target, err = p.GetVersions(ctx); err != nil {
		return 0, 0, fmt.Errorf("reading the schema version: %w", err)
	}
	if current > target {
		return 0, 0, newerSchema(ctx, db, current, target)
	}
	return current, target, nil
}

// newerSchema says which keeper is needed.
func newerSchema(ctx context.Context, db *sql.DB, current, target int64) error {
	var started []byte
	err := db.QueryRowContext(ctx, `SELECT details FROM audit
		WHERE event = 'keeper.started' AND seq > (SELECT max(seq) FROM audit) - ? ORDER BY seq DESC LIMIT 1`, store.StartedEntries).Scan(&started)
	if err != nil {
		started = nil // the log does not say it in a way that this keeper reads
	}
	return store.NewerSchema(current, target, started)
}

// keepCopy copies the database beside itself, and lets the oldest copies go.
func (db *DB) keepCopy(ctx context.Context, from, target int64) error {
	var bytes int64
	err := db.writer.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").Scan(&bytes)
	if err != nil {
		return err
	}
	if err := checkRoom(db.folder.path, bytes); err != nil {
		return err
	}
	name := copyPrefix + strconv.FormatInt(from, 10) + "-" + time.Now().UTC().Format(copyTime) + copySuffix
	path := filepath.Join(db.folder.path, name)
	if err := writeCopy(ctx, db.writer, path); err != nil {
		return err
	}
	db.logger.InfoContext(ctx, "database copied before its migration", "copy", path, "from", from, "to", target)
	all, err := copies(db.folder.path)
	if err != nil {
		return err
	}
	for _, old := range all[min(keptCopies, len(all)):] {
		if err := os.Remove(old.Path); err != nil {
			return err
		}
	}
	return nil
}

// writeCopy writes the pages that db sees, mode 0600, whole or not at all.
func writeCopy(ctx context.Context, db *sql.DB, path string) error {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = writePages(ctx, db, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return errors.Join(withCause(err), os.Remove(part))
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// checkRoom returns an error that wraps store.ErrDiskFull unless there is room for a copy
// of a database, and for as much again, which the migration may write.
func checkRoom(dir string, bytes int64) error {
	free, known := freeBytes(dir)
	if need := 2*uint64(bytes) + spareBytes; known && free < need {
		return fmt.Errorf("%w: %d MiB are needed and %d MiB are free; make room, nothing was changed", store.ErrDiskFull, need>>20, free>>20)
	}
	return nil
}

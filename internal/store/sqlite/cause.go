package sqlite

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/superinstance/keeper/internal/store"
)

// causes are the errors that SQLite's primary result codes stand for, see
// https://sqlite.org/rescode.html.
var causes = map[int]error{
	sqlite3.SQLITE_FULL:     store.ErrDiskFull,
	sqlite3.SQLITE_READONLY: store.ErrReadOnly,
	sqlite3.SQLITE_CORRUPT:  store.ErrDamaged,
	sqlite3.SQLITE_NOTADB:   store.ErrDamaged,
	sqlite3.SQLITE_IOERR:    store.ErrDisk,
	sqlite3.SQLITE_CANTOPEN: store.ErrDisk,
}

// withCause adds to err what it means for the store.
func withCause(err error) error {
	var result *sqlite.Error
	if !errors.As(err, &result) {
		return err
	}
	if cause := causes[result.Code()&0xff]; cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

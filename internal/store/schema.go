package store

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// StartedEntries is in how many of the newest audit entries the last start of a keeper
// is looked for.
const StartedEntries = 100_000

// versionText is what a version of keeper may look like in an error.
var versionText = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$`)

// SchemaStatus says how a database stands to what this keeper knows.
type SchemaStatus struct {
	Version int64 // of the database; 0: it has none yet
	Known   int64 // the newest that this keeper knows
	Serves  bool  // this keeper can work with it as it is, though it is not Known
	Pending []Migration
	Copies  []SchemaCopy // newest first; SQLite's alone
}

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string
}

// SchemaCopy is the database as it was before a migration.
type SchemaCopy struct {
	Path    string
	Version int64
	At      time.Time
	Bytes   int64
}

// NewerSchema is ErrNewerSchema with which keeper is needed: the one that started last
// on the database said so in its log, in an entry with these details; nil where there is
// none.
func NewerSchema(current, known int64, started []byte) error {
	needed := "the version that was started on it last, or a later one, is needed"
	var last struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(started, &last) == nil && versionText.MatchString(last.Version) {
		needed = fmt.Sprintf("keeper %s was started on it last: that version or a later one is needed", last.Version)
	}
	return fmt.Errorf("opening schema version %d with a keeper that knows %d: %w; %s, or a backup from before its migration", current, known, ErrNewerSchema, needed)
}

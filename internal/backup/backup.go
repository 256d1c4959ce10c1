// Package backup is one file that holds a keeper: its database as it was at one
// moment, and what lies beside it, encrypted by age (https://age-encryption.org/v1).
// Its one invariant: nothing of a keeper leaves here in clear, and nothing of a backup
// becomes a keeper's folder before all of it was there and as it was written. It never
// imports the vault or a database.
//
// Inside age is a tar archive: manifest.json, then the files that the manifest names,
// then sums.json with the SHA-256 of each. It is not compressed, so that any place of it
// can be read, and a backup can be checked where it lies.
package backup

import (
	"errors"
	"path"
	"strings"
	"time"
)

// Format is what a manifest says of the archive it stands in.
const Format = "keeper-backup/1"

// The files that can be in a backup, by the names that they have in a data folder.
const (
	Database      = "keeper.db"
	VaultKeyFile  = "vault.key"
	AdminToken    = "admin.token"
	Authority     = "ca.pem"
	Configuration = "keeper.yaml"
	ArchiveFolder = "audit-archive"
)

const (
	manifestName = "manifest.json"
	sumsName     = "sums.json"
)

// Errors of a backup that cannot be read.
var (
	// ErrNoBackup: it is no file of age's, or holds something else.
	ErrNoBackup = errors.New("it is no backup of keeper's")
	// ErrWrongIdentity: it is encrypted to others, or under another passphrase.
	ErrWrongIdentity = errors.New("it is encrypted to another recipient, or under another passphrase")
	// ErrDamaged: it was cut off or changed.
	ErrDamaged = errors.New("the backup was cut off or changed")
)

// Manifest says what is in a backup. Whoever cannot decrypt the backup cannot read it.
type Manifest struct {
	Format    string    `json:"format"`
	Keeper    string    `json:"keeper"` // version that made it
	CreatedAt time.Time `json:"createdAt"`
	Schema    int64     `json:"schema"` // of the database
	Log       Log       `json:"log"`
	VaultKey  VaultKey  `json:"vaultKey"`
	Files     []File    `json:"files"` // in the order in which they follow
}

// Log is the audit log's last signed head in the database.
type Log struct {
	Entries    int64  `json:"entries"`   // that the head is over
	PublicKey  string `json:"publicKey"` // that verifies it
	Checkpoint string `json:"checkpoint"`
}

// VaultKey is the key that opens the secrets.
type VaultKey struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"` // "raw" or "passphrase"
	Included bool   `json:"included"`
}

// File is one of them.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// known reports whether a file of the name may be in a backup. No other is written
// anywhere.
func known(name string) bool {
	switch name {
	case Database, VaultKeyFile, AdminToken, Authority, Configuration:
		return true
	}
	folder, file := path.Split(name)
	return folder == ArchiveFolder+"/" && file != "" && file != "." && file != ".." && !strings.ContainsAny(file, `\:`)
}

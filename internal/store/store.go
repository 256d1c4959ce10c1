// Package store defines the rows that keeper keeps and the errors of keeping
// them. Each database has its own native package below (store/sqlite), and one
// suite (store/storetest) that all of them pass. What is secret reaches this
// package sealed: it sees ciphertext alone and imports neither secret nor vault.
package store

import (
	"errors"
	"time"
)

// Errors that every database returns, wrapped.
var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrExists: a row with that identity is there already.
	ErrExists = errors.New("exists already")
	// ErrHeld: another keeper has the data folder, or the database, open.
	ErrHeld = errors.New("held by another keeper")
	// ErrNewerSchema: the database was written by a later keeper.
	ErrNewerSchema = errors.New("database schema is newer than this keeper")
	// ErrOlderSchema: the database was written by an earlier keeper, and not yet
	// brought up to date.
	ErrOlderSchema = errors.New("database schema is older than this keeper")
	// ErrForeignSchema: the database has triggers, views, tables or indexes that are
	// not of keeper's making, or lacks some that are.
	ErrForeignSchema = errors.New("the database holds what keeper did not make")
	// ErrDiskFull, ErrReadOnly, ErrDamaged and ErrDisk say why the store cannot be
	// written: there is no room, the disk or the file takes no writes, the database
	// is not one any more, or the disk reports an error.
	ErrDiskFull = errors.New("the disk is full")
	ErrReadOnly = errors.New("the disk is read-only")
	ErrDamaged  = errors.New("the database is damaged")
	ErrDisk     = errors.New("the disk reports an error")
	// ErrUnreachable: the database's server does not answer.
	ErrUnreachable = errors.New("the database cannot be reached")
	// ErrBehind: what is to be changed is not what was known of it.
	ErrBehind = errors.New("it is not as it was known to be")
	// ErrSequence: an audit entry does not follow the last one.
	ErrSequence = errors.New("audit entry is out of sequence")
)

// AgentStatus says whether an agent may have and use tokens. Only Active may.
type AgentStatus string

// The states of an agent.
const (
	Pending  AgentStatus = "pending"  // asked for registration, waits for approval
	Active   AgentStatus = "active"   // may have tokens
	Disabled AgentStatus = "disabled" // paused by an operator; its tokens work again once active
	Revoked  AgentStatus = "revoked"  // its tokens are dead for good
)

// Agent is one registered agent.
type Agent struct {
	ID         string
	Name       string
	GitHubUser string // may be empty
	Status     AgentStatus
	Scopes     []string // the grant, canonical; empty grants nothing
	SecretHash []byte   // of the agent secret, which is kept nowhere
	// OldSecretHash is of the secret before, which is good until OldSecretUntil; empty:
	// none is. OldSecretUntil is zero where the secret was never changed.
	OldSecretHash  []byte
	OldSecretUntil time.Time
	CreatedAt      time.Time
	UpdatedAt      time.Time
	LastSeenAt     time.Time // zero: never
}

// Token is one issued token, without the token itself.
type Token struct {
	JTI       string
	AgentID   string
	Scopes    []string
	IssuedAt  time.Time
	ExpiresAt time.Time
	RevokedAt time.Time // zero: not revoked
}

// TokenFilter selects tokens that have not expired at At.
type TokenFilter struct {
	AgentID string    // empty: of all agents
	Revoked bool      // only the revoked ones; else only those that are not
	At      time.Time // tokens that expire at or before it are left out

	Newest int        // so many at most, newest first; 0: all, in the order of issue
	Before TokenPlace // with Newest, those before it alone; zero: from the newest on
}

// TokenPlace is where a token stands in the order of issue.
type TokenPlace struct {
	IssuedAt time.Time
	JTI      string
}

// Credential is one sealed version of a secret. ID names the secret over all
// its versions; ID and Version together are the identity of the row.
type Credential struct {
	ID            string
	Version       int // from 1
	Provider      string
	Label         string
	Restricted    bool     // false: every agent whose scopes cover the provider
	AllowedAgents []string // meaningful only where Restricted; empty allows none
	Source        string   // "api", "env:NAME"
	KEKID         string   // the key-encryption key that wraps the data key
	WrappedKey    []byte   // the sealed data key
	Ciphertext    []byte   // the sealed value
	CreatedAt     time.Time
}

// Import remembers, by keyed hash, the value last imported under an
// environment name, so that an old environment undoes no rotation.
type Import struct {
	Name   string
	Digest []byte
}

// Exception is one value that the operator lets pass the scanner, named by a
// keyed fingerprint, so that the row does not tell the value.
type Exception struct {
	Fingerprint string // the identity of the row
	Rule        string // of the scanner, under which alone the value passes
	Reason      string // the operator's, for people
	CreatedBy   string // an agent's id, or "admin token"
	CreatedAt   time.Time
	ExpiresAt   time.Time
	Seal        []byte // a keyed hash of all the rest: tells a row that was edited
}

// Settings are those that all keepers on a store share.
type Settings struct {
	Text      []byte // of a configuration in YAML, MaxSettingsBytes at most
	UpdatedAt time.Time
}

// MaxSettingsBytes is how long the text of settings may be.
const MaxSettingsBytes = 1 << 20

// KeyState is a sealed key's place in its rotation.
type KeyState string

// The states of a key. Retired keys are kept for the record and verify nothing.
const (
	Next     KeyState = "next"
	Current  KeyState = "current"
	Previous KeyState = "previous"
	Retired  KeyState = "retired"
)

// Key is a private key of keeper's own, sealed.
type Key struct {
	ID         string // the JWK thumbprint (RFC 7638) for signing keys; the log's origin for its first key, with its hash for others
	Purpose    string // "signing", "import", "fingerprint" or "audit"
	State      KeyState
	Public     []byte // PKIX, DER
	KEKID      string
	WrappedKey []byte
	Ciphertext []byte // PKCS #8, sealed
	CreatedAt  time.Time
	StateAt    time.Time // when State was entered
}

// KEK describes a key-encryption key without holding it.
type KEK struct {
	ID        string
	Kind      string // "passphrase", "raw"
	Salt      []byte // Argon2id, for a passphrase
	Passes    uint32 // Argon2id time
	MemoryKiB uint32 // Argon2id memory
	Lanes     uint8  // Argon2id threads
	Check     []byte // a known text sealed under the key: tells a wrong key
	Current   bool
	CreatedAt time.Time
}

// Rewrap is everything that changes when the key-encryption key rotates. A
// database applies it whole or not at all.
type Rewrap struct {
	KEK         KEK          // the new current one
	Credentials []Credential // identity, KEKID and WrappedKey count
	Keys        []Key        // ID, KEKID and WrappedKey count
}

// AuditEntry is one entry of the log. Seq counts from 1 without a gap.
type AuditEntry struct {
	Seq       int64
	ID        string
	Time      time.Time
	Event     string
	AgentID   string // may be empty
	Provider  string // may be empty
	Risk      int    // 0, 1, 2
	RequestID string // may be empty
	Details   []byte // a JSON object
	Hash      Hash   // of its leaf; zero where it was written before there was one
	Seal      Seal   // zero where it was written before there was a key
}

// Seal is a keyed hash of an entry's place and leaf, which only keeper can make: it
// tells keeper's own entries from others until a checkpoint is over them.
type Seal [16]byte

// Hash is an RFC 6962 hash of a leaf or a node of the log's tree: SHA-256.
type Hash [32]byte

// AuditNode is a node of the Merkle tree over the log: node Index of a level is
// over the entries Index<<Level + 1 to (Index+1)<<Level. Only nodes whose level is
// a multiple of 8 are kept.
type AuditNode struct {
	Level int
	Index int64
	Hash  Hash
}

// Checkpoint is a signed head of the tree over the first Size entries.
type Checkpoint struct {
	Size int64
	Time time.Time
	Note []byte  // a signed note
	Open []int64 // decisions whose outcome was not there yet; the last checkpoint's alone are kept
}

// AuditFilter selects entries; a zero field selects all.
type AuditFilter struct {
	AgentID   string
	Provider  string
	Event     string
	RequestID string
	MinRisk   int
	Rule      string    // one of its findings is of this rule
	Code      string    // of a refusal or a failure
	Status    int       // the provider's
	Text      string    // its path has this in it, in any case; MinText bytes or more
	Since     time.Time // inclusive
	Until     time.Time // exclusive
	Before    int64     // entries with a smaller Seq only; 0: from the newest
	Limit     int       // most entries to return; at least 1
}

// AuditPage is what a search found, newest first.
type AuditPage struct {
	Entries []AuditEntry
	// Next is the Before with which the search goes on; 0: nothing older matches. A
	// search that has looked at very many entries stops, so that there may be more
	// although fewer than Limit were found.
	Next int64
}

// AuditTotals are the log's figures. Those that were pruned count.
type AuditTotals struct {
	Entries  int64
	HighRisk int64 // of risk 1 or 2
	First    int64 // Seq of the first entry that is kept; 0: there is none
	LastSeq  int64
}

// Cursor says how far a sink has taken the audit log.
type Cursor struct {
	Name string // of the sink
	Seq  int64  // the last entry that the sink has for certain; 0: none
	At   time.Time
}

// Draw takes a share of what a quota has left in a window.
type Draw struct {
	Quota, Key, Resource string // which quota, whose share of it, and of what
	Window, Until        time.Time
	Max                  int64 // how much there is in the window
	Spent                int64 // what was used and not drawn before, and always counts; below zero: what was drawn and comes back
	Want                 int64 // how much to take, where there is as much
}

// QuotaUse is how much of a quota was drawn in a window.
type QuotaUse struct {
	Quota, Key, Resource string
	Window, Until        time.Time
	Drawn                int64
}

// Hold is what one of several keepers asks for of a quota's bound of calls at once.
type Hold struct {
	Quota, Key string // which quota, and whose share of it
	Max        int64  // the bound
	Running    int64  // calls under way: so many slots it holds whatever there is
	Want       int64  // slots to hold in all, as far as others do not hold them
}

// Shortage says that keepers were short of slots of a quota.
type Shortage struct {
	Quota, Key string
	Short      int64 // how many more they wanted
	Sharers    int64 // keepers that hold some or are short of some
}

// Running is how many calls that a quota counts are under way.
type Running struct {
	Quota, Key string
	Calls      int64
}

// Package storetest is the one suite that every database of keeper's passes,
// so that the rest of keeper need not know which one it has.
package storetest

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// Agents is what a database does with agents.
type Agents interface {
	InsertAgent(ctx context.Context, a store.Agent) error
	UpdateAgent(ctx context.Context, a store.Agent) error
	DeleteAgent(ctx context.Context, id string, at time.Time) error
	Agents(ctx context.Context) ([]store.Agent, error)
	TouchAgents(ctx context.Context, seen map[string]time.Time) error
}

// Tokens is what a database does with tokens.
type Tokens interface {
	InsertToken(ctx context.Context, t store.Token) error
	Token(ctx context.Context, jti string) (store.Token, error)
	Tokens(ctx context.Context, f store.TokenFilter) ([]store.Token, error)
	PruneTokens(ctx context.Context, before time.Time) (int, error)
}

// Revocations is what a database does to end tokens.
type Revocations interface {
	RevokeToken(ctx context.Context, jti string, at time.Time) error
	RevokeAgent(ctx context.Context, id string, at time.Time) error
}

// Credentials is what a database does with sealed secrets.
type Credentials interface {
	PutCredential(ctx context.Context, c store.Credential) error
	Credentials(ctx context.Context) ([]store.Credential, error)
	DeleteCredential(ctx context.Context, id string) error
	PruneCredential(ctx context.Context, id string, keep int) error
}

// Keys is what a database does with keeper's own keys.
type Keys interface {
	Keys(ctx context.Context) ([]store.Key, error)
	PutKeys(ctx context.Context, keys []store.Key) error
	KEKs(ctx context.Context) ([]store.KEK, error)
	PutKEK(ctx context.Context, k store.KEK) error
	ApplyRewrap(ctx context.Context, r store.Rewrap) error
}

// Imports is what a database remembers of imported values.
type Imports interface {
	Imports(ctx context.Context) ([]store.Import, error)
	PutImport(ctx context.Context, i store.Import) error
}

// Exceptions is what a database does with the values that the scanner lets pass.
type Exceptions interface {
	PutException(ctx context.Context, e store.Exception) error
	Exceptions(ctx context.Context) ([]store.Exception, error)
	DeleteException(ctx context.Context, fingerprint string) error
}

// Settings is what a database does with the settings that keepers share.
type Settings interface {
	PutSettings(ctx context.Context, s store.Settings) error
	Settings(ctx context.Context) (store.Settings, error)
	DeleteSettings(ctx context.Context) error
}

// Cursors is what a database remembers of how far the audit log was taken.
type Cursors interface {
	Cursors(ctx context.Context) ([]store.Cursor, error)
	PutCursor(ctx context.Context, c store.Cursor) error
}

// Quotas is what a database does with how much was used of quotas.
type Quotas interface {
	DrawQuotas(ctx context.Context, draws []store.Draw) (granted []int64, err error)
	QuotaUses(ctx context.Context) ([]store.QuotaUse, error)
	PruneQuotas(ctx context.Context, before time.Time) error
}

// Audit is what a database does with the audit log.
type Audit interface {
	AppendAudit(ctx context.Context, entries []store.AuditEntry, nodes ...store.AuditNode) error
	AuditEntries(ctx context.Context, f store.AuditFilter) (store.AuditPage, error)
	AuditAfter(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error)
	AuditTotals(ctx context.Context) (store.AuditTotals, error)
}

// Tree is what a database does with the Merkle tree over the audit log.
type Tree interface {
	AuditNodes(ctx context.Context, level int, from int64, limit int) ([]store.AuditNode, error)
	PutNodes(ctx context.Context, nodes []store.AuditNode) error
	PutCheckpoint(ctx context.Context, c store.Checkpoint) error
	Checkpoints(ctx context.Context, size int64, limit int) ([]store.Checkpoint, error)
	LastCheckpoint(ctx context.Context) (store.Checkpoint, error)
}

// Successions is what a database does with the heads by which keys of the log took over.
type Successions interface {
	AppendSuccession(ctx context.Context, entry store.AuditEntry, head store.Checkpoint, nodes ...store.AuditNode) error
	Successions(ctx context.Context) ([]store.Checkpoint, error)
}

// Prune is what a database does with old entries of the audit log.
type Prune interface {
	PruneAudit(ctx context.Context, last int64) error
	UsedBytes(ctx context.Context) (int64, error)
}

// Store is all that a database does.
type Store interface {
	Tree
	Successions
	Prune
	Agents
	Tokens
	Revocations
	Credentials
	Keys
	Imports
	Exceptions
	Settings
	Cursors
	Quotas
	Audit
	Ping(ctx context.Context) error
	Close() error
}

// Database makes one new, empty database for a test and returns what opens it.
// Opened again after Close, it is the same database.
type Database func(t *testing.T) (open func() Store)

// Run runs the suite. Each of its tests has a database of its own.
func Run(t *testing.T, database Database) {
	for _, tests := range []map[string]func(*testing.T, *bench){
		lifeTests, agentTests, tokenTests, credentialTests, keyTests, exceptionTests, settingsTests, cursorTests, quotaTests, auditTests, prunedTests, concurrencyTests,
	} {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				open := database(t)
				b := &bench{Store: open(), open: open}
				t.Cleanup(func() {
					if err := b.Close(); err != nil {
						t.Errorf("Close: got %v, want no error", err)
					}
				})
				test(t, b)
			})
		}
	}
}

// bench is the database under test.
type bench struct {
	Store
	open func() Store
}

// reopen closes the database and opens it again.
func (b *bench) reopen(t *testing.T) {
	t.Helper()
	ok(t, "Close", b.Close())
	b.Store = b.open()
}

// now is a time with nanoseconds, in a zone of its own: rows come back in UTC.
func now() time.Time {
	return time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.FixedZone("east", 2*60*60))
}

func ok(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: got error %v, want none", what, err)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// read returns what a method that reads all rows returned, without its error.
func read[T any](t *testing.T, rows func(context.Context) ([]T, error)) []T {
	t.Helper()
	got, err := rows(t.Context())
	ok(t, "reading", err)
	return got
}

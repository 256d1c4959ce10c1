package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

const (
	moveEntries = 4096 // at once
	topLevel    = 56   // of the log's tree
	nodeLevels  = 8    // between those that are kept
)

// ErrNotEmpty is for a database that a store is to be moved to and that holds a keeper.
var ErrNotEmpty = errors.New("it holds a keeper already; name an empty database")

// Move is a store on its way from a data folder to a PostgreSQL database.
type Move struct {
	Folder string // whose keeper is stopped
	Store  string // postgres://…, an empty database
	// Progress is told what is done, and how many entries of how many it is done with.
	// Nil: nobody is.
	Progress func(doing string, entries, of int64)
	Logger   *slog.Logger // nil: nothing is logged
}

// Moved is what was moved.
type Moved struct {
	First, Last int64 // numbers of the audit entries
	Root        string
	Agents      int
	Tokens      int
	Secrets     int // versions of them
	Kept        string
	Again       bool // it was all there already, of a move that was broken off at its end
}

// MoveStore moves the store: all rows, in one transaction, which is committed only when
// what is there then was read again, is the same row for row, and passes the audit log's
// own verification, with the same signed head. Then the database in the folder gets
// another name, so that no keeper starts on it by mistake. Broken off at any point, it
// can be done again. The error wraps fs.ErrNotExist where the folder holds no keeper,
// store.ErrHeld where a keeper runs, and ErrNotEmpty.
func MoveStore(ctx context.Context, m Move) (r Moved, err error) {
	from, to := Place{Folder: m.Folder}, Place{Folder: m.Folder, Store: m.Store}
	if err := m.check(from); err != nil {
		return r, err
	}
	source, err := sqlite.Open(ctx, m.Folder, m.Logger)
	if err != nil {
		return r, from.unopened("the data folder "+m.Folder, "up moving it", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	move := moving{Move: m, source: source}
	if move.totals, err = source.AuditTotals(ctx); err != nil {
		return r, err
	}
	if move.head, err = move.verify(ctx, source, "verifying the source"); err != nil {
		return r, fmt.Errorf("verifying %s before it is moved: %w", from, err)
	}
	err = postgres.Fill(ctx, m.Store, m.Logger, func(db *postgres.DB) error {
		if err := move.copy(ctx, db); err != nil {
			return err
		}
		return move.compare(ctx, db)
	})
	if errors.Is(err, store.ErrExists) {
		r.Again, err = true, move.again(ctx)
	}
	if err != nil {
		return r, to.unopened("the store "+to.String(), "an empty database", err)
	}
	if err := move.report(ctx, &r); err != nil {
		return r, err
	}
	if err := source.Close(); err != nil { // which empties its write-ahead log
		return r, err
	}
	r.Kept = from.database() + movedSuffix
	return r, move.putAway(from)
}

// check refuses a folder that is not a keeper's, or not whole.
func (m Move) check(from Place) error {
	if err := CheckStore(m.Store); err != nil || m.Store == "" {
		return errors.Join(err, CheckStore("-"))
	}
	if backup.Unfinished(m.Folder) {
		return fmt.Errorf("a restore into %s was broken off; run `keeper restore` again", m.Folder)
	}
	if _, err := os.Stat(from.database()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if moved := from.refuseMoved(); moved != nil {
				return moved
			}
		}
		return fmt.Errorf("opening the data folder %s: %w", m.Folder, err)
	}
	return nil
}

// moving is a move under way.
type moving struct {
	Move
	source *sqlite.DB
	totals store.AuditTotals
	head   audit.Checkpoint // of the source, verified
}

func (m *moving) tell(doing string, entries int64) {
	if m.Progress != nil {
		m.Progress(doing, entries, m.totals.LastSeq-max(1, m.totals.First)+1)
	}
}

// verify verifies a store's log, and holds its rows and its index against it. Nothing is
// signed in one that never served.
func (m *moving) verify(ctx context.Context, db Database, doing string) (head audit.Checkpoint, err error) {
	last, err := db.LastCheckpoint(ctx)
	if err != nil {
		return head, err
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return head, err
	}
	public, err := audit.SignerOf(keys, last.Note)
	if err != nil {
		return head, err
	}
	verifier, err := audit.NewVerifier(public)
	if err != nil {
		return head, err
	}
	e, err := audit.EvidenceOf(ctx, db, verifier)
	if err != nil {
		return head, err
	}
	e.Progress = func(entries int64) { m.tell(doing, entries) }
	m.tell(doing, 0)
	report, err := audit.Verify(ctx, e)
	if err != nil {
		return head, err
	}
	if report.Damage != nil {
		return head, fmt.Errorf("%s: %w", report.Damage.Text, audit.ErrTampered)
	}
	if report.Last != m.totals.LastSeq {
		return head, fmt.Errorf("the log ends with entry %d, where there are %d: %w", report.Last, m.totals.LastSeq, audit.ErrTampered)
	}
	if report.Head.State.Digest != "" {
		if err := anchor.Verify(ctx, db, db, report.Head.State, false); err != nil {
			return head, err
		}
	}
	return report.Head, db.CheckIndex(ctx, nil)
}

// copy copies all rows. The search index is made anew on the way.
func (m *moving) copy(ctx context.Context, to *postgres.DB) error {
	for _, step := range []func(context.Context, *postgres.DB) error{m.copyRows, m.copyEntries, m.copyTree} {
		if err := step(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

func (m *moving) copyRows(ctx context.Context, to *postgres.DB) error {
	return errors.Join(
		each(ctx, m.source.Agents, to.InsertAgent),
		each(ctx, tokens(m.source), to.InsertToken),
		each(ctx, m.source.KEKs, to.PutKEK),
		each(ctx, m.source.Credentials, to.PutCredential),
		each(ctx, m.source.Keys, func(ctx context.Context, k store.Key) error { return to.PutKeys(ctx, []store.Key{k}) }),
		each(ctx, m.source.Imports, to.PutImport),
		each(ctx, m.source.Exceptions, to.PutException),
		each(ctx, settings(m.source), to.PutSettings),
		each(ctx, m.source.Cursors, to.PutCursor),
		each(ctx, m.source.QuotaUses, func(ctx context.Context, u store.QuotaUse) error {
			_, err := to.DrawQuotas(ctx, []store.Draw{{Quota: u.Quota, Key: u.Key, Resource: u.Resource, Window: u.Window, Until: u.Until, Spent: u.Drawn}})
			return err
		}),
	)
}

// each hands each of all rows on, up to an error.
func each[T any](ctx context.Context, all func(context.Context) ([]T, error), put func(context.Context, T) error) error {
	rows, err := all(ctx)
	for i := 0; err == nil && i < len(rows); i++ {
		err = put(ctx, rows[i])
	}
	return err
}

// settings reads the settings that keepers share, one at most.
func settings(db Database) func(context.Context) ([]store.Settings, error) {
	return func(ctx context.Context) ([]store.Settings, error) {
		s, err := db.Settings(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		return []store.Settings{s}, err
	}
}

// tokens reads all tokens, revoked or not.
func tokens(db Database) func(context.Context) ([]store.Token, error) {
	return func(ctx context.Context) ([]store.Token, error) {
		live, err := db.Tokens(ctx, store.TokenFilter{})
		if err != nil {
			return nil, err
		}
		revoked, err := db.Tokens(ctx, store.TokenFilter{Revoked: true})
		return append(live, revoked...), err
	}
}

func (m *moving) copyEntries(ctx context.Context, to *postgres.DB) error {
	pruned, err := m.prunedHighRisk(ctx)
	if err != nil {
		return err
	}
	to.BeginLog(max(1, m.totals.First), pruned)
	return m.entries(ctx, "copying", func(some []store.AuditEntry) error { return to.AppendAudit(ctx, some) })
}

// entries hands the source's entries on, some at a time.
func (m *moving) entries(ctx context.Context, doing string, visit func([]store.AuditEntry) error) error {
	first := max(1, m.totals.First)
	for last := first - 1; last < m.totals.LastSeq; {
		some, err := m.source.AuditAfter(ctx, last, moveEntries)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			return fmt.Errorf("entries from %d on are missing: %w", last+1, store.ErrDamaged)
		}
		if err := visit(some); err != nil {
			return err
		}
		last = some[len(some)-1].Seq
		m.tell(doing, last-first+1)
	}
	return nil
}

// prunedHighRisk is how many entries of high risk were pruned.
func (m *moving) prunedHighRisk(ctx context.Context) (n int64, err error) {
	if m.totals.First <= 1 {
		return 0, nil
	}
	n = m.totals.HighRisk
	return n, m.entries(ctx, "counting", func(some []store.AuditEntry) error {
		for i := range some {
			if some[i].Risk > 0 {
				n--
			}
		}
		return nil
	})
}

// copyTree copies the nodes of the tree and its signed heads.
func (m *moving) copyTree(ctx context.Context, to *postgres.DB) error {
	err := nodes(ctx, m.source, func(some []store.AuditNode) error { return to.PutNodes(ctx, some) })
	if err != nil {
		return err
	}
	err = checkpoints(ctx, m.source, func(c store.Checkpoint) error { return to.PutCheckpoint(ctx, c) })
	if err != nil {
		return err
	}
	if err := each(ctx, m.source.Successions, to.PutSuccession); err != nil {
		return err
	}
	last, err := m.source.LastCheckpoint(ctx) // with the decisions that are open
	if err != nil {
		return err
	}
	return to.PutCheckpoint(ctx, last)
}

func nodes(ctx context.Context, db Database, visit func([]store.AuditNode) error) error {
	for level := nodeLevels; level <= topLevel; level += nodeLevels {
		for from := int64(0); ; {
			some, err := db.AuditNodes(ctx, level, from, moveEntries)
			if err != nil {
				return err
			}
			if len(some) == 0 {
				break
			}
			if err := visit(some); err != nil {
				return err
			}
			from = some[len(some)-1].Index + 1
		}
	}
	return nil
}

func checkpoints(ctx context.Context, db Database, visit func(store.Checkpoint) error) error {
	for size := int64(0); ; {
		some, err := db.Checkpoints(ctx, size, moveEntries)
		if err != nil || len(some) == 0 {
			return err
		}
		for _, c := range some {
			if err := visit(c); err != nil {
				return err
			}
			size = c.Size
		}
	}
}

// compare holds what is in the database against the source, row for row, and has the
// audit log's own verification look at it.
func (m *moving) compare(ctx context.Context, to Database) error {
	is, err := to.AuditTotals(ctx)
	if err != nil {
		return err
	}
	if is != m.totals {
		return fmt.Errorf("the log there has other figures, %+v, than here, %+v", is, m.totals)
	}
	head, err := m.verify(ctx, to, "verifying")
	if err != nil {
		return fmt.Errorf("verifying what was moved: %w", err)
	}
	if head != m.head {
		return fmt.Errorf("the signed head there is of %d entries, root %s, and here of %d, root %s", head.Size, head.Root, m.head.Size, m.head.Root)
	}
	for _, step := range []func(context.Context, Database) error{m.compareRows, m.compareEntries, m.compareTree} {
		if err := step(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

func (m *moving) compareRows(ctx context.Context, to Database) error {
	return errors.Join(
		same(ctx, "agents", m.source.Agents, to.Agents),
		same(ctx, "tokens", tokens(m.source), tokens(to)),
		same(ctx, "key-encryption keys", m.source.KEKs, to.KEKs),
		same(ctx, "secrets", m.source.Credentials, to.Credentials),
		same(ctx, "keys", m.source.Keys, to.Keys),
		same(ctx, "imports", m.source.Imports, to.Imports),
		same(ctx, "exceptions", m.source.Exceptions, to.Exceptions),
		same(ctx, "shared settings", settings(m.source), settings(to)),
		same(ctx, "cursors", m.source.Cursors, to.Cursors),
		same(ctx, "uses of quotas", m.source.QuotaUses, to.QuotaUses),
		same(ctx, "heads by which keys took over", m.source.Successions, to.Successions),
	)
}

// same returns an error that names the rows unless both read the same.
func same[T any](ctx context.Context, what string, here, there func(context.Context) ([]T, error)) error {
	want, err := here(ctx)
	if err != nil {
		return err
	}
	got, err := there(ctx)
	if err != nil {
		return err
	}
	if len(want) != len(got) {
		return fmt.Errorf("there are %d %s there, and %d here", len(got), what, len(want))
	}
	for i := range want {
		if !alike(want[i], got[i]) {
			return fmt.Errorf("the %s there are not those here: the one in place %d differs", what, i+1)
		}
	}
	return nil
}

// alike compares rows, to which an empty list or text of bytes is as none.
func alike(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		f, g := x.Field(i), y.Field(i)
		if f.Kind() == reflect.Slice && f.Len() == 0 && g.Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(f.Interface(), g.Interface()) {
			return false
		}
	}
	return true
}

func (m *moving) compareEntries(ctx context.Context, to Database) error {
	return m.entries(ctx, "comparing", func(some []store.AuditEntry) error {
		there, err := to.AuditAfter(ctx, some[0].Seq-1, len(some))
		if err != nil {
			return err
		}
		if len(there) != len(some) {
			return fmt.Errorf("entries from %d on are missing there", some[0].Seq)
		}
		for i := range some {
			if !alike(some[i], there[i]) {
				return fmt.Errorf("entry %d there is not the one here", some[i].Seq)
			}
		}
		return nil
	})
}

func (m *moving) compareTree(ctx context.Context, to Database) error {
	allNodes := func(db Database) func(context.Context) ([]store.AuditNode, error) {
		return func(ctx context.Context) (all []store.AuditNode, err error) {
			err = nodes(ctx, db, func(some []store.AuditNode) error {
				all = append(all, some...)
				return nil
			})
			return all, err
		}
	}
	allHeads := func(db Database) func(context.Context) ([]store.Checkpoint, error) {
		return func(ctx context.Context) (all []store.Checkpoint, err error) {
			err = checkpoints(ctx, db, func(c store.Checkpoint) error {
				all = append(all, c)
				return nil
			})
			if err != nil {
				return nil, err
			}
			last, err := db.LastCheckpoint(ctx)
			return append(all, last), err
		}
	}
	return errors.Join(
		same(ctx, "nodes of the log's tree", allNodes(m.source), allNodes(to)),
		same(ctx, "signed heads", allHeads(m.source), allHeads(to)),
	)
}

// again looks whether the database holds all that is to be moved, since a move was broken
// off between its commit and its end.
func (m *moving) again(ctx context.Context) error {
	there, err := postgres.Open(ctx, m.Store, m.Logger)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := m.compare(ctx, there); err != nil {
		return fmt.Errorf("%w (%w)", ErrNotEmpty, err)
	}
	return nil
}

func (m *moving) report(ctx context.Context, r *Moved) error {
	agents, err := m.source.Agents(ctx)
	if err != nil {
		return err
	}
	issued, err := tokens(m.source)(ctx)
	if err != nil {
		return err
	}
	secrets, err := m.source.Credentials(ctx)
	r.First, r.Last, r.Root = max(1, m.totals.First), m.totals.LastSeq, m.head.Root.String()
	r.Agents, r.Tokens, r.Secrets = len(agents), len(issued), len(secrets)
	return err
}

// putAway gives the database in the folder its other name.
func (m *moving) putAway(from Place) (err error) {
	release, err := sqlite.Lock(m.Folder)
	if err != nil {
		return from.unopened("the data folder "+m.Folder, "up moving it", err)
	}
	defer func() { err = errors.Join(err, release()) }()
	for _, beside := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(from.database() + beside); err == nil {
			return fmt.Errorf("the store is moved, but %s is still in use: end what reads it, and do this again", from.database())
		}
	}
	if err := os.Rename(from.database(), from.database()+movedSuffix); err != nil {
		return fmt.Errorf("the store is moved, but its old database keeps its name: %w", err)
	}
	folder, err := os.Open(m.Folder)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Package archive moves old entries out of the audit log into files that prove
// themselves. Its one invariant: an entry is deleted from the store only after a file
// that holds it was written, synced, read again and verified, and after an entry of
// the log says so. It never imports the vault, the scanner, the proxy or a database.
package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

const (
	blockEntries = 256 // entries leave the store in multiples of it
	// DefaultSegment is how many entries go into one file.
	DefaultSegment = 256 * blockEntries

	defaultInterval = 10 * time.Minute
	firstPass       = time.Minute // after the start
	proofSuffix     = ".proof"
)

// errWait ends a pass before a segment that not everyone has taken.
var errWait = errors.New("the segment is still needed")

// Log is the audit log.
type Log interface {
	Record(ctx context.Context, e audit.Event) error
	Checkpoint(ctx context.Context) ([]byte, error)
	WriteProof(ctx context.Context, w io.Writer, first, last int64) (int64, error)
	After(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error)
	Entries(ctx context.Context, f store.AuditFilter) (store.AuditPage, error)
}

// Store is where the entries are.
type Store interface {
	AuditTotals(ctx context.Context) (store.AuditTotals, error)
	LastCheckpoint(ctx context.Context) (store.Checkpoint, error)
	PruneAudit(ctx context.Context, last int64) error
	UsedBytes(ctx context.Context) (int64, error)
}

// Config is what an Archive needs. Log, Store and PublicKey are required, and Pruned.
type Config struct {
	Log       Log
	Store     Store
	PublicKey string // of the log
	Folder    string // for the files; made, mode 0700

	// Entries leave when they are older than MaxAge, and the oldest while the store
	// uses more than MaxBytes. Zero: never for that reason.
	MaxAge   time.Duration
	MaxBytes int64
	// SegmentEntries go into one file; a multiple of 256. Zero: DefaultSegment.
	SegmentEntries int64

	// Pruned is the number of the last entry that the log says was pruned.
	Pruned func(ctx context.Context) (int64, error)
	// Needed is the number of the last entry that may leave, for those who still read
	// the log. Nil: any may.
	Needed func() int64
	// Restate makes the log say again what the state of keeper's rows is, before the
	// entries leave that said so. Nil: nothing is said of it.
	Restate func(ctx context.Context) error

	Interval time.Duration    // between passes; zero: 10 min
	Logger   *slog.Logger     // nil: slog.Default
	Now      func() time.Time // nil: time.Now
}

// Archive lets old entries leave, now and then. It is safe for concurrent use.
type Archive struct {
	Config
	cancel  context.CancelFunc
	running sync.WaitGroup

	passing sync.Mutex // one pass at a time
	mu      sync.Mutex // guards all below
	problem string
	since   time.Time
}

// Open begins to let entries leave. The error names the field of the configuration and
// the mend.
func Open(ctx context.Context, c Config) (*Archive, error) {
	if err := Check(c); err != nil {
		return nil, err
	}
	if c.SegmentEntries == 0 {
		c.SegmentEntries = DefaultSegment
	}
	if err := os.MkdirAll(c.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("audit.retention.folder: %w", err)
	}
	a := &Archive{Config: c}
	a.fillDefaults()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	a.running.Go(func() { a.run(run) })
	return a, nil
}

// Check says what is wrong with a Config, as Open does, and opens nothing.
func Check(c Config) error {
	switch {
	case c.MaxAge < 0 || c.MaxBytes < 0:
		return errors.New("audit.retention: maxAge and maxBytes are not below zero; leave out what is not to count")
	case c.MaxAge == 0 && c.MaxBytes == 0:
		return errors.New("audit.retention: it says neither maxAge nor maxBytes; give one, or leave it out to keep everything")
	case c.SegmentEntries != 0 && (c.SegmentEntries < blockEntries || c.SegmentEntries%blockEntries != 0):
		return fmt.Errorf("audit.retention.segmentEntries: want a multiple of %d", blockEntries)
	}
	return nil
}

func (a *Archive) fillDefaults() {
	if a.Interval <= 0 {
		a.Interval = defaultInterval
	}
	if a.Logger == nil {
		a.Logger = slog.Default()
	}
	if a.Now == nil {
		a.Now = time.Now
	}
	if a.Needed == nil {
		a.Needed = func() int64 { return 1<<63 - 1 }
	}
	if a.Restate == nil {
		a.Restate = func(context.Context) error { return nil }
	}
}

// Close ends the pass that is under way, at the end of a step.
func (a *Archive) Close(context.Context) error {
	a.cancel()
	a.running.Wait()
	return nil
}

func (a *Archive) run(ctx context.Context) {
	timer := time.NewTimer(min(a.Interval, firstPass))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if _, err := a.Pass(ctx); err != nil && ctx.Err() == nil {
			a.Logger.ErrorContext(ctx, "audit entries could not leave", "error", err)
		}
		timer.Reset(a.Interval)
	}
}

// Problem says why entries that should leave cannot, and since when; "": they can.
func (a *Archive) Problem() (text string, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.problem, a.since
}

func (a *Archive) note(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if text != a.problem {
		a.problem, a.since = text, a.Now()
	}
}

// Pass lets all segments leave whose time has come, and returns how many did.
func (a *Archive) Pass(ctx context.Context) (segments int, err error) {
	a.passing.Lock()
	defer a.passing.Unlock()
	segments, err = a.pass(ctx)
	switch {
	case errors.Is(err, errWait):
		a.note("old entries wait for a sink or a witness that has not taken them yet")
		return segments, nil
	case err == nil:
		a.note("")
	case ctx.Err() == nil:
		a.note("old entries cannot be moved to the archive")
	}
	return segments, err
}

func (a *Archive) pass(ctx context.Context) (segments int, err error) {
	if err := a.resume(ctx); err != nil {
		return 0, err
	}
	for {
		s, due, err := a.next(ctx)
		if err != nil || !due {
			return segments, err
		}
		if err := a.leave(ctx, s); err != nil {
			return segments, fmt.Errorf("moving entries %d to %d to the archive: %w", s.first, s.last, err)
		}
		segments++
	}
}

// resume deletes what the log says was pruned and is still there, since keeper was
// stopped in between.
func (a *Archive) resume(ctx context.Context) error {
	last, err := a.Pruned(ctx)
	if err != nil || last == 0 {
		return err
	}
	totals, err := a.Store.AuditTotals(ctx)
	if err != nil || totals.First > last {
		return err
	}
	return a.Store.PruneAudit(ctx, last)
}

// segment is a run of entries that leaves.
type segment struct {
	first, last int64
	reason      string
}

func (s segment) name() string { return fmt.Sprintf("audit-%012d-%012d.ndjson", s.first, s.last) }

// next is the oldest segment, and whether its time has come. The error is errWait where
// someone still needs it.
func (a *Archive) next(ctx context.Context) (s segment, due bool, err error) {
	totals, err := a.Store.AuditTotals(ctx)
	if err != nil {
		return s, false, err
	}
	s.first = totals.First
	s.last = (totals.First - 1) + a.SegmentEntries - (totals.First-1)%a.SegmentEntries
	sealed, err := a.sealed(ctx)
	if err != nil || totals.First == 0 || s.last > min(sealed, totals.LastSeq-blockEntries) {
		return s, false, err
	}
	if s.reason, err = a.reason(ctx, s); err != nil || s.reason == "" {
		return s, false, err
	}
	if s.last > a.Needed() {
		return s, false, errWait
	}
	return s, true, nil
}

// sealed is the number of the last entry that is signed and whose call, and those
// before it, have an outcome.
func (a *Archive) sealed(ctx context.Context) (int64, error) {
	head, err := a.Store.LastCheckpoint(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	sealed := head.Size
	for _, open := range head.Open {
		sealed = min(sealed, open-1)
	}
	return sealed, err
}

// reason is why the segment leaves, or "".
func (a *Archive) reason(ctx context.Context, s segment) (string, error) {
	if a.MaxAge > 0 {
		newest, err := a.Log.After(ctx, s.last-1, 1)
		if err != nil {
			return "", err
		}
		if len(newest) == 1 && newest[0].Time.Before(a.Now().Add(-a.MaxAge)) {
			return "age", nil
		}
	}
	if a.MaxBytes > 0 {
		used, err := a.Store.UsedBytes(ctx)
		if err != nil {
			return "", err
		}
		if used > a.MaxBytes {
			return "size", nil
		}
	}
	return "", nil
}

// leave writes the segment to a file, verifies it there, says so in the log, and
// deletes it from the store.
func (a *Archive) leave(ctx context.Context, s segment) error {
	if err := a.write(ctx, s); err != nil {
		return err
	}
	sum, err := a.verify(ctx, s)
	if err != nil {
		return err
	}
	if err := a.restate(ctx, s); err != nil {
		return err
	}
	err = a.Log.Record(ctx, audit.Pruned{First: s.first, Last: s.last, Export: s.name(), SHA256: sum, Reason: s.reason})
	if err != nil {
		return err
	}
	// A log that begins with a later entry is sound where what says so is signed.
	if _, err := a.Log.Checkpoint(ctx); err != nil {
		return err
	}
	a.Logger.InfoContext(ctx, "audit entries archived", "first", s.first, "last", s.last, "file", s.name(), "reason", s.reason)
	return a.Store.PruneAudit(ctx, s.last)
}

// restate has the state said again if the segment says something of it.
func (a *Archive) restate(ctx context.Context, s segment) error {
	page, err := a.Log.Entries(ctx, store.AuditFilter{Event: "state.changed", Before: s.last + 1, Limit: 1})
	if err != nil || len(page.Entries) == 0 && page.Next == 0 {
		return err
	}
	return a.Restate(ctx)
}

func (a *Archive) path(name string) string { return filepath.Join(a.Folder, name) }

func (a *Archive) write(ctx context.Context, s segment) error {
	err := a.save(s.name()+proofSuffix, func(w io.Writer) error {
		_, err := a.Log.WriteProof(ctx, w, s.first, s.last)
		return err
	})
	if err != nil {
		return err
	}
	return a.save(s.name(), func(w io.Writer) error { return a.writeEntries(ctx, w, s) })
}

func (a *Archive) writeEntries(ctx context.Context, w io.Writer, s segment) error {
	for after := s.first - 1; after < s.last; {
		entries, err := a.Log.After(ctx, after, int(min(1000, s.last-after)))
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return fmt.Errorf("entry %d is missing: %w", after+1, audit.ErrTampered)
		}
		for i := range entries {
			if _, err := w.Write(append(audit.Leaf(&entries[i]), '\n')); err != nil {
				return err
			}
			after = entries[i].Seq
		}
	}
	return nil
}

// save writes a file that is there only when all of it is on disk.
func (a *Archive) save(name string, write func(io.Writer) error) error {
	part := a.path(name + ".part")
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	err = errors.Join(write(out), out.Flush(), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(part, a.path(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	folder, err := os.Open(a.Folder)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// verify reads the files again, and returns the digest of the entries' one.
func (a *Archive) verify(ctx context.Context, s segment) (sum string, err error) {
	proof, err := os.Open(a.path(s.name() + proofSuffix))
	if err != nil {
		return "", err
	}
	defer proof.Close()
	e, named, err := audit.ReadProof(proof)
	if err != nil {
		return "", err
	}
	if err := e.TakeKey(a.PublicKey, named); err != nil {
		return "", err
	}
	file, err := os.Open(a.path(s.name()))
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest := sha256.New()
	e.Entries = audit.LeavesOf(io.TeeReader(file, digest))
	report, err := audit.Verify(ctx, e)
	switch {
	case err != nil:
		return "", err
	case report.Damage != nil:
		return "", fmt.Errorf("%s: %w", report.Damage.Text, audit.ErrTampered)
	case report.First != s.first || report.Last != s.last:
		return "", fmt.Errorf("the file holds entries %d to %d: %w", report.First, report.Last, audit.ErrTampered)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

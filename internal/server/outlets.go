package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/archive"
	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/witness"
)

const archiveFolder = "audit-archive"

// Audit is what becomes of the audit log. The zero Audit keeps all of it, here alone.
type Audit struct {
	// CheckpointEntries and CheckpointInterval say how long entries wait for a signed
	// head at most. Zero: 1000, 1 s.
	CheckpointEntries  int
	CheckpointInterval time.Duration
	// WitnessFiles and WitnessURLs are where heads go, as they are made.
	WitnessFiles []string
	WitnessURLs  []string
	// Sinks are where entries go.
	Sinks []sink.Spec
	// Retention is nil where all entries stay.
	Retention *Retention
	// Acknowledge says where an entry is before what it precedes happens: one of
	// AcknowledgeDisk, which "" stands for, and AcknowledgeStore. It counts where
	// Config.Store is given.
	Acknowledge string
	// MaxUnshipped is how many bytes of entries may be on this keeper's disk and not in
	// Config.Store yet; then calls are refused. Zero: 256 MiB.
	MaxUnshipped int64
}

// Where an entry is durable before its call goes on.
const (
	AcknowledgeDisk  = "disk"  // of this keeper; it goes to the database behind the call's back
	AcknowledgeStore = "store" // in the database, too
)

// CheckShipping says what is wrong with how entries go to the database.
func (a Audit) CheckShipping() error {
	switch a.Acknowledge {
	case "", AcknowledgeDisk, AcknowledgeStore:
	default:
		return errors.New("audit.acknowledge: want disk or store")
	}
	if a.MaxUnshipped < 0 {
		return fmt.Errorf("audit.maxUnshipped: got %d, want 0 or more bytes", a.MaxUnshipped)
	}
	return nil
}

// Retention says which entries leave the store for files.
type Retention struct {
	MaxAge         time.Duration // zero: not by age
	MaxBytes       int64         // that the store may use; zero: not by size
	Folder         string        // empty: "audit-archive" in DataDir
	SegmentEntries int64         // zero: archive.DefaultSegment
}

// checkFiles: what is appended to a file of keeper's own, or by two, ruins it.
func (a Audit) checkFiles(dataDir string) error {
	type file struct{ field, path string }
	var files []file
	for i, path := range a.WitnessFiles {
		files = append(files, file{fmt.Sprintf("audit.witnesses.files[%d]", i), path})
	}
	for i, s := range a.Sinks {
		files = append(files, file{fmt.Sprintf("audit.sinks[%d].path", i), s.Path})
	}
	dir, err := resolve(dataDir)
	if err != nil {
		return fmt.Errorf("finding the data folder: %w", err)
	}
	taken := map[string]string{}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		path, err := resolve(f.path)
		if err != nil {
			return fmt.Errorf("%s: %w", f.field, err)
		}
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("%s: %s is in the data folder, where the files are keeper's own; name a file elsewhere", f.field, f.path)
		}
		if other := taken[path]; other != "" {
			return fmt.Errorf("%s: %s is written to by %s; name another file", f.field, f.path, other)
		}
		taken[path] = f.field
	}
	return nil
}

// resolve makes a path absolute and follows the links in as much of it as can be
// looked at: what cannot is for whoever opens it to report.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for at, rest := path, ""; at != filepath.Dir(at); at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest), nil
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
	return path, nil
}

// outlets are what the audit log leaves by, witnesses apart: those are a generation's.
type outlets struct {
	mu      sync.RWMutex // guards what a reload replaces
	sinks   *sink.Set
	archive *archive.Archive
}

func (o *outlets) now() (*sink.Set, *archive.Archive) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.sinks, o.archive
}

func (s *Server) openOutlets(ctx context.Context) (err error) {
	c := s.here(s.config.Audit)
	if s.now().witnesses, err = witness.Open(ctx, s.witnessesOf(c)); err != nil {
		return s.tampered(err)
	}
	s.out.sinks, err = sink.Open(ctx, s.sinksOf(c))
	if err != nil || c.Retention == nil {
		return err
	}
	s.out.archive, err = archive.Open(ctx, s.archiveOf(c))
	return err
}

func (s *Server) witnessesOf(c Audit) witness.Config {
	origin, _, _ := strings.Cut(s.log.PublicKey(), "+")
	return witness.Config{Log: s.log, Origin: origin, Files: c.WitnessFiles, URLs: c.WitnessURLs, Logger: s.config.Logger}
}

func (s *Server) sinksOf(c Audit) sink.Config {
	return sink.Config{Log: s.log, Cursors: s.db, Sinks: c.Sinks, Logger: s.config.Logger, Version: s.config.Version}
}

func (s *Server) archiveOf(c Audit) archive.Config {
	return archive.Config{
		Log: s.log, Store: s.db, PublicKey: s.log.PublicKey(), Folder: cmp.Or(c.Retention.Folder, filepath.Join(s.config.DataDir, archiveFolder)),
		MaxAge: c.Retention.MaxAge, MaxBytes: c.Retention.MaxBytes, SegmentEntries: c.Retention.SegmentEntries,
		Pruned: s.log.Pruned, Needed: s.needed, Restate: s.rows.Restate, Logger: s.config.Logger,
	}
}

// checkOutlets says what is wrong with sinks and retention, without opening them.
func (s *Server) checkOutlets(c Audit) error {
	if err := sink.Check(s.sinksOf(c)); err != nil {
		return err
	}
	if c.Retention == nil {
		return nil
	}
	return archive.Check(s.archiveOf(c))
}

// reopenOutlets puts those in the place of the ones of before that changed. Each sink
// goes on where its cursor stands. Where one cannot be opened, those of before go on.
func (s *Server) reopenOutlets(ctx context.Context, before, now Audit, changed []string) error {
	var all []error
	if slices.Contains(changed, "sinks") {
		all = append(all, s.reopenSinks(ctx, before, now))
	}
	if slices.Contains(changed, "retention") {
		all = append(all, s.reopenArchive(ctx, before, now))
	}
	return errors.Join(all...)
}

func (s *Server) reopenSinks(ctx context.Context, before, now Audit) error {
	closing, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	sinks, _ := s.out.now()
	if err := sinks.Close(closing); err != nil {
		s.config.Logger.WarnContext(ctx, "sinks not closed as they should be", "error", err)
	}
	opened, err := sink.Open(ctx, s.sinksOf(now))
	if err != nil {
		err = fmt.Errorf("opening the audit sinks: %w; those of before go on", err)
		var again error
		if opened, again = sink.Open(ctx, s.sinksOf(before)); again != nil {
			return errors.Join(err, again)
		}
	}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.out.sinks = opened
	return err
}

func (s *Server) reopenArchive(ctx context.Context, before, now Audit) error {
	if _, a := s.out.now(); a != nil {
		if err := a.Close(ctx); err != nil { // without mu, which a pass under way may want
			s.config.Logger.WarnContext(ctx, "archive not closed as it should be", "error", err)
		}
	}
	var opened *archive.Archive
	var err error
	if now.Retention != nil {
		opened, err = archive.Open(ctx, s.archiveOf(now))
	}
	if err != nil && before.Retention != nil {
		err = fmt.Errorf("opening the audit archive: %w; the one of before goes on", err)
		var again error
		if opened, again = archive.Open(ctx, s.archiveOf(before)); again != nil {
			return errors.Join(err, again)
		}
	}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.out.archive = opened
	return err
}

// archiveNow is nil where no retention is configured.
func (s *Server) archiveNow(c Config) func(context.Context) (int, error) {
	if c.Audit.Retention == nil {
		return nil
	}
	return func(ctx context.Context) (int, error) {
		_, a := s.out.now()
		if a == nil {
			return 0, errors.New("the audit archive is not open")
		}
		return a.Pass(ctx)
	}
}

// closeOutlets ends them. The log is closed before, so that its last entries and its last
// head leave, too.
func (s *Server) closeOutlets(ctx context.Context) error {
	sinks, a := s.out.now()
	var all []error
	if a != nil {
		all = append(all, a.Close(ctx))
	}
	if sinks != nil {
		all = append(all, sinks.Close(ctx))
	}
	if now := s.now(); now != nil && now.witnesses != nil {
		all = append(all, now.witnesses.Close(ctx))
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("closing what the audit log leaves by: %w", err)
	}
	return nil
}

// needed is the last entry that all of them have taken. What a witness has seen that has
// taken no head yet in this run is not known: the proof from there on may need any.
func (s *Server) needed() int64 {
	seq := int64(math.MaxInt64)
	sinks, _ := s.out.now()
	for _, now := range sinks.Status() {
		seq = min(seq, now.Seq)
	}
	for _, now := range s.now().witnesses.Status() {
		seq = min(seq, now.Size)
	}
	return seq
}

// status is how it stands with each.
func (s *Server) outlets() (all []api.Outlet) {
	sinks, a := s.out.now()
	witnesses := s.now().witnesses
	if witnesses == nil || sinks == nil {
		return nil // keeper has not started yet
	}
	for _, now := range sinks.Status() {
		all = append(all, api.Outlet{Kind: "sink", Name: now.Name, Type: now.Type, Seq: now.Seq, Behind: now.Behind, Problem: now.Problem, Since: now.Since})
	}
	size := s.log.Signed()
	for _, now := range witnesses.Status() {
		all = append(all, api.Outlet{Kind: "witness", Name: now.Name, Seq: now.Size, Behind: max(0, size-now.Size), Problem: now.Problem, Since: now.Since})
	}
	if a != nil {
		problem, since := a.Problem()
		all = append(all, api.Outlet{Kind: "archive", Name: archiveFolder, Problem: problem, Since: since})
	}
	return all
}

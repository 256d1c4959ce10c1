package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
)

const (
	defaultMaxBytes = 64 << 20
	leastMaxBytes   = 4 << 10
	leastMaxAge     = time.Minute

	// A file is synced no more often than that, so that it takes little from the disk
	// that the log's own commits wait for.
	filePace = 100 * time.Millisecond

	// stampLayout is what a rotated file has behind the path and a dot. The rotated
	// files, sorted by name, and then the file itself are the log in its order.
	stampLayout = "20060102T150405.000000000"
)

// file appends lines to a file. What carry returned is on disk.
type file struct {
	path     string
	maxBytes int64
	maxAge   time.Duration
	keep     int
	format   export.Format
	producer export.Producer
	now      func() time.Time

	f       *os.File // nil: to be opened
	size    int64
	written time.Time // the last time that something was written to it
}

func newFile(c Config, s Spec) (carrier, error) {
	f := &file{
		maxBytes: s.MaxBytes, maxAge: s.MaxAge, keep: s.Keep, format: s.format(), producer: c.producer(), now: c.Now,
	}
	if f.maxBytes == 0 {
		f.maxBytes = defaultMaxBytes
	}
	switch {
	case s.Path == "":
		return nil, wrong("path", "must be set, such as /var/log/keeper/audit.ndjson")
	case f.maxBytes < leastMaxBytes:
		return nil, wrong("maxBytes", "must be at least %d", leastMaxBytes)
	case f.maxAge < 0 || f.maxAge > 0 && f.maxAge < leastMaxAge:
		return nil, wrong("maxAge", "must be at least %s", leastMaxAge)
	case f.keep < 0:
		return nil, wrong("keep", "must not be below 0; 0 keeps all")
	}
	var err error
	if f.path, err = filepath.Abs(s.Path); err != nil {
		return nil, wrong("path", "is relative, and the working folder is not there; make it absolute")
	}
	return f, nil
}

func (f *file) manner() manner         { return manner{pace: filePace} }
func (f *file) alive() context.Context { return context.Background() }

func (f *file) carry(_ context.Context, entries []store.AuditEntry) (n int, err error) {
	defer func() {
		if err != nil { // a line may be torn: open looks
			f.drop()
			err = fmt.Errorf("writing %s: %w", f.path, err)
		}
	}()
	for n < len(entries) {
		if err := f.ready(); err != nil {
			return n, err
		}
		lines, taken := f.fill(entries[n:])
		if taken == 0 {
			if err := f.rotate(); err != nil {
				return n, err
			}
			continue
		}
		if err := f.write(lines); err != nil {
			return n, err
		}
		n += taken
	}
	return n, nil
}

// ready opens the file, also where another program has moved it away, and rotates it
// where a new period has begun.
func (f *file) ready() error {
	if f.f != nil {
		is, err := os.Stat(f.path)
		if was, e := f.f.Stat(); err != nil || e != nil || !os.SameFile(is, was) {
			f.drop()
		} else {
			f.size = was.Size() // another program may have emptied it
		}
	}
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.maxAge > 0 && f.size > 0 && f.now().UTC().Truncate(f.maxAge).After(f.written.UTC().Truncate(f.maxAge)) {
		if err := f.rotate(); err != nil {
			return err
		}
		return f.open()
	}
	return nil
}

// open opens the file, or creates it, and ends a line that a kill or a full disk has
// torn.
func (f *file) open() error {
	if is, err := os.Stat(f.path); err == nil && !is.Mode().IsRegular() {
		return errIrregular // to open a pipe would wait for its reader
	}
	opened, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.f = opened
	is, err := opened.Stat()
	if err != nil {
		return err
	}
	if !is.Mode().IsRegular() {
		return errIrregular
	}
	f.size, f.written = is.Size(), is.ModTime()
	if f.size == 0 {
		return syncFolder(f.path)
	}
	last := make([]byte, 1)
	if _, err := opened.ReadAt(last, f.size-1); err != nil && err != io.EOF {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	n, err := opened.Write([]byte{'\n'})
	f.size += int64(n)
	return err
}

// fill returns the lines of as many entries as fit into the file: at least one in an
// empty file, and none where it must be rotated.
func (f *file) fill(entries []store.AuditEntry) (lines []byte, taken int) {
	for i := range entries {
		before := len(lines)
		lines = append(f.format.Append(lines, &entries[i], f.producer), '\n')
		if f.size+int64(len(lines)) > f.maxBytes && f.size+int64(before) > 0 {
			return lines[:before], taken
		}
		taken++
	}
	return lines, taken
}

func (f *file) write(lines []byte) error {
	n, err := f.f.Write(lines)
	f.size += int64(n)
	f.written = f.now()
	if err != nil {
		return err
	}
	return f.f.Sync()
}

// rotate moves the file aside and deletes the oldest beyond keep. The file must be
// opened again.
func (f *file) rotate() error {
	f.drop()
	stamps, err := f.rotated()
	if err != nil {
		return err
	}
	stamp := f.now().UTC()
	// The name must be new, and sort last although the clock was set back.
	if n := len(stamps); n > 0 && !stamp.After(stamps[n-1]) {
		stamp = stamps[n-1].Add(1)
	}
	if err := os.Rename(f.path, f.aside(stamp)); err != nil {
		return err
	}
	if err := syncFolder(f.path); err != nil {
		return err
	}
	stamps = append(stamps, stamp)
	for f.keep > 0 && len(stamps) > f.keep {
		if err := os.Remove(f.aside(stamps[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		stamps = stamps[1:]
	}
	return nil
}

func (f *file) aside(stamp time.Time) string { return f.path + "." + stamp.Format(stampLayout) }

// rotated are the stamps of the rotated files, in ascending order.
func (f *file) rotated() (stamps []time.Time, err error) {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil, err
	}
	prefix := filepath.Base(f.path) + "."
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok {
			continue
		}
		if stamp, err := time.Parse(stampLayout, rest); err == nil && stamp.Format(stampLayout) == rest {
			stamps = append(stamps, stamp)
		}
	}
	slices.SortFunc(stamps, time.Time.Compare)
	return stamps, nil
}

func (f *file) drop() {
	if f.f != nil {
		f.f.Close()
		f.f = nil
	}
}

func (f *file) close(context.Context) error {
	f.drop()
	return nil
}

// syncFolder makes the names in a path's folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

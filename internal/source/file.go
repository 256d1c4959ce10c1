package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/superinstance/keeper/internal/secret"
)

const (
	maxFileBytes = 64<<10 + 2 // with a line end, which the vault takes off
	maxLinks     = 40         // as Linux follows

	// A file is read when nothing has happened in its folder for settle, so that
	// one that is being written is not taken for whole, and after mostSettle at the
	// latest, so that a busy folder does not keep it from being read.
	settle     = 100 * time.Millisecond
	mostSettle = 2 * time.Second
)

// file is a source that is watched.
type file struct {
	path   string // absolute
	logger *slog.Logger
	// exposed is the mode of which others were warned last; of fetch alone.
	exposed fs.FileMode
}

func newFile(path string, logger *slog.Logger) (*file, error) {
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	return &file{path: path, logger: logger}, nil
}

func (f *file) fetch(context.Context) (value, error) {
	text, mode, err := readRegular(f.path)
	if err != nil {
		return value{}, err
	}
	if open := mode.Perm() & 0o066; open != 0 && mode != f.exposed {
		f.logger.Warn("file of a secret can be read or written by others than its owner", "path", f.path, "mode", mode.Perm().String())
	}
	f.exposed = mode
	defer clear(text)
	return value{secret: secret.New(text)}, nil
}

// readRegular reads a file that is not too long. A pipe or a device, which could
// keep the reader waiting for ever, is none.
func readRegular(path string) ([]byte, fs.FileMode, error) {
	opened, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, problemf("the file is not there")
	case errors.Is(err, fs.ErrPermission):
		return nil, 0, problemf("keeper may not read the file")
	case err != nil:
		return nil, 0, problemf("the file cannot be opened")
	}
	defer opened.Close()
	info, err := opened.Stat()
	switch {
	case err != nil:
		return nil, 0, problemf("the file cannot be looked at")
	case !info.Mode().IsRegular():
		return nil, 0, problemf("it is no regular file")
	}
	text, err := io.ReadAll(io.LimitReader(opened, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, 0, problemf("the file cannot be read to its end")
	case len(text) > maxFileBytes:
		return nil, 0, problemf("the file is longer than %d bytes", maxFileBytes-2)
	}
	return text, info.Mode(), nil
}

// watch watches the folders of the file and of every link that leads to it, since a
// file is replaced by a rename in its folder, and in Kubernetes by a rename of a link
// on the way. Where nothing can be watched, the file is still read at each refresh.
func (f *file) watch(ctx context.Context, changed func()) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		f.logger.WarnContext(ctx, "file of a secret not watched: it is read at each refresh alone", "path", f.path, "error", err)
		return
	}
	defer watcher.Close()
	f.follow(ctx, watcher)
	changed() // what happened before the folders were watched
	quiet := time.NewTimer(0)
	quiet.Stop()
	var since time.Time // the first event that was not told yet
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-watcher.Events:
			if !open {
				return
			}
			if since.IsZero() {
				since = time.Now()
			}
			quiet.Reset(min(settle, max(0, mostSettle-time.Since(since))))
		case _, open := <-watcher.Errors: // events were lost: look anyway
			if !open {
				return
			}
			quiet.Reset(settle)
		case <-quiet.C:
			since = time.Time{}
			f.follow(ctx, watcher)
			changed()
		}
	}
}

// follow makes the watcher watch what folders there are on the way now.
func (f *file) follow(ctx context.Context, watcher *fsnotify.Watcher) {
	wanted := map[string]bool{}
	for _, folder := range foldersTo(f.path) {
		wanted[folder] = true
		if err := watcher.Add(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.logger.WarnContext(ctx, "folder of a secret's file not watched: it is read at each refresh alone", "path", folder, "error", err)
		}
	}
	for _, folder := range watcher.WatchList() {
		if !wanted[folder] {
			_ = watcher.Remove(folder) // one that is gone is watched no more anyway
		}
	}
}

// foldersTo are the folders of path and of every link on the way to the file. A
// folder that is a link itself is watched as such, in the folder that it is in.
func foldersTo(path string) (folders []string) {
	seen := map[string]bool{}
	queue := []string{path}
	for len(queue) > 0 && len(seen) < maxLinks {
		at := filepath.Clean(queue[0])
		queue = queue[1:]
		if seen[at] {
			continue
		}
		seen[at] = true
		folders = append(folders, nearest(filepath.Dir(at)))
		// Each part of the path may be a link.
		for part := at; part != filepath.Dir(part); part = filepath.Dir(part) {
			target, err := os.Readlink(part)
			if err != nil {
				continue
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(part), target)
			}
			if part != at {
				folders = append(folders, filepath.Dir(part))
			}
			rest, _ := filepath.Rel(part, at) // both are absolute, and at is below part
			queue = append(queue, filepath.Join(target, rest))
		}
	}
	return folders
}

// nearest is the folder, or the one in which it, or what is to hold it, will be made.
func nearest(folder string) string {
	for folder != filepath.Dir(folder) {
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			break
		}
		folder = filepath.Dir(folder)
	}
	return folder
}

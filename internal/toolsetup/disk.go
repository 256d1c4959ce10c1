package toolsetup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

const (
	maxFileBytes   = 1 << 20           // more than a configuration has
	maxRecordBytes = 16 * maxFileBytes // of several files, in base64
)

// file is a file as it is on disk, and as it is to be.
type file struct {
	path   string // as the tool has it
	target string // where the symbolic links in it lead

	onDisk, exists bool
	disk, now      []byte
	mode           fs.FileMode
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// open reads the file, which need not be there. Symbolic links are followed, and
// written through, while they stay inside of root.
func open(path, root string) (*file, error) {
	target, err := resolve(path, root)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, target: target}
	info, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %s: it is no regular file", path)
	}
	if f.disk, err = read(target, maxFileBytes); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	f.onDisk, f.exists, f.now, f.mode = true, true, f.disk, info.Mode().Perm()
	return f, nil
}

func read(path string, limitBytes int64) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, limitBytes+1))
	if err == nil && int64(len(text)) > limitBytes {
		err = fmt.Errorf("it is larger than %d MiB", limitBytes>>20)
	}
	return text, err
}

// resolve is where the path's symbolic links lead. What leads out of root, or
// to nothing, is refused: it was made for somebody else to write.
func resolve(path, root string) (string, error) {
	top, rest, err := evalExisting(root)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", root, err)
	}
	top = filepath.Join(top, rest)
	target, rest, err := evalExisting(path)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	target = filepath.Join(target, rest)
	if rel, err := filepath.Rel(top, target); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is a symbolic link out of %s, to %s, and is left alone; replace it with a file", path, root, target)
	}
	return target, nil
}

// evalExisting follows the links in the part of the path that exists, and
// returns the rest as it is.
func evalExisting(path string) (real, rest string, err error) {
	for at := path; ; at = filepath.Dir(at) {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return real, rest, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
		if exists(at) {
			return "", "", fmt.Errorf("%s is a symbolic link to nothing", at)
		}
		if at == filepath.Dir(at) {
			return "", "", err
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// unchanged returns an error where the file is no longer as it was read.
func (f *file) unchanged() error {
	text, err := read(f.target, maxFileBytes)
	if errors.Is(err, fs.ErrNotExist) && !f.onDisk {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	if !f.onDisk || !bytes.Equal(text, f.disk) {
		return fmt.Errorf("writing %s: another program has just changed it; do it again", f.path)
	}
	return nil
}

// write makes the file as it is to be, whole or not at all.
func (f *file) write() error {
	if err := f.unchanged(); err != nil {
		return err
	}
	if !f.exists {
		if err := os.Remove(f.target); err != nil {
			return fmt.Errorf("removing %s: %w", f.path, err)
		}
		return nil
	}
	if err := replace(f.target, f.now, f.mode); err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	return nil
}

// replace puts a file with the text in the place of the one at the path, whole or
// not at all.
func replace(path string, text []byte, mode fs.FileMode) error {
	temp, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(mode), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer temp.Cleanup() // nothing once it is in place
	if _, err := temp.Write(text); err != nil {
		return err
	}
	if err := keepOwner(temp.File, path); err != nil {
		return err
	}
	return temp.CloseAtomicallyReplace()
}

// makeFolders makes the folder and those above it, and returns the ones that it
// made, the uppermost first.
func makeFolders(folder string) ([]string, error) {
	var made []string
	for at := folder; !exists(at); at = filepath.Dir(at) {
		made = append([]string{at}, made...)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making %s: %w", folder, err)
	}
	return made, nil
}

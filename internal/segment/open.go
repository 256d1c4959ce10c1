package segment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Open opens the folder dir, which it makes if there is none, and has it alone until Close;
// it returns ErrHeld while another has it. after is the last Seq that is known to be
// shipped; 0: what the folder tells of that is taken. Numbers go on behind after and behind
// the last record in the folder. An Append that was not finished is cut off. Where the
// folder lacks a record behind after, or one of its files is not as it was written, Open
// touches none of them, and returns an error that names file and offset, says what is lost,
// and wraps ErrDamaged.
func Open(dir string, after int64, o Options) (*Log, error) {
	l, err := open(dir, after, o)
	if err != nil {
		return nil, fmt.Errorf("opening the records in %s: %w", dir, err)
	}
	return l, nil
}

func open(dir string, after int64, o Options) (*Log, error) {
	if after < 0 || after > maxSeq {
		return nil, fmt.Errorf("after: got %d, want the Seq of a record, or 0", after)
	}
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := makeFolder(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, options: o, disk: realDisk(), lock: lock}
	if err := l.load(after); err != nil {
		if l.newest != nil {
			l.newest.Close()
		}
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

// load takes in what is in the folder, and makes ready for the next Append. Nobody else
// has l yet.
func (l *Log) load(after int64) error {
	names, err := listFiles(l.dir)
	if err != nil {
		return err
	}
	p := &replay{after: after, open: map[int64]Record{}}
	for i := range names {
		if err := p.file(l.dir, names[i:]); err != nil {
			return err
		}
	}
	l.files, l.open, l.cut = p.files, p.open, p.cut
	l.last = max(p.last, after)
	l.shipped = after
	if after == 0 && len(p.files) > 0 {
		l.shipped = max(p.shipped, p.files[0].first-1)
	}
	if err := l.resume(); err != nil {
		return err
	}
	if len(l.files) == 0 || p.last < after {
		if err := l.begin(); err != nil {
			return err
		}
	}
	l.opened = slices.SortedFunc(maps.Values(l.open), func(a, b Record) int { return cmp.Compare(a.Seq, b.Seq) })
	return l.deleteShipped()
}

// listFiles returns the first numbers of the folder's files, in order, after deleting those
// that were never finished.
func listFiles(dir string) (firsts []int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if whole, half := strings.CutSuffix(e.Name(), halfMade); half {
			if _, ok := firstOf(whole); ok {
				if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
					return nil, err
				}
			}
		}
		if first, ok := firstOf(e.Name()); ok {
			firsts = append(firsts, first)
		}
	}
	return firsts, nil // ReadDir sorts by name, and all names are as long
}

// resume makes the newest file ready to be gone on with, and all that was read durable. Its
// last frame may be one whose sync failed: then the kernel has it in memory, takes it for
// written, and would not write it without being given it again.
func (l *Log) resume() (err error) {
	if len(l.files) == 0 {
		return nil
	}
	f := l.files[len(l.files)-1]
	l.tail = f
	if l.newest, err = os.OpenFile(f.path, os.O_RDWR, 0o600); err != nil {
		return err
	}
	if l.cut > 0 {
		if err := l.newest.Truncate(f.end); err != nil {
			return fmt.Errorf("cutting off an append that was not finished: %w", err)
		}
	}
	if n := len(f.frames); n > 0 {
		b := make([]byte, f.end-f.frames[n-1].at)
		if _, err := l.newest.ReadAt(b, f.frames[n-1].at); err != nil {
			return err
		}
		if _, err := l.newest.WriteAt(b, f.frames[n-1].at); err != nil {
			return err
		}
	}
	if err := l.newest.Sync(); err != nil {
		return err
	}
	return syncFolder(l.dir)
}

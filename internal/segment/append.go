package segment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Append gives the records the next numbers, in order, and returns nil when all of them
// are on disk. It keeps copies of them. Where it returns an error none of them has a
// number, and none is there for Next or for a later Open, but where the process ends before
// what was written of them could be cut off again. Until that is done, Append writes
// nothing else and returns an error. It returns ErrFull, and has written nothing, where
// what is not shipped yet would pass Options.MaxBytes.
func (l *Log) Append(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.newest == nil {
		return fmt.Errorf("appending records: %w", os.ErrClosed)
	}
	first := l.last + 1
	if err := checkNew(records, first); err != nil {
		return fmt.Errorf("appending records: %w", err)
	}
	if err := l.prepare(sizeOf(records)); err != nil {
		return fmt.Errorf("appending records: %w", err)
	}
	kept := slices.Clone(records)
	for i := range kept {
		kept[i].Seq = first + int64(i)
	}
	f := l.tail
	b := encode(f.salt, kept, 0)
	if err := l.put(b, f.end); err != nil {
		l.torn = true
		return fmt.Errorf("appending records: %w", errors.Join(err, l.mend()))
	}
	for i := range kept {
		records[i].Seq = kept[i].Seq
		follow(l.open, kept[i])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f.add(first, len(kept), int64(len(b)))
	l.last = f.last
	l.recent.add(kept, int64(len(b)))
	return nil
}

// follow keeps open what it is after r.
func follow(open map[int64]Record, r Record) {
	delete(open, r.Closes)
	if r.Opens {
		open[r.Seq] = r
	}
}

// prepare sees that a frame of size bytes may be written behind the newest file's end.
func (l *Log) prepare(size int64) error {
	if records, bytes := l.Backlog(); bytes+size > l.options.MaxBytes {
		return fmt.Errorf("%d records (%d bytes) wait, and %d bytes more are above the bound of %d: %w", records, bytes, size, l.options.MaxBytes, ErrFull)
	}
	if err := l.mend(); err != nil {
		return err
	}
	f := l.tail
	// What is carried is written once more for each file, and must not be most of what is.
	bound := max(l.options.SegmentBytes, f.start)
	if l.sealed || f.end > f.start && f.end-f.start+size > bound {
		return l.begin()
	}
	return nil
}

func (l *Log) put(b []byte, at int64) error {
	if err := l.disk.write(l.newest, b, at); err != nil {
		return err
	}
	return l.disk.sync(l.newest)
}

// mend cuts off what a failed Append left. After a failed sync nobody knows which pages
// are on disk, and a second sync need not say, so nothing more goes into that file.
func (l *Log) mend() error {
	if !l.torn {
		return nil
	}
	if err := l.disk.truncate(l.newest, l.tail.end); err != nil {
		return fmt.Errorf("cutting off an append that failed: %w", err)
	}
	if err := l.disk.sync(l.newest); err != nil {
		return fmt.Errorf("cutting off an append that failed: %w", err)
	}
	l.torn, l.sealed = false, true
	return nil
}

// begin begins a new file with the records that are open. If the newest has none of its
// own, the new one may have its name, and takes its place.
func (l *Log) begin() error {
	l.sealed = true // the new file may be there even if this fails, and has the next number
	l.mu.Lock()
	first, shipped := l.last+1, l.shipped
	l.mu.Unlock()
	open := slices.SortedFunc(maps.Values(l.open), func(a, b Record) int { return cmp.Compare(a.Seq, b.Seq) })
	f, handle, err := l.make(newHeader(len(open), first, shipped), open)
	if err != nil {
		return fmt.Errorf("beginning a file: %w", err)
	}
	for _, r := range open {
		l.open[r.Seq] = r // its Data now, so that the earlier file's buffers can go
	}
	if l.newest != nil {
		l.newest.Close() // nothing of it is unwritten
	}
	l.tail, l.newest, l.sealed = f, handle, false
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.files); n > 0 && l.files[n-1].first == first {
		l.files[n-1] = f
	} else {
		l.files = append(l.files, f)
	}
	return nil
}

// make makes a file durable, its entry in the folder too, before it says that there is one.
func (l *Log) make(h header, open []Record) (*file, *os.File, error) {
	b := append(h.encode(), carry(h.sum(), open)...)
	f := &file{path: pathOf(l.dir, h.first), first: h.first, last: h.first - 1, salt: h.sum(), start: int64(len(b)), end: int64(len(b))}
	handle, err := os.OpenFile(f.path+halfMade, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err = l.disk.write(handle, b, 0); err == nil {
		err = l.disk.sync(handle)
	}
	if err == nil {
		err = os.Rename(f.path+halfMade, f.path)
	}
	if err == nil {
		err = l.disk.folder(l.dir)
	}
	if err != nil {
		return nil, nil, errors.Join(err, handle.Close())
	}
	return f, handle, nil
}

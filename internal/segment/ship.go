package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
)

const (
	recentBytes = 8 << 20 // of records in memory that Next need not read from a file
	nextBytes   = 4 << 20 // of Data that one Next returns, unless its first record has more
)

// Next returns the first records after the Seq after that are not shipped yet, in order,
// at most limit of them and of 4 MiB of Data unless the first alone has more. It may return
// fewer than there are; it returns none only where there is none, or limit is 0. Next
// returns an error, which wraps ErrDamaged where the file is not as it was written.
// The caller changes no Data.
func (l *Log) Next(after int64, limit int) ([]Record, error) {
	l.shipping.Lock()
	defer l.shipping.Unlock()
	l.mu.Lock()
	from := max(after, l.shipped) + 1
	if from > l.last || limit <= 0 {
		l.mu.Unlock()
		return nil, nil
	}
	if found := l.recent.from(from, limit); found != nil {
		l.mu.Unlock()
		return found, nil
	}
	f, at := l.placeOf(from)
	l.mu.Unlock()
	records, err := f.read(at, from, limit)
	if err != nil {
		return nil, fmt.Errorf("reading records to ship: %w", err)
	}
	return records, nil
}

// placeOf returns a copy of what is known of the file that holds seq, and where the frame
// begins in it. mu is held, and seq is at most last.
func (l *Log) placeOf(seq int64) (f file, at int64) {
	for _, one := range l.files {
		if one.last >= seq {
			return *one, one.frames[one.frameOf(seq)].at
		}
	}
	panic("segment: a record is in no file") // Open and Append add each to one
}

// read reads from the frame at the offset at on, and returns the records from from on.
func (f *file) read(at, from int64, limit int) ([]Record, error) {
	handle, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var found, all []Record
	for bytes := 0; at < f.end; {
		b, err := readFrame(io.NewSectionReader(handle, at, f.end-at), f.end-at, f.salt, nil)
		if err == nil {
			all, err = decode(b, false, all[:0])
		}
		if err != nil {
			return nil, damage(f.path, at, err, fmt.Sprintf("record %d and later ones of that file cannot be read", max(from, f.frames[f.frameOf(from)].first)))
		}
		at += int64(len(b))
		for _, r := range all {
			if r.Seq < from {
				continue
			}
			if bytes += len(r.Data); len(found) == limit || len(found) > 0 && bytes > nextBytes {
				return found, nil
			}
			found = append(found, r)
		}
	}
	return found, nil
}

// Shipped says that the records up to the Seq upTo need not be kept, and deletes the files
// that hold no others. The newest file stays. Where a file cannot be deleted Shipped
// returns an error, and the next one tries again.
func (l *Log) Shipped(upTo int64) error {
	l.shipping.Lock()
	defer l.shipping.Unlock()
	l.mu.Lock()
	if upTo > l.last {
		defer l.mu.Unlock()
		return fmt.Errorf("taking records for shipped up to %d: the last one is %d", upTo, l.last)
	}
	l.shipped = max(l.shipped, upTo)
	l.recent.drop(l.shipped)
	l.mu.Unlock()
	if err := l.deleteShipped(); err != nil {
		return fmt.Errorf("deleting records that were shipped: %w", err)
	}
	return nil
}

// deleteShipped deletes the oldest first, each durably, so that no gap can come up
// between those that are left.
func (l *Log) deleteShipped() error {
	for {
		l.mu.Lock()
		var f *file
		if len(l.files) > 1 && l.files[0].last <= l.shipped {
			f = l.files[0]
		}
		l.mu.Unlock()
		if f == nil {
			return nil
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncFolder(l.dir); err != nil {
			return err
		}
		l.mu.Lock()
		l.files[0] = nil
		l.files = l.files[1:]
		l.mu.Unlock()
	}
}

// recent are the last records, in memory.
type recent struct {
	appends []kept
	bytes   int64
}

type kept struct {
	records []Record
	bytes   int64
}

func (r *recent) add(records []Record, bytes int64) {
	r.appends = append(r.appends, kept{records, bytes})
	r.bytes += bytes
	for r.bytes > recentBytes {
		r.pop()
	}
}

// drop forgets Appends with no record after shipped.
func (r *recent) drop(shipped int64) {
	for len(r.appends) > 0 && r.appends[0].last() <= shipped {
		r.pop()
	}
}

func (r *recent) pop() {
	r.bytes -= r.appends[0].bytes
	r.appends[0] = kept{}
	r.appends = r.appends[1:]
}

func (k kept) last() int64 { return k.records[len(k.records)-1].Seq }

// from returns the records from seq on, as Next does; nil: seq is not among them.
func (r *recent) from(seq int64, limit int) []Record {
	if len(r.appends) == 0 || r.appends[0].records[0].Seq > seq {
		return nil
	}
	var found []Record
	bytes := 0
	first := sort.Search(len(r.appends), func(i int) bool { return r.appends[i].last() >= seq })
	for _, k := range r.appends[first:] {
		for _, one := range k.records[max(seq-k.records[0].Seq, 0):] {
			if bytes += len(one.Data); len(found) == limit || len(found) > 0 && bytes > nextBytes {
				return found
			}
			found = append(found, one)
		}
	}
	return found
}

// Package segment keeps the records of one keeper on this machine's disk until they were
// shipped elsewhere. Its one invariant: a record whose Append returned nil is there once,
// in order and as it was, until Shipped says that it need not be; where the disk lost one,
// Open says so and does not go on. It imports nothing internal.
//
// # Files
//
// A folder holds files named after the Seq of their first record, as 20 decimal digits and
// ".seg", and a file "lock", by which one process at a time has the folder. Numbers are
// little-endian, checksums CRC-32C. A file is a header of 48 bytes,
//
//	 0  8 bytes   "kprseg\r\n"
//	 8  4 bytes   version of the format, 1
//	12  4 bytes   how many carried records follow
//	16  8 bytes   Seq of the first record of the file's own
//	24  8 bytes   the last Seq that was known to be shipped when the file was begun
//	32  8 bytes   salt, random
//	40  4 bytes   0
//	44  4 bytes   checksum of bytes 0 to 43
//
// then frames of carried records, then a frame for each Append. A frame is
//
//	0  4 bytes   checksum of the salt and of all that follows
//	4  4 bytes   length of the records, in bytes
//	8            the records, at least one
//
// and a record in it
//
//	 0  8 bytes   Seq
//	 8  8 bytes   Closes
//	16  1 byte    flags: 1 Opens, 2 carried
//	17  4 bytes   length of Data, in bytes
//	21            Data
//
// The salt is in each checksum so that nothing a record holds, and nothing that lay on the
// disk before, passes for a frame of this file.
//
// A file comes under its name when its header and carried records are on disk, so that
// these are never torn. The carried ones are all records that were open when the file was
// begun. So a file and those after it tell every open record, and a file is deleted as soon
// as its own records are shipped.
//
// An Append is one frame: it comes back whole or not at all. Nothing is written behind a
// frame that is not known to be on disk. So a damaged frame with nothing valid behind it,
// at the end of the newest file, is an Append that never returned nil, and Open cuts it off.
// Any other damage is an error.
package segment

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// Record is one record.
type Record struct {
	Seq    int64  // the keeper's own number of it, from 1, without a gap; set by Append
	Opens  bool   // a later record is to close it
	Closes int64  // the Seq of the earlier record that this one closes; 0: none
	Data   []byte // opaque, up to MaxData bytes
}

const (
	// MaxData is the most that a record's Data may have, in bytes.
	MaxData             = 4 << 20
	defaultMaxBytes     = 256 << 20
	defaultSegmentBytes = 4 << 20

	// MaxAppend is the most that one Append may write, in bytes: Data and 21 bytes of each record.
	MaxAppend = 128 << 20
)

// Options are the bounds of a Log. A zero is the default.
type Options struct {
	MaxBytes     int64 // of records that are not shipped yet, as they lie on disk; 0: 256 MiB
	SegmentBytes int64 // of one file, before the next is begun; 0: 4 MiB
}

func (o Options) filled() (Options, error) {
	switch {
	case o.MaxBytes < 0:
		return o, fmt.Errorf("MaxBytes: got %d, want 0 or more bytes", o.MaxBytes)
	case o.SegmentBytes < 0:
		return o, fmt.Errorf("SegmentBytes: got %d, want 0 or more bytes", o.SegmentBytes)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	return o, nil
}

var (
	// ErrFull is returned by Append where what is not shipped yet would pass MaxBytes.
	ErrFull = errors.New("too much is not shipped yet")
	// ErrDamaged is returned by Open and Next where the disk lost or changed records.
	ErrDamaged = errors.New("records are damaged")
	// ErrHeld is returned by Open while another has the folder open.
	ErrHeld = errors.New("the folder is open elsewhere")
)

// Log is the records of one folder. It is safe for concurrent use; a sync of Append holds
// up nothing but other Appends and Close.
type Log struct {
	dir     string
	options Options
	disk    disk
	lock    *os.File
	opened  []Record
	cut     int64

	// Of these locks a holder of one takes only those below it.
	writing  sync.Mutex // held by who writes to the newest file: Append, Close
	shipping sync.Mutex // held by who reads or deletes files: Next, Shipped, Close
	mu       sync.Mutex // guards files and what is in them, last, shipped, recent; never held over I/O

	// Guarded by writing.
	newest *os.File         // nil when closed
	tail   *file            // the newest, too; what is in it changes under mu
	open   map[int64]Record // by Seq
	torn   bool             // what lies behind the newest file's end is not cut off yet
	sealed bool             // nothing goes into the newest file any more

	files   []*file // oldest first; after Open at least one; changed under writing too where appended to
	last    int64   // changed under writing too
	shipped int64
	recent  recent
}

// Opened returns the records with Opens that no record closed when the folder was opened,
// in order of Seq, whether or not they were shipped: what an earlier process left open.
// They stay open until a record closes them. The caller changes nothing in it.
func (l *Log) Opened() []Record { return l.opened }

// Cut returns how many bytes of an Append that was not finished Open cut off.
func (l *Log) Cut() int64 { return l.cut }

// Last returns the Seq of the last record; 0: there was none.
func (l *Log) Last() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Backlog returns how many records are not shipped yet, and how many bytes they take on
// disk, in which an Append that is shipped in part counts whole.
func (l *Log) Backlog() (records int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		bytes += f.bytesAfter(l.shipped)
	}
	return int(l.last - l.shipped), bytes
}

// Close lets go of the folder. Records that are not shipped stay in it.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.shipping.Lock()
	defer l.shipping.Unlock()
	if l.newest == nil {
		return nil
	}
	err := l.mend()
	err = errors.Join(err, l.newest.Close(), l.lock.Close())
	l.newest = nil
	return err
}

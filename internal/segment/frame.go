package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	frameHead  = 8
	recordHead = 21
	maxSeq     = 1 << 62 // so that no sum overflows

	flagOpens   = 1
	flagCarried = 2
)

// sum is the checksum of b under salt, which is that of a file's salt.
func sum(salt uint32, b []byte) uint32 {
	return crc32.Update(salt, castagnoli, b)
}

// sizeOf returns how many bytes a frame of records takes.
func sizeOf(records []Record) int64 {
	size := int64(frameHead)
	for i := range records {
		size += recordHead + int64(len(records[i].Data))
	}
	return size
}

// encode returns records as one frame, and makes their Data point into it.
func encode(salt uint32, records []Record, flags byte) []byte {
	b := make([]byte, frameHead, sizeOf(records))
	for i := range records {
		r := &records[i]
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Seq))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Closes))
		if r.Opens {
			b = append(b, flags|flagOpens)
		} else {
			b = append(b, flags)
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Data)))
		at := len(b)
		b = append(b, r.Data...)
		r.Data = b[at:len(b):len(b)]
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-frameHead))
	binary.LittleEndian.PutUint32(b, sum(salt, b[4:]))
	return b
}

// A fault is what is wrong with bytes that were read, apart from errors of reading them.
type fault string

func (f fault) Error() string { return string(f) }

// readFrame reads one frame, of which at most left bytes are there, into buf or a larger
// one. It returns the frame; a fault where there is none; io.EOF where nothing is left.
func readFrame(r io.Reader, left int64, salt uint32, buf []byte) ([]byte, error) {
	if left == 0 {
		return nil, io.EOF
	}
	if left < frameHead+recordHead {
		return nil, fault("it ends within a frame")
	}
	buf = append(buf[:0], make([]byte, frameHead)...)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, reading(err)
	}
	length := int64(binary.LittleEndian.Uint32(buf[4:]))
	switch {
	case length < recordHead || length > MaxAppend:
		return nil, fault("a frame's length is wrong")
	case length > left-frameHead:
		return nil, fault("it ends within a frame")
	case int64(cap(buf)) < frameHead+length:
		buf = append(make([]byte, 0, frameHead+length), buf...)
	}
	buf = buf[:frameHead+length]
	if _, err := io.ReadFull(r, buf[frameHead:]); err != nil {
		return nil, reading(err)
	}
	if sum(salt, buf[4:]) != binary.LittleEndian.Uint32(buf) {
		return nil, fault("a frame's checksum is wrong")
	}
	return buf, nil
}

// reading keeps an end of file, where more was said to be, from passing for none.
func reading(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault("it is shorter than it was")
	}
	return err
}

// decode appends the records of a frame, whose checksum is right, to records. Their Data
// points into it. All of them must have the flag carried, or none.
func decode(frame []byte, carried bool, records []Record) ([]Record, error) {
	for b := frame[frameHead:]; len(b) > 0; {
		if len(b) < recordHead {
			return nil, fault("a frame ends within a record")
		}
		r := Record{
			Seq:    int64(binary.LittleEndian.Uint64(b)),
			Closes: int64(binary.LittleEndian.Uint64(b[8:])),
			Opens:  b[16]&flagOpens != 0,
		}
		flags, length := b[16], int64(binary.LittleEndian.Uint32(b[17:]))
		b = b[recordHead:]
		switch {
		case r.Seq < 1 || r.Seq > maxSeq || r.Closes < 0 || r.Closes >= r.Seq:
			return nil, fault("a record's numbers are wrong")
		case flags > flagOpens|flagCarried || flags&flagCarried != 0 != carried || carried && !r.Opens:
			return nil, fault("a record's flags are wrong")
		case length > int64(len(b)):
			return nil, fault("a frame ends within a record")
		}
		r.Data = b[:length:length]
		b = b[length:]
		records = append(records, r)
	}
	return records, nil
}

// findFrame looks in b for a valid frame of records after last, and returns the Seq of its
// first; 0: there is none.
func findFrame(b []byte, salt uint32, last int64) int64 {
	for ; len(b) >= frameHead+recordHead; b = b[1:] {
		length := int64(binary.LittleEndian.Uint32(b[4:]))
		if length < recordHead || length > int64(len(b)-frameHead) {
			continue
		}
		seq := int64(binary.LittleEndian.Uint64(b[frameHead:]))
		if seq <= last || seq-last > int64(1<<32) {
			continue
		}
		if sum(salt, b[4:frameHead+length]) == binary.LittleEndian.Uint32(b) {
			return seq
		}
	}
	return 0
}

// checkNew returns what is wrong with records that are to be appended as first and on.
func checkNew(records []Record, first int64) error {
	for i := range records {
		r, seq := &records[i], first+int64(i)
		switch {
		case len(r.Data) > MaxData:
			return fmt.Errorf("records[%d].Data: got %d bytes, want %d at most", i, len(r.Data), MaxData)
		case r.Closes < 0 || r.Closes >= seq:
			return fmt.Errorf("records[%d].Closes: got %d, want the Seq of a record before %d, or 0", i, r.Closes, seq)
		}
	}
	if size := sizeOf(records) - frameHead; size > MaxAppend {
		return fmt.Errorf("records: got %d bytes, want %d at most in one Append", size, MaxAppend)
	}
	if first > maxSeq-int64(len(records)) {
		return errors.New("records: no number is left")
	}
	return nil
}
